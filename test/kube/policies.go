package kube

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// policies: what the cluster's NetworkPolicies do not allow does not pass, from pods and from machines of the nodes' network; what they
// allow is what everything else here does. The nodes enforce them (test/kube/policy).
func (s *site) policies(t *testing.T) {
	s = s.For(t)
	address := func(pod string) string {
		return s.kubectl("get", "pod", "-n", namespace, pod, "-o", "jsonpath={.status.podIP}")
	}
	front := s.kubectl("get", "pod", "-n", namespace, "-l", "app.kubernetes.io/component=front", "-o", "jsonpath={.items[0].status.podIP}")
	primary, secondary := address(cluster+"-primary-0"), address(cluster+"-secondary-0")
	var asking sync.WaitGroup
	for _, c := range []struct {
		what, addr string
		ports      []int
		open       bool
	}{
		{"a front", front, []int{5300}, true},
		{"a secondary", secondary, []int{5300}, true},
		{"a secondary's admin API", secondary, []int{8443}, false},
		{"a primary", primary, []int{5300, 8540, 8443, 2379, 2380}, false},
	} {
		for _, port := range c.ports {
			where := fmt.Sprintf("%s at %s, port %d", c.what, c.addr, port)
			asking.Go(func() { // what is dropped is waited for
				_, err := s.try("", "exec", "-n", "default", "client", "--", "nc", "-w", "3", c.addr, strconv.Itoa(port), "-e", "/bin/true")
				if c.open && err != nil || !c.open && (err == nil || !strings.Contains(err.Error(), "timed out")) {
					t.Errorf("from a pod of another namespace to %s: %v, want open: %t", where, err, c.open)
				}
			})
			asking.Go(func() {
				conn, err := s.dial("tcp", net.JoinHostPort(c.addr, strconv.Itoa(port)))
				if err == nil {
					_ = conn.Close() // nothing was written
				}
				var dropped net.Error
				if c.open && err != nil || !c.open && (!errors.As(err, &dropped) || !dropped.Timeout()) {
					t.Errorf("from a machine beside the nodes to %s: %v, want open: %t", where, err, c.open)
				}
			})
		}
	}
	asking.Wait()
	// A primary has no business with the API server. It answers at once whoever reaches it, though not what is asked for.
	out, err := s.try("", "exec", "-n", namespace, cluster+"-primary-0", "--", "zonekeeper", "status", "--admin=https://10.250.0.1:6443", "--timeout=3s",
		"--tls-ca=/etc/zonekeeper/tls/ca.crt", "--tls-cert=/etc/zonekeeper/tls/tls.crt", "--tls-key=/etc/zonekeeper/tls/tls.key")
	if err == nil || !strings.Contains(err.Error(), "deadline exceeded") && !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a primary reaches the API server: %q, %v", out, err)
	}
}
