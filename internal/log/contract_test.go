package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// implementation is a cluster under the contract test.
type implementation struct {
	name string
	// start returns a function that opens another handle. Handles are closed by the test's cleanup.
	start func(t *testing.T) func(t *testing.T, change func(*Config), replica string) Log
}

func implementations() []implementation {
	return []implementation{
		{"memory", startMemory},
		{"embedded-1", func(t *testing.T) func(*testing.T, func(*Config), string) Log { return openOn(startMembers(t, 1)) }},
		{"embedded-3", func(t *testing.T) func(*testing.T, func(*Config), string) Log { return openOn(startMembers(t, 3)) }},
		{"external", startExternal},
	}
}

// TestContract runs every promise of Log against every implementation.
func TestContract(t *testing.T) {
	promises := []struct {
		name string
		run  func(t *testing.T, open func(*testing.T, func(*Config), string) Log)
	}{
		{"AppendFollow", contractAppendFollow},
		{"SettleFirst", contractSettleFirst},
		{"Reopen", contractReopen},
		{"Fence", contractFence},
		{"Barrier", contractBarrier},
		{"ConcurrentWriters", contractConcurrentWriters},
		{"Compact", contractCompact},
		{"FollowEnds", contractFollowEnds},
		{"TooLarge", contractTooLarge},
		{"Doubt", contractDoubt},
		{"InFlight", contractInFlight},
		{"StatusMembers", contractStatusMembers},
		{"Closed", contractClosed},
	}
	for _, impl := range implementations() {
		t.Run(impl.name, func(t *testing.T) {
			t.Parallel()
			open := impl.start(t)
			for _, p := range promises {
				t.Run(p.name, func(t *testing.T) { p.run(t, open) })
			}
		})
	}
}

// testContext bounds a test; it ends before the test binary's own timeout would hide where it hung.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func mustSettle(t testing.TB, l Log) Settled {
	t.Helper()
	s, err := l.Settle(testContext(t))
	if err != nil {
		t.Fatalf("Settle: %v", err)
	}
	return s
}

// mustAppend appends, going through Settle when in doubt, and returns the index.
func mustAppend(t testing.TB, l Log, data string) uint64 {
	t.Helper()
	ctx := testContext(t)
	for {
		_, seq := l.Next()
		index, err := l.Append(ctx, []byte(data))
		switch {
		case err == nil:
			return index
		case errors.Is(err, ErrInDoubt) || errors.Is(err, ErrUnsettled):
			if s := mustSettle(t, l); errors.Is(err, ErrInDoubt) && s.Contains(seq) {
				return s.LastIndex
			}
		case errors.Is(err, ErrUnavailable):
		default:
			t.Fatalf("Append(%q): %v", data, err)
		}
	}
}

func mustBarrier(t testing.TB, l Log) uint64 {
	t.Helper()
	index, err := l.Barrier(testContext(t))
	if err != nil {
		t.Fatalf("Barrier: %v", err)
	}
	return index
}

var errEnough = errors.New("enough")

