package kube

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/test/chart/quickstart"
)

const root = "../.."

// This file is what the tests do to a cluster, step by step, as its users do.

// steps are the commands of the chart's README.
func (s *site) steps() []quickstart.Step {
	s.t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "charts/zonekeeper/README.md"))
	if err != nil {
		s.t.Fatal(err)
	}
	steps, err := quickstart.Steps(string(page))
	if err != nil {
		s.t.Fatal(err)
	}
	return steps
}

// bash runs a script as an administrator would: in the root of the repository, with kubectl and helm.
func (s *site) bash(script string) string {
	s.t.Helper()
	helm, err := exec.CommandContext(s.t.Context(), filepath.Join(root, "scripts/helm.sh"), "--path").Output()
	if err != nil {
		s.t.Fatalf("scripts/helm.sh: %v", err)
	}
	home := s.t.TempDir()
	cmd := exec.CommandContext(s.t.Context(), "bash", "-euo", "pipefail")
	cmd.Dir, cmd.Stdin = root, strings.NewReader(script)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home,
		"PATH="+s.Programs+":"+filepath.Dir(strings.TrimSpace(string(helm)))+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// patch changes the BindCluster.
func (s *site) patch(merge string) {
	s.t.Helper()
	s.kubectl("patch", "bindcluster", "-n", namespace, cluster, "--type=merge", "-p", merge)
}

// bindCluster reads it. Its status is about the newest spec, else that is an error.
func (s *site) bindCluster() (*v1alpha1.BindCluster, error) {
	var c v1alpha1.BindCluster
	if err := get(s, &c, "-n", namespace, "bindcluster", cluster); err != nil {
		return nil, err
	}
	if c.Status.ObservedGeneration != c.Generation {
		return nil, fmt.Errorf("its status is about generation %d, not %d", c.Status.ObservedGeneration, c.Generation)
	}
	return &c, nil
}

// healthy waits until all that the operator says about the cluster is good, of a status that it wrote after the call, and all pods are ready.
func (s *site) healthy() {
	s.t.Helper()
	s.ready()
	s.until("the BindCluster is ready", func() error {
		c, err := s.bindCluster()
		if err != nil {
			return err
		}
		for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionRolledOut} {
			if !meta.IsStatusConditionTrue(c.Status.Conditions, kind) {
				return fmt.Errorf("%s is not true: %s", kind, c.Status.Summary)
			}
		}
		if want := fmt.Sprintf("%d/%[1]d", c.Spec.Primaries.Replicas); c.Status.Primaries.Summary != want {
			return fmt.Errorf("primaries are %s, not %s", c.Status.Primaries.Summary, want)
		}
		return nil
	})
	s.ready()
}
