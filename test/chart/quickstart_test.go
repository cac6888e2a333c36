package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/zoneobject"
	"github.com/zonekeeper/zonekeeper/test/chart/quickstart"
	"github.com/zonekeeper/zonekeeper/test/crd"
)

// The README's quick start, as far as it goes without a cluster: its scripts are scripts, its objects are ones that the API server takes, its
// zone has a first content, its pod may run in a namespace that enforces restricted pods, and its image is the chart's. The end-to-end test runs it.
func TestQuickStart(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := quickstart.Steps(string(page))
	if err != nil {
		t.Fatal(err)
	}
	var names, kinds []string
	var cluster v1alpha1.BindCluster
	for _, s := range steps {
		names = append(names, s.Name)
		cmd := exec.CommandContext(t.Context(), "bash", "-n")
		cmd.Stdin = strings.NewReader(s.Script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", s.Name, err, out)
		}
		for _, m := range s.Manifests() {
			for _, o := range objects(t, m) {
				kinds = append(kinds, o.GetKind())
				switch o.GetKind() {
				case "Pod":
					client(t, o)
					continue
				case "BindCluster":
					if err := yaml.UnmarshalStrict([]byte(o.text), &cluster); err != nil {
						t.Fatal(err)
					}
				case "Zone":
					var z v1alpha1.Zone
					if err := yaml.UnmarshalStrict([]byte(o.text), &z); err != nil {
						t.Fatal(err)
					}
					if _, err := zoneobject.Content(&z, cluster.Spec.ZoneDefaults); err != nil {
						t.Errorf("%s: %v", s.Name, err)
					}
				}
				if _, err := definition(t, o.GetKind()).Admit(o.Object, nil); err != nil {
					t.Errorf("%s: %s: %v", s.Name, o.id(), err)
				}
			}
		}
	}
	if want := []string{"install", "cluster", "zone", "client", "update"}; !slices.Equal(names, want) {
		t.Errorf("the quick start has the steps %v, want %v", names, want)
	}
	if want := []string{"BindCluster", "TSIGKey", "Zone", "Pod"}; !slices.Equal(kinds, want) {
		t.Errorf("the quick start makes %v, want %v", kinds, want)
	}
}

// definition of one of our kinds.
func definition(t *testing.T, kind string) *crd.Definition {
	t.Helper()
	d, err := crd.Load(filepath.Join(chartDir, "files", "crds", "dns.zonekeeper.io_"+strings.ToLower(kind)+"s.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// client checks the pod from which the quick start writes.
func client(t *testing.T, o object) {
	t.Helper()
	var p corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(o.text), &p); err != nil {
		t.Fatal(err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range evaluator.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &p.ObjectMeta, &p.Spec) {
		if !r.Allowed {
			t.Errorf("%s: %s: %s", o.id(), r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	if have := images(deployment(t, releases()["default"])); !slices.Contains(have, p.Spec.Containers[0].Image) {
		t.Errorf("%s has image %s, the chart %v", o.id(), p.Spec.Containers[0].Image, have)
	}
}

// What is no quick start is said so.
func TestQuickStartMistakes(t *testing.T) {
	for page, want := range map[string]string{
		"":                                    "has no mark",
		"<!-- quickstart: a -->\ntext\n":      "has to follow its mark at once",
		"<!-- quickstart: a -->\n```sh\nls\n": "has no end",
		strings.Repeat("<!-- quickstart: a -->\n```sh\nls\n```\n", 2): "two blocks",
	} {
		if _, err := quickstart.Steps(page); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", page, err, want)
		}
	}
	steps, err := quickstart.Steps("1. a\n\n   <!-- quickstart: a -->\n   ```sh\n   cat <<'END'\n     x\n   END\n   ```\n")
	if err != nil || len(steps) != 1 || steps[0].Script != "cat <<'END'\n  x\nEND\n" {
		t.Errorf("%q, %v", steps, err)
	}
}
