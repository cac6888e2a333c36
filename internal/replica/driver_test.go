package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// recorder is a Sink that lets tests wait for what happened.
type recorder struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every call
	index   uint64
	steps   []fsm.Boundary
	resets  int
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (s *recorder) Applied(effects []fsm.Effects) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range effects {
		s.index = e.Index
		s.steps = append(s.steps, e.Boundaries...)
	}
	s.notify()
}

func (s *recorder) Reset(m *fsm.Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = m.Index()
	s.resets++
	s.notify()
}

func (s *recorder) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits for a condition on the recorder.
func (s *recorder) until(t *testing.T, what string, cond func(*recorder) bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		ok, ch := cond(s), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-ch:
		case <-deadline:
			t.Fatalf("%s did not happen", what)
		}
	}
}

// node is a running replica.
type node struct {
	*Replica
	sink *recorder
	stop func() error // ends Run and gives its error
	log  log.Log
}

// cluster is a log in memory and the directories of its replicas.
type cluster struct {
	t       *testing.T
	mem     *log.MemCluster
	members []string
	dir     string
	adjust  func(*Config)

	mu    sync.Mutex
	nodes map[string]*node
}

func newCluster(t *testing.T, n int) *cluster {
	c := &cluster{t: t, mem: log.NewMemCluster(log.MemConfig{}), dir: t.TempDir(), nodes: make(map[string]*node)}
	for i := range n {
		c.members = append(c.members, string(rune('a'+i)))
	}
	return c
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1}))
}

func (c *cluster) config(name string, l log.Log, sink Sink) Config {
	cfg := DefaultConfig()
	cfg.Name, cfg.Dir, cfg.Log, cfg.Sink, cfg.Members = name, filepath.Join(c.dir, name), l, sink, c.members
	cfg.Peers = peersOf{c, name}
	cfg.Logger = testLogger(c.t)
	if c.adjust != nil {
		c.adjust(&cfg)
	}
	return cfg
}

// peersOf gives the checkpoints of the other nodes.
type peersOf struct {
	c    *cluster
	self string
}

func (p peersOf) Checkpoint(_ context.Context, atLeast uint64) (io.ReadCloser, error) {
	for _, name := range p.c.members {
		p.c.mu.Lock()
		n := p.c.nodes[name]
		p.c.mu.Unlock()
		if n != nil && name != p.self {
			if f, index, err := n.Checkpoint(); err == nil && index >= atLeast {
				return f, nil
			} else if err == nil {
				f.Close()
			}
		}
	}
	return nil, errors.New("no peer has a checkpoint")
}

// open starts a replica with its own handle on the log.
func (c *cluster) open(name string) *node {
	c.t.Helper()
	n, err := c.tryOpen(name)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *cluster) tryOpen(name string) (*node, error) {
	lcfg := log.DefaultConfig()
	lcfg.Replica = name
	l, err := c.mem.Open(lcfg)
	if err != nil {
		return nil, err
	}
	return c.run(name, l)
}

func (c *cluster) run(name string, l log.Log) (*node, error) {
	sink := newRecorder()
	r, err := Open(c.config(name, l, sink))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	n := &node{Replica: r, sink: sink, log: l}
	n.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		return errors.Join(err, l.Close())
	})
	c.t.Cleanup(func() { _ = n.stop() })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = n
	return n, nil
}

