package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	kyaml "sigs.k8s.io/yaml"
)

const generate = "make generate"

// TestGeneratedImages: images.txt is all that a registry without the internet needs.
func TestGeneratedImages(t *testing.T) {
	same(t, filepath.Join(chartDir, "images.txt"), strings.Join(images(deployment(t, releases()["default"])), "\n")+"\n", generate)
}

// TestGeneratedReadme: the table of values is what values.yaml says.
func TestGeneratedReadme(t *testing.T) {
	path := filepath.Join(chartDir, "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- values: begin -->\n", "<!-- values: end -->"
	before, rest, ok1 := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks %q or %q", path, begin, end)
	}
	values, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("Generated from values.yaml by `make generate`.\n\n| value | default | meaning |\n|---|---|---|\n")
	for _, v := range describe(t, values) {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.path, v.value, v.meaning)
	}
	b.WriteString("\n")
	same(t, path, before+begin+b.String()+end+after, generate)
}

// described is a value with the comment above it.
type described struct{ path, value, meaning string }

// describe lists the values of a file. What has a comment that begins with "--" is one, with all that is below it; every other leaf is a mistake.
func describe(t *testing.T, text []byte) []described {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var all []described
	var walk func(n *yaml.Node, path []string)
	walk = func(n *yaml.Node, path []string) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			at := append(slices.Clone(path), key.Value)
			meaning, ok := strings.CutPrefix(key.HeadComment, "# -- ")
			if !ok {
				if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
					t.Errorf("values.yaml: %s has no comment that begins with \"# -- \"", strings.Join(at, "."))
					continue
				}
				walk(value, at)
				continue
			}
			var plain any
			if err := value.Decode(&plain); err != nil {
				t.Fatal(err)
			}
			shown, err := json.Marshal(plain)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, described{strings.Join(at, "."), string(shown), strings.ReplaceAll(meaning, "\n# ", " ")})
		}
	}
	walk(doc.Content[0], nil)
	return all
}

// TestSchemaIsWhole: the schema has every value of values.yaml and no other, so that neither a new value is refused nor an old one accepted.
func TestSchemaIsWhole(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	type node struct {
		Properties map[string]*json.RawMessage `json:"properties"`
		Closed     json.RawMessage             `json:"additionalProperties"`
	}
	var inSchema []string
	var walk func(raw []byte, path string)
	walk = func(raw []byte, path string) {
		var n node
		if err := json.Unmarshal(raw, &n); err != nil {
			t.Fatal(err)
		}
		for name, p := range n.Properties {
			walk(*p, strings.TrimPrefix(path+"."+name, "."))
		}
		if len(n.Properties) > 0 && string(n.Closed) != "false" {
			t.Errorf("the schema lets %s have anything", quoted(path))
		}
		inSchema = append(inSchema, path)
	}
	walk(text, "")
	values, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	described := describe(t, values)
	for _, v := range described {
		if !slices.Contains(inSchema, v.path) {
			t.Errorf("values.schema.json lacks %s", v.path)
		}
	}
	for _, path := range inSchema {
		known := path == "" || path == "global" // Helm's own
		for _, v := range described {
			known = known || v.path == path || strings.HasPrefix(v.path, path+".") || strings.HasPrefix(path, v.path+".")
		}
		if !known {
			t.Errorf("values.schema.json has %s, which values.yaml does not", path)
		}
	}
}

// TestGeneratedKustomize: deploy/kustomize is the chart with its defaults, for who has no Helm.
func TestGeneratedKustomize(t *testing.T) {
	for dir, files := range kustomizations(t) {
		for name, text := range files {
			same(t, filepath.Join(root, "deploy", "kustomize", dir, name), text, generate)
		}
		have, err := os.ReadDir(filepath.Join(root, "deploy", "kustomize", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range have {
			if _, ok := files[f.Name()]; !ok && !f.IsDir() {
				t.Errorf("deploy/kustomize/%s/%s is generated no more; delete it", dir, f.Name())
			}
		}
	}
}

const note = "# Generated from charts/zonekeeper by `make generate`.\n"

// kustomizations are the files of deploy/kustomize by folder and name.
func kustomizations(t *testing.T) map[string]map[string]string {
	t.Helper()
	base := map[string]string{}
	var names []string
	byKind := map[string]string{"Deployment": "operator.yaml", "ServiceAccount": "operator.yaml",
		"ClusterRole": "rbac.yaml", "ClusterRoleBinding": "rbac.yaml", "Role": "rbac.yaml", "RoleBinding": "rbac.yaml"}
	ns := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + namespace + "\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n"
	base["namespace.yaml"] = note + ns
	for _, o := range render(t, releases()["default"]) {
		if isDefinition(o) {
			continue // the same files as in the chart
		}
		file, ok := byKind[o.GetKind()]
		if !ok {
			t.Fatalf("nobody has said into which file %s belongs", o.id())
		}
		if base[file] == "" {
			base[file] = note
		}
		base[file] += "---\n" + withoutHelm(t, o)
	}
	for name := range base {
		names = append(names, name)
	}
	slices.Sort(names)
	base["kustomization.yaml"] = note + "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n" + list(append(names, "../../charts/zonekeeper/files/crds"))

	vip := map[string]string{}
	with := render(t, release{values: "vip: {enabled: true}"})
	vip["namespace.yaml"] = note + withoutHelm(t, find(t, with, "Namespace", "zonekeeper-front"))
	vip["rbac.yaml"] = note
	for _, id := range [][2]string{{"ClusterRole", "zonekeeper-operator-vip"}, {"ClusterRoleBinding", "zonekeeper-operator-vip"},
		{"Role", "zonekeeper-operator-fronts"}, {"RoleBinding", "zonekeeper-operator-fronts"}} {
		vip["rbac.yaml"] += "---\n" + withoutHelm(t, find(t, with, id[0], id[1]))
	}
	vip["kustomization.yaml"] = note + "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources:\n" + list([]string{"namespace.yaml", "rbac.yaml"}) +
		"patches:\n  - path: operator.yaml\n"
	vip["operator.yaml"] = note + "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: zonekeeper-operator\n  namespace: " + namespace + "\nspec:\n  template:\n    spec:\n" +
		"      containers:\n        - name: operator\n          env:\n            - name: FRONT_NAMESPACE\n              value: zonekeeper-front\n"

	return map[string]map[string]string{"": base, "vip": vip}
}

func list(names []string) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString("  - " + n + "\n")
	}
	return b.String()
}

// withoutHelm is an object without what only Helm reads.
func withoutHelm(t *testing.T, o object) string {
	t.Helper()
	m := o.DeepCopy()
	labels, annotations := m.GetLabels(), m.GetAnnotations()
	delete(labels, "helm.sh/chart")
	delete(labels, "app.kubernetes.io/managed-by")
	delete(annotations, "helm.sh/resource-policy")
	m.SetLabels(labels)
	m.SetAnnotations(annotations)
	if len(annotations) == 0 {
		m.SetAnnotations(nil)
	}
	text, err := kyaml.Marshal(m.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
