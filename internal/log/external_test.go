package log

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

// etcdEnv makes the test binary an etcd server: its own re-execution is the external cluster of the tests.
const etcdEnv = "ZONEKEEPER_TEST_ETCD"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(etcdEnv) != "":
		etcdmain.Main(append([]string{"etcd"}, os.Args[1:]...))
		return
	case os.Getenv(nodeEnv) != "":
		runNode(os.Getenv(nodeEnv))
		return
	}
	os.Exit(m.Run())
}

// externalEtcd is a single etcd in a process of its own.
type externalEtcd struct {
	t    *testing.T
	dir  string
	urls []string // peer, client
	cmd  *exec.Cmd
}

func newExternalEtcd(t *testing.T) *externalEtcd {
	e := &externalEtcd{t: t, dir: t.TempDir(), urls: freeURLs(t, 2)}
	e.start()
	t.Cleanup(e.kill)
	return e
}

func (e *externalEtcd) start() {
	e.t.Helper()
	out, err := os.OpenFile(filepath.Join(e.dir, "etcd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer out.Close()
	peer, client := e.urls[0], e.urls[1]
	e.cmd = exec.Command(os.Args[0], "--name", "ext", "--data-dir", filepath.Join(e.dir, "etcd"),
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "ext="+peer,
		"--listen-client-urls", client, "--advertise-client-urls", client, "--log-level", "warn")
	e.cmd.Env = append(os.Environ(), etcdEnv+"=1")
	e.cmd.Stdout, e.cmd.Stderr = out, out
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
}

func (e *externalEtcd) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

func (e *externalEtcd) open(t *testing.T, change func(*Config), replica string) Log {
	t.Helper()
	d := DialConfig{Endpoints: e.urls[1:], DialTimeout: 30 * time.Second}
	l, err := Dial(context.Background(), testConfig(t, change, replica), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func startExternal(t *testing.T) func(*testing.T, func(*Config), string) Log {
	return newExternalEtcd(t).open
}

// TestExternalRestart kills an external etcd under a writer and a follower: the follower goes on without a gap, nothing
// acknowledged is lost. Then its disk is replaced by an empty one: the follower must notice that history is gone.
func TestExternalRestart(t *testing.T) {
	t.Parallel()
	e := newExternalEtcd(t)
	l := e.open(t, nil, "r")
	mustSettle(t, l)
	follower := e.open(t, nil, "f")
	seen := &follow{}
	ended := make(chan error, 1)
	go func() { ended <- follower.Follow(context.Background(), 0, seen.take) }()

	var acked []uint64
	for range 3 {
		for range 10 {
			acked = append(acked, mustAppend(t, l, "x"))
		}
		e.kill()
		e.start()
	}
	acked = append(acked, mustAppend(t, l, "last"))
	last := acked[len(acked)-1]
	var got []uint64
	for _, r := range seen.upTo(last) {
		got = append(got, r.Index)
	}
	if !slices.Equal(got, acked) {
		t.Errorf("the follower saw %v, acknowledged were %v", got, acked)
	}
	follower.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("Follow = %v", err)
	}

	e.kill()
	if err := os.RemoveAll(filepath.Join(e.dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	e.start()
	again := e.open(t, nil, "f")
	err := again.Follow(testContext(t), last, func([]Record) error { return nil })
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("Follow of an etcd that lost its history = %v, want ErrCorrupt", err)
	}
}

func startMemory(t *testing.T) func(*testing.T, func(*Config), string) Log {
	c := NewMemCluster(MemConfig{
		Fault:   SeededFaults(1, Rates{Doubled: 100}),
		Latency: func(string, uint64) time.Duration { return 300 * time.Microsecond },
		Late:    func(MemAppend) time.Duration { return time.Millisecond },
	})
	return func(t *testing.T, change func(*Config), replica string) Log {
		t.Helper()
		l, err := c.Open(testConfig(t, change, replica))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
}
