package log

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// nodeEnv makes the test binary a member process of its own, which a test can kill or stop. Its value is a nodeConfig.
const nodeEnv = "ZONEKEEPER_TEST_NODE"

type nodeConfig struct {
	Member MemberConfig
	Append time.Duration // pause between appends once told to run
}

// runNode is a member with a writer: on "run" it appends numbered records one after another and prints each
// acknowledgement, with every doubt settled and every record that did not get in sent again. On "stop" it finishes in
// order.
func runNode(config string) {
	var c nodeConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Println("fail", err)
		os.Exit(1)
	}
	c.Member.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	ctx := context.Background()
	m, err := Start(ctx, c.Member)
	if errors.Is(err, ErrConfig) {
		fmt.Println("config", err)
		os.Exit(2)
	}
	if err != nil {
		fmt.Println("fail", err)
		os.Exit(1)
	}
	cfg := DefaultConfig()
	cfg.Replica, cfg.Logger = c.Member.Name, c.Member.Logger
	l, err := m.Open(cfg)
	if err != nil {
		fmt.Println("fail", err)
		os.Exit(1)
	}
	fmt.Printf("ready %d\n", m.ID())

	// A second reader follows from the start through every fault; what it saw is compared at the end.
	seen := &follow{}
	go func() {
		err := l.Follow(ctx, 0, seen.take)
		if !errors.Is(err, ErrClosed) {
			fmt.Println("fail follow", err)
		}
	}()
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	running, finished := context.WithCancel(ctx)
	defer finished()
	var writer sync.WaitGroup
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "run":
			writer.Go(func() { write(running, l, c, say) })
		case "status":
			say("status %d %d %v %v", m.LeaderID(), m.Term(), m.IsLeader(), m.etcd.Server.IsLearner())
		case "dump":
			until, err := l.Barrier(ctx)
			if err != nil {
				say("fail %v", err)
				continue
			}
			for _, r := range seen.upTo(until) {
				say("record %d %s %d %d %s", r.Index, r.Replica, r.Epoch, r.Seq, r.Data)
			}
			say("end")
		case "stop":
			finished()
			writer.Wait()
			l.Close()
			m.Close()
			say("stopped")
			return
		}
	}
}

// follow collects what a follower is given.
type follow struct {
	mu      sync.Mutex
	records []Record
	more    chan struct{}
}

func (f *follow) take(rs []Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records = append(f.records, rs...)
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
	return nil
}

// upTo waits until the record at index has come and returns the records up to it.
func (f *follow) upTo(index uint64) []Record {
	for {
		f.mu.Lock()
		if n := len(f.records); index == 0 || n > 0 && f.records[n-1].Index >= index {
			records := f.records[:n:n]
			f.mu.Unlock()
			for len(records) > 0 && records[len(records)-1].Index > index {
				records = records[:len(records)-1]
			}
			return records
		}
		if f.more == nil {
			f.more = make(chan struct{})
		}
		more := f.more
		f.mu.Unlock()
		<-more
	}
}

func write(ctx context.Context, l Log, c nodeConfig, say func(string, ...any)) {
	if _, err := l.Settle(ctx); err != nil {
		say("fail %v", err)
		return
	}
	for n := 0; ctx.Err() == nil; {
		epoch, seq := l.Next()
		data := fmt.Sprintf("%s-%d-%d", c.Member.Name, c.Member.Heartbeat+time.Duration(os.Getpid()), n)
		index, err := l.Append(context.WithoutCancel(ctx), []byte(data))
		if errors.Is(err, ErrInDoubt) || errors.Is(err, ErrUnsettled) {
			s, serr := l.Settle(context.WithoutCancel(ctx))
			if serr != nil {
				say("fail %v", serr)
				return
			}
			if errors.Is(err, ErrInDoubt) && epoch != 0 && s.Contains(seq) {
				index, err = s.LastIndex, nil
			}
		}
		if err == nil {
			say("ack %d %d %s", time.Now().UnixNano(), index, data)
			n++
		}
		select {
		case <-time.After(c.Append):
		case <-ctx.Done():
		}
	}
}

// node is such a process, seen from the test.
type node struct {
	t     testing.TB
	cfg   nodeConfig
	cmd   *exec.Cmd
	stdin io.WriteCloser

	mu    sync.Mutex
	acks  []ack
	lines chan string // everything but acks
}

type ack struct {
	at    time.Time
	index string
	data  string
}

func startNode(t testing.TB, cfg nodeConfig) *node {
	t.Helper()
	cfg.Member.Logger = nil
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, cfg: cfg, lines: make(chan string, 100_000)}
	n.cmd = exec.Command(os.Args[0])
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+string(b))
	log, err := os.OpenFile(cfg.Member.DataDir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	n.cmd.Stderr = log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go n.read(stdout)
	t.Cleanup(n.kill)
	return n
}

