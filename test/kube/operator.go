package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// Where the operator is, and its pods' label.
const (
	system         = "zonekeeper-system"
	operatorLabel  = "app.kubernetes.io/component=operator"
	operatorObject = "deployment/zonekeeper-operator"
)

// killOperator ends all pods of the operator without a word.
func killOperator(s *site) {
	s.t.Helper()
	if err := s.endOperator(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) endOperator() error {
	_, err := s.try("", "delete", "pod", "-n", system, "-l", operatorLabel, "--force", "--grace-period=0")
	return err
}

// operated kills the operator in the middle of each fault: when the first pod of the cluster goes or comes, at the latest when the fault is over
// and the cluster mends itself.
func operated(list []fault) []fault {
	var out []fault
	for _, f := range list {
		out = append(out, fault{f.name + ", operator killed", func(s *site) {
			before, err := s.cast()
			if err != nil {
				s.t.Fatal(err)
			}
			over, end := context.WithCancel(s.t.Context())
			var killing sync.WaitGroup
			killing.Go(func() {
				for now := before; now == before && over.Err() == nil; now, err = s.cast() {
					if err != nil {
						s.t.Error(err)
					}
					select {
					case <-over.Done():
					case <-time.After(200 * time.Millisecond):
					}
				}
				if err := s.endOperator(); err != nil {
					s.t.Error(err)
				}
			})
			defer killing.Wait()
			defer end()
			f.do(s)
		}})
	}
	return out
}

// cast are the cluster's pods, and which of them are ready.
func (s *site) cast() (string, error) {
	return s.try("", "get", "pods", "-n", namespace, "-o", `go-template={{range .items}}{{.metadata.uid}} {{.metadata.deletionTimestamp}}`+
		`{{range .status.conditions}}{{if eq .type "Ready"}} {{.status}}{{end}}{{end}};{{end}}`)
}

// leader is who holds the operator's lease, and the name of its pod.
func (s *site) leader() (holder, pod string) {
	s.t.Helper()
	s.until("an operator leads", func() (err error) {
		if holder, err = s.try("", "get", "lease", "-n", system, resources.Manager, "-o", "jsonpath={.spec.holderIdentity}"); err == nil && holder == "" {
			err = errors.New("nobody holds the lease")
		}
		return err
	})
	pod, _, _ = strings.Cut(holder, "_")
	return holder, pod
}

// handovers are what happens to the leader of two operators.
func handovers() []fault {
	return []fault{
		{"the leading operator deleted", func(s *site) {
			s.succeeded(func(pod string) { s.kubectl("delete", "pod", "-n", system, pod) })
		}},
		{"the leading operator killed", func(s *site) {
			s.succeeded(func(pod string) {
				p, err := s.pod(system, pod)
				if err != nil {
					s.t.Fatal(err)
				}
				_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
				kill, err := s.Command(s.t.Context(), p.Spec.NodeName, "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", id)
				if err != nil {
					s.t.Fatal(err)
				}
				if out, err := kill.CombinedOutput(); err != nil {
					s.t.Fatalf("%v: %v: %s", kill.Args, err, out)
				}
			})
		}},
	}
}

// succeeded ends the leader of two operators, waits for another one, and sees that it works: the status is about what was changed after it led.
func (s *site) succeeded(end func(pod string)) {
	s.t.Helper()
	s.kubectl("rollout", "status", "-n", system, operatorObject, "--timeout=120s")
	s.until("there are two operators", func() error {
		var pods corev1.PodList
		if err := get(s, &pods, "-n", system, "pods", "-l", operatorLabel); err != nil {
			return err
		}
		if len(pods.Items) != 2 {
			return fmt.Errorf("there are %d", len(pods.Items))
		}
		return nil
	})
	before, pod := s.leader()
	began := time.Now()
	end(pod)
	var after string
	s.until("another operator leads", func() error {
		if after, _ = s.leader(); after == before {
			return errors.New(after + " holds the lease")
		}
		return nil
	})
	row("lease", "another operator leads", "after "+time.Since(began).Round(100*time.Millisecond).String())
	for _, paused := range []bool{true, false} {
		s.patch(fmt.Sprintf(`{"spec":{"paused":%t}}`, paused))
		s.until("the new leader has seen a change", func() error { _, err := s.bindCluster(); return err })
	}
}

// pod reads one.
func (s *site) pod(namespace, name string) (*corev1.Pod, error) {
	var p corev1.Pod
	if err := get(s, &p, "-n", namespace, "pod", name); err != nil {
		return nil, err
	}
	if len(p.Status.ContainerStatuses) == 0 {
		return nil, fmt.Errorf("pod %s has no container yet", name)
	}
	return &p, nil
}

// late is made while there is no operator.
const late = `
apiVersion: dns.zonekeeper.io/v1alpha1
kind: Zone
metadata: {name: late, namespace: ` + namespace + `}
spec:
  zoneName: late.example.net.
  clusterRef: {name: ` + cluster + `}
  bootstrap: {nameServers: [{name: ns1.example.net}]}
  updatePolicy: [{keyRef: {name: load}}]
`

// reinstalled uninstalls the chart and installs it again, by the commands of its README. Nothing of the cluster goes, is made anew or restarts,
// and the new operator takes it over.
func reinstalled(s *site) {
	before := s.kept()
	s.bash("helm uninstall zonekeeper --namespace " + system)
	s.until("no operator is left", func() error {
		var pods corev1.PodList
		if err := get(s, &pods, "-n", system, "pods", "-l", operatorLabel); err != nil || len(pods.Items) == 0 {
			return err
		}
		return fmt.Errorf("there is %s", pods.Items[0].Name)
	})
	s.same(before)
	s.apply(late)
	for _, q := range s.steps() {
		if q.Name == "install" {
			s.bash(q.Script)
		}
	}
	s.kubectl("wait", "-n", namespace, "zone/late", "--for=condition=Ready", "--timeout=120s")
	s.healthy()
	s.same(before)
}

// kept are the definitions, and the cluster's objects with their identities; of Secrets the content too, and of pods how often they began.
func (s *site) kept() []string {
	s.t.Helper()
	list := func(template string, words ...string) []string {
		out := s.kubectl(append([]string{"get", "-o", "go-template={{range .items}}{{.kind}} {{.metadata.name}} {{.metadata.uid}}" + template + "\n{{end}}"}, words...)...)
		return strings.Split(strings.TrimSpace(out), "\n")
	}
	return slices.Concat(
		slices.DeleteFunc(list("", "customresourcedefinitions"), func(line string) bool { return !strings.Contains(line, ".dns.zonekeeper.io ") }),
		list("", "-n", namespace, "bindclusters,zones,tsigkeys,statefulsets,deployments,services,persistentvolumeclaims"),
		list(" {{.data}}", "-n", namespace, "secrets"),
		list("{{range .status.containerStatuses}} {{.containerID}}{{end}}", "-n", namespace, "pods"))
}

// same checks that all of that is still there.
func (s *site) same(before []string) {
	s.t.Helper()
	now := s.kept()
	for _, line := range before {
		if !slices.Contains(now, line) {
			s.t.Errorf("gone or another one: %.150s", line)
		}
	}
}