// collect follows from an index until the record at index until has come.
func collect(t testing.TB, l Log, from, until uint64) []Record {
	t.Helper()
	if until <= from {
		return nil
	}
	var got []Record
	err := l.Follow(testContext(t), from, func(rs []Record) error {
		for _, r := range rs {
			if n := len(got); n > 0 && r.Index <= got[n-1].Index {
				return fmt.Errorf("index %d after %d", r.Index, got[n-1].Index)
			}
			if r.Index > until {
				break
			}
			got = append(got, r)
		}
		if rs[len(rs)-1].Index >= until {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("Follow(%d): %v", from, err)
	}
	return got
}

func replicaName(t testing.TB) string {
	return fmt.Sprintf("r%x", bytes.TrimLeft([]byte(fmt.Sprint(rand.Uint32())), "0"))
}

func contractAppendFollow(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	l := open(t, nil, replicaName(t))
	s := mustSettle(t, l)
	if s.LastSeq != 0 || s.Epoch == 0 {
		t.Fatalf("Settle of a new replica = %+v", s)
	}
	start := mustBarrier(t, l)
	const records = 200 // several pages of catching up, and a rest for the watch
	var indexes []uint64
	for i := range records {
		indexes = append(indexes, mustAppend(t, l, fmt.Sprint("record ", i)))
	}
	for _, skip := range []int{0, 1, 7, 150, records - 1} {
		from := start
		if skip > 0 {
			from = indexes[skip-1]
		}
		got := collect(t, l, from, indexes[records-1])
		if len(got) != records-skip {
			t.Fatalf("Follow(%d) gave %d records, want %d", from, len(got), records-skip)
		}
		for i, r := range got {
			if r.Index != indexes[skip+i] || string(r.Data) != fmt.Sprint("record ", skip+i) || r.Seq != uint64(skip+i+1) {
				t.Fatalf("record %d = %+v", skip+i, r)
			}
		}
	}
}

func contractSettleFirst(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	l := open(t, nil, replicaName(t))
	before := mustBarrier(t, l)
	if epoch, _ := l.Next(); epoch != 0 {
		t.Errorf("epoch before Settle = %d, want 0", epoch)
	}
	if _, err := l.Append(testContext(t), []byte("x")); !errors.Is(err, ErrUnsettled) {
		t.Fatalf("Append before Settle: %v, want ErrUnsettled", err)
	}
	if after := mustBarrier(t, l); after != before {
		t.Errorf("the log grew from %d to %d", before, after)
	}
}

func contractReopen(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	name := replicaName(t)
	var last Settled
	for i := range 3 {
		l := open(t, nil, name)
		s := mustSettle(t, l)
		if s.Epoch <= last.Epoch || s.LastSeq != uint64(2*i) {
			t.Fatalf("incarnation %d: %+v after %+v", i, s, last)
		}
		if epoch, seq := l.Next(); epoch != s.Epoch || seq != s.LastSeq+1 {
			t.Fatalf("Next = %d, %d after %+v", epoch, seq, s)
		}
		mustAppend(t, l, "a")
		index := mustAppend(t, l, "b")
		if last = mustSettle(t, l); last.LastIndex != index || last.Epoch <= s.Epoch {
			t.Fatalf("Settle = %+v, last index %d", last, index)
		}
		l.Close()
	}
}

func contractFence(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	name := replicaName(t)
	old := open(t, nil, name)
	mustSettle(t, old)
	mustAppend(t, old, "old")
	young := open(t, nil, name)
	mustSettle(t, young)
	before := mustBarrier(t, young)
	if _, err := old.Append(testContext(t), []byte("ghost")); !errors.Is(err, ErrFenced) {
		t.Fatalf("Append of the old process: %v, want ErrFenced", err)
	}
	if _, err := old.Settle(testContext(t)); !errors.Is(err, ErrFenced) {
		t.Fatalf("Settle of the old process: %v, want ErrFenced", err)
	}
	if after := mustBarrier(t, young); after != before {
		t.Fatalf("the log grew from %d to %d", before, after)
	}
	mustAppend(t, young, "young")
}

func contractBarrier(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	a, b := open(t, nil, replicaName(t)), open(t, nil, replicaName(t))
	mustSettle(t, a)
	for i := range 10 {
		index := mustAppend(t, a, fmt.Sprint(i))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if got := mustBarrier(t, b); got < index {
					t.Errorf("Barrier = %d after an acknowledged append at %d", got, index)
				}
			})
		}
		wg.Wait()
	}
	// The index is a record's, not a revision that no follower ever sees.
	mustSettle(t, b)
	mustSettle(t, b)
	head := mustBarrier(t, a)
	got := collect(t, b, 0, head)
	if last := got[len(got)-1].Index; last != head {
		t.Errorf("Barrier = %d, the last record's index is %d", head, last)
	}
}

