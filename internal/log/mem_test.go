package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// simulation is a run of three replicas that append through faults, settle what is in doubt, crash and come back, are
// cut off and healed, all in virtual time.
type simulation struct {
	t       *testing.T
	seed    uint64
	cluster *MemCluster

	mu      sync.Mutex
	applied map[string]uint64 // acknowledged or settled as contained: data → index, 0 when only settled
	refused map[string]bool   // proven not to be in the log
}

var simNames = []string{"a", "b", "c"}

const simRecords = 40

func simulate(t *testing.T, seed uint64) {
	rates := Rates{Lost: 60, AckLost: 60, Late: 80, Doubled: 50, Refused: 30}
	s := &simulation{t: t, seed: seed, applied: map[string]uint64{}, refused: map[string]bool{}}
	s.cluster = NewMemCluster(MemConfig{
		Fault:   SeededFaults(seed, rates),
		Latency: func(r string, n uint64) time.Duration { return time.Duration(hash(seed, r, n)%5000) * time.Microsecond },
		Late: func(a MemAppend) time.Duration {
			return time.Duration(hash(seed+1, a.Replica, a.N)%100) * time.Millisecond
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	var views [3][]Record
	var followers, writers sync.WaitGroup
	for i, name := range simNames {
		l := s.open("follow-" + name)
		followers.Go(func() {
			err := l.Follow(ctx, 0, func(rs []Record) error {
				views[i] = append(views[i], rs...)
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("seed %d: Follow: %v", seed, err)
			}
		})
		writers.Go(func() { s.write(ctx, name) })
	}
	writers.Go(func() { // partitions
		for n := range uint64(10) {
			time.Sleep(time.Duration(hash(seed+2, "cut", n)%50) * time.Millisecond) // virtual time
			name := simNames[hash(seed+3, "who", n)%3]
			s.cluster.Cut(name, true)
			time.Sleep(time.Duration(hash(seed+4, "long", n)%30) * time.Millisecond)
			s.cluster.Cut(name, false)
		}
	})
	writers.Wait()
	time.Sleep(time.Minute) // everything late has arrived
	synctest.Wait()
	cancel()
	followers.Wait()
	s.check(views[:])
}

func (s *simulation) open(name string) *MemLog {
	cfg := DefaultConfig()
	cfg.Replica = name
	l, err := s.cluster.Open(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// write appends numbered records; now and then its process crashes and another takes over.
func (s *simulation) write(ctx context.Context, name string) {
	l := s.open(name)
	s.settle(ctx, l, 0, "")
	for n := range simRecords {
		data := fmt.Sprint(name, "-", n)
		if hash(s.seed+5, name, uint64(n))%8 == 0 {
			l.Close() // crash
			l = s.open(name)
			s.settle(ctx, l, 0, "")
		}
		_, seq := l.Next()
		index, err := l.Append(ctx, []byte(data))
		switch {
		case err == nil:
			s.note(data, index)
		case errors.Is(err, ErrInDoubt):
			s.settle(ctx, l, seq, data)
		default:
			s.deny(data)
		}
	}
}

func (s *simulation) settle(ctx context.Context, l Log, seq uint64, data string) {
	settled, err := l.Settle(ctx)
	switch {
	case err != nil:
		s.t.Errorf("seed %d: Settle: %v", s.seed, err)
	case data == "":
	case settled.Contains(seq):
		s.note(data, settled.LastIndex)
	default:
		s.deny(data)
	}
}

func (s *simulation) note(data string, index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied[data] = index
}

func (s *simulation) deny(data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[data] = true
}

func (s *simulation) check(views [][]Record) {
	truth := s.cluster.Records()
	for i, v := range views {
		if !slices.EqualFunc(v, truth, sameRecord) {
			s.t.Errorf("seed %d: follower %d saw %d records that differ from the log's %d", s.seed, i, len(v), len(truth))
		}
	}
	count := map[string]int{}
	for _, r := range truth {
		data := string(r.Data)
		count[data]++
		if index, ok := s.applied[data]; !ok || index != r.Index || count[data] > 1 || s.refused[data] {
			s.t.Errorf("seed %d: %s is in the log at %d; told: applied at %d (%v), refused %v; %d times so far",
				s.seed, data, r.Index, index, ok, s.refused[data], count[data])
		}
	}
	for data := range s.applied {
		if count[data] == 0 {
			s.t.Errorf("seed %d: %s was acknowledged and is lost", s.seed, data)
		}
	}
	if len(s.applied)+len(s.refused) != len(simNames)*simRecords {
		s.t.Errorf("seed %d: %d records have an outcome", s.seed, len(s.applied)+len(s.refused))
	}
}

// TestSimulation: whatever the network does, what Append and Settle said is what the log holds (C2), and every follower
// sees the same (I2).
func TestSimulation(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		if t.Failed() {
			return
		}
	}
}

// TestSimulationGhost shows that the simulation finds what it is for: without fencing, an append that arrives late
// after its caller was told "not applied" is a ghost.
func TestSimulationGhost(t *testing.T) {
	var late []func()
	c := NewMemCluster(MemConfig{
		Fault:    func(a MemAppend) Fault { return map[bool]Fault{true: Late, false: None}[a.N == 1] },
		Schedule: func(_ time.Duration, fn func()) { late = append(late, fn) },
	})
	cfg := DefaultConfig()
	cfg.Replica = "a"
	l, err := c.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	mustSettle(t, l)
	if _, err := l.Append(ctx, []byte("ghost")); !errors.Is(err, ErrInDoubt) {
		t.Fatalf("Append = %v, want ErrInDoubt", err)
	}
	if n := len(c.Records()); n != 0 {
		t.Fatalf("%d records: absence looks like proof", n)
	}
	late[0]()
	if n := len(c.Records()); n != 1 {
		t.Fatalf("%d records after the late delivery: the twin does not model C2", n)
	}
	if s := mustSettle(t, l); s.LastSeq != 1 {
		t.Fatalf("Settle = %+v, want the late record", s)
	}
	late[0]() // and again: doubled
	if n := len(c.Records()); n != 1 {
		t.Errorf("%d records after a second delivery", n)
	}
}

func TestSeededFaults(t *testing.T) {
	rates := Rates{Lost: 100, AckLost: 100, Late: 100, Doubled: 100, Refused: 100}
	a, b := SeededFaults(1, rates), SeededFaults(1, rates)
	count := map[Fault]int{}
	for n := range uint64(10_000) {
		call := MemAppend{Replica: "r", N: n}
		if a(call) != b(call) {
			t.Fatal("equal seeds give different faults")
		}
		count[a(call)]++
	}
	for f := Lost; f <= Refused; f++ {
		if count[f] < 800 || count[f] > 1200 {
			t.Errorf("fault %d came %d times in 10,000 at a rate of 100 in 1,000", f, count[f])
		}
	}
}

// TestMemoryAlarms covers what only the twin can switch at will.
func TestMemoryAlarms(t *testing.T) {
	c := NewMemCluster(MemConfig{Members: simNames})
	cfg := DefaultConfig()
	cfg.Replica = "a"
	l, err := c.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mustSettle(t, l)
	c.Fill(true)
	if _, err := l.Append(t.Context(), nil); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Append = %v, want ErrNoSpace", err)
	}
	c.Fill(false)
	c.Leaderless(true)
	if _, err := l.Append(t.Context(), nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Append = %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.Barrier(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Barrier without a quorum = %v", err)
	}
	c.Leaderless(false)
	if _, err := l.Append(t.Context(), nil); err != nil {
		t.Errorf("Append = %v", err)
	}
}
