package kube

import (
	"fmt"
	"strings"

	"github.com/zonekeeper/zonekeeper/test/kube/lab"
)

const (
	vip       = "10.250.0.100"
	vipFronts = "daemonset/" + namespace + "." + cluster + "-front-vip"
	// virtualIP is one more exposure of the cluster: an address of the nodes' network.
	virtualIP = `
apiVersion: dns.zonekeeper.io/v1alpha1
kind: VirtualIP
metadata: {name: updates, namespace: ` + namespace + `}
spec:
  addresses: [` + vip + `/32]
  interface: eth0
  routerID: 53
  nodeSelector: {dns.zonekeeper.io/front: "true"}
`
)

// expose adds an exposure of type VIP, as an administrator does.
func (s *site) expose() {
	s.t.Helper()
	s.bash(`helm upgrade zonekeeper charts/zonekeeper --namespace zonekeeper-system --reuse-values --set vip.enabled=true`)
	s.kubectl(append(append([]string{"label", "node"}, nodes()...), "dns.zonekeeper.io/front=true")...)
	s.apply(virtualIP)
	s.patch(`{"spec":{"exposures":[{"name":"updates","type":"ClusterIP"},{"name":"vip","type":"VIP","vip":{"virtualIP":"updates"}}]}}`)
	s.until("there are fronts", func() error {
		_, err := s.try("", "rollout", "status", "-n", fronts, vipFronts, "--timeout=60s")
		return err
	})
	s.healthy()
	s.holder()
}

// holder is the node that has the address.
func (s *site) holder() string {
	s.t.Helper()
	var holder string
	s.until("one node has the address", func() error {
		var have []string
		for _, n := range nodes() {
			cmd, err := s.Command(s.t.Context(), n, "ip", "-o", "addr", "show", "to", vip)
			if err != nil {
				continue // it is switched off
			}
			out, err := cmd.Output()
			if err != nil {
				return err
			}
			if strings.Contains(string(out), vip) {
				have = append(have, n)
			}
		}
		if len(have) != 1 {
			return fmt.Errorf("these have it: %v", have)
		}
		holder = have[0]
		return nil
	})
	s.until("the VirtualIP's status says so", func() error {
		said, err := s.try("", "get", "virtualip", "updates", "-n", namespace, "-o", "jsonpath={.status.holder}")
		if err == nil && said != holder {
			err = fmt.Errorf("it says %q, and %s has the address", said, holder)
		}
		return err
	})
	return holder
}

// vipFaults happen to whoever has the address.
func vipFaults() []fault {
	return []fault{
		{"VIP: delete the front that has it", func(s *site) {
			s.kubectl("delete", "pod", "-n", fronts, "--field-selector=spec.nodeName="+s.holder(), "-l", "app.kubernetes.io/component=front")
		}},
		{"VIP: power off its node", func(s *site) {
			n := s.holder()
			s.node(n, lab.Kill)
			s.kubectl("wait", "--for=condition=Ready=Unknown", "node/"+n, "--timeout=60s")
			for _, p := range s.pods("--field-selector=spec.nodeName=" + n) {
				s.kubectl("delete", "pod", "-n", namespace, p.Name, "--force", "--grace-period=0")
			}
			s.node(n, lab.Start)
			s.kubectl("wait", "--for=condition=Ready", "node/"+n, "--timeout=120s")
		}},
		{"VIP: drain its node", func(s *site) {
			n := s.holder()
			s.kubectl("drain", n, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=120s")
			s.kubectl("uncordon", n)
		}},
		{"VIP: restart all fronts", func(s *site) {
			s.kubectl("rollout", "restart", "-n", fronts, vipFronts)
			s.kubectl("rollout", "status", "-n", fronts, vipFronts, "--timeout=120s")
		}},
	}
}
