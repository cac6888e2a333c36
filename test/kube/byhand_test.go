package kube

import "testing"

// TestE2EByHand: the rendered objects of a cluster hold what they promise without an operator.
func TestE2EByHand(t *testing.T) {
	dir, run := parts(t)
	if !run {
		return
	}
	alongside(t)
	step := timed(t)
	s := start(t, dir)
	step("Kubernetes is ready")
	h := s.byHand()
	s.rolledOut("statefulset/"+cluster+"-primary", "deployment/"+updates)
	step("primaries and fronts ready")
	h.register()
	s.ready()
	step("secondaries ready")
	s.nsupdate(h.client, "first")
	step("nsupdate from a pod and through each node")
	s.policies(t)
	step("policies bite")
	st := s.write(s.address(updates), h.client.forUpdates(s))
	st.flowing(s)
	st.inject(t, append(faults(), fault{"all primaries away and back", hibernate}), (*site).ready)
	step("faults")
	st.check(t, s.secondaryAddrs()...)
	s.verified()
	step("checks")
}
