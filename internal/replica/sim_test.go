package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// The simulation drives cores, without the driver's goroutines, on the log's in-memory twin. One seeded scheduler decides
// what happens next: which append arrives, is lost, late or doubled, which outcome is reported, which record delivered,
// who crashes between any two steps, and how time passes. The same seed gives the same run, octet for octet.

// scenario is what a run may contain. The seed fills in the rest.
type scenario struct {
	members int
	steps   int
	crashes bool
	cuts    bool // partitions of a replica from the log, and loss of the log's leader
	faults  log.Rates
	skew    bool // a clock goes wrong
	full    bool // the log runs out of space
	burst   bool // more requests than queues hold
	slow    bool // the replicas' named get stuck
	jumps   bool // time passes in leaps, so that deadlines run out
	// corrupt is how many replicas silently come to another state, each to its own.
	corrupt int
	gaps    bool // a replica misses a record that the log has
	absent  int  // how many of the others are away meanwhile
	disks   bool // checkpoints can't be written now and then
	omit    omit
}

// sim is one run.
type sim struct {
	scenario
	seed  uint64
	rng   *rand.Rand
	now   time.Time
	step  int
	mem   *log.MemCluster
	fault log.Fault // of the append that is being sent
	nodes []*simNode
	late  []lateCall // appends under way that nobody waits for

	leaderless, filled bool
	corrupted          []*simNode
	away               []*simNode
	halted             bool   // in the end no digest has a majority, and everyone has stopped
	twistAt            uint64 // the corrupted apply something else from here on

	clients   simClients
	history   []simRecord
	head      uint64
	digests   map[uint64]fsm.Digest // of checkpoints, by index
	published map[uint64]string     // publish steps, by index

	named simNamed

	trace   []string
	failure error
	test    string // that runs it
}

// lateCall is an append that arrives later than its sender believes.
type lateCall struct {
	at time.Time
	fn func()
}

// simRecord is a record of the log with the true time at which it entered.
type simRecord struct {
	log.Record
	at time.Time
}

// simNode is a replica through all its lives.
type simNode struct {
	name   string
	store  []simCheckpoint // durable, newest last
	kept   int             // evidence
	life   *life           // nil: crashed
	cut    bool
	skew   time.Duration
	diskNo bool // checkpoints can't be written
	wiped  bool // it lost its disk
}

// simCheckpoint is a durable checkpoint.
type simCheckpoint struct {
	index    uint64
	data     []byte
	poisoned bool
}

// life is one run of a replica's process.
type life struct {
	node     *simNode
	core     *core
	watch    *LagWatch
	log      *log.MemLog
	todo     []action // asked for by the core, not begun
	outcomes []func() error
	reads    []*simRead
	poisoned bool // its state is known to be wrong: what it answers is not judged
	follows  bool
	dead     bool
	skip     bool   // the next record is to be lost on the way
	twist    bool   // the next update is to be applied as another
	reach    uint64 // what it has to apply before it may serve after a reload
}

// simStart is when virtual time begins.
var simStart = time.UnixMilli(1_700_000_000_000)

func newSim(seed uint64, sc scenario) *sim {
	s := &sim{
		scenario: sc, seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5eed)), now: simStart,
		digests: make(map[uint64]fsm.Digest), published: make(map[uint64]string), named: newSimNamed(),
	}
	s.mem = log.NewMemCluster(log.MemConfig{
		Fault: func(log.MemAppend) log.Fault { return s.fault },
		Late:  func(log.MemAppend) time.Duration { return s.someTime(30 * time.Second) },
		Schedule: func(d time.Duration, fn func()) {
			s.late = append(s.late, lateCall{s.now.Add(d), fn})
		},
	})
	s.clients.init(s)
	for i := range sc.members {
		s.nodes = append(s.nodes, &simNode{name: string(rune('a' + i))})
	}
	s.genesis()
	for _, n := range s.nodes {
		s.boot(n)
	}
	return s
}