func contractConcurrentWriters(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	const writers, each = 3, 30
	var logs []Log
	for range writers {
		l := open(t, nil, replicaName(t))
		mustSettle(t, l)
		logs = append(logs, l)
	}
	start := mustBarrier(t, logs[0])
	var wg sync.WaitGroup
	for _, l := range logs {
		wg.Go(func() {
			for i := range each {
				mustAppend(t, l, fmt.Sprint(i))
			}
		})
	}
	wg.Wait()
	end := mustBarrier(t, logs[0])
	want := collect(t, logs[0], start, end)
	if len(want) != writers*each {
		t.Fatalf("%d records, want %d", len(want), writers*each)
	}
	for i, l := range logs[1:] {
		got := collect(t, l, start, end)
		if !slices.EqualFunc(got, want, sameRecord) {
			t.Errorf("follower %d saw another log", i+1)
		}
	}
	count := map[string]int{}
	for _, r := range want {
		if string(r.Data) != fmt.Sprint(count[r.Replica]) {
			t.Fatalf("replica %s: %q, want %d: a replica's order was not kept", r.Replica, r.Data, count[r.Replica])
		}
		count[r.Replica]++
	}
}

func sameRecord(a, b Record) bool {
	return a.Index == b.Index && a.Replica == b.Replica && a.Epoch == b.Epoch && a.Seq == b.Seq && bytes.Equal(a.Data, b.Data)
}

func contractCompact(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	l := open(t, nil, replicaName(t))
	mustSettle(t, l)
	var indexes []uint64
	for i := range 10 {
		indexes = append(indexes, mustAppend(t, l, fmt.Sprint(i)))
	}
	for range 2 { // the second time is no error
		if err := l.Compact(testContext(t), indexes[5]); err != nil {
			t.Fatalf("Compact: %v", err)
		}
	}
	err := l.Follow(testContext(t), indexes[2], func([]Record) error { return errors.New("delivered across a gap") })
	var ce *CompactedError
	if !errors.As(err, &ce) || !errors.Is(err, ErrCompacted) || ce.From != indexes[2] || ce.Compacted != indexes[5] {
		t.Fatalf("Follow below the compaction: %v", err)
	}
	if got := collect(t, l, indexes[5], indexes[9]); len(got) != 4 {
		t.Fatalf("%d records above the compaction, want 4", len(got))
	}
	if err := l.Compact(testContext(t), indexes[9]+1000); err == nil {
		t.Error("Compact beyond the end succeeded")
	}
}

