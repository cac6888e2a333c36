package replica

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// What a simulated node carries out when its core says so: appends, checkpoints, reloads, and what the log delivers.

// reachable says whether a replica can talk to a quorum of the log.
func (s *sim) reachable(n *simNode) bool { return !n.cut && !s.leaderless }

// begin carries out one action that a core asked for; the outcome is reported later, if the replica lives to hear it.
func (s *sim) begin(l *life) bool {
	if len(l.todo) == 0 {
		return false
	}
	i := s.rng.IntN(len(l.todo))
	a := l.todo[i]
	ctx := context.Background()
	blocked := !s.reachable(l.node)
	switch a.kind {
	case actSettle, actBarrier, actCompact:
		if blocked {
			return false // the log retries until it can
		}
	case actReload:
		if !s.reload(l, a.want) {
			return false
		}
	}
	l.todo = slices.Delete(l.todo, i, i+1)
	core, n := l.core, l.node
	outcome := func(f func() error) { l.outcomes = append(l.outcomes, f) }
	switch a.kind {
	case actAppend:
		s.fault = s.drawFault()
		index, err := l.log.Append(ctx, a.batch.data)
		s.tracef("%s append epoch %d seq %d with %d commands: fault %d, index %d, %v", n.name, a.batch.epoch, a.batch.seq, len(a.batch.props), s.fault, index, err)
		s.observe()
		outcome(func() error { return core.appended(s.clock(n), a.batch, err) })
	case actSettle:
		settled, err := l.log.Settle(ctx)
		s.tracef("%s settles: %+v %v", n.name, settled, err)
		outcome(func() error {
			if err == nil {
				core.settled(s.clock(n), settled)
			}
			return err
		})
	case actBarrier:
		index, err := l.log.Barrier(ctx)
		outcome(func() error {
			core.barrier(s.clock(n), index)
			return err
		})
	case actCompact:
		s.compact(l, a.index)
	case actSave:
		s.save(l, a)
	}
	return true
}

func (s *sim) drawFault() log.Fault {
	x := s.rng.IntN(1000)
	for _, f := range []struct {
		rate  int
		fault log.Fault
	}{
		{s.faults.Lost, log.Lost}, {s.faults.AckLost, log.AckLost}, {s.faults.Late, log.Late},
		{s.faults.Doubled, log.Doubled}, {s.faults.Refused, log.Refused},
	} {
		if x < f.rate {
			if s.filled && f.fault == log.Doubled {
				return log.None // a copy of what a full log refused, arriving later, breaks the log's contract; etcd has no such copies
			}
			return f.fault
		}
		x -= f.rate
	}
	return log.None
}

// compact forgets the log's beginning, after checking that a quorum can do without it.
func (s *sim) compact(l *life, index uint64) {
	have := 0
	for _, n := range s.nodes {
		if k := len(n.store); k > 0 && n.store[k-1].index >= index || n.wiped {
			have++
		}
	}
	if have <= len(s.nodes)/2 {
		s.failf("%s compacts up to %d, which only %d of %d replicas have a checkpoint of", l.node.name, index, have, len(s.nodes))
	}
	s.tracef("%s compacts up to %d", l.node.name, index)
	if err := l.log.Compact(context.Background(), index); err != nil {
		s.failf("%s: compact up to %d: %v", l.node.name, index, err)
	}
}

// save writes a checkpoint. The replica may crash before it hears of it.
func (s *sim) save(l *life, a action) {
	n, core := l.node, l.core
	var buf bytes.Buffer
	digest, err := a.snap.WriteCheckpoint(&buf)
	if err == nil && n.diskNo {
		err = errors.New("no space left on device")
	}
	if err == nil {
		n.put(simCheckpoint{a.index, buf.Bytes(), l.poisoned})
		if known, ok := s.digests[a.index]; !l.poisoned && ok && known != digest {
			s.failf("%s: digest %s of index %d, elsewhere %s", n.name, digest, a.index, known)
		} else if !l.poisoned {
			s.digests[a.index] = digest
		}
	}
	s.tracef("%s saves checkpoint %d: %v", n.name, a.index, err)
	l.outcomes = append(l.outcomes, func() error {
		core.saved(s.clock(n), a.index, digest, buf.Len(), err)
		return nil
	})
}

