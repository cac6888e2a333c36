package crd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"sigs.k8s.io/yaml"
)

const definitions = "../../charts/zonekeeper/files/crds"

func loadAll(t *testing.T) map[string]*Definition {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(definitions, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions in %s: %v", definitions, err)
	}
	all := map[string]*Definition{}
	for _, f := range files {
		d, err := Load(f)
		if err != nil {
			t.Fatalf("%s: an API server would refuse it: %v", f, err)
		}
		all[d.Kind] = d
	}
	return all
}

// Each file is about one kind. create and update print "accepted", or each message on a line of its own; update is applied to the last
// object that was accepted. defaults prints the last accepted object's spec as it is stored. -rewrite writes what was printed.
func TestRules(t *testing.T) {
	all := loadAll(t)
	tried := map[string]bool{}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		kind := strings.TrimSuffix(filepath.Base(path), ".txt")
		d := all[kind]
		if d == nil {
			t.Fatalf("there is no kind %s", kind)
		}
		tried[kind] = true
		var last map[string]any
		datadriven.RunTest(t, path, func(t *testing.T, cmd *datadriven.TestData) string {
			if cmd.Cmd == "defaults" {
				text, err := yaml.Marshal(last["spec"])
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			object := map[string]any{}
			if err := yaml.Unmarshal([]byte(cmd.Input), &object); err != nil {
				return err.Error()
			}
			object["apiVersion"], object["kind"] = "dns.zonekeeper.io/v1alpha1", kind
			if object["metadata"] == nil {
				object["metadata"] = map[string]any{"name": "example"}
			}
			var old map[string]any
			if cmd.Cmd == "update" {
				old = last
			}
			stored, err := d.Admit(object, old)
			if err != nil {
				return messages(err)
			}
			last = stored
			return "accepted"
		})
	})
	for kind := range all {
		if !tried[kind] {
			t.Errorf("testdata has no examples of kind %s", kind)
		}
	}
}

func messages(err error) string {
	list := []error{err}
	if many, ok := err.(interface{ Errors() []error }); ok {
		list = many.Errors()
	}
	var lines []string
	for _, e := range list {
		lines = append(lines, e.Error())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Every rule has an example that it refuses: its message, up to the first value in it, is in testdata.
func TestEveryRuleIsTried(t *testing.T) {
	var texts strings.Builder
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts.Write(b)
	}
	crds, err := filepath.Glob(filepath.Join(definitions, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range crds {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd map[string]any
		if err := yaml.Unmarshal(b, &crd); err != nil {
			t.Fatal(err)
		}
		eachRule(crd, func(rule map[string]any) {
			m, words := wordsOf(rule)
			if seen[m] {
				return
			}
			seen[m] = true
			if !words.MatchString(texts.String()) {
				t.Errorf("%s: no example in testdata is refused by the rule with the message: %s", filepath.Base(f), m)
			}
		})
	}
	if len(seen) == 0 {
		t.Error("no rules found")
	}
}

func eachRule(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		if list, ok := v["x-kubernetes-validations"].([]any); ok {
			for _, r := range list {
				f(r.(map[string]any))
			}
		}
		for _, x := range v {
			eachRule(x, f)
		}
	case []any:
		for _, x := range v {
			eachRule(x, f)
		}
	}
}

var literal = regexp.MustCompile(`'((?:[^'\\]|\\.)*)'`)

// wordsOf gives a rule's message, and an expression that matches it with any values.
func wordsOf(rule map[string]any) (string, *regexp.Regexp) {
	if m, ok := rule["message"].(string); ok {
		return m, regexp.MustCompile(regexp.QuoteMeta(m))
	}
	m := fmt.Sprint(rule["messageExpression"])
	// A condition of the expression has several texts; what stands in front of it is enough.
	head, _, _ := strings.Cut(m, " ? ")
	head, _, _ = strings.Cut(head, "(has(")
	var parts []string
	for _, l := range literal.FindAllStringSubmatch(head, -1) {
		parts = append(parts, regexp.QuoteMeta(strings.ReplaceAll(l[1], `\'`, `'`)))
	}
	return m, regexp.MustCompile(strings.Join(parts, `[^\n]*`))
}

// TestEveryFieldIsExplained: kubectl explain has a sentence for each field, and the short names are nobody else's.
func TestEveryFieldIsExplained(t *testing.T) {
	crds, err := filepath.Glob(filepath.Join(definitions, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Of Kubernetes itself and of what often stands beside us; kubectl would take whichever it finds first.
	taken := map[string]bool{"ns": true, "no": true, "po": true, "svc": true, "ep": true, "cm": true, "sa": true, "pv": true, "pvc": true, "ds": true,
		"sts": true, "deploy": true, "rs": true, "cj": true, "hpa": true, "pdb": true, "netpol": true, "ing": true, "crd": true, "sc": true, "zone": true, "zones": true}
	for _, f := range crds {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd struct {
			Metadata struct{ Annotations map[string]string }
			Spec     struct {
				Names    struct{ ShortNames []string }
				Versions []struct {
					AdditionalPrinterColumns []map[string]any
					Schema                   struct{ OpenAPIV3Schema map[string]any }
				}
			}
		}
		if err := yaml.Unmarshal(b, &crd); err != nil {
			t.Fatal(err)
		}
		file := filepath.Base(f)
		if crd.Metadata.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s: an uninstall of the chart would delete it, and all objects with it", file)
		}
		if len(crd.Spec.Names.ShortNames) == 0 {
			t.Errorf("%s: no short name", file)
		}
		for _, n := range crd.Spec.Names.ShortNames {
			if taken[n] {
				t.Errorf("%s: the short name %s is taken", file, n)
			}
			taken[n] = true
		}
		for _, v := range crd.Spec.Versions {
			if len(v.AdditionalPrinterColumns) < 3 {
				t.Errorf("%s: kubectl get shows %d columns", file, len(v.AdditionalPrinterColumns))
			}
			explained(t, file, "", v.Schema.OpenAPIV3Schema)
		}
	}
}

func explained(t *testing.T, file, path string, schema map[string]any) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		field := p.(map[string]any)
		at := path + "." + name
		if text, _ := field["description"].(string); text == "" && at != ".metadata" {
			t.Errorf("%s: %s has no description", file, at)
		}
		explained(t, file, at, field)
	}
	for _, inner := range []string{"items", "additionalProperties"} {
		if s, ok := schema[inner].(map[string]any); ok {
			explained(t, file, path+"[]", s)
		}
	}
}
