package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// check looks at what has to hold at every moment.
func (s *sim) check() {
	for _, n := range s.nodes {
		if n.life == nil {
			continue
		}
		c := n.life.core
		if c.outOfService() == nil && c.lastIndex < n.life.reach {
			s.failf("%s serves at index %d after a reload, when the log ended at %d", n.name, c.lastIndex, n.life.reach)
		}
		if c.queueCount > c.cfg.maxQueueCount || c.queueCount > 1 && c.queueBytes > c.cfg.maxQueueBytes {
			s.failf("%s: %d requests of %d octets wait, more than the queue's limit", n.name, c.queueCount, c.queueBytes)
		}
	}
}

// settleDown ends all faults and lets everything come to rest.
func (s *sim) settleDown() {
	s.tracef("--- faults end")
	s.faults.Lost, s.faults.AckLost, s.faults.Late, s.faults.Doubled, s.faults.Refused = 0, 0, 0, 0, 0
	s.leaderless = false
	s.mem.Leaderless(false)
	s.mem.Fill(false)
	clear(s.named.stuck)
	for _, n := range s.nodes {
		n.diskNo, n.skew = false, 0
		s.setCut(n, false)
		if n.life == nil && !slices.Contains(s.away, n) {
			s.boot(n)
		}
	}
	for _, n := range s.nodes {
		if n.life != nil {
			s.serveAsOwner(n.life)
		}
	}
	s.rest()
	if s.corrupt > 0 {
		s.compare()
	}
	if len(s.away) == 0 {
		return
	}
	for _, n := range s.nodes {
		if n.life != nil && hasName(n.life.core.machine, twistedName(n)) { // a request that was a duplicate can't be twisted
			s.disputed()
		}
	}
	for _, n := range s.away {
		if s.failure == nil {
			s.boot(n)
		}
	}
	s.rest()
	s.compare()
}

// compare has two more checkpoints compared: what nobody has compared nobody can know.
func (s *sim) compare() {
	for range 2 {
		for _, n := range s.nodes {
			if s.failure == nil && n.life != nil && n.life.core.outOfService() == nil {
				n.life.core.internal(&fsm.Checkpoint{}, func(error) {})
				n.life.core.flush(s.clock(n))
				s.absorb(n.life)
				break
			}
		}
		s.rest()
	}
}

// disputed checks that nobody serves while replicas differ and those who could decide are away.
func (s *sim) disputed() {
	for _, n := range s.nodes {
		if n.life != nil && n.life.core.halt == nil {
			s.failf("%s: no digest has a majority, and it carries on: %v", n.name, n.life.core.outOfService())
		}
	}
}

// rest runs until nothing is left to do.
func (s *sim) rest() {
	for idle := 0; idle < 3 && s.failure == nil; {
		if s.step++; s.step > s.steps+8_000 {
			s.failf("the cluster does not come to rest")
			return
		}
		moved := s.deliverLate()
		for _, n := range s.nodes {
			for what := range 4 {
				if n.life != nil && s.advanceNode(n.life, what) {
					moved = true
				}
			}
		}
		s.check()
		switch {
		case moved:
			idle = 0
		case s.sleepers():
			s.pass(250 * time.Millisecond)
		default:
			idle++
			s.pass(time.Minute)
		}
	}
}

// sleepers says whether anything waits for time to pass. A cluster at rest has no timer.
func (s *sim) sleepers() bool {
	if len(s.late) > 0 {
		return true
	}
	for _, n := range s.nodes {
		if n.life == nil {
			continue
		}
		if _, ok := n.life.core.nextTick(); ok {
			return true
		}
	}
	return false
}

// audit checks the books when everything has come to rest.
func (s *sim) audit() {
	truth := s.replay()
	if s.failure != nil {
		return
	}
	s.auditAnswers(truth)
	s.auditReads(truth)
	s.auditReplicas(truth)
}

// happened is what became of a proposal, by the log.
type happened struct {
	count    int // how often it is in the log
	index    uint64
	position int // order in the log, over all commands
	res      fsm.Result
}

