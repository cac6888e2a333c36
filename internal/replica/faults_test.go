package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// files lists a replica's checkpoint directory.
func (c *cluster) files(name string) []string {
	c.t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestCorruptCheckpoint: a damaged checkpoint is named, nothing is overwritten; without the file the replica comes back from the
// one before it and the log, which is why the log is forgotten one checkpoint late.
func TestCorruptCheckpoint(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"a changed octet", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"cut short", func(b []byte) []byte { return b[:len(b)/2] }},
		{"empty", func([]byte) []byte { return nil }},
		{"more than there was", func(b []byte) []byte { return append(b, 0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, 1)
			n := c.openAll()[0]
			for i := range 3 {
				n.add(t, i)
				n.checkpoint(t)
				mark := func(*recorder) bool {
					return n.Machine().CompactionFloor(c.members) == n.Status().Checkpoint
				}
				n.sink.until(t, "the mark", mark)
			}
			n.add(t, 10)
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			files := c.files("a")
			if len(files) != keepCheckpoints {
				t.Fatalf("files %q, want %d checkpoints", files, keepCheckpoints)
			}
			path := filepath.Join(c.dir, "a", files[len(files)-1])
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := tt.damage(bytes.Clone(good))
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = c.tryOpen("a")
			if !errors.Is(err, ErrCorruptCheckpoint) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move the file away") {
				t.Fatalf("Open: %v, want ErrCorruptCheckpoint with the file's path and the remedy", err)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, bad) || len(c.files("a")) != len(files) {
				t.Fatalf("the directory was changed: %q, %v", c.files("a"), err)
			}
			if err := os.Rename(path, filepath.Join(t.TempDir(), "away")); err != nil {
				t.Fatal(err)
			}
			back := c.open("a")
			back.serve(t)
			for _, i := range []int{0, 1, 2, 10} {
				if !hasName(back.Machine(), fmt.Sprintf("h%d.example.test.", i)) {
					t.Errorf("update %d is lost", i)
				}
			}
		})
	}
}

func TestForeignFileInCheckpointDirectory(t *testing.T) {
	c := newCluster(t, 1)
	dir := filepath.Join(c.dir, "a")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "checkpoint-old.bak"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.tryOpen("a"); err == nil || !strings.Contains(err.Error(), "checkpoint-old.bak") {
		t.Errorf("Open: %v, want an error that names the file", err)
	}
}

// TestUnfinishedCheckpoint: what a crash left of a checkpoint being written is removed and never loaded.
func TestUnfinishedCheckpoint(t *testing.T) {
	c := newCluster(t, 1)
	dir := filepath.Join(c.dir, "a")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, checkpointName(7)+checkpointTmp), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.openAll()
	if files := c.files("a"); len(files) != 0 {
		t.Errorf("files %q", files)
	}
}