// genesis puts the zone and the key into the log, under a name that never appears again.
func (s *sim) genesis() {
	l := s.openLog("genesis")
	if _, err := l.Settle(context.Background()); err != nil {
		s.failf("genesis: %v", err)
	}
	epoch, seq := l.Next()
	_, err := l.Append(context.Background(), fsm.EncodeEntry(fsm.Entry{
		Header:   fsm.Header{Replica: "genesis", Epoch: epoch, Seq: seq, TimeMS: s.now.UnixMilli()},
		Commands: append(setup(), &fsm.Update{KeyName: mustName(testKey), KeyVersion: 1, TimeSigned: uint64(s.now.Unix()), Fudge: 300, Wire: wire(counterRR("add", 0))}),
	}))
	if err != nil {
		s.failf("genesis: %v", err)
	}
	s.observe()
}

func (s *sim) openLog(name string) *log.MemLog {
	cfg := log.DefaultConfig()
	cfg.Replica = name
	l, err := s.mem.Open(cfg)
	if err != nil {
		s.failf("open the log: %v", err)
	}
	return l
}

func (s *sim) names() []string {
	var out []string
	for _, n := range s.nodes {
		out = append(out, n.name)
	}
	return out
}

func (s *sim) coreConfig(name string) coreConfig {
	cfg := coreConfig{
		name: name, maxBatchBytes: 1500, maxBatchCount: 6, maxQueueBytes: 8000, maxQueueCount: 12, gatherFor: 500 * time.Microsecond,
		cutAfter: 12 * time.Millisecond, cutOrphansAfter: 250 * time.Millisecond,
		checkpointBytes: 2500, members: s.names(), omit: s.omit,
	}
	return cfg
}

// boot starts a replica from its newest checkpoint.
func (s *sim) boot(n *simNode) {
	m, poisoned := fsm.New(), false
	if k := len(n.store); k > 0 {
		var err error
		if m, err = fsm.Restore(bytes.NewReader(n.store[k-1].data)); err != nil {
			s.failf("%s: restore checkpoint %d: %v", n.name, n.store[k-1].index, err)
			return
		}
		poisoned = n.store[k-1].poisoned
	}
	l := &life{node: n, core: newCore(s.coreConfig(n.name), m), watch: NewLagWatch(simLagLimits), log: s.openLog(n.name), poisoned: poisoned, follows: true}
	if k := len(n.store); k > 0 {
		l.core.upkeep.checkpoint = n.store[k-1].index
	}
	n.life = l
	s.tracef("%s boots at index %d", n.name, m.Index())
	l.core.start(s.clock(n))
	s.serveAsOwner(l)
	s.absorb(l)
}

// serveAsOwner does what a primary does: serve unless the clock is wrong (C7). The first barrier is left out: what it
// protects is the publisher's.
func (s *sim) serveAsOwner(l *life) {
	var offsets []time.Duration
	for _, n := range s.nodes {
		if n != l.node {
			offsets = append(offsets, n.skew-l.node.skew)
		}
	}
	if skew := Skew(offsets); skew.Abs() > MaxClockSkew {
		l.core.serve(false, fmt.Errorf("clock off by %v", skew))
		return
	}
	l.core.serve(true, nil)
}

// clock is the time as a replica sees it.
func (s *sim) clock(n *simNode) time.Time { return s.now.Add(n.skew) }

// crash ends a life. What it sent is still under way; what it was told is forgotten.
func (s *sim) crash(n *simNode) {
	l := n.life
	n.life = nil
	l.dead = true
	_ = l.log.Close()
	s.clients.crashed(l)
	s.tracef("%s crashes at index %d", n.name, l.core.lastIndex)
}

func (s *sim) someTime(most time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(most)))
}

func (s *sim) chance(perMille int) bool { return s.rng.IntN(1000) < perMille }

