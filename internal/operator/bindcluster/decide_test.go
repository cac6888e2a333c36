package bindcluster

import (
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// well is a cluster of n primaries in which nothing is wrong.
func well(n int) Observed {
	o := Observed{Wanted: n, State: resources.NewState(int32(n), "t")}
	o.State.Formed = true
	for i := range n {
		o.Updated = append(o.Updated, true)
		o.Members = append(o.Members, adminapi.Member{Name: resources.Member(i)})
		o.Replicas = append(o.Replicas, &adminapi.ReplicaStatus{Name: resources.Member(i), Ready: true,
			Zones: []adminapi.ZoneStatus{{Name: "example.org.", Serial: 7, Digest: "d"}}})
	}
	return o
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name    string
		n       int
		change  func(*Observed)
		done    bool
		reason  string
		message string
		state   func(*resources.State) // what changes; nil: nothing
		remove  string
		claim   int
	}{
		{name: "nothing to do", n: 3, done: true, reason: v1alpha1.ReasonHealthy},
		{name: "first start", n: 3, change: func(o *Observed) { o.State.Formed, o.Replicas, o.Wanted = false, make([]*adminapi.ReplicaStatus, 3), 5 },
			reason: v1alpha1.ReasonBootstrapping, message: "waits for all 3 primaries; 5 are wanted"},
		{name: "formed", n: 3, change: func(o *Observed) { o.State.Formed = false }, reason: v1alpha1.ReasonBootstrapping,
			state: func(s *resources.State) { s.Formed = true }},
		{name: "a new template restarts nobody", n: 3, change: func(o *Observed) { o.Changed, o.State.Partition = true, 1 },
			reason: v1alpha1.ReasonRollingOut, state: func(s *resources.State) { s.Partition = 3 }},
		{name: "the highest goes first", n: 3, change: func(o *Observed) { o.Updated = []bool{false, false, false} },
			reason: v1alpha1.ReasonRollingOut, message: "primary-2 is replaced", state: func(s *resources.State) { s.Partition = 2 }},
		{name: "it is waited for", n: 3, change: func(o *Observed) { o.Updated, o.State.Partition = []bool{false, false, false}, 2 },
			reason: v1alpha1.ReasonRollingOut, message: "primary-2 is being replaced"},
		{name: "until it is ready", n: 3, change: func(o *Observed) {
			o.Updated, o.State.Partition = []bool{false, false, true}, 2
			o.Replicas[2].Ready, o.Replicas[2].Reason = false, "catching up"
		}, reason: v1alpha1.ReasonRolloutHeld, message: "primary-1 goes next, and waits: primary-2 is not ready: catching up"},
		{name: "a slow named holds it", n: 3, change: func(o *Observed) {
			o.Updated, o.State.Partition = []bool{false, true, true}, 1
			o.Replicas[1].PublishLagMS = 5000
		}, reason: v1alpha1.ReasonRolloutHeld, message: "primary-1 publishes 5000 ms late"},
		{name: "all copies are compared after the first one", n: 3, change: func(o *Observed) {
			o.Updated, o.State.Partition = []bool{false, false, true}, 2
		}, reason: v1alpha1.ReasonRollingOut, message: "all copies are compared before primary-1 is replaced"},
		{name: "and agree", n: 3, change: func(o *Observed) {
			o.Updated, o.State.Partition, o.Verified = []bool{false, false, true}, 2, true
		}, reason: v1alpha1.ReasonRollingOut, message: "primary-1 is replaced", state: func(s *resources.State) { s.Partition = 1 }},
		{name: "and don't", n: 3, change: func(o *Observed) {
			o.Updated, o.State.Partition, o.Verified, o.Disagreement = []bool{false, false, true}, 2, true, "zone x differs"
		}, reason: v1alpha1.ReasonRolloutStopped, message: "zone x differs"},
		{name: "the broken one may go next", n: 3, change: func(o *Observed) {
			o.Updated, o.Verified = []bool{true, false, true}, true
			o.Replicas[1] = nil
		}, reason: v1alpha1.ReasonRollingOut, state: func(s *resources.State) { s.Partition = 1 }},
		{name: "replicas differ", n: 3, change: func(o *Observed) {
			o.Updated, o.State.Partition = []bool{false, false, true}, 2
			o.Replicas[2].Zones = []adminapi.ZoneStatus{{Name: "example.org.", Serial: 7, Digest: "other"}}
		}, reason: v1alpha1.ReasonRolloutStopped, message: "zone example.org. at serial 7 differs between primary-0 and primary-2"},
		{name: "another serial is no difference", n: 3, done: true, reason: v1alpha1.ReasonHealthy, change: func(o *Observed) {
			o.Replicas[2].Zones = []adminapi.ZoneStatus{{Name: "example.org.", Serial: 8, Digest: "other"}}
		}},
		{name: "all have it", n: 3, change: func(o *Observed) { o.State.Partition = 0 }, reason: v1alpha1.ReasonRollingOut,
			state: func(s *resources.State) { s.Partition = 3 }},
		{name: "one alone is replaced", n: 1, change: func(o *Observed) { o.Updated, o.Replicas = []bool{false}, nil }, reason: v1alpha1.ReasonRollingOut,
			state: func(s *resources.State) { s.Partition = 0 }},
		{name: "more: one pod", n: 3, change: func(o *Observed) { o.Wanted = 5 }, reason: v1alpha1.ReasonScaling, message: "primary-3 joins",
			state: func(s *resources.State) { s.Members, s.Partition = 4, 4 }},
		{name: "more: no vote yet", n: 4, change: func(o *Observed) { o.Wanted, o.State.Peers, o.Members[3].Learner = 5, 3, true },
			reason: v1alpha1.ReasonScaling, message: "primary-3 has no vote yet"},
		{name: "more: then they count", n: 5, change: func(o *Observed) { o.State.Peers = 3 },
			reason: v1alpha1.ReasonScaling, message: "5 primaries count each other instead of 3", state: func(s *resources.State) { s.Peers = 5 }},
		{name: "fewer: they stop counting first", n: 5, change: func(o *Observed) { o.Wanted = 3 }, reason: v1alpha1.ReasonScaling,
			state: func(s *resources.State) { s.Peers = 3 }},
		{name: "fewer: not while one is down", n: 5, change: func(o *Observed) { o.Wanted, o.Replicas[1] = 3, nil },
			reason: v1alpha1.ReasonScaling, message: "primary-1 does not answer"},
		{name: "fewer: the highest leaves", n: 5, change: func(o *Observed) { o.Wanted, o.State.Peers = 3, 3 }, reason: v1alpha1.ReasonScaling,
			remove: "primary-4", state: func(s *resources.State) { s.Leaving = true }},
		{name: "fewer: who does not count has a vote", n: 3, change: func(o *Observed) {
			o.Wanted, o.State.Peers, o.Updated, o.Replicas[2] = 1, 1, []bool{false, false, true}, nil
		}, reason: v1alpha1.ReasonRolloutHeld, message: "primary-1 goes next, and waits: primary-2 does not answer"},
		{name: "fewer: its pod goes", n: 5, change: func(o *Observed) { o.Wanted, o.State.Peers, o.State.Leaving, o.Members = 3, 3, true, o.Members[:4] },
			reason: v1alpha1.ReasonScaling, claim: 4, state: func(s *resources.State) { s.Members, s.Partition, s.Leaving = 4, 4, false }},
		{name: "fewer: no way back", n: 5, change: func(o *Observed) { o.State.Peers, o.State.Leaving, o.Members = 3, true, o.Members[:4] },
			reason: v1alpha1.ReasonScaling, claim: 4, state: func(s *resources.State) { s.Members, s.Partition, s.Leaving = 4, 4, false }},
		{name: "fewer: nobody to ask", n: 5, change: func(o *Observed) { o.Wanted, o.State.Peers, o.Members = 3, 3, nil },
			reason: v1alpha1.ReasonUnreachable},
		{name: "a log elsewhere has no members", n: 3, done: true, reason: v1alpha1.ReasonHealthy, change: func(o *Observed) { o.External, o.Members = true, nil }},
		{name: "one is down", n: 3, done: true, reason: v1alpha1.ReasonMembersMissing, message: "primary-1 takes no updates: its disk is full",
			change: func(o *Observed) { o.Replicas[1].NoWrites = "its disk is full" }},
		{name: "nobody answers", n: 3, done: true, reason: v1alpha1.ReasonMembersMissing, message: "primary-0 does not answer; primary-1 does not answer; primary-2",
			change: func(o *Observed) { o.Replicas, o.Members = nil, nil }},
	} {
		o := well(c.n)
		if c.change != nil {
			c.change(&o)
		}
		want := o.State
		if c.state != nil {
			c.state(&want)
		}
		if c.claim == 0 {
			c.claim = -1
		}
		s := Decide(o)
		if s.State != want || s.Remove != c.remove || s.DeleteClaim != c.claim {
			t.Errorf("%s: %+v, want state %+v, remove %q, claim %d", c.name, s, want, c.remove, c.claim)
		}
		if s.Done != c.done || s.Reason != c.reason || !strings.Contains(s.Message, c.message) {
			t.Errorf("%s: done %v, %s: %q; want %v, %s: %q", c.name, s.Done, s.Reason, s.Message, c.done, c.reason, c.message)
		}
	}
}
