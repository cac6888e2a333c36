package log

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// MemCluster is a replicated log in memory: the deterministic twin of etcd for simulation. It has no goroutines and no
// clock of its own. Waiting goes through channels and through package time, so that inside testing/synctest all of it
// runs in virtual time; late deliveries go through MemConfig.Schedule, so that a scheduler of one's own can take their
// place. Without Latency, every call that does not have to wait returns at once, which suits a single-threaded
// simulation.
//
// Faults are drawn per replica and call, not from one shared stream: the same seed gives each replica the same faults
// whatever the interleaving.
type MemCluster struct {
	cfg MemConfig

	mu         sync.Mutex
	revision   uint64
	compacted  uint64
	records    []Record // above the compaction
	replicas   map[string]*memReplica
	changed    chan struct{} // closed and replaced whenever something happens
	full       bool
	leaderless bool
}

type memReplica struct {
	state   replicaState
	appends uint64 // how many were attempted: the position in the fault stream
	cut     bool
}

// MemConfig configures a MemCluster. The zero value is a cluster without faults or latency.
type MemConfig struct {
	// Fault decides what becomes of an append. nil: nothing goes wrong. It is called once for each, and must not call
	// back.
	Fault func(MemAppend) Fault
	// Latency is how long an append, a Settle or a Barrier takes. nil: no time.
	Latency func(replica string, n uint64) time.Duration
	// Late is how long a late append is under way after its caller gave up. nil: one second.
	Late func(MemAppend) time.Duration
	// Schedule runs fn after d. nil: time.AfterFunc.
	Schedule func(d time.Duration, fn func())
	// Members are the names that Members reports. Empty: the replicas opened so far.
	Members []string
}

// MemAppend identifies one append for the fault functions.
type MemAppend struct {
	Replica string
	N       uint64 // counts the replica's appends from 1, failed ones included
	Seq     uint64
}

// Fault is what becomes of an append.
type Fault int

// The faults of a network and a quorum, as a caller meets them.
const (
	None    Fault = iota
	Lost          // it never arrives; in doubt
	AckLost       // it is in the log; in doubt
	Late          // in doubt, and it arrives later, when the replica may have settled and gone on
	Doubled       // it arrives twice
	Refused       // ErrUnavailable: it was never sent
)

// Rates gives each fault a probability, in thousandths.
type Rates struct{ Lost, AckLost, Late, Doubled, Refused int }

// SeededFaults draws faults at the given rates. Equal seeds give equal faults.
func SeededFaults(seed uint64, r Rates) func(MemAppend) Fault {
	return func(a MemAppend) Fault {
		x := int(hash(seed, a.Replica, a.N) % 1000)
		for _, f := range []struct {
			rate  int
			fault Fault
		}{{r.Lost, Lost}, {r.AckLost, AckLost}, {r.Late, Late}, {r.Doubled, Doubled}, {r.Refused, Refused}} {
			if x < f.rate {
				return f.fault
			}
			x -= f.rate
		}
		return None
	}
}

// hash is FNV-1a over its arguments with a final mix: a random function of call sites, not a stream.
func hash(seed uint64, s string, n uint64) uint64 {
	h := uint64(14695981039346656037) ^ seed
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h = (h ^ n) * 1099511628211
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// NewMemCluster returns an empty log.
func NewMemCluster(cfg MemConfig) *MemCluster {
	if cfg.Fault == nil {
		cfg.Fault = func(MemAppend) Fault { return None }
	}
	if cfg.Latency == nil {
		cfg.Latency = func(string, uint64) time.Duration { return 0 }
	}
	if cfg.Late == nil {
		cfg.Late = func(MemAppend) time.Duration { return time.Second }
	}
	if cfg.Schedule == nil {
		cfg.Schedule = func(d time.Duration, fn func()) { time.AfterFunc(d, fn) }
	}
	return &MemCluster{cfg: cfg, replicas: make(map[string]*memReplica), changed: make(chan struct{})}
}

// Open returns a handle for a replica: one incarnation of its process. A second one fences the first when it settles.
func (c *MemCluster) Open(cfg Config) (*MemLog, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.replicas[cfg.Replica]
	if r == nil {
		r = &memReplica{}
		c.replicas[cfg.Replica] = r
	}
	l := &MemLog{cluster: c, cfg: cfg, self: r, process: rand.Text(), end: make(chan struct{})}
	l.sequencer = newSequencer(cfg.MaxInFlight, cfg.MaxRecordBytes, l.end)
	return l, nil
}

// Cut partitions a replica from the quorum, or heals it. A replica that is cut off appends in doubt (what it sends is
// lost), hears of nothing, and waits in Settle, Barrier and Compact until it is healed.
func (c *MemCluster) Cut(replica string, cut bool) {
	c.update(func() {
		r := c.replicas[replica]
		if r == nil {
			r = &memReplica{}
			c.replicas[replica] = r
		}
		r.cut = cut
	})
}

// Fill raises or lifts the NOSPACE alarm.
func (c *MemCluster) Fill(full bool) { c.update(func() { c.full = full }) }

// Leaderless takes the quorum away from everybody, or gives it back.
func (c *MemCluster) Leaderless(on bool) { c.update(func() { c.leaderless = on }) }

// Records returns a copy of what the log holds: the truth that a test compares replicas with.
func (c *MemCluster) Records() []Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.records)
}