func (s *sim) tracef(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%5d %11s  ", s.step, s.now.Sub(simStart).Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

func (s *sim) failf(format string, args ...any) {
	if s.failure == nil {
		s.failure = fmt.Errorf(format, args...)
		s.tracef("FAILURE: %v", s.failure)
	}
}

// report is the failure with what led to it, and how to see it again.
func (s *sim) report() string {
	if s.failure == nil {
		return ""
	}
	return fmt.Sprintf("seed %d, %v:\n%v\nlast events:\n%s\nagain, with all events: go test ./internal/replica -run '^%s$' -sim.seed %d",
		s.seed, s.scenario, s.failure, strings.Join(s.trace[max(0, len(s.trace)-150):], "\n"), s.test, s.seed)
}

// run is the whole run: disorder, then peace, then the books are checked.
func (s *sim) run() {
	for s.step = 1; s.step <= s.steps && s.failure == nil; s.step++ {
		s.disorder()
		s.check()
	}
	s.settleDown()
	if s.failure == nil {
		s.audit()
	}
}

// disorder lets one thing happen.
func (s *sim) disorder() {
	switch x := s.rng.IntN(1000); {
	case x < 120:
		s.pass(s.someTime(15 * time.Millisecond))
	case x < 125 && s.jumps:
		s.pass(s.someTime(12 * time.Second))
	case x < 140:
		s.pass(s.someTime(600 * time.Millisecond))
	case x < 150 && s.crashes:
		s.crashOrBoot()
	case x < 160 && s.cuts:
		s.partition()
	case x < 163 && s.skew:
		s.jumpClock()
	case x < 166 && s.full:
		s.filled = !s.filled
		s.tracef("log full: %v", s.filled)
		s.mem.Fill(s.filled)
	case x < 170 && s.disks:
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		n.diskNo = s.chance(300)
	case x < 180 && s.corrupt > 0:
		s.corruptSome()
	case x < 190 && s.slow:
		s.stick()
	case x < 380:
		s.clients.act()
		if s.burst && s.chance(100) {
			for range 40 {
				s.clients.act()
			}
		}
	default:
		s.advance()
	}
}

// pass lets time pass.
func (s *sim) pass(d time.Duration) {
	s.now = s.now.Add(d)
	if s.slow {
		s.lookAtLag()
	}
}

func (s *sim) crashOrBoot() {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	switch {
	case n.life != nil:
		s.crash(n)
		if s.members > 1 && s.chance(100) && !slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.wiped }) {
			n.wiped = true // one disk a run: more would be more than a quorum's durability can bear
			n.store = nil
			s.tracef("%s loses its disk", n.name)
		}
	case s.chance(400):
		s.boot(n)
	}
}

func (s *sim) partition() {
	if s.chance(200) {
		s.leaderless = !s.leaderless
		s.tracef("leaderless: %v", s.leaderless)
		s.mem.Leaderless(s.leaderless)
		return
	}
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	s.setCut(n, !n.cut)
}

func (s *sim) setCut(n *simNode, cut bool) {
	n.cut = cut
	s.mem.Cut(n.name, cut)
	s.tracef("%s cut off: %v", n.name, cut)
}

// jumpClock sets a replica's clock wrong or right. Its owner notices at once.
func (s *sim) jumpClock() {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	if n.skew != 0 {
		n.skew = 0
	} else if s.wrongClocks() < (len(s.nodes)-1)/2 { // the median has to be right
		n.skew = s.someTime(20*time.Minute) - 5*time.Minute
	}
	s.tracef("%s clock off by %v", n.name, n.skew)
	for _, m := range s.nodes {
		if m.life != nil {
			s.serveAsOwner(m.life)
		}
	}
}

func (s *sim) wrongClocks() int {
	wrong := 0
	for _, n := range s.nodes {
		if n.skew != 0 {
			wrong++
		}
	}
	return wrong
}