// truth is what the log says, by a fresh state machine and by a model that knows nothing of the state machine.
type truth struct {
	machine *fsm.Machine
	props   map[uint64]*happened
	names   map[string]bool
	counter int
}

// replay applies the whole log to a state machine of its own, and to the model.
func (s *sim) replay() *truth {
	t := &truth{machine: fsm.New(), props: make(map[uint64]*happened), names: make(map[string]bool)}
	effective := make(map[uint64]int) // by request
	answers := make(map[uint64]fsm.Result)
	var logTime int64
	var lastInvoked time.Time // of all requests that took effect so far
	position := 0
	for _, r := range s.history {
		eff, err := t.machine.Apply(r.Index, r.Data)
		if err != nil {
			s.failf("the log does not replay: %v", err)
			return t
		}
		e, err := fsm.DecodeEntry(r.Data)
		if err != nil {
			s.failf("record %d: %v", r.Index, err)
			return t
		}
		if e.TimeMS > r.at.Add(MaxClockSkew).UnixMilli() {
			s.failf("record %d of %s carries a time %v ahead", r.Index, r.Replica, time.Duration(e.TimeMS-r.at.UnixMilli())*time.Millisecond)
		}
		logTime = max(logTime, e.TimeMS)
		for i, cmd := range e.Commands {
			u, ok := cmd.(*fsm.Update)
			if !ok || r.Replica == "genesis" {
				continue
			}
			position++
			p := s.clients.props[proposalOf(u.Addr)]
			h := t.props[p.id]
			if h == nil {
				h = &happened{}
				t.props[p.id] = h
			}
			h.count++
			h.index, h.position, h.res = r.Index, position, eff.Results[i]
			want := s.model(t, p, answers, logTime, u.DeadlineMS)
			if got := h.res; got.RCode != want.RCode || got.Duplicate != want.Duplicate || got.Expired != want.Expired {
				s.failf("proposal %d of request %d at index %d: %+v, the model says %+v", p.id, p.req.id, r.Index, got, want)
			}
			if h.res.Duplicate || h.res.Expired || h.res.RCode != 0 {
				continue
			}
			if effective[p.req.id]++; effective[p.req.id] > 1 {
				s.failf("request %d took effect %d times (I4)", p.req.id, effective[p.req.id])
			}
			if lastInvoked.After(p.deadline) {
				s.failf("proposal %d took effect at index %d behind a request made %v after its deadline (C2)", p.id, r.Index, lastInvoked.Sub(p.deadline))
			}
			if p.at.After(lastInvoked) {
				lastInvoked = p.at
			}
		}
	}
	return t
}

// model says what a request has to do, and does it to the model's zone.
func (s *sim) model(t *truth, p *simProposal, answers map[uint64]fsm.Result, logTime, deadlineMS int64) fsm.Result {
	const notAuth, nxrrset = 9, 8
	r := p.req
	now, signed := logTime/1000, r.signed.Unix()
	if a, ok := answers[r.id]; ok && signed+300 >= now {
		a.Duplicate = true
		return a
	}
	switch {
	case deadlineMS != 0 && logTime > deadlineMS:
		return fsm.Result{Expired: true}
	case signed+300 < now || signed > now+300:
		return fsm.Result{RCode: notAuth}
	}
	var res fsm.Result
	switch r.kind {
	case reqAdd:
		t.names[r.name()] = true
	case reqDel:
		delete(t.names, r.target.name())
	case reqCount:
		if t.counter != r.value {
			res.RCode = nxrrset
			break
		}
		t.counter++
	}
	answers[r.id] = res
	return res
}

