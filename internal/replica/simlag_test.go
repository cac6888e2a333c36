package replica

import (
	"slices"
	"time"
)

// simNamed is the publishing of a run: each replica's named has what the replica has applied, unless it is stuck.
type simNamed struct {
	published map[*simNode]uint64
	stuck     map[*simNode]bool
	behind    time.Time // when a look first showed what a quorum's named lack; zero: nothing
	upTo      uint64    // what a quorum's named have
}

var simLagLimits = LagLimits{Age: 2 * time.Second}

func newSimNamed() simNamed {
	return simNamed{published: make(map[*simNode]uint64), stuck: make(map[*simNode]bool)}
}

// stick has some named stop, mostly of a majority, or go on.
func (s *sim) stick() {
	on := s.chance(300)
	for _, i := range s.rng.Perm(len(s.nodes))[:1+s.rng.IntN(len(s.nodes))] {
		s.named.stuck[s.nodes[i]] = !on
		s.tracef("the named of %s is stuck: %v", s.nodes[i].name, !on)
	}
}

// lookAtLag does what the primaries do at intervals.
func (s *sim) lookAtLag() {
	all := make(map[*simNode]Progress)
	var newest uint64
	var upTo []uint64
	for _, n := range s.nodes {
		if n.life == nil {
			continue
		}
		if !s.named.stuck[n] {
			s.named.published[n] = n.life.core.lastIndex
		}
		all[n] = Progress{Applied: n.life.core.lastIndex, Published: s.named.published[n], At: s.now}
		newest = max(newest, n.life.core.lastIndex)
		upTo = append(upTo, s.named.published[n])
	}
	slices.Sort(upTo)
	quorum := upTo[(len(upTo)-1)/2]
	if quorum != s.named.upTo || quorum >= newest {
		s.named.upTo, s.named.behind = quorum, time.Time{}
	}
	if quorum < newest && s.named.behind.IsZero() {
		s.named.behind = s.now
	}
	for _, n := range s.nodes {
		if n.life == nil {
			continue
		}
		var peers []Progress
		for _, m := range s.nodes {
			if p, ok := all[m]; ok && m != n {
				peers = append(peers, p)
			}
		}
		n.life.core.slow(s.clock(n), n.life.watch.Look(s.now, all[n], peers).Throttle)
		s.absorb(n.life)
	}
}

// checkTaken fails when an update was taken that publishing is too far behind for (C9).
func (s *sim) checkTaken(p *simProposal) {
	if !s.slow || p.answers > 0 || s.named.behind.IsZero() {
		return
	}
	if lag := s.now.Sub(s.named.behind); lag >= simLagLimits.Age {
		s.failf("%s takes an update, and a quorum's named have been behind for %v", p.life.node.name, lag)
	}
}