// corruptSome has replicas come to other states than the rest, each to its own: by an update that it alone applies as
// another, or by a record that it alone does not get.
func (s *sim) corruptSome() {
	if s.step < s.steps/4 || s.step > s.steps*3/4 || len(s.corrupted) > 0 {
		return
	}
	perm := s.rng.Perm(len(s.nodes))
	for _, i := range perm[:s.corrupt] {
		n := s.nodes[i]
		s.corrupted = append(s.corrupted, n)
		n.life.skip, n.life.twist = s.gaps, !s.gaps
	}
	for _, i := range perm[s.corrupt : s.corrupt+s.absent] {
		s.away = append(s.away, s.nodes[i])
		s.crash(s.nodes[i])
	}
	s.twistAt = s.head + 1
}

// advance lets one replica, or the network, do one thing that is possible.
func (s *sim) advance() {
	if len(s.late) > 0 && s.chance(100) {
		s.deliverLate()
		return
	}
	for range 3 {
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		if n.life != nil && s.advanceNode(n.life, s.rng.IntN(4)) {
			return
		}
	}
}

// deliverLate lets an append arrive whose time has come.
func (s *sim) deliverLate() bool {
	for i, c := range s.late {
		if !c.at.After(s.now) {
			s.late = slices.Delete(s.late, i, i+1)
			s.tracef("a late append arrives")
			c.fn()
			s.observe()
			return true
		}
	}
	return false
}

// advanceNode does one of the four things a replica can do and says whether there was one to do.
func (s *sim) advanceNode(l *life, what int) bool {
	switch what {
	case 0:
		return s.begin(l)
	case 1:
		if len(l.outcomes) == 0 {
			return false
		}
		i := s.rng.IntN(len(l.outcomes))
		f := l.outcomes[i]
		l.outcomes = slices.Delete(l.outcomes, i, i+1)
		s.end(l, f())
		return true
	case 2:
		return s.deliver(l)
	default:
		did := s.clients.read(l)
		if at, ok := l.core.nextTick(); ok && !at.After(s.clock(l.node)) {
			l.core.tick(s.clock(l.node))
			s.absorb(l)
			return true
		}
		return did
	}
}

// end is what the driver does with the outcome of an event: an error ends the process, and its supervisor starts it again.
func (s *sim) end(l *life, err error) {
	if err == nil {
		s.absorb(l)
		return
	}
	s.tracef("%s ends: %v", l.node.name, err)
	if !errors.Is(err, fsm.ErrSequence) || !l.poisoned {
		s.failf("%s: %v", l.node.name, err)
		return
	}
	s.crash(l.node)
	// A state that misses a record can't go on. Its operator moves away the checkpoints that were made of it.
	l.node.store = slices.DeleteFunc(l.node.store, func(c simCheckpoint) bool { return c.poisoned })
	l.node.kept++
	s.boot(l.node)
}

// absorb takes what the core wants done and what it applied.
func (s *sim) absorb(l *life) {
	actions, effects := l.core.take()
	l.todo = append(l.todo, actions...)
	for _, e := range effects {
		for _, v := range e.Verdicts {
			if v.Judge(l.node.name, s.names()) == fsm.StandingNone && l.core.outOfService() == nil && v.Index > l.core.base.index {
				s.failf("%s: no digest of index %d has a majority, and it carries on", l.node.name, v.Index)
			}
		}
	}
	if l.poisoned {
		return
	}
	for _, e := range effects {
		var b strings.Builder
		for _, x := range e.Boundaries {
			fmt.Fprintf(&b, "%s %d-%d;", x.Zone, x.From, x.To)
		}
		if seen, ok := s.published[e.Index]; ok && seen != b.String() {
			s.failf("publish steps of index %d: %q at %s, %q elsewhere", e.Index, b.String(), l.node.name, seen)
		}
		s.published[e.Index] = b.String()
	}
}

// observe notes what has newly entered the log.
func (s *sim) observe() {
	for _, r := range s.mem.Records() {
		if r.Index > s.head {
			s.head = r.Index
			s.history = append(s.history, simRecord{r, s.now})
		}
	}
}