func contractFollowEnds(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	l := open(t, nil, replicaName(t))
	mustSettle(t, l)
	mustAppend(t, l, "x")
	from := mustBarrier(t, l)
	mustAppend(t, l, "y")

	boom := errors.New("boom")
	if err := l.Follow(testContext(t), from, func([]Record) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("Follow = %v, want fn's error", err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	err := l.Follow(ctx, from, func([]Record) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Follow = %v, want context.Canceled", err)
	}
	if err := l.Follow(testContext(t), from+1_000_000, func([]Record) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Follow beyond the end = %v, want ErrCorrupt: the history that the caller has is not this log's", err)
	}
	// A follower that waits at the end gets what comes.
	end := mustBarrier(t, l)
	got := make(chan string, 1)
	ctx, cancel = context.WithCancel(testContext(t))
	defer cancel()
	go func() { _ = l.Follow(ctx, end, func(rs []Record) error { got <- string(rs[0].Data); return nil }) }()
	mustAppend(t, l, "later")
	select {
	case s := <-got:
		if s != "later" {
			t.Errorf("got %q", s)
		}
	case <-testContext(t).Done():
		t.Error("a waiting follower got nothing")
	}
}

func contractTooLarge(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	l := open(t, func(c *Config) { c.MaxRecordBytes = 1000 }, replicaName(t))
	mustSettle(t, l)
	_, seq := l.Next()
	if _, err := l.Append(testContext(t), make([]byte, 1001)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("Append = %v, want ErrTooLarge", err)
	}
	if _, after := l.Next(); after != seq {
		t.Errorf("sequence number went from %d to %d", seq, after)
	}
	mustAppend(t, l, string(make([]byte, 1000)))
}

// contractDoubt cancels appends at random moments. What Settle then says must hold for ever (C2).
func contractDoubt(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	l := open(t, nil, replicaName(t))
	mustSettle(t, l)
	start := mustBarrier(t, l)
	want := map[string]bool{}
	doubts := 0
	for i := range 60 {
		data := fmt.Sprint("doubt ", i)
		_, seq := l.Next()
		ctx, cancel := context.WithTimeout(testContext(t), time.Duration(rng.IntN(3_000_000)))
		_, err := l.Append(ctx, []byte(data))
		cancel()
		switch {
		case err == nil:
			want[data] = true
		case errors.Is(err, ErrInDoubt):
			doubts++
			want[data] = mustSettle(t, l).Contains(seq)
		case errors.Is(err, ErrUnsettled):
			t.Fatalf("append %d: %v", i, err)
		default:
			want[data] = false
		}
	}
	mustAppend(t, l, "end")
	got := map[string]int{}
	for _, r := range collect(t, l, start, mustBarrier(t, l)) {
		got[string(r.Data)]++
	}
	for data, in := range want {
		if n := got[data]; in && n != 1 || !in && n != 0 {
			t.Errorf("%q is in the log %d times; it was reported as %v", data, n, in)
		}
	}
	t.Logf("%d of 60 in doubt", doubts)
}

func contractInFlight(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	l := open(t, func(c *Config) { c.MaxInFlight = 8; c.AppendTimeout = 5 * time.Second }, replicaName(t))
	mustSettle(t, l)
	start := mustBarrier(t, l)
	var mu sync.Mutex
	acked := map[string]uint64{}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 10 {
				data := fmt.Sprint(w, " ", i)
				index, err := l.Append(testContext(t), []byte(data))
				if err != nil {
					t.Errorf("Append(%s): %v", data, err)
					return
				}
				mu.Lock()
				acked[data] = index
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got := collect(t, l, start, mustBarrier(t, l))
	if len(got) != 160 || len(acked) != 160 {
		t.Fatalf("%d records, %d acknowledged, want 160", len(got), len(acked))
	}
	for i, r := range got {
		if r.Seq != uint64(i+1) || acked[string(r.Data)] != r.Index {
			t.Fatalf("record %d = %+v, acknowledged at %d", i, r, acked[string(r.Data)])
		}
	}
}

func contractStatusMembers(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	l := open(t, nil, replicaName(t))
	mustSettle(t, l)
	index := mustAppend(t, l, "x")
	s, err := l.Status(testContext(t))
	if err != nil || s.LeaderID == 0 || s.Revision == 0 || index == 0 {
		t.Fatalf("Status = %+v, %v", s, err)
	}
	ms, err := l.Members(testContext(t))
	if err != nil || len(ms) == 0 {
		t.Fatalf("Members = %+v, %v", ms, err)
	}
	if !slices.ContainsFunc(ms, func(m MemberInfo) bool { return m.ID == s.MemberID && m.Name != "" }) {
		t.Errorf("member %x is not among %+v", s.MemberID, ms)
	}
}

func contractClosed(t *testing.T, open func(*testing.T, func(*Config), string) Log) {
	l := open(t, nil, replicaName(t))
	mustSettle(t, l)
	from := mustBarrier(t, l)
	following := make(chan error, 1)
	go func() { following <- l.Follow(testContext(t), from, func([]Record) error { return nil }) }()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if err := <-following; !errors.Is(err, ErrClosed) {
		t.Errorf("Follow = %v, want ErrClosed", err)
	}
	if _, err := l.Append(testContext(t), []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Append = %v, want ErrClosed", err)
	}
	if _, err := l.Settle(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("Settle = %v, want ErrClosed", err)
	}
	if _, err := l.Barrier(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("Barrier = %v, want ErrClosed", err)
	}
}
