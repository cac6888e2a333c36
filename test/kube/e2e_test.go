package kube

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// second is the image to which the cluster is upgraded: another BIND as well.
const second = "localhost/zonekeeper:2"

// parts is the folder that scripts/kube.sh has prepared, if make e2e runs: it takes ten minutes and root.
func parts(t *testing.T) (dir string, run bool) {
	t.Helper()
	dir = os.Getenv("ZONEKEEPER_E2E")
	if dir == "" {
		t.Log("real nodes: run it with make e2e")
	}
	return dir, dir != ""
}

// alongside lets a test run beside another: each has a cluster of its own, unless they are given one that runs already.
func alongside(t *testing.T) {
	t.Helper()
	if os.Getenv("ZONEKEEPER_KUBE") == "" {
		t.Parallel()
	}
}

// timed prints how long each step of a test took.
func timed(t *testing.T) func(string) {
	t.Helper()
	began := time.Now()
	return func(what string) {
		row("time", strings.TrimPrefix(t.Name(), "Test")+": "+what, time.Since(began).Round(100*time.Millisecond).String())
		began = time.Now()
	}
}

// TestE2E: the quick start of the chart's README, word for word; then all that happens to a cluster, under load.
func TestE2E(t *testing.T) {
	dir, run := parts(t)
	if !run {
		return
	}
	alongside(t)
	step := timed(t)
	s, k := begin(t, dir, step)
	st := s.write(s.address(updates), k.forUpdates(s))
	st.flowing(s)
	s.bash("helm upgrade zonekeeper charts/zonekeeper --namespace " + system + " --reuse-values --set operator.replicas=2")
	st.inject(t, handovers(), (*site).healthy)
	step("operators' lease")
	st.inject(t, operated(faults()), (*site).healthy)
	st.inject(t, []fault{
		{"all primaries away and back, operator killed", func(s *site) {
			s.patch(`{"spec":{"paused":true}}`)
			s.until("the operator knows", func() error { _, err := s.bindCluster(); return err })
			hibernate(s)
			killOperator(s)
			s.patch(`{"spec":{"paused":false}}`)
		}},
		{"a key rotated, operator killed", func(s *site) {
			s.apply(fmt.Sprintf(load, secret("b")))
			killOperator(s)
			s.until("the Secret for clients has the new secret", func() error {
				if have := s.keyOf("load").secret; have != secret("b") {
					return fmt.Errorf("it has %s", have)
				}
				return nil
			})
			s.nsupdate(s.keyOf("load"), "rotated")
		}},
		{"certificates made anew, operator killed", renewed},
		{"operator killed", killOperator},
		{"operator uninstalled and installed", reinstalled},
		upgrade("rolling update, operator killed", killOperator),
		{"scale 3 to 5, operator killed", func(s *site) {
			s.patch(`{"spec":{"primaries":{"replicas":5,"placement":{"nodes":"Preferred"}}}}`)
			s.until("there is a fourth pod", func() error {
				_, err := s.try("", "get", "pod", "-n", namespace, cluster+"-primary-3")
				return err
			})
			killOperator(s)
		}},
		{"scale 5 to 3, operator killed", func(s *site) {
			s.patch(`{"spec":{"primaries":{"replicas":3}}}`)
			s.kubectl("wait", "-n", namespace, "pod/"+cluster+"-primary-4", "--for=delete", "--timeout=180s")
			killOperator(s)
		}},
	}, (*site).healthy)
	step("faults")
	s.expose()
	step("an address that moves between nodes")
	moving := s.write(vip, k.forUpdates(s))
	moving.flowing(s)
	moving.inject(t, operated(vipFaults()), (*site).healthy)
	step("faults of the nodes with the address")

	st.check(t, s.secondaryAddrs()...)
	moving.check(t, s.secondaryAddrs()...)
	s.verified()
	step("checks")
}

// begin starts Kubernetes and runs the quick start; then there is a key whose holders may change zoneName, and clients have, from everywhere.
func begin(t *testing.T, dir string, step func(string)) (*site, key) {
	t.Helper()
	s := start(t, dir)
	step("Kubernetes is ready")
	s.quickStart(step)
	s.kubectl("delete", "pod", "-n", namespace, "client", "--grace-period=0", "--force") // it is deaf to SIGTERM: a drain would wait half a minute for it
	s.apply(fmt.Sprintf(load, secret("a")))
	s.kubectl("wait", "-n", namespace, "tsigkey/load", "zone/load", "--for=condition=Ready", "--timeout=120s")
	k := s.keyOf("load")
	s.nsupdate(k, "first")
	step("a key, a zone, nsupdate from a pod and through each node")
	s.policies(t)
	step("policies bite")
	return s, k
}

// secret is one for a TSIG key.
func secret(fill string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32)))
}

// upgrade gives the cluster another image; middle happens when the first primary has it.
func upgrade(name string, middle func(*site)) fault {
	return fault{name, func(s *site) {
		s.patch(`{"spec":{"images":{"zonekeeper":"` + second + `"}}}`)
		s.until("one primary has the new image", func() error { return s.running(1) })
		middle(s)
		s.until("all primaries have the new image", func() error { return s.running(3) })
	}}
}

// load is what the load needs.
const load = `
apiVersion: v1
kind: Secret
metadata: {name: load-given, namespace: ` + namespace + `}
stringData: {secret: "%s"}
---
apiVersion: dns.zonekeeper.io/v1alpha1
kind: TSIGKey
metadata: {name: load, namespace: ` + namespace + `}
spec:
  clusterRef: {name: ` + cluster + `}
  secretRef: {name: load-given, key: secret}
---
apiVersion: dns.zonekeeper.io/v1alpha1
kind: Zone
metadata: {name: load, namespace: ` + namespace + `}
spec:
  zoneName: ` + zoneName + `
  clusterRef: {name: ` + cluster + `}
  bootstrap: {nameServers: [{name: ns1.example.net}]}
  updatePolicy: [{keyRef: {name: load}}]
`

// quickStart runs the commands of the chart's README.
func (s *site) quickStart(step func(string)) {
	s.t.Helper()
	for _, q := range s.steps() {
		out := s.bash(q.Script)
		if q.Name == "update" && strings.Count(out, "192.0.2.1") != 2 {
			s.t.Errorf("quick start, %s: the address is not there twice:\n%s", q.Name, out)
		}
		step("quick start: " + q.Name)
	}
}

// running checks how many primaries that are ready run the second image.
func (s *site) running(want int) error {
	n := 0
	for _, p := range s.pods("-l", "app.kubernetes.io/component=primary") {
		if p.Spec.Containers[0].Image == second && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].Ready {
			n++
		}
	}
	if n < want {
		return fmt.Errorf("%d of %d", n, want)
	}
	return nil
}