func (c *cluster) openAll() []*node {
	c.t.Helper()
	var out []*node
	for _, name := range c.members {
		n := c.open(name)
		n.serve(c.t)
		out = append(out, n)
	}
	for _, cmd := range setup() {
		out[0].must(c.t, cmd)
	}
	return out
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (n *node) serve(t *testing.T) {
	t.Helper()
	if _, err := n.Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := n.Serve(testContext(t), true, nil); err != nil {
		t.Fatal(err)
	}
}

// must submits a command that has to succeed.
func (n *node) must(t *testing.T, cmd fsm.Command) fsm.Result {
	t.Helper()
	res, err := n.Submit(testContext(t), cmd, time.Time{})
	if err != nil || res.Err != "" || res.RCode != 0 {
		t.Fatalf("%s: %+v, %v", cmd.Kind(), res, err)
	}
	return res
}

// add submits an update that adds the name h<i>.
func (n *node) add(t *testing.T, i int) fsm.Result {
	t.Helper()
	return n.must(t, signedUpdate(uint64(i), time.Now().UnixMilli(), wire(fmt.Sprintf("add h%d.example.test. 60 A 192.0.2.1", i))))
}

// checkpoint has a checkpoint made and waits until this replica has it.
func (n *node) checkpoint(t *testing.T) {
	t.Helper()
	before := n.Status().Checkpoint
	n.must(t, &fsm.Checkpoint{})
	n.untilStatus(t, "a checkpoint", func(s Status) bool { return s.Checkpoint > before })
}

// untilStatus waits for a status. It goes through the replica's goroutine, which any change of status passes.
func (n *node) untilStatus(t *testing.T, what string, cond func(Status) bool) {
	t.Helper()
	ctx := testContext(t)
	for !cond(n.Status()) {
		if err := n.call(ctx, func() {}); err != nil {
			t.Fatalf("%s did not happen: %v; status %+v", what, err, n.Status())
		}
	}
}

// same waits until all nodes have applied the same and compares their states.
func same(t *testing.T, nodes ...*node) {
	t.Helper()
	index, err := nodes[0].log.Barrier(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if err := n.WaitApplied(testContext(t), index); err != nil {
			t.Fatal(err)
		}
	}
	digests := make(map[uint64]fsm.Digest)
	for _, n := range nodes {
		s := n.Machine().Snapshot()
		d := s.Digest()
		if other, ok := digests[s.Index()]; ok && other != d {
			t.Errorf("%s differs at index %d", n.cfg.Name, s.Index())
		}
		digests[s.Index()] = d
	}
}

func TestSubmitAndRead(t *testing.T) {
	c := newCluster(t, 3)
	nodes := c.openAll()
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() { nodes[i%3].add(t, i) })
	}
	wg.Wait()
	for _, n := range nodes {
		if _, err := n.Barrier(testContext(t)); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			if !hasName(n.Machine(), fmt.Sprintf("h%d.example.test.", i)) {
				t.Fatalf("%s lacks update %d after a barrier", n.cfg.Name, i)
			}
		}
	}
	same(t, nodes...)
	// The last change of a burst becomes a publish step without another entry.
	for _, n := range nodes {
		want := func(s *recorder) bool {
			v, _ := n.Machine().Zone(zoneID())
			return len(s.steps) > 0 && s.steps[len(s.steps)-1].To == v.Zone.Serial()
		}
		n.sink.until(t, "the last publish step", want)
	}
}

func TestRestart(t *testing.T) {
	c := newCluster(t, 3)
	nodes := c.openAll()
	for i := range 20 {
		nodes[0].add(t, i)
	}
	nodes[1].checkpoint(t)
	nodes[0].add(t, 100)
	if err := nodes[1].stop(); err != nil {
		t.Fatal(err)
	}
	nodes[0].add(t, 101)
	again := c.open("b")
	again.serve(t)
	again.add(t, 102)
	same(t, nodes[0], again, nodes[2])
	if again.Status().Checkpoint == 0 || again.sink.resets != 0 {
		t.Errorf("the replica did not start from its own checkpoint: %+v", again.Status())
	}
}

// TestReloadFromPeer: a replica whose state the log no longer reaches loads a peer's checkpoint, and serves again by itself.
func TestReloadFromPeer(t *testing.T) {
	c := newCluster(t, 3)
	nodes := c.openAll()
	if err := nodes[2].stop(); err != nil {
		t.Fatal(err)
	}
	for round := range 4 {
		for i := range 5 {
			nodes[0].add(t, round*10+i)
		}
		nodes[0].checkpoint(t)
		nodes[1].untilStatus(t, "b's checkpoint", func(s Status) bool { return s.Checkpoint >= nodes[0].Status().Checkpoint })
	}
	nodes[0].sink.until(t, "compaction", func(*recorder) bool { return c.mem.Records()[0].Index > 10 })
	back := c.open("c")
	if err := back.Serve(testContext(t), true, nil); err != nil {
		t.Fatal(err)
	}
	back.sink.until(t, "the reload", func(s *recorder) bool { return s.resets == 1 })
	back.untilStatus(t, "service", func(s Status) bool { return s.Serving })
	back.add(t, 1000)
	same(t, nodes[0], nodes[1], back)
	if got := back.Status().Checkpoint; got == 0 {
		t.Error("the peer's checkpoint was not kept")
	}
}