// TestFullDisk: a replica that can't write checkpoints goes on and says so; when there is space again, it is forgotten.
func TestFullDisk(t *testing.T) {
	c := newCluster(t, 3)
	nodes := c.openAll()
	head, err := nodes[0].log.Barrier(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var full []string
	for index := head; index < head+200; index++ {
		path := filepath.Join(c.dir, "b", checkpointName(index)+checkpointTmp)
		if err := os.Symlink("/dev/full", path); err != nil {
			t.Fatal(err)
		}
		full = append(full, path)
	}
	nodes[0].checkpoint(t)
	nodes[1].untilStatus(t, "the failure", func(s Status) bool { return s.CheckpointError != "" })
	if s := nodes[1].Status(); !s.Serving || !strings.Contains(s.CheckpointError, "no space left") {
		t.Errorf("status %+v, want a replica that serves and reports its disk", s)
	}
	nodes[1].add(t, 1)
	for _, path := range full {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	nodes[0].checkpoint(t)
	nodes[1].untilStatus(t, "a good checkpoint", func(s Status) bool { return s.CheckpointError == "" && s.Checkpoint > 0 })
	same(t, nodes...)
}

// twistedLog delivers one record as another, as a broken replica would apply it.
type twistedLog struct {
	log.Log
	twist atomic.Bool
}

func (l *twistedLog) Follow(ctx context.Context, from uint64, fn func([]log.Record) error) error {
	return l.Log.Follow(ctx, from, func(recs []log.Record) error {
		recs = append([]log.Record(nil), recs...)
		for i, r := range recs {
			e, err := fsm.DecodeEntry(r.Data)
			if err != nil {
				return err
			}
			if u, ok := e.Commands[0].(*fsm.Update); ok && l.twist.CompareAndSwap(true, false) {
				u.Wire = wire("add twisted.example.test. 60 A 192.0.2.66")
				recs[i].Data = fsm.EncodeEntry(e)
			}
		}
		return fn(recs)
	})
}

// fullLog has no space for the fence of a settle while it is full.
type fullLog struct {
	log.Log
	full    atomic.Bool
	refused chan struct{} // has room for one
}

func (l *fullLog) Settle(ctx context.Context) (log.Settled, error) {
	if l.full.Load() {
		select {
		case l.refused <- struct{}{}:
		default:
		}
		return log.Settled{}, log.ErrNoSpace
	}
	return l.Log.Settle(ctx)
}

// TestStartWithoutSpace: a replica that starts while the log has no space follows it and serves readers, and takes commands
// as soon as somebody has made room.
func TestStartWithoutSpace(t *testing.T) {
	c := newCluster(t, 2)
	a := c.open("a")
	a.serve(t)
	for _, cmd := range setup() {
		a.must(t, cmd)
	}
	lcfg := log.DefaultConfig()
	lcfg.Replica = "b"
	inner, err := c.mem.Open(lcfg)
	if err != nil {
		t.Fatal(err)
	}
	l := &fullLog{Log: inner, refused: make(chan struct{}, 1)}
	l.full.Store(true)
	b, err := c.run("b", l)
	if err != nil {
		t.Fatal(err)
	}
	b.serve(t)
	<-l.refused
	a.add(t, 1)
	if _, err := b.Barrier(testContext(t)); err != nil {
		t.Fatalf("a reader: %v", err)
	}
	same(t, a, b)
	l.full.Store(false)
	b.add(t, 2)
	same(t, a, b)
}

// TestDivergedReplicaReloads (C4): the one that differs notices at the next checkpoint, keeps its own as evidence, loads the
// majority's, and serves again. Nobody else reloads.
func TestDivergedReplicaReloads(t *testing.T) {
	c := newCluster(t, 3)
	lcfg := log.DefaultConfig()
	lcfg.Replica = "c"
	inner, err := c.mem.Open(lcfg)
	if err != nil {
		t.Fatal(err)
	}
	twisted := &twistedLog{Log: inner}
	bad, err := c.run("c", twisted)
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.open("a"), c.open("b")
	for _, n := range []*node{a, b, bad} {
		n.serve(t)
	}
	for _, cmd := range setup() {
		a.must(t, cmd)
	}
	same(t, a, b, bad)
	twisted.twist.Store(true)
	a.add(t, 1)
	if _, err := bad.Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if !hasName(bad.Machine(), "twisted.example.test.") {
		t.Fatal("the replica did not diverge")
	}
	a.checkpoint(t)
	bad.sink.until(t, "the reload", func(s *recorder) bool { return s.resets == 1 })
	bad.untilStatus(t, "service", func(s Status) bool { return s.Serving })
	bad.add(t, 2)
	same(t, a, b, bad)
	if hasName(bad.Machine(), "twisted.example.test.") || !hasName(bad.Machine(), "h1.example.test.") {
		t.Error("the replica still has its own state")
	}
	if files := c.files("c"); !strings.Contains(strings.Join(files, " "), evidencePrefix) {
		t.Errorf("files %q, want evidence among them", files)
	}
	for _, n := range []*node{a, b} {
		if n.sink.resets != 0 || strings.Contains(strings.Join(c.files(n.cfg.Name), " "), evidencePrefix) {
			t.Errorf("%s, of the majority, reloaded", n.cfg.Name)
		}
	}
}

// TestNoMajority (C4): two that differ, with nobody to decide, both stop, refuse reads, and keep their checkpoints.
func TestNoMajority(t *testing.T) {
	c := newCluster(t, 2)
	lcfg := log.DefaultConfig()
	lcfg.Replica = "b"
	inner, err := c.mem.Open(lcfg)
	if err != nil {
		t.Fatal(err)
	}
	twisted := &twistedLog{Log: inner}
	b, err := c.run("b", twisted)
	if err != nil {
		t.Fatal(err)
	}
	a := c.open("a")
	a.serve(t)
	b.serve(t)
	for _, cmd := range setup() {
		a.must(t, cmd)
	}
	same(t, a, b)
	twisted.twist.Store(true)
	a.add(t, 1)
	if _, err := a.Submit(testContext(t), &fsm.Checkpoint{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{a, b} {
		n.untilStatus(t, "the stop", func(s Status) bool { return s.Halted && !s.Serving })
		if _, err := n.Barrier(testContext(t)); !errors.Is(err, ErrStopped) || !errors.Is(err, ErrDiverged) {
			t.Errorf("a read at %s: %v, want ErrStopped because of ErrDiverged", n.cfg.Name, err)
		}
		if _, err := n.Submit(testContext(t), &fsm.Cut{}, time.Time{}); !errors.Is(err, ErrStopped) || !errors.Is(err, ErrDiverged) {
			t.Errorf("an update at %s: %v, want ErrStopped because of ErrDiverged", n.cfg.Name, err)
		}
		if len(c.files(n.cfg.Name)) != 1 {
			t.Errorf("%s has files %q, want its one checkpoint", n.cfg.Name, c.files(n.cfg.Name))
		}
	}
}

// TestEmbeddedEtcd runs a replica on a real member: submit, checkpoint, restart, go on.
func TestEmbeddedEtcd(t *testing.T) {
	m := startMember(t)
	c := newCluster(t, 1)
	open := func() *node {
		lcfg := log.DefaultConfig()
		lcfg.Replica, lcfg.Logger = "a", testLogger(t)
		l, err := m.Open(lcfg)
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.run("a", l)
		if err != nil {
			t.Fatal(err)
		}
		n.serve(t)
		return n
	}
	n := open()
	for _, cmd := range setup() {
		n.must(t, cmd)
	}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() { n.add(t, i) })
	}
	wg.Wait()
	for i := range 3 {
		n.add(t, 1000+i)
		n.checkpoint(t)
	}
	before := stateAt(n)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = open()
	if n.Status().Checkpoint == 0 {
		t.Error("the restarted replica has no checkpoint")
	}
	for i := range 200 {
		if !hasName(n.Machine(), fmt.Sprintf("h%d.example.test.", i)) {
			t.Fatalf("update %d is lost", i)
		}
	}
	if now := stateAt(n); now.index < before.index {
		t.Errorf("index %d after the restart, %d before", now.index, before.index)
	}
	n.add(t, 2000)
}

type indexed struct {
	index  uint64
	digest fsm.Digest
}

func stateAt(n *node) indexed {
	s := n.Machine().Snapshot()
	return indexed{s.Index(), s.Digest()}
}

func startMember(t *testing.T) *log.Member {
	t.Helper()
	url := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return "http://" + l.Addr().String()
	}
	cfg := log.DefaultMemberConfig()
	cfg.Name, cfg.DataDir = "a", filepath.Join(t.TempDir(), "etcd")
	cfg.PeerURL, cfg.ClientURL = url(), url()
	cfg.InitialCluster = map[string]string{"a": cfg.PeerURL}
	cfg.Peers = map[string]string{"a": cfg.ClientURL}
	cfg.Token, cfg.Bootstrap, cfg.Logger = "replica-test", true, testLogger(t)
	m, err := log.Start(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
