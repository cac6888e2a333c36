package policy

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden file")

func pod(namespace, name, node, address string, set map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: set},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{PodIP: address, Phase: corev1.PodRunning},
	}
}

// state is a small cluster with each kind of rule.
func state(t *testing.T) State {
	t.Helper()
	s := State{
		Pods: []*corev1.Pod{
			pod("dns", "primary-0", "n1", "10.244.1.2", map[string]string{"role": "primary"}),
			pod("dns", "primary-1", "n2", "10.244.2.2", map[string]string{"role": "primary"}),
			pod("dns", "front", "n1", "10.244.1.3", map[string]string{"role": "front"}),
			pod("dns", "free", "n1", "10.244.1.4", nil),
			pod("kube-system", "dns", "n2", "10.244.2.9", map[string]string{"k8s-app": "kube-dns"}),
			pod("other", "front", "n2", "10.244.2.3", map[string]string{"role": "front"}),
		},
		Namespaces: []*corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "dns", Labels: map[string]string{"name": "dns"}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", Labels: map[string]string{"name": "kube-system"}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "other"}},
		},
	}
	host := pod("dns", "host", "n1", "10.250.0.11", map[string]string{"role": "primary"})
	host.Spec.HostNetwork = true
	done := pod("dns", "done", "n1", "10.244.1.9", map[string]string{"role": "primary"})
	done.Status.Phase = corev1.PodSucceeded
	s.Pods = append(s.Pods, host, done)
	f, err := os.Open("testdata/policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := yaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		np := &networkingv1.NetworkPolicy{}
		if d.Decode(np) != nil {
			return s
		}
		s.Policies = append(s.Policies, np)
	}
}

func TestRules(t *testing.T) {
	got := Rules("n1", state(t))
	path := filepath.Join("testdata", "n1.nft")
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the rules are\n%s", got)
	}
	// nft takes them, and takes them again.
	b := harness.NewBridge(t, map[string]byte{"n1": 11})
	for range 2 {
		err := b.Host("n1").Inside(func() error {
			cmd := exec.Command("nft", "-f", "-")
			cmd.Stdin = strings.NewReader(got)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("nft: %s", out)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if none := Rules("n3", state(t)); strings.Contains(none, "drop") {
		t.Errorf("a node without pods has\n%s", none)
	}
}
