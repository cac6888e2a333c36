package kube

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/zonekeeper/zonekeeper/test/harness"
	"github.com/zonekeeper/zonekeeper/test/kube/lab"
)

// parts is the folder that scripts/kube.sh has prepared, if make e2e runs: it takes ten minutes and root.
func parts(t *testing.T) (dir string, run bool) {
	t.Helper()
	dir = os.Getenv("ZONEKEEPER_E2E")
	if dir == "" {
		t.Log("real nodes: run it with make e2e")
	}
	return dir, dir != ""
}

// row prints a line that a script can pick out of a test's output.
func row(what, which, result string) { fmt.Printf("TABLE %-9s %-34s %s\n", what, which, result) }

// TestE2EByHand: the rendered objects of a cluster, without the operator.
func TestE2EByHand(t *testing.T) {
	dir, run := parts(t)
	if !run {
		return
	}
	began := time.Now()
	step := func(what string) {
		row("time", what, time.Since(began).Round(100*time.Millisecond).String())
		began = time.Now()
	}
	s := start(t, dir)
	step("cluster ready")
	h := s.byHand()
	s.rolledOut("statefulset/main-primary", "deployment/main-front-updates")
	step("primaries and fronts ready")
	h.register()
	s.ready()
	step("secondaries ready")
	s.via("n1")
	addr := s.address("main-front-updates")
	st := s.write(addr, harness.MustKey(t, "client.", "hmac-sha256", h.secret))
	st.flowing(s)
	step("first write")
	for _, f := range faults() {
		t.Run(strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
			s := s.For(t)
			at := time.Now()
			f.do(s)
			s.ready()
			st.flowing(s)
			o := st.Since(at)
			row("fault", f.name, fmt.Sprintf("gap %v, longest request %v, whole again after %v", o.Gap.Round(time.Millisecond),
				o.Longest.Round(time.Millisecond), time.Since(at).Round(100*time.Millisecond)))
		})
	}
	st.check(t, s.address("main-secondary-0")+":53", s.address("main-secondary-1")+":53")
	s.verified()
	step("checks")
}

// address is that of a Service.
func (s *site) address(service string) string {
	s.t.Helper()
	return s.kubectl("get", "-n", namespace, "service", service, "-o", "jsonpath={.spec.clusterIP}")
}

// ready waits until every pod of the cluster that should be there is ready.
func (s *site) ready() {
	s.t.Helper()
	s.rolledOut("statefulset/main-primary", "statefulset/main-secondary", "deployment/main-front-updates")
	s.until("no pod is left over", func() error {
		var pods corev1.PodList
		if err := get(s, &pods, "-n", namespace, "pods"); err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("%s is still there", p.Name)
			}
		}
		return nil
	})
}

// rolledOut waits until objects have all their pods, and those are ready.
func (s *site) rolledOut(objects ...string) {
	s.t.Helper()
	s.until("pods are ready", func() error {
		for _, o := range objects {
			if _, err := s.try("", "rollout", "status", "-n", namespace, o, "--timeout=20s"); err != nil {
				return err
			}
		}
		return nil
	})
}

// verified compares all copies of all zones.
func (s *site) verified() {
	s.t.Helper()
	s.until("all copies of all zones are equal", func() error { _, err := s.inPrimary(0, "", "verify"); return err })
}

// fault is something that happens to the cluster. When do returns it is over, and the cluster mends itself.
type fault struct {
	name string
	do   func(*site)
}

func faults() []fault {
	var list []fault
	for _, pod := range []string{"main-primary-0", "main-primary-1", "main-primary-2", "main-secondary-0"} {
		list = append(list, fault{"delete " + pod, func(s *site) { s.kubectl("delete", "pod", "-n", namespace, pod) }})
	}
	for _, node := range []string{"n1", "n2", "n3"} {
		list = append(list, fault{"drain " + node, func(s *site) {
			s.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
			s.kubectl("uncordon", node)
		}})
	}
	return append(list,
		fault{"power off n3, force-delete", func(s *site) {
			s.node("n3", lab.Kill)
			s.kubectl("wait", "--for=condition=Ready=Unknown", "node/n3", "--timeout=60s")
			for _, p := range s.podsOn("n3") {
				s.kubectl("delete", "pod", "-n", namespace, p, "--force", "--grace-period=0")
			}
			s.node("n3", lab.Start)
			s.kubectl("wait", "--for=condition=Ready", "node/n3", "--timeout=120s")
		}},
		fault{"cut n2 off for 20 s", func(s *site) {
			s.node("n2", lab.Cut)
			s.kubectl("wait", "--for=condition=Ready=Unknown", "node/n2", "--timeout=60s")
			s.node("n2", lab.Join)
			s.kubectl("wait", "--for=condition=Ready", "node/n2", "--timeout=120s")
		}},
		fault{"a primary's volume deleted", func(s *site) {
			s.kubectl("delete", "-n", namespace, "pvc/data-main-primary-1", "--wait=false")
			s.kubectl("delete", "-n", namespace, "pod/main-primary-1")
		}},
	)
}

// podsOn are the cluster's pods on a node.
func (s *site) podsOn(node string) []string {
	s.t.Helper()
	var pods corev1.PodList
	if err := get(s, &pods, "-n", namespace, "pods", "--field-selector=spec.nodeName="+node); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, p := range pods.Items {
		out = append(out, p.Name)
	}
	return out
}
