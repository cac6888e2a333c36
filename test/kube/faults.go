package kube

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/zonekeeper/zonekeeper/test/kube/lab"
)

// fault is something that happens to the cluster. When do returns it is over, and the cluster mends itself.
type fault struct {
	name string
	do   func(*site)
}

func nodes() []string { return []string{"n1", "n2", "n3"} }

func deletePod(pod string) fault {
	return fault{"delete " + pod, func(s *site) { s.kubectl("delete", "pod", "-n", namespace, cluster+"-"+pod) }}
}

func drain(node string) fault {
	return fault{"drain " + node, func(s *site) {
		s.kubectl("drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=120s")
		s.kubectl("uncordon", node)
	}}
}

// faults are those that ask nothing of an operator.
func faults() []fault {
	var list []fault
	for _, pod := range []string{"primary-0", "primary-1", "primary-2", "secondary-0", "secondary-1"} {
		list = append(list, deletePod(pod))
	}
	list = append(list, fault{"delete a front", func(s *site) {
		pods := s.pods("-l", "app.kubernetes.io/component=front")
		s.kubectl("delete", "pod", "-n", namespace, pods[0].Name)
	}})
	for _, node := range nodes() {
		list = append(list, drain(node))
	}
	return append(list,
		fault{"power off n3, force-delete", func(s *site) {
			s.node("n3", lab.Kill)
			s.kubectl("wait", "--for=condition=Ready=Unknown", "node/n3", "--timeout=60s")
			for _, p := range s.pods("--field-selector=spec.nodeName=n3") {
				s.kubectl("delete", "pod", "-n", namespace, p.Name, "--force", "--grace-period=0")
			}
			s.node("n3", lab.Start)
			s.kubectl("wait", "--for=condition=Ready", "node/n3", "--timeout=120s")
		}},
		fault{"cut n2 off until it is missed", func(s *site) {
			s.node("n2", lab.Cut)
			s.kubectl("wait", "--for=condition=Ready=Unknown", "node/n2", "--timeout=60s")
			s.node("n2", lab.Join)
			s.kubectl("wait", "--for=condition=Ready", "node/n2", "--timeout=120s")
		}},
		fault{"a primary's volume deleted", func(s *site) {
			s.kubectl("delete", "-n", namespace, "pvc/data-"+cluster+"-primary-1", "--wait=false")
			s.kubectl("delete", "-n", namespace, "pod/"+cluster+"-primary-1")
		}},
	)
}

// hibernate takes all primaries away and brings them back.
func hibernate(s *site) {
	s.kubectl("scale", "-n", namespace, "statefulset/"+cluster+"-primary", "--replicas=0")
	s.kubectl("wait", "-n", namespace, "pod", "-l", "app.kubernetes.io/component=primary", "--for=delete", "--timeout=60s")
	s.kubectl("scale", "-n", namespace, "statefulset/"+cluster+"-primary", "--replicas=3")
}

// pods are the cluster's.
func (s *site) pods(selector ...string) []corev1.Pod {
	s.t.Helper()
	var list corev1.PodList
	if err := get(s, &list, append([]string{"-n", namespace, "pods"}, selector...)...); err != nil {
		s.t.Fatal(err)
	}
	return list.Items
}

// inject does one thing after the other under load, and waits after each until the cluster is whole.
func (st *stream) inject(t *testing.T, list []fault, whole func(*site)) {
	t.Helper()
	for _, f := range list {
		t.Run(strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
			s := st.s.For(t)
			began := time.Now()
			f.do(s)
			whole(s)
			took := time.Since(began)
			st.flowing(s)
			o := st.Since(began)
			row("fault", f.name, fmt.Sprintf("gap %v, longest request %v, whole again after %v", o.Gap.Round(time.Millisecond),
				o.Longest.Round(time.Millisecond), took.Round(100*time.Millisecond)))
		})
	}
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

// ready waits until every pod of the cluster that should be there is ready, and no other is left.
func (s *site) ready() {
	s.t.Helper()
	s.rolledOut("statefulset/"+cluster+"-primary", "statefulset/"+cluster+"-secondary", "deployment/"+updates)
	s.until("no pod is left over", func() error {
		for _, p := range s.pods() {
			if p.DeletionTimestamp != nil {
				return errors.New(p.Name + " is still there")
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

// row prints a line that a script can pick out of a test's output.
func row(what, which, result string) { fmt.Printf("TABLE %-9s %-34s %s\n", what, which, result) }
