package repo

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/zonekeeper/zonekeeper/"

// levels of docs/architecture.md. A package may import packages of lower levels, and
// those of its own level that siblings names.
func levels() map[string]int {
	return map[string]int{
		"api/v1alpha1":  0,
		"internal/zone": 0, "internal/tsig": 0, "internal/conf": 0, "internal/proxyproto": 0,
		"internal/policy": 1, "internal/update": 1, "internal/xfr": 1, "internal/clientconf": 1, "internal/axfr": 1, "internal/front/apiserver": 1,
		"internal/fsm": 2, "internal/fsm/seal": 2, "internal/named": 2, "internal/log": 2,
		"internal/notify": 2, "internal/propagation": 2, "internal/secondary/guard": 2, "internal/secondary/proxy": 2,
		"internal/front/relay": 2, "internal/front/haproxy": 2, "internal/front/keepalived": 2, "internal/front/backends": 2,
		"internal/front/checks": 2, "internal/front/vip": 2, "internal/front/announce": 2,
		"internal/openstack/plan": 1, "internal/openstack": 2,
		"internal/replica": 3, "internal/publish": 3, "internal/adminapi": 3, "internal/backup": 3,
		"internal/endpoint": 4,
		"internal/primary":  5, "internal/secondary": 5, "internal/front": 5, "internal/devcluster": 5, "internal/devcluster/relay": 5, "internal/bench": 5,
		"internal/operator/resources":         5,
		"internal/operator/bindcluster":       5,
		"internal/operator/tenancy":           5,
		"internal/operator/zoneobject":        5,
		"internal/operator/keyobject":         5,
		"internal/operator/vipobject":         5,
		"internal/operator/vipcontroller":     5,
		"internal/operator/vipnetwork":        5,
		"internal/operator/conditions":        5,
		"internal/operator/clusterapi":        5,
		"internal/operator/lookup":            5,
		"internal/operator/zonecontroller":    5,
		"internal/operator/keycontroller":     5,
		"internal/operator/pki":               5,
		"internal/operator/rbac":              5,
		"internal/operator/clustercontroller": 5,
		"internal/operator/program":           5,
		"internal/kubectl":                    5,
		"internal/cli":                        6,
		"internal/operator/command":           6,
		"cmd/zonekeeper":                      7,
		"cmd/kubectl-zonekeeper":              7,
		"cmd/zonekeeper-operator":             7,
	}
}

// siblings are the imports within a level, each with its reason.
func siblings() map[string]string {
	return map[string]string{
		"internal/tsig → internal/zone":                                       "keys have domain names",
		"internal/update → internal/policy":                                   "an update is authorised by a policy",
		"internal/devcluster → internal/primary":                              "it writes primaries' configurations",
		"internal/devcluster → internal/secondary":                            "and secondaries'",
		"internal/devcluster → internal/devcluster/relay":                     "its own part",
		"internal/bench → internal/devcluster":                                "it measures a local cluster",
		"internal/operator/resources → internal/primary":                      "it writes primaries' configurations; see TestOperatorTower",
		"internal/operator/resources → internal/secondary":                    "and secondaries'",
		"internal/operator/resources → internal/front":                        "and fronts'",
		"internal/operator/bindcluster → internal/operator/resources":         "its state decides about the objects",
		"internal/operator/clusterapi → internal/operator/resources":          "where the primaries and the certificate are",
		"internal/operator/zoneobject → internal/operator/tenancy":            "which objects may use a cluster",
		"internal/operator/keyobject → internal/operator/tenancy":             "which objects may use a cluster",
		"internal/operator/vipobject → internal/operator/conditions":          "status is made of findings",
		"internal/operator/vipcontroller → internal/operator/conditions":      "a controller puts the parts together",
		"internal/operator/vipcontroller → internal/operator/lookup":          "a controller puts the parts together",
		"internal/operator/vipcontroller → internal/operator/resources":       "the names of fronts, and the gate",
		"internal/operator/vipcontroller → internal/operator/vipobject":       "it carries out what that decides",
		"internal/operator/program → internal/operator/vipcontroller":         "it runs it",
		"internal/operator/program → internal/operator/vipnetwork":            "it runs it",
		"internal/operator/vipnetwork → internal/operator/vipcontroller":      "it is its Network",
		"internal/operator/vipnetwork → internal/operator/vipobject":          "what it is told of networks",
		"internal/operator/lookup → internal/operator/clusterapi":             "what its errors mean for a condition",
		"internal/operator/lookup → internal/operator/conditions":             "what its errors mean for a condition",
		"internal/operator/zonecontroller → internal/operator/clusterapi":     "a controller puts the parts together",
		"internal/operator/zonecontroller → internal/operator/conditions":     "a controller puts the parts together",
		"internal/operator/zonecontroller → internal/operator/lookup":         "a controller puts the parts together",
		"internal/operator/zonecontroller → internal/operator/tenancy":        "a controller puts the parts together",
		"internal/operator/zonecontroller → internal/operator/zoneobject":     "a controller puts the parts together",
		"internal/operator/keycontroller → internal/operator/clusterapi":      "a controller puts the parts together",
		"internal/operator/keycontroller → internal/operator/conditions":      "a controller puts the parts together",
		"internal/operator/keycontroller → internal/operator/keyobject":       "a controller puts the parts together",
		"internal/operator/keycontroller → internal/operator/lookup":          "a controller puts the parts together",
		"internal/operator/keycontroller → internal/operator/resources":       "the names of labels",
		"internal/operator/keycontroller → internal/operator/tenancy":         "a controller puts the parts together",
		"internal/operator/clustercontroller → internal/operator/resources":   "it applies them",
		"internal/operator/clustercontroller → internal/operator/bindcluster": "it carries out what that decides",
		"internal/operator/clustercontroller → internal/operator/pki":         "it issues certificates by it",
		"internal/operator/program → internal/operator/clustercontroller":     "it runs it",
		"internal/operator/program → internal/operator/clusterapi":            "controllers reach primaries by it",
		"internal/operator/program → internal/operator/resources":             "labels, by which it caches",
		"internal/operator/program → internal/operator/zonecontroller":        "it runs it",
		"internal/operator/program → internal/operator/keycontroller":         "it runs it",
	}
}

