package kube

import "testing"

// TestShort is what a build machine has the time for: the chart's quick start word for word, clients inside and outside, NetworkPolicies, and
// under load a primary deleted, a node drained and a rolling update to another BIND. TestE2E has the rest.
func TestShort(t *testing.T) {
	dir, run := parts(t)
	if !run {
		return
	}
	step := timed(t)
	s, k := begin(t, dir, step)
	st := s.write(s.address(updates), k.forUpdates(s))
	st.flowing(s)
	st.inject(t, []fault{deletePod("primary-1"), drain("n2"), upgrade("rolling update", func(*site) {})}, (*site).healthy)
	step("faults")
	st.check(t, s.secondaryAddrs()...)
	s.verified()
	step("checks")
}
