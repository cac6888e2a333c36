package replica

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// bench holds one core that a test plays all of the outside for.
type bench struct {
	t    *testing.T
	core *core
	now  time.Time
	todo []action
	eff  []fsm.Effects
	seq  uint64 // of records from others
	at   uint64 // the log's end
}

func newBench(t *testing.T, members ...string) *bench {
	if len(members) == 0 {
		members = []string{"a"}
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.Members = members[0], members
	cfg.MaxBatchCount, cfg.CheckpointBytes, cfg.GatherFor = 4, 1000, 0
	b := &bench{t: t, core: newCore(cfg.core(), fsm.New()), now: simStart, at: 1}
	b.core.start(b.now)
	b.core.serve(true, nil)
	b.want(actSettle)
	b.core.settled(b.now, log.Settled{Epoch: 1})
	b.other(setup()...)
	b.take()
	b.todo = nil
	return b
}

// take gathers what the core wants done.
func (b *bench) take() {
	a, e := b.core.take()
	b.todo, b.eff = append(b.todo, a...), append(b.eff, e...)
}

// want takes the next action, which has to be of a kind.
func (b *bench) want(kind actionKind) action {
	b.t.Helper()
	b.take()
	if len(b.todo) == 0 || b.todo[0].kind != kind {
		b.t.Fatalf("actions %+v, want one of kind %d first", b.todo, kind)
	}
	a := b.todo[0]
	b.todo = b.todo[1:]
	return a
}

func (b *bench) wantNothing() {
	b.t.Helper()
	if b.take(); len(b.todo) > 0 {
		b.t.Fatalf("actions %+v, want none", b.todo)
	}
}

// commit lets an append arrive: the record and the log's confirmation.
func (b *bench) commit(a action) {
	b.t.Helper()
	b.record(a)
	if err := b.core.appended(b.now, a.batch, nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) record(a action) {
	b.t.Helper()
	b.at++
	err := b.core.records(b.now, []log.Record{{Index: b.at, Replica: b.core.cfg.name, Epoch: a.batch.epoch, Seq: a.batch.seq, Data: a.batch.data}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// other lets another replica's record arrive.
func (b *bench) other(cmds ...fsm.Command) {
	b.t.Helper()
	b.at++
	b.seq++
	data := fsm.EncodeEntry(fsm.Entry{Header: fsm.Header{Replica: "other", Epoch: 1, Seq: b.seq, TimeMS: b.now.UnixMilli()}, Commands: cmds})
	if err := b.core.records(b.now, []log.Record{{Index: b.at, Replica: "other", Epoch: 1, Seq: b.seq, Data: data}}); err != nil {
		b.t.Fatal(err)
	}
}

// propose proposes an update of its own name and gives where its answer will be.
func (b *bench) propose(id uint64) *answer {
	out := &answer{err: errOpen}
	u := signedUpdate(id, b.now.UnixMilli(), wire(fmt.Sprintf("add h%d.example.test. 60 A 192.0.2.1", id)))
	b.core.propose(b.now, &proposal{cmd: u, size: fsm.CommandSize(u), deadline: b.now.Add(time.Second),
		done: func(r fsm.Result, err error) { *out = answer{r, err} }})
	return out
}

var errOpen = errors.New("not answered yet")

// commands lists the kinds of an append's commands.
func commands(t *testing.T, a action) []fsm.Kind {
	t.Helper()
	e, err := fsm.DecodeEntry(a.batch.data)
	if err != nil {
		t.Fatal(err)
	}
	var out []fsm.Kind
	for _, c := range e.Commands {
		out = append(out, c.Kind())
	}
	return out
}

func TestGroupCommit(t *testing.T) {
	b := newBench(t)
	first := b.propose(1)
	a := b.want(actAppend)
	var rest []*answer
	for id := uint64(2); id < 8; id++ {
		rest = append(rest, b.propose(id))
	}
	b.wantNothing() // one append at a time: the others gather
	b.commit(a)
	if first.err != nil {
		t.Errorf("the first: %v", first.err)
	}
	second := b.want(actAppend)
	if n := len(second.batch.props); n != 4 {
		t.Errorf("%d in the second batch, want the most that a batch takes, 4", n)
	}
	b.commit(second)
	b.commit(b.want(actAppend))
	for i, x := range rest {
		if x.err != nil {
			t.Errorf("proposal %d: %v", i+2, x.err)
		}
	}
}

// TestCutEach: a log that may soon take nothing more has the boundary of each change in the same entry.
func TestCutEach(t *testing.T) {
	b := newBench(t)
	pending := func(id uint64) []fsm.ZoneID {
		p := b.propose(id)
		b.commit(b.want(actAppend))
		if p.err != nil {
			t.Fatalf("proposal %d: %v", id, p.err)
		}
		var out []fsm.ZoneID
		for id := range b.core.cuts.zones {
			out = append(out, id)
		}
		return out
	}
	pending(1) // the first of a zone is due at once
	if got := pending(2); len(got) != 1 {
		t.Fatalf("zones that wait for a boundary: %v, want one", got)
	}
	b.core.cutEach = true
	for id := uint64(3); id < 6; id++ {
		if got := pending(id); len(got) != 0 {
			t.Errorf("zones that wait for a boundary: %v", got)
		}
	}
	b.core.internal(&fsm.Cut{}, func(error) {})
	b.core.flush(b.now)
	a := b.want(actAppend)
	if got := commands(t, a); len(got) != 1 {
		t.Errorf("an entry without a proposal has %v", got)
	}
	b.commit(a)
	b.core.cutEach = false
	if got := pending(6); len(got) != 1 {
		t.Errorf("zones that wait for a boundary afterwards: %v, want one", got)
	}
}

// TestAppliedBeforeConfirmed: the record may be seen before the append returns, whatever it then returns.
func TestAppliedBeforeConfirmed(t *testing.T) {
	for _, outcome := range []error{nil, log.ErrInDoubt, log.ErrUnsettled} {
		b := newBench(t)
		first := b.propose(1)
		a := b.want(actAppend)
		b.record(a)
		if first.err != nil {
			t.Errorf("%v: answered %v", outcome, first.err)
		}
		second := b.propose(2)
		b.wantNothing()
		if err := b.core.appended(b.now, a.batch, outcome); err != nil {
			t.Fatal(err)
		}
		if outcome != nil {
			b.want(actSettle)
			b.core.settled(b.now, log.Settled{Epoch: 2, LastSeq: 1})
		}
		a = b.want(actAppend)
		if a.batch.seq != 2 {
			t.Errorf("%v: sequence %d, want 2", outcome, a.batch.seq)
		}
		b.commit(a)
		if second.err != nil {
			t.Errorf("%v: the second: %v", outcome, second.err)
		}
	}
}

// TestSettled (C2): after a fence, what was in doubt is answered if it is in the log, and goes in again if not.
func TestSettled(t *testing.T) {
	for _, in := range []bool{true, false} {
		b := newBench(t)
		first := b.propose(1)
		a := b.want(actAppend)
		if err := b.core.appended(b.now, a.batch, fmt.Errorf("%w: lost", log.ErrInDoubt)); err != nil {
			t.Fatal(err)
		}
		second := b.propose(2)
		b.want(actSettle)
		b.wantNothing()
		if !errors.Is(first.err, errOpen) {
			t.Fatalf("answered %v before the log is settled", first.err)
		}
		if in {
			b.core.settled(b.now, log.Settled{Epoch: 2, LastSeq: 1, LastIndex: b.at + 1})
			b.record(a)
		} else {
			b.core.settled(b.now, log.Settled{Epoch: 2})
		}
		again := b.want(actAppend)
		want := 2
		if in {
			want = 1
		}
		if len(again.batch.props) != want || again.batch.epoch != 2 {
			t.Errorf("in the log %v: %d proposals of epoch %d go in, want %d of epoch 2", in, len(again.batch.props), again.batch.epoch, want)
		}
		b.commit(again)
		if first.err != nil || second.err != nil {
			t.Errorf("in the log %v: answers %v, %v", in, first.err, second.err)
		}
	}
}

// TestAppendErrors: what each of the log's errors means for the proposals.
func TestAppendErrors(t *testing.T) {
	for _, tt := range []struct {
		err   error
		want  error // the answer; errOpen: none yet
		final bool
	}{
		{log.ErrNoSpace, ErrNoSpace, false},
		{log.ErrTooLarge, ErrNotApplied, false},
		{log.ErrClosed, ErrNotApplied, false},
		{log.ErrFenced, ErrNotApplied, true},
		{log.ErrUnavailable, errOpen, false},
		{log.ErrInDoubt, errOpen, false},
		{errors.New("what is this"), errOpen, false},
	} {
		b := newBench(t)
		x := b.propose(1)
		err := b.core.appended(b.now, b.want(actAppend).batch, fmt.Errorf("test: %w", tt.err))
		if (err != nil) != tt.final || !errors.Is(x.err, tt.want) {
			t.Errorf("%v: answer %v, want %v; final %v", tt.err, x.err, tt.want, err)
		}
	}
}

// TestIdleHasNoTimer: nothing to do, nothing to wake up for.
func TestIdleHasNoTimer(t *testing.T) {
	b := newBench(t)
	if at, ok := b.core.nextTick(); ok {
		t.Fatalf("an idle core wants a tick at %v", at)
	}
	b.propose(1)
	b.commit(b.want(actAppend))
	b.propose(2) // within the cut interval: its boundary is left to a Cut
	b.commit(b.want(actAppend))
	at, ok := b.core.nextTick()
	if !ok || at.Sub(b.now) > b.core.cfg.cutAfter {
		t.Fatalf("with pending changes: tick at %v, %v", at, ok)
	}
	b.now = at
	b.core.tick(b.now)
	a := b.want(actAppend)
	if got := commands(t, a); !slices.Equal(got, []fsm.Kind{fsm.KindCut}) {
		t.Fatalf("commands %v, want a cut", got)
	}
	if _, ok := b.core.nextTick(); ok {
		t.Error("the cut is on its way, and there is a timer")
	}
	b.commit(a)
	if _, ok := b.core.nextTick(); ok || b.core.machine.Stats().DirtyZones > 0 {
		t.Error("a timer or a change is left after the cut")
	}
}

// TestCutIsNotLost: a cut whose append fails is proposed again.
func TestCutIsNotLost(t *testing.T) {
	b := newBench(t)
	b.propose(1)
	b.commit(b.want(actAppend))
	b.propose(2)
	b.commit(b.want(actAppend))
	for range 3 {
		b.now = b.now.Add(time.Second)
		b.core.tick(b.now)
		if err := b.core.appended(b.now, b.want(actAppend).batch, log.ErrNoSpace); err != nil {
			t.Fatal(err)
		}
		if _, ok := b.core.nextTick(); !ok {
			t.Fatal("the cut is forgotten")
		}
	}
}

// TestOrphanedCut: another replica's last change is cut when that one does not do it.
func TestOrphanedCut(t *testing.T) {
	b := newBench(t, "a", "other")
	for id := range uint64(2) {
		b.other(signedUpdate(id, b.now.UnixMilli(), wire(fmt.Sprintf("add o%d.example.test. 60 A 192.0.2.1", id))))
	}
	at, ok := b.core.nextTick()
	if !ok || at.Sub(b.now) != b.core.cfg.cutOrphansAfter {
		t.Fatalf("tick in %v, %v, want it in %v", at.Sub(b.now), ok, b.core.cfg.cutOrphansAfter)
	}
	b.core.tick(at)
	if got := commands(t, b.want(actAppend)); !slices.Equal(got, []fsm.Kind{fsm.KindCut}) {
		t.Fatalf("commands %v, want a cut", got)
	}
}

// TestGather: after a batch was answered its clients are given a moment to come back; a lone one waits for nobody.
func TestGather(t *testing.T) {
	b := newBench(t)
	b.core.cfg.gatherFor = time.Millisecond
	b.propose(1)
	a := b.want(actAppend)
	b.propose(2)
	b.propose(3)
	b.now = b.now.Add(2 * time.Millisecond)
	b.commit(a) // 2 and 3 wait, 1 is expected back
	b.wantNothing()
	at, ok := b.core.nextTick()
	if want := b.now.Add(time.Millisecond); !ok || !at.Equal(want) {
		t.Fatalf("the next tick is %v, %v; want %v", at, ok, want)
	}
	b.propose(4)
	a = b.want(actAppend)
	if n := len(a.batch.props); n != 3 {
		t.Fatalf("%d in the batch after all came back, want 3", n)
	}
	b.propose(5)
	b.commit(a)
	b.now = at.Add(time.Second) // nobody comes back
	b.core.tick(b.now)
	a = b.want(actAppend)
	if n := len(a.batch.props); n != 1 {
		t.Fatalf("%d in the batch after the wait, want 1", n)
	}
	b.commit(a)
	b.propose(6)
	a = b.want(actAppend) // one was answered, one came back: at once

	// The log may confirm an append before its record arrives here.
	b.propose(7)
	b.propose(8)
	b.now = b.now.Add(2 * time.Millisecond)
	if err := b.core.appended(b.now, a.batch, nil); err != nil {
		t.Fatal(err)
	}
	b.wantNothing()
	b.record(a)
	b.wantNothing()
	b.propose(9)
	if n := len(b.want(actAppend).batch.props); n != 3 {
		t.Fatalf("%d in the batch after a confirmation that came first, want 3", n)
	}
}

// TestActivationGoesAlone (C8): the state machine takes an activation by itself only.
func TestActivationGoesAlone(t *testing.T) {
	b := newBench(t)
	b.propose(1)
	hold := b.want(actAppend)
	b.propose(2)
	activate := &fsm.Activate{Version: 2, Members: []string{"a"}}
	b.core.propose(b.now, &proposal{cmd: activate, size: fsm.CommandSize(activate), done: func(fsm.Result, error) {}})
	b.propose(3)
	b.commit(hold)
	var got [][]fsm.Kind
	for range 3 {
		a := b.want(actAppend)
		got = append(got, commands(t, a))
		b.commit(a)
	}
	want := [][]fsm.Kind{{fsm.KindUpdate}, {fsm.KindActivate}, {fsm.KindUpdate}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("batches %v, want %v", got, want)
	}
}

// TestFullLogIsCompacted: when the log is full, all that a quorum can do without is forgotten, not only what is one
// checkpoint older: a full log takes no marks, and would stay full.
func TestFullLogIsCompacted(t *testing.T) {
	b := newBench(t)
	var saved []uint64
	for id := uint64(1); len(saved) < 2; id++ {
		b.propose(id)
		for b.take(); len(b.todo) > 0; b.take() {
			a := b.todo[0]
			b.todo = b.todo[1:]
			switch a.kind {
			case actAppend:
				b.commit(a)
			case actSave:
				saved = append(saved, a.index)
				b.core.saved(b.now, a.index, a.snap.Digest(), 1000, nil)
			case actCompact:
				if a.index >= saved[len(saved)-1] {
					t.Errorf("compacts up to %d, the newest checkpoint itself", a.index)
				}
			default:
				t.Fatalf("action %+v", a)
			}
		}
	}
	b.propose(1000)
	if err := b.core.appended(b.now, b.want(actAppend).batch, log.ErrNoSpace); err != nil {
		t.Fatal(err)
	}
	if a := b.want(actCompact); a.index != saved[1] {
		t.Errorf("compacts up to %d, want %d", a.index, saved[1])
	}
}

func TestSkew(t *testing.T) {
	s := func(n int) time.Duration { return time.Duration(n) * time.Second }
	for _, tt := range []struct {
		peers []time.Duration
		want  time.Duration
	}{
		{nil, 0},
		{[]time.Duration{s(1)}, s(-1) / 2},
		{[]time.Duration{s(-10), s(-10)}, s(10)}, // we are 10 s fast
		{[]time.Duration{s(0), s(60)}, 0},        // one peer is fast: not our fault
		{[]time.Duration{s(5), s(5), s(5), s(-60)}, s(-5)},
	} {
		if got := Skew(tt.peers); got != tt.want {
			t.Errorf("Skew(%v) = %v, want %v", tt.peers, got, tt.want)
		}
	}
}

// TestSimulationIsDeterministic: a seed that fails can be run again.
func TestSimulationIsDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		first, second := newSim(seed, scenarioOf(seed)), newSim(seed, scenarioOf(seed))
		first.run()
		second.run()
		if !slices.Equal(first.trace, second.trace) {
			t.Fatalf("seed %d gave two histories", seed)
		}
	}
}