// update changes the state and wakes everybody who waits for a change.
func (c *MemCluster) update(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
	close(c.changed)
	c.changed = make(chan struct{})
}

// deliver is what the quorum does with an append that arrives.
func (c *MemCluster) deliver(r *memReplica, rec Record) (index uint64, err error) {
	c.update(func() {
		switch {
		case c.full:
			err = fmt.Errorf("%w: the alarm is raised", ErrNoSpace)
		case r.state.epoch != rec.Epoch:
			err = fmt.Errorf("epoch is %d: %w", r.state.epoch, ErrFenced)
		case r.state.seq == rec.Seq && r.state.recordEpoch == rec.Epoch:
			index = r.state.index // delivered twice
		case r.state.seq != rec.Seq-1:
			err = fmt.Errorf("the log ends at sequence number %d: %w", r.state.seq, ErrUnsettled)
		default:
			c.revision++
			rec.Index, index = c.revision, c.revision
			r.state.seq, r.state.index, r.state.recordEpoch = rec.Seq, rec.Index, rec.Epoch
			c.records = append(c.records, rec)
		}
	})
	return index, err
}

// MemLog is one replica's handle on a MemCluster.
type MemLog struct {
	*sequencer
	cluster *MemCluster
	cfg     Config
	self    *memReplica
	process string
	calls   uint64 // guarded by cluster.mu: position in the latency stream

	end     chan struct{} // closed by Close
	endOnce sync.Once
}

var _ Log = (*MemLog)(nil)

// Append implements Log.
func (l *MemLog) Append(ctx context.Context, data []byte) (uint64, error) {
	return l.append(ctx, len(data), func(ctx context.Context, before *flight, epoch, seq uint64) (uint64, error) {
		c := l.cluster
		c.mu.Lock()
		l.self.appends++
		call := MemAppend{Replica: l.cfg.Replica, N: l.self.appends, Seq: seq}
		cut, leaderless := l.self.cut, c.leaderless
		c.mu.Unlock()
		fault := c.cfg.Fault(call)
		switch {
		case leaderless:
			fault = Refused
		case cut:
			fault = Lost
		}
		return l.send(ctx, call, fault, before, Record{Replica: l.cfg.Replica, Epoch: epoch, Seq: seq, Data: data})
	})
}

func (l *MemLog) send(ctx context.Context, call MemAppend, fault Fault, before *flight, rec Record) (uint64, error) {
	c := l.cluster
	if fault == Refused {
		return 0, fmt.Errorf("%w: simulated", ErrUnavailable)
	}
	if err := l.travel(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInDoubt, err)
	}
	if before != nil {
		<-before.done // appends of one handle arrive in order; etcd's conditions have the same effect
		if before.err != nil {
			return 0, fmt.Errorf("%w: the append before it failed", ErrUnsettled)
		}
	}
	switch fault {
	case Lost:
		return 0, fmt.Errorf("%w: simulated loss", ErrInDoubt)
	case Late:
		c.cfg.Schedule(c.cfg.Late(call), func() { _, _ = c.deliver(l.self, rec) })
		return 0, fmt.Errorf("%w: simulated delay", ErrInDoubt)
	case Doubled:
		c.cfg.Schedule(c.cfg.Late(call), func() { _, _ = c.deliver(l.self, rec) })
	case None, AckLost, Refused: // arrives once, now; Refused has ended above
	}
	index, err := c.deliver(l.self, rec)
	if err == nil && fault == AckLost {
		return 0, fmt.Errorf("%w: simulated loss of the answer", ErrInDoubt)
	}
	return index, err
}

// Settle implements Log.
func (l *MemLog) Settle(ctx context.Context) (Settled, error) {
	return l.settle(ctx, func(ctx context.Context, claimed uint64) (state replicaState, err error) {
		err = l.reach(ctx, func() error {
			if claimed != 0 && l.self.state.process != l.process {
				return fmt.Errorf("epoch %d is held by process %s: %w", l.self.state.epoch, l.self.state.process, ErrFenced)
			}
			l.cluster.revision++
			l.self.state.epoch++
			l.self.state.process = l.process
			state = l.self.state
			return nil
		})
		return state, err
	})
}