// only says which packages may know a module or a package of the standard library.
func only() []struct {
	prefix, reason string
	allowed        []string
} {
	return []struct {
		prefix, reason string
		allowed        []string
	}{
		{"go.etcd.io/", "everything else uses the log's verbs", []string{"internal/log"}},
		{"google.golang.org/grpc", "that is etcd's business", []string{"internal/log"}},
		{"github.com/spf13/cobra", "the command line is a thin layer", []string{"internal/cli", "internal/operator/command"}},
		{"github.com/gophercloud/", "everything else uses the plan and its executor", []string{"internal/openstack"}},
		{"k8s.io/", "a primary, a secondary and a front know nothing of Kubernetes", kubernetes()},
		{"sigs.k8s.io/", "a primary, a secondary and a front know nothing of Kubernetes", kubernetes()},
	}
}

// kubernetes are the packages that may know it.
func kubernetes() []string {
	return []string{
		"api/v1alpha1",
		"internal/operator/resources",
		"internal/operator/zoneobject",
		"internal/operator/clusterapi",
		"internal/operator/tenancy",
		"internal/operator/conditions",
		"internal/operator/lookup",
		"internal/operator/zonecontroller",
		"internal/operator/keycontroller",
		"internal/operator/vipobject",
		"internal/operator/vipcontroller",
		"internal/operator/vipnetwork",
		"internal/operator/rbac",
		"internal/operator/clustercontroller",
		"internal/operator/program",
		"internal/operator/command",
		"internal/kubectl",
	}
}

// pure are the packages that decide the replicated state, and what they must not import:
// the same log has to give the same state everywhere.
func pure() (packages, forbidden []string) {
	return []string{"internal/policy", "internal/update", "internal/fsm"},
		[]string{"net", "net/http", "os", "os/exec", "math/rand", "math/rand/v2", "crypto/rand", "syscall", "log/slog"}
}

// TestOperatorTower: the operator's tower knows the node tower's configurations, because it writes them, and nothing else of it.
func TestOperatorTower(t *testing.T) {
	config := regexp.MustCompile(`^(\w*Config|Mode\w*|SocketPath)$`)
	nodes := []string{"internal/primary", "internal/secondary", "internal/front"}
	seen := 0
	err := filepath.WalkDir(filepath.Join(root, "internal/operator"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		names := map[string]string{} // of the packages in this file
		for _, i := range f.Imports {
			short, ours := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module)
			if !ours || !slices.Contains(nodes, short) {
				continue
			}
			name := short[strings.LastIndexByte(short, '/')+1:]
			if i.Name != nil {
				name = i.Name.Name
			}
			names[name] = short
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Obj == nil && names[pkg.Name] != "" {
				seen++
				if !config.MatchString(s.Sel.Name) {
					t.Errorf("%s uses %s of %s, which is no configuration: the operator asks primaries through internal/adminapi", path, s.Sel.Name, names[pkg.Name])
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("nothing found")
	}
}

type goPackage struct {
	ImportPath   string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func goList(t *testing.T) map[string]goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,TestGoFiles,XTestGoFiles", "./api/...", "./internal/...", "./cmd/...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	m := map[string]goPackage{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		m[strings.TrimPrefix(p.ImportPath, module)] = p
	}
}

func TestLayers(t *testing.T) {
	level, sibling, all := levels(), siblings(), goList(t)
	for name, p := range all {
		if len(p.GoFiles) == 0 || strings.HasSuffix(name, "test") {
			continue // test helpers are not in the tower
		}
		own, ok := level[name]
		if !ok {
			t.Errorf("%s has no level: give it one here and in docs/architecture.md", name)
			continue
		}
		for _, imp := range p.Imports {
			for _, o := range only() {
				if strings.HasPrefix(imp, o.prefix) && !slices.Contains(o.allowed, name) {
					t.Errorf("%s imports %s; only %v may: %s", name, imp, o.allowed, o.reason)
				}
			}
			short, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			edge := name + " → " + short
			other, ok := level[short]
			switch {
			case !ok:
				t.Errorf("%s: %s has no level", edge, short)
			case other > own:
				t.Errorf("%s: upward, level %d imports level %d", edge, own, other)
			case other == own && sibling[edge] == "":
				t.Errorf("%s: both are on level %d", edge, own)
			}
		}
	}
	packages, forbidden := pure()
	for _, name := range packages {
		for _, imp := range all[name].Imports {
			if slices.Contains(forbidden, imp) {
				t.Errorf("%s imports %s: the same log has to give the same state on every replica", name, imp)
			}
		}
	}
}

// Every package says in one comment what it promises.
func TestPackageComments(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", "{{if .GoFiles}}{{.ImportPath}}\t{{.Doc}}{{end}}", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, doc, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if path != "" && doc == "" {
			t.Errorf("%s has no package comment", strings.TrimPrefix(path, module))
		}
	}
}