// auditAnswers compares what clients were told with what the log says.
func (s *sim) auditAnswers(t *truth) {
	last := make(map[*life]*happened)
	for _, p := range s.clients.props {
		h := t.props[p.id]
		if h == nil {
			h = &happened{}
		}
		switch {
		case h.count > 1:
			s.failf("proposal %d is in the log %d times", p.id, h.count)
		case p.answers == 0 && !p.lost:
			s.failf("proposal %d has no answer", p.id)
		case p.answers == 0 || p.poisoned:
		case p.err == nil && h.count == 0:
			s.failf("proposal %d was answered %+v and is not in the log", p.id, p.res)
		case p.err == nil && (p.res.RCode != h.res.RCode || p.res.Serial != h.res.Serial || p.res.Duplicate != h.res.Duplicate || p.res.Expired != h.res.Expired):
			s.failf("proposal %d was answered %+v, the log says %+v", p.id, p.res, h.res)
		case p.err != nil && !errors.Is(p.err, ErrInDoubt) && h.count > 0:
			s.failf("proposal %d is in the log at index %d, and was answered %v", p.id, h.index, p.err)
		}
		if h.count == 0 {
			continue
		}
		if before := last[p.life]; before != nil && before.position > h.position {
			s.failf("proposal %d entered the log before one that its replica took earlier", p.id)
		}
		last[p.life] = h
	}
}

// auditReads checks that reads behind a barrier saw all that clients had been told before (I3).
func (s *sim) auditReads(t *truth) {
	for i, r := range s.clients.reads {
		if !r.done {
			continue
		}
		for _, p := range s.clients.acks[:r.acks] {
			if h := t.props[p.id]; h != nil && h.index > r.index {
				s.failf("read %d saw index %d; proposal %d was acknowledged before it, at index %d", i, r.index, p.id, h.index)
			}
		}
	}
}

// auditReplicas checks that every replica serves, has nothing left to do, and has the state that the log gives.
func (s *sim) auditReplicas(t *truth) {
	want := t.machine.Snapshot().Digest()
	halting := false
	for _, v := range t.machine.Verdicts() {
		if _, majority := majorityOf(v, s.names()); majority {
			halting = false
		} else if !agree(v, s.names()) {
			halting = true
		}
	}
	s.halted = halting
	for _, n := range s.nodes {
		c := n.life.core
		if halting {
			if c.halt == nil {
				s.failf("%s: no digest has a majority, and it carries on: %v", n.name, c.outOfService())
			}
			continue
		}
		if err := c.outOfService(); err != nil {
			s.failf("%s does not serve in the end: %v", n.name, err)
		}
		if !c.idle() || len(c.queue) > 0 || c.inflight != nil || len(c.committed) > 0 {
			s.failf("%s has work left: queue %d, in flight %v, committed %d", n.name, len(c.queue), c.inflight != nil, len(c.committed))
		}
		if dirty := c.machine.Stats().DirtyZones; dirty > 0 || len(c.cuts.zones) > 0 {
			s.failf("%s: %d zones have changes that no publish step covers (%d listed)", n.name, dirty, len(c.cuts.zones))
		}
		if got := c.machine.Snapshot().Digest(); got != want {
			s.failf("%s: digest %s at index %d, the log gives %s at %d", n.name, got, c.lastIndex, want, t.machine.Index())
		}
		s.auditContent(n, t)
	}
}

// auditContent compares a replica's zone with the model's.
func (s *sim) auditContent(n *simNode, t *truth) {
	m := n.life.core.machine
	for _, r := range s.clients.reqs {
		if r.kind == reqAdd && hasName(m, r.name()) != t.names[r.name()] {
			s.failf("%s: %s exists: %v, the model says %v", n.name, r.name(), !t.names[r.name()], t.names[r.name()])
		}
	}
	if got, err := counterOf(m); err != nil || got != t.counter {
		s.failf("%s: counter %d (%v), the model says %d", n.name, got, err, t.counter)
	}
}

// String names the scenario in a test's log.
func (sc scenario) String() string {
	return fmt.Sprintf("members=%d steps=%d crashes=%v cuts=%v faults=%+v skew=%v full=%v burst=%v jumps=%v corrupt=%d gaps=%v",
		sc.members, sc.steps, sc.crashes, sc.cuts, sc.faults, sc.skew, sc.full, sc.burst, sc.jumps, sc.corrupt, sc.gaps)
}
