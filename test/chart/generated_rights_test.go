package chart

import (
	"fmt"
	"path/filepath"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	kyaml "sigs.k8s.io/yaml"

	"github.com/zonekeeper/zonekeeper/internal/operator/rbac"
)

// TestGeneratedRights: the chart's roles are what the operator says that it needs.
func TestGeneratedRights(t *testing.T) {
	for file, rules := range map[string][]rbacv1.PolicyRule{"cluster.yaml": rbac.ClusterRules(), "operator-namespace.yaml": rbac.OwnRules()} {
		text, err := kyaml.Marshal(rules)
		if err != nil {
			t.Fatal(err)
		}
		same(t, filepath.Join(chartDir, "files", "rbac", file), string(text), generate)
	}
	if *rewrite {
		return
	}
	all := render(t, releases()["default"])
	var cluster rbacv1.ClusterRole
	var own rbacv1.Role
	for object, into := range map[object]any{find(t, all, "ClusterRole", "zonekeeper-operator"): &cluster, find(t, all, "Role", "zonekeeper-operator"): &own} {
		if err := kyaml.UnmarshalStrict([]byte(object.text), into); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(cluster.Rules) != fmt.Sprint(rbac.ClusterRules()) || fmt.Sprint(own.Rules) != fmt.Sprint(rbac.OwnRules()) {
		t.Error("the rendered roles have other rules than internal/operator/rbac")
	}
}