func (n *node) read(r io.Reader) {
	defer close(n.lines)
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		f := strings.Fields(in.Text())
		if len(f) == 4 && f[0] == "ack" {
			var ns int64
			_, _ = fmt.Sscan(f[1], &ns)
			n.mu.Lock()
			n.acks = append(n.acks, ack{time.Unix(0, ns), f[2], f[3]})
			n.mu.Unlock()
			continue
		}
		n.lines <- in.Text()
	}
}

func (n *node) acked() []ack {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]ack(nil), n.acks...)
}

// expect waits for a line that starts with word and returns its fields after it.
func (n *node) expect(word string) []string {
	n.t.Helper()
	timeout := time.After(40 * time.Second)
	for {
		select {
		case line, ok := <-n.lines:
			if !ok {
				n.t.Fatalf("%s ended while waiting for %q", n.cfg.Member.Name, word)
			}
			f := strings.Fields(line)
			if f[0] == word {
				return f[1:]
			}
			if f[0] == "fail" {
				n.t.Fatalf("%s: %s", n.cfg.Member.Name, line)
			}
		case <-timeout:
			b, _ := os.ReadFile(n.cfg.Member.DataDir + ".log")
			n.t.Fatalf("%s: no %q\n%s", n.cfg.Member.Name, word, b)
		}
	}
}

func (n *node) say(word string) { fmt.Fprintln(n.stdin, word) }

func (n *node) signal(s syscall.Signal) { _ = n.cmd.Process.Signal(s) }

func (n *node) kill() {
	if n.cmd.ProcessState == nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
	}
}

// status returns what the node believes: whether it leads, the term, and whether it is a learner.
func (n *node) status() (leads bool, term string, learner bool) {
	n.t.Helper()
	n.say("status")
	f := n.expect("status")
	return f[2] == "true", f[1], f[3] == "true"
}

// records returns the whole log as this node sees it.
func (n *node) records() []string {
	n.t.Helper()
	n.say("dump")
	var rs []string
	for line := range n.lines {
		if line == "end" {
			break
		}
		if r, ok := strings.CutPrefix(line, "record "); ok {
			rs = append(rs, r)
		}
	}
	return rs
}

// startNodes starts a new cluster of three processes that append.
func startNodes(t testing.TB) []*node { return startNodesOf(t, memberConfigs(t, 3)) }

func startNodesOf(t testing.TB, cfgs []MemberConfig) []*node {
	t.Helper()
	var nodes []*node
	for _, c := range cfgs {
		if err := os.MkdirAll(filepath.Dir(c.DataDir), 0o700); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, startNode(t, nodeConfig{Member: c, Append: 2 * time.Millisecond}))
	}
	for _, n := range nodes {
		n.expect("ready")
	}
	for _, n := range nodes {
		n.say("run")
	}
	return nodes
}

// awaitAcks returns once every node has n acknowledgements more than now.
func awaitAcks(t testing.TB, nodes []*node, n int) {
	t.Helper()
	for _, nd := range nodes {
		start := len(nd.acked())
		deadline := time.Now().Add(40 * time.Second)
		for len(nd.acked()) < start+n {
			if time.Now().After(deadline) {
				b, _ := os.ReadFile(nd.cfg.Member.DataDir + ".log")
				t.Fatalf("%s acknowledges nothing\n%s", nd.cfg.Member.Name, b)
			}
			time.Sleep(time.Millisecond) // polling another process
		}
	}
}

// leaderOf waits until one of the nodes leads and returns it first, the others behind.
func leaderOf(t testing.TB, nodes []*node) []*node {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		for i, n := range nodes {
			if leads, _, _ := n.status(); leads {
				rest := append([]*node{n}, nodes[:i]...)
				return append(rest, nodes[i+1:]...)
			}
		}
	}
	t.Fatal("nobody leads")
	return nil
}

// checkHistory proves I1 and I2 over what the nodes acknowledged: all hold the same log, and every acknowledged record
// is in it exactly once, at the index that was acknowledged.
func checkHistory(t testing.TB, alive []*node, all []*node) {
	t.Helper()
	var acks []ack // taken first: writers may still be running
	for _, n := range all {
		acks = append(acks, n.acked()...)
	}
	want := alive[0].records()
	for _, n := range alive[1:] {
		got := n.records()
		if len(got) < len(want) {
			got, want = want, got
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("record %d is %q at one node, %q at another", i, want[i], got[i])
			}
		}
		want = got
	}
	at, times := map[string]string{}, map[string]int{}
	for _, r := range want {
		f := strings.Fields(r)
		at[f[4]] = f[0]
		times[f[4]]++
	}
	for _, a := range acks {
		if times[a.data] == 0 {
			t.Errorf("acknowledged record %s is lost", a.data)
		} else if at[a.data] != a.index {
			t.Errorf("record %s was acknowledged at %s and is at %s", a.data, a.index, at[a.data])
		}
	}
	for data, n := range times {
		if n > 1 {
			t.Errorf("record %s is in the log %d times", data, n)
		}
	}
	t.Logf("%d records, %d acknowledged", len(want), len(acks))
}