func TestStopAnswersAll(t *testing.T) {
	c := newCluster(t, 1)
	n := c.openAll()[0]
	c.mem.Cut("a", true) // appends are lost, settling waits
	errs := make(chan error, 50)
	for i := range 50 {
		n.Propose(signedUpdate(uint64(i), time.Now().UnixMilli(), wire("add x.example.test. 60 A 192.0.2.1")), time.Time{},
			func(_ fsm.Result, err error) { errs <- err })
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		select {
		case err := <-errs:
			if !errors.Is(err, ErrInDoubt) && !errors.Is(err, ErrNotApplied) && !errors.Is(err, ErrStopped) {
				t.Errorf("answer %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a proposal has no answer")
		}
	}
	if _, err := n.Submit(testContext(t), &fsm.Cut{}, time.Time{}); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
	if err := n.Serve(testContext(t), true, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("Serve after the end: %v", err)
	}
	if _, err := n.Barrier(testContext(t)); err == nil {
		t.Error("Barrier after the end succeeded")
	}
}

func TestNotServing(t *testing.T) {
	c := newCluster(t, 1)
	n := c.open("a")
	if _, err := n.Submit(testContext(t), &fsm.Cut{}, time.Time{}); !errors.Is(err, ErrStopped) {
		t.Errorf("before Serve: %v", err)
	}
	n.serve(t)
	n.must(t, setup()[0])
	reason := errors.New("tired")
	if err := n.Serve(testContext(t), false, reason); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Submit(testContext(t), &fsm.Cut{}, time.Time{}); !errors.Is(err, ErrStopped) || !errors.Is(err, reason) {
		t.Errorf("after Serve(false): %v", err)
	}
	if err := n.Drain(testContext(t)); err != nil {
		t.Errorf("Drain: %v", err)
	}
}

// TestOverload (C9): beyond the queue's limit the answer is immediate and says so; what was taken is answered in the end.
func TestOverload(t *testing.T) {
	c := newCluster(t, 1)
	c.adjust = func(cfg *Config) { cfg.MaxQueueCount = 10 }
	n := c.openAll()[0]
	c.mem.Cut("a", true)
	answers := make(chan error, 100)
	for i := range 100 {
		u := signedUpdate(uint64(i), time.Now().UnixMilli(), wire("add x.example.test. 60 A 192.0.2.1"))
		n.Propose(u, time.Time{}, func(_ fsm.Result, err error) { answers <- err })
	}
	refused := 0
	for range 90 {
		if err := <-answers; !errors.Is(err, ErrOverloaded) {
			t.Fatalf("answer %v, want ErrOverloaded", err)
		}
		refused++
	}
	c.mem.Cut("a", false)
	for range 10 {
		if err := <-answers; err != nil {
			t.Errorf("a request that was taken: %v", err)
		}
	}
}

// TestDeadline (C2): a proposal that the log did not take in time is answered, not applied, without waiting for the log.
func TestDeadline(t *testing.T) {
	c := newCluster(t, 1)
	n := c.openAll()[0]
	c.mem.Leaderless(true)
	_, err := n.Submit(testContext(t), signedUpdate(1, time.Now().UnixMilli(), wire("add late.example.test. 60 A 192.0.2.1")),
		time.Now().Add(30*time.Millisecond))
	if !errors.Is(err, ErrNotApplied) {
		t.Fatalf("answer %v, want ErrNotApplied", err)
	}
	c.mem.Leaderless(false)
	n.add(t, 2)
	if hasName(n.Machine(), "late.example.test.") {
		t.Error("it was applied nevertheless")
	}
}

func TestFencedByNamesake(t *testing.T) {
	c := newCluster(t, 1)
	first := c.openAll()[0]
	second := c.open("a") // the same name: it fences the first
	second.serve(t)
	_, err := first.Submit(testContext(t), &fsm.Cut{}, time.Time{})
	if !errors.Is(err, ErrNotApplied) && !errors.Is(err, ErrInDoubt) {
		t.Errorf("answer %v", err)
	}
	if err := first.stop(); !errors.Is(err, log.ErrFenced) {
		t.Errorf("Run ended with %v, want ErrFenced", err)
	}
	second.add(t, 1)
}

func TestNoCheckpointYet(t *testing.T) {
	c := newCluster(t, 1)
	n := c.open("a")
	if _, _, err := n.Checkpoint(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Checkpoint: %v, want fs.ErrNotExist", err)
	}
}

func TestConfigValidate(t *testing.T) {
	c := newCluster(t, 3)
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error; "" valid
	}{
		{"good", func(*Config) {}, ""},
		{"no name", func(c *Config) { c.Name = "" }, "Name is empty"},
		{"not a member", func(c *Config) { c.Name = "z" }, `lack "z"`},
		{"no dir", func(c *Config) { c.Dir = "" }, "Dir is empty"},
		{"no log", func(c *Config) { c.Log = nil }, "Log, Sink"},
		{"batch too large", func(c *Config) { c.MaxBatchBytes = 2 << 20 }, "MaxBatchBytes"},
		{"no queue", func(c *Config) { c.MaxQueueCount = 0 }, "MaxQueueCount 0"},
		{"cut order", func(c *Config) { c.CutOrphansAfter = 1 }, "CutOrphansAfter"},
	} {
		l, err := c.mem.Open(func() log.Config { lc := log.DefaultConfig(); lc.Replica = "a"; return lc }())
		if err != nil {
			t.Fatal(err)
		}
		cfg := c.config("a", l, newRecorder())
		tt.change(&cfg)
		switch err := cfg.Validate(); {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: error %v, want one about %q", tt.name, err, tt.want)
		}
	}
}