// put stores a checkpoint as the driver does: by index, the newest two kept.
func (n *simNode) put(c simCheckpoint) {
	n.store = slices.DeleteFunc(n.store, func(o simCheckpoint) bool { return o.index == c.index })
	n.store = append(n.store, c)
	slices.SortFunc(n.store, func(a, b simCheckpoint) int { return int(int64(a.index) - int64(b.index)) })
	n.store = n.store[max(0, len(n.store)-keepCheckpoints):]
}

// reload loads a peer's checkpoint if one will do.
func (s *sim) reload(l *life, want reloadWant) bool {
	n := l.node
	if l.follows && want.diverged { // once
		n.store = slices.DeleteFunc(n.store, func(c simCheckpoint) bool { return c.index >= want.atLeast })
		n.kept++
	}
	l.follows = false
	for _, i := range s.rng.Perm(len(s.nodes)) {
		p := s.nodes[i]
		if p == n || p.life == nil || len(p.store) == 0 {
			continue
		}
		c := p.store[len(p.store)-1]
		m, err := fsm.Restore(bytes.NewReader(c.data))
		if err != nil {
			s.failf("%s: checkpoint %d of %s: %v", n.name, c.index, p.name, err)
			return false
		}
		digest := m.Snapshot().Digest()
		if err := want.accepts(m.Index(), digest); err != nil {
			continue
		}
		s.tracef("%s loads checkpoint %d of %s", n.name, c.index, p.name)
		if !n.diskNo {
			n.put(c)
		}
		stored := !n.diskNo
		l.outcomes = append(l.outcomes, func() error {
			l.reach = s.head
			l.core.reset(s.clock(n), m, digest, stored)
			l.poisoned, l.follows, l.twist, l.skip = c.poisoned, true, false, false
			return nil
		})
		return true
	}
	return false
}

// deliver hands a few records to a replica, as Follow would.
func (s *sim) deliver(l *life) bool {
	if !l.follows || !s.reachable(l.node) || l.core.reload != nil || s.head <= l.core.lastIndex {
		return false
	}
	var got []log.Record
	enough := errors.New("enough")
	err := l.log.Follow(context.Background(), l.core.lastIndex, func(recs []log.Record) error {
		got = recs[:min(len(recs), 1+s.rng.IntN(3))]
		return enough
	})
	var gone *log.CompactedError
	switch {
	case errors.As(err, &gone):
		s.tracef("%s is behind: %v", l.node.name, err)
		l.follows = false
		l.core.behind(s.clock(l.node), gone)
		s.absorb(l)
		return true
	case !errors.Is(err, enough):
		s.failf("%s follows: %v", l.node.name, err)
		return false
	}
	got = s.damage(l, got)
	if len(got) == 0 {
		return true
	}
	s.end(l, l.core.records(s.clock(l.node), got))
	return true
}

// damage loses or changes a record on its way to a replica that is to come to another state.
func (s *sim) damage(l *life, recs []log.Record) []log.Record {
	if l.skip && len(recs) > 1 {
		l.skip, l.poisoned = false, true
		s.tracef("%s misses the record at index %d", l.node.name, recs[0].Index)
		return recs[1:]
	}
	if !l.twist {
		return recs
	}
	recs = slices.Clone(recs)
	for i, r := range recs {
		if r.Index < s.twistAt {
			continue
		}
		e, err := fsm.DecodeEntry(r.Data)
		if err != nil {
			s.failf("record %d: %v", r.Index, err)
			return recs
		}
		for _, c := range e.Commands {
			if u, ok := c.(*fsm.Update); ok && l.twist {
				l.twist, l.poisoned = false, true
				u.Wire = wire("add " + twistedName(l.node) + " 60 A 192.0.2.9")
				recs[i].Data = fsm.EncodeEntry(e)
				s.tracef("%s applies another update at index %d", l.node.name, r.Index)
			}
		}
	}
	return recs
}

// twistedName is what only a corrupted replica has.
func twistedName(n *simNode) string { return "twisted-" + n.name + "." + testZone }
