package chart

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	kyaml "sigs.k8s.io/yaml"

	"github.com/zonekeeper/zonekeeper/internal/operator/rbac"
)

// TestGeneratedRights: the chart's roles are what the operator says that it needs.
func TestGeneratedRights(t *testing.T) {
	for file, rules := range map[string][]rbacv1.PolicyRule{"cluster.yaml": rbac.ClusterRules(), "operator-namespace.yaml": rbac.OwnRules(),
		"vip.yaml": rbac.VIPRules(), "front-namespace.yaml": rbac.FrontRules()} {
		text, err := kyaml.Marshal(rules)
		if err != nil {
			t.Fatal(err)
		}
		same(t, filepath.Join(chartDir, "files", "rbac", file), string(text), generate)
	}
	if *rewrite {
		return
	}
	all := render(t, releases()["everything"])
	for _, c := range []struct {
		kind, name string
		rules      []rbacv1.PolicyRule
	}{
		{"ClusterRole", "zonekeeper-operator", rbac.ClusterRules()}, {"Role", "zonekeeper-operator", rbac.OwnRules()},
		{"ClusterRole", "zonekeeper-operator-vip", rbac.VIPRules()}, {"Role", "zonekeeper-operator-fronts", rbac.FrontRules()},
	} {
		var role rbacv1.ClusterRole // a Role has the same fields that matter
		if err := kyaml.Unmarshal([]byte(find(t, all, c.kind, c.name).text), &role); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(role.Rules) != fmt.Sprint(c.rules) {
			t.Errorf("%s %s has other rules than internal/operator/rbac", c.kind, c.name)
		}
		if where := map[string]string{"zonekeeper-operator-fronts": "fronts", "zonekeeper-operator": namespace}[c.name]; c.kind == "Role" && role.Namespace != where {
			t.Errorf("Role %s is in namespace %q, want %q", c.name, role.Namespace, where)
		}
	}
	// Without VIPs nothing of theirs is granted.
	for _, o := range render(t, releases()["default"]) {
		if strings.Contains(o.text, "daemonsets") || o.GetKind() == "ClusterRole" && o.GetName() == "zonekeeper-operator-vip" {
			t.Errorf("%s grants what only VIPs need", o.id())
		}
	}
}