// Barrier implements Log.
func (l *MemLog) Barrier(ctx context.Context) (index uint64, err error) {
	err = l.reach(ctx, func() error {
		index = l.cluster.head()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("log: barrier: %w", err)
	}
	return index, nil
}

// head returns the index of the newest record. c.mu is held.
func (c *MemCluster) head() uint64 {
	var head uint64
	for _, r := range c.replicas {
		head = max(head, r.state.index)
	}
	return head
}

// Compact implements Log.
func (l *MemLog) Compact(ctx context.Context, upTo uint64) error {
	c := l.cluster
	return l.reach(ctx, func() error {
		if upTo > c.revision {
			return fmt.Errorf("log: compact up to %d: the log ends at revision %d", upTo, c.revision)
		}
		c.compacted = max(c.compacted, upTo)
		c.records = slices.DeleteFunc(c.records, func(r Record) bool { return r.Index < c.compacted })
		return nil
	})
}

// Follow implements Log.
func (l *MemLog) Follow(ctx context.Context, from uint64, fn func([]Record) error) error {
	c, seq := l.cluster, newSequence()
	err := l.reach(ctx, func() error {
		if head := c.head(); from > head {
			return fmt.Errorf("the log ends at index %d: %w", head, ErrCorrupt)
		}
		return nil
	})
	for err == nil {
		c.mu.Lock()
		changed, cut := c.changed, l.self.cut
		compacted := c.compacted
		i, _ := slices.BinarySearchFunc(c.records, from+1, func(r Record, index uint64) int {
			return int(int64(r.Index) - int64(index))
		})
		batch := slices.Clone(c.records[i:])
		c.mu.Unlock()
		switch {
		case cut || (len(batch) == 0 && from+1 >= compacted):
			err = l.await(ctx, changed)
		case from+1 < compacted:
			return &CompactedError{From: from, Compacted: compacted}
		default:
			if err = l.await(ctx, nil); err != nil { // a follower that was told to end delivers nothing more
				break
			}
			for _, r := range batch {
				if err := seq.check(r); err != nil {
					return err
				}
			}
			if err := fn(batch); err != nil {
				return err
			}
			from = batch[len(batch)-1].Index
		}
	}
	return fmt.Errorf("log: follow after index %d: %w", from, err)
}

// Status implements Log.
func (l *MemLog) Status(context.Context) (Status, error) {
	c := l.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		Member: l.cfg.Replica, MemberID: memberID(l.cfg.Replica), LeaderID: memberID(slices.Min(c.members())),
		Revision: c.revision, RaftIndex: c.revision, Term: 1,
	}
	s.IsLeader = s.LeaderID == s.MemberID
	if c.full {
		s.Alarms = []string{"NOSPACE"}
	}
	if c.leaderless || l.self.cut {
		s.LeaderID, s.IsLeader = 0, false
	}
	return s, nil
}

// Members implements Log.
func (l *MemLog) Members(ctx context.Context) (members []MemberInfo, err error) {
	err = l.reach(ctx, func() error {
		for _, name := range l.cluster.members() {
			members = append(members, MemberInfo{ID: memberID(name), Name: name})
		}
		return nil
	})
	slices.SortFunc(members, func(a, b MemberInfo) int { return strings.Compare(a.Name, b.Name) })
	return members, err
}

func (c *MemCluster) members() []string {
	if len(c.cfg.Members) > 0 {
		return c.cfg.Members
	}
	var names []string
	for name := range c.replicas {
		names = append(names, name)
	}
	return names
}

func memberID(name string) uint64 { return hash(0, name, 0) }

// MoveLeader implements Log: there is no leader to move.
func (l *MemLog) MoveLeader(context.Context) error { return nil }

// Close implements Log. It is also how a simulation crashes a replica: what was under way stays under way.
func (l *MemLog) Close() error {
	l.endOnce.Do(func() { close(l.end) })
	return nil
}

// reach runs fn at the quorum, under the cluster's lock, as soon as this replica has one.
func (l *MemLog) reach(ctx context.Context, fn func() error) error {
	if err := l.travel(ctx); err != nil {
		return err
	}
	c := l.cluster
	for {
		if err := l.await(ctx, nil); err != nil {
			return err
		}
		c.mu.Lock()
		if !l.self.cut && !c.leaderless {
			err := fn()
			c.mu.Unlock()
			return err
		}
		changed := c.changed
		c.mu.Unlock()
		if err := l.await(ctx, changed); err != nil {
			return err
		}
	}
}

// travel takes the latency of one call.
func (l *MemLog) travel(ctx context.Context) error {
	l.cluster.mu.Lock()
	l.calls++
	n := l.calls
	l.cluster.mu.Unlock()
	d := l.cluster.cfg.Latency(l.cfg.Replica, n)
	if d <= 0 {
		return l.await(ctx, nil)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.end:
		return ErrClosed
	}
}

// await waits for ch, or only checks when ch is nil, that neither ctx nor the handle has ended.
func (l *MemLog) await(ctx context.Context, ch <-chan struct{}) error {
	if ch == nil {
		select {
		case <-l.end:
			return ErrClosed
		default:
			return ctx.Err()
		}
	}
	select {
	case <-ch:
		return nil
	case <-l.end:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
