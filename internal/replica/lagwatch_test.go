package replica

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// lagBench plays replicas that apply an index every 10 ms; those that are stuck publish nothing from index 100 on.
type lagBench struct {
	w     *LagWatch
	now   time.Time
	index uint64
}

func newLagBench() *lagBench {
	return &lagBench{w: NewLagWatch(LagLimits{Age: 2 * time.Second, Bytes: 8 << 20}), now: simStart, index: 100}
}

// run lets time pass with looks every 100 ms. stuck says which replicas publish nothing, self first; nil: one that does not
// answer.
func (b *lagBench) run(d time.Duration, stuck ...*uint64) (v LagVerdict) {
	for end := b.now.Add(d); b.now.Before(end); {
		b.now = b.now.Add(100 * time.Millisecond)
		b.index += 10
		var all []Progress
		for i, at := range stuck {
			p := Progress{Applied: b.index, Published: b.index, At: b.now}
			if at != nil {
				p.Published = *at
			}
			if i > 0 {
				p.At = b.now.Add(-50 * time.Millisecond) // it answered a moment ago
			}
			all = append(all, p)
		}
		v = b.w.Look(b.now, all[0], all[1:])
	}
	return v
}

func TestLagWatch(t *testing.T) {
	at := uint64(100)
	stuck, fine := &at, (*uint64)(nil)
	for _, tt := range []struct {
		name          string
		replicas      []*uint64
		refuse, leave bool
	}{
		{"all fine", []*uint64{fine, fine, fine}, false, false},
		{"a peer is stuck", []*uint64{fine, stuck, fine}, false, false},
		{"this one is stuck", []*uint64{stuck, fine, fine}, false, true},
		{"two peers are stuck", []*uint64{fine, stuck, stuck}, true, false},
		{"this one and a peer", []*uint64{stuck, fine, stuck}, true, true},
		{"all are stuck: nobody leaves", []*uint64{stuck, stuck, stuck}, true, false},
		{"two of five", []*uint64{fine, stuck, fine, stuck, fine}, false, false},
		{"three of five", []*uint64{fine, stuck, stuck, stuck, fine}, true, false},
		{"a cluster of one", []*uint64{stuck}, true, false},
		{"one peer answers and is stuck", []*uint64{fine, stuck}, true, false},
		{"no peer answers", []*uint64{fine}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newLagBench()
			v := b.run(500*time.Millisecond, tt.replicas...)
			if v.Throttle != (Throttle{}) || v.Leave != nil {
				t.Errorf("after 0.5 s: %+v", v)
			}
			v = b.run(1100*time.Millisecond, tt.replicas...)
			if v.Throttle.Refuse != nil || (v.Throttle.Pace > 0) != tt.refuse || v.Leave != nil {
				t.Errorf("after 1.6 s: %+v, want a pace: %v", v, tt.refuse)
			}
			v = b.run(time.Second, tt.replicas...)
			if errors.Is(v.Throttle.Refuse, ErrBehind) != tt.refuse || (v.Leave != nil) != tt.leave {
				t.Errorf("after 2.6 s: %+v, want refused %v, left %v", v, tt.refuse, tt.leave)
			}
			if tt.refuse && v.Quorum.Age < 2*time.Second {
				t.Errorf("the quorum's lag is %v", v.Quorum.Age)
			}
			v = b.run(100*time.Millisecond, make([]*uint64, len(tt.replicas))...)
			if v.Throttle.Refuse != nil || v.Leave != nil {
				t.Errorf("when all have caught up: %+v", v)
			}
			if v = b.run(5*time.Second, make([]*uint64, len(tt.replicas))...); v.Throttle != (Throttle{}) {
				t.Errorf("five seconds later: %+v", v)
			}
		})
	}
}

// TestLagWatchIdle: the first change after a quiet day is not a day late, and a peer that publishes is not late by the
// pauses between the looks at it.
func TestLagWatchIdle(t *testing.T) {
	w := NewLagWatch(DefaultLagLimits())
	now := simStart
	look := func(own, peer uint64) LagVerdict {
		return w.Look(now, Progress{Applied: own, Published: own, At: now}, []Progress{{Applied: peer, Published: peer, At: now}})
	}
	look(7, 7)
	now = now.Add(24 * time.Hour)
	if v := look(8, 7); v.Quorum.Age != 0 {
		t.Errorf("lag %v at the first change", v.Quorum.Age)
	}
	now = now.Add(100 * time.Millisecond)
	if v := look(9, 7); v.Quorum.Age != 100*time.Millisecond {
		t.Errorf("lag %v, want 100ms", v.Quorum.Age)
	}
	for i := range uint64(3 * maxSeen) {
		now = now.Add(100 * time.Millisecond)
		look(10+i, 7)
	}
	if v := look(10, 7); len(w.seen) > maxSeen || v.Quorum.Age < time.Minute {
		t.Errorf("%d indexes remembered, lag %v", len(w.seen), v.Quorum.Age)
	}
}

// TestLagWatchBytes: a backlog counts however young it is.
// TestLagWatchStopped: a process that was stopped with changes on their way to named is not behind when it goes on, unless
// named stays behind.
func TestLagWatchStopped(t *testing.T) {
	b := newLagBench()
	at := uint64(150)
	stuck, fine := &at, (*uint64)(nil)
	b.run(500*time.Millisecond, fine, fine, fine)
	if v := b.run(100*time.Millisecond, stuck, stuck, stuck); v.Throttle.Refuse != nil {
		t.Fatal(v.Throttle.Refuse)
	}
	const pause = 5 * time.Second
	b.now = b.now.Add(pause)
	b.w.Resume(pause)
	if v := b.run(100*time.Millisecond, stuck, stuck, stuck); v.Throttle.Refuse != nil {
		t.Errorf("a process that was stopped refuses updates as soon as it goes on: %v", v.Throttle.Refuse)
	}
	if v := b.run(3*time.Second, stuck, stuck, stuck); v.Throttle.Refuse == nil {
		t.Error("named stays behind, and updates are taken")
	}
}

func TestLagWatchBytes(t *testing.T) {
	w := NewLagWatch(LagLimits{Bytes: 8 << 20})
	look := func(a, b, c int) Throttle {
		return w.Look(simStart, Progress{Bytes: a}, []Progress{{Bytes: b}, {Bytes: c}}).Throttle
	}
	if got := look(64<<20, 0, 2<<20); got != (Throttle{}) {
		t.Errorf("a quorum has at most a quarter: %+v", got)
	}
	if got := look(64<<20, 0, 6<<20); got.Pace < maxPace/2 || got.Pace >= maxPace || got.Refuse != nil {
		t.Errorf("a quorum is halfway between half and all: %+v", got)
	}
	if got := look(8<<20, 9<<20, 0); got.Refuse == nil {
		t.Errorf("a quorum is beyond the limit: %+v", got)
	}
	if got := look(5<<20, 9<<20, 0); got.Refuse == nil {
		t.Error("refusing ends before half of the limit: it would begin again at once")
	}
	if got := look(3<<20, 9<<20, 0); got.Refuse != nil || got.Pace >= maxPace {
		t.Errorf("below half: %+v", got)
	}
}

// TestLagWatchSteady: clients that wait for their answers, and that named can't follow, are slowed down to what it can publish
// without swinging. Their first burst may be refused, before it is known what named can do.
func TestLagWatchSteady(t *testing.T) {
	const clients, perSecond = 60.0, 1000.0
	w := NewLagWatch(DefaultLagLimits())
	now := simStart
	var taken, done float64 // updates, which are log indexes here
	var pace time.Duration
	var seen []time.Duration
	var refused time.Duration // when the last time
	for range 3000 {
		now = now.Add(100 * time.Millisecond)
		taken += clients * 0.1 / (pace + 2*time.Millisecond).Seconds()
		done = min(taken, done+perSecond*0.1)
		p := Progress{Applied: uint64(taken), Published: uint64(done), At: now}
		v := w.Look(now, p, []Progress{p, p})
		pace = v.Throttle.Pace
		if v.Throttle.Refuse != nil {
			refused = now.Sub(simStart)
			pace = time.Hour
		}
		seen = append(seen, v.Quorum.Age)
	}
	last := seen[len(seen)/2:]
	least, most := slices.Min(last), slices.Max(last)
	t.Logf("refused for the last time after %v; the lag settles at %v to %v, the pace at %v", refused, least, most, pace)
	if half := now.Sub(simStart) / 2; refused > half {
		t.Errorf("refused after %v, when the clients' speed should have settled", refused)
	}
	if most > 1500*time.Millisecond {
		t.Errorf("the lag swings between %v and %v", least, most)
	}
}

func TestLagLimits(t *testing.T) {
	for _, l := range []LagLimits{{}, DefaultLagLimits(), {Age: minLagAge}, {Bytes: minLagBytes}} {
		if err := l.Validate(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, l := range []LagLimits{{Age: -1}, {Age: time.Millisecond}, {Bytes: -1}, {Bytes: 1000}} {
		if l.Validate() == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}

// TestPace (C9): while publishing is behind, updates go into the log at intervals and the replica's own commands at once;
// at the limit updates are refused and administration is not.
func TestPace(t *testing.T) {
	b := newBench(t)
	b.core.slow(b.now, Throttle{Pace: 50 * time.Millisecond})
	first := b.propose(1)
	b.commit(b.want(actAppend))
	if first.err != nil {
		t.Fatal(first.err)
	}
	second := b.propose(2)
	b.wantNothing()
	if at, ok := b.core.nextTick(); !ok || at.After(b.now.Add(50*time.Millisecond)) {
		t.Fatalf("the next tick is %v, %v", at.Sub(b.now), ok)
	}
	b.core.internal(&fsm.Checkpoint{}, func(error) {})
	b.core.flush(b.now)
	a := b.want(actAppend)
	if got := commands(t, a); len(got) != 1 || got[0] != fsm.KindCheckpoint {
		t.Fatalf("while updates wait the log gets %v", got)
	}
	b.commit(a)
	b.now = b.now.Add(50 * time.Millisecond)
	b.core.tick(b.now)
	for b.take(); len(b.todo) > 0 && b.todo[0].kind != actAppend; b.take() {
		b.todo = b.todo[1:]
	}
	b.commit(b.want(actAppend))
	if second.err != nil {
		t.Fatal(second.err)
	}

	b.core.slow(b.now, Throttle{Pace: maxPace, Refuse: ErrBehind})
	third := b.propose(3)
	if !errors.Is(third.err, ErrBehind) || b.core.refused != 1 || b.core.queueCount != 0 {
		t.Errorf("beyond the limit: %v, %d refused, %d queued", third.err, b.core.refused, b.core.queueCount)
	}
	cmd := &fsm.Floor{TimeSigned: 1}
	open := true
	b.core.propose(b.now, &proposal{cmd: cmd, size: 10, done: func(_ fsm.Result, err error) { open = err == nil }})
	if !open {
		t.Error("administration is refused as well")
	}
	b.core.slow(b.now, Throttle{})
	b.commit(b.want(actAppend))
	if p := b.propose(4); errors.Is(p.err, ErrBehind) {
		t.Error("refused after publishing has caught up")
	}
}
