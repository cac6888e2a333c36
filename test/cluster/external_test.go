package cluster

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// etcdCluster is somebody's etcd: three servers, each a process of its own.
type etcdCluster struct {
	t       *testing.T
	dir     string
	peers   []string
	clients []string
	cmds    []*exec.Cmd
}

func startEtcd(t *testing.T) *etcdCluster {
	e := &etcdCluster{t: t, dir: t.TempDir(), cmds: make([]*exec.Cmd, 3)}
	for i, addr := range harness.FreeAddrs(t, 6) {
		if i%2 == 0 {
			e.peers = append(e.peers, "http://"+addr)
		} else {
			e.clients = append(e.clients, "http://"+addr)
		}
	}
	for i := range e.cmds {
		e.start(i)
	}
	t.Cleanup(func() {
		for i := range e.cmds {
			e.kill(i)
		}
	})
	return e
}

func (e *etcdCluster) start(i int) {
	e.t.Helper()
	name := func(i int) string { return fmt.Sprintf("etcd-%d", i) }
	out, err := os.OpenFile(filepath.Join(e.dir, name(i)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer out.Close()
	var initial []string
	for j, u := range e.peers {
		initial = append(initial, name(j)+"="+u)
	}
	cmd := exec.Command(os.Args[0], "--name", name(i), "--data-dir", filepath.Join(e.dir, name(i)), //nolint:noctx // killed by kill
		"--listen-peer-urls", e.peers[i], "--initial-advertise-peer-urls", e.peers[i], "--initial-cluster", strings.Join(initial, ","),
		"--listen-client-urls", e.clients[i], "--advertise-client-urls", e.clients[i], "--log-level", "warn")
	cmd.Env = append(os.Environ(), etcdEnv+"=1")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.cmds[i] = cmd
}

func (e *etcdCluster) kill(i int) {
	_ = e.cmds[i].Process.Kill()
	_ = e.cmds[i].Wait()
}

// leader gives the number of the server that leads.
func (e *etcdCluster) leader(ctx context.Context) (int, error) {
	cli, err := clientv3.New(clientv3.Config{Endpoints: e.clients, DialTimeout: 5 * time.Second, Context: ctx})
	if err != nil {
		return 0, err
	}
	defer cli.Close()
	for i, u := range e.clients {
		if s, err := cli.Status(ctx, u); err == nil && s.Leader == s.Header.MemberId {
			return i, nil
		}
	}
	return 0, fmt.Errorf("none of %v leads", e.clients)
}

// TestExternalEtcd: the same promises when the log is an etcd that somebody runs already, through the loss of its leader,
// of all of it at once, of primaries, and of a primary's disk.
func TestExternalEtcd(t *testing.T) {
	e := startEtcd(t)
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Zones = []string{"example.test", "second.test"}
		cfg.Etcd, cfg.EtcdEndpoints = devcluster.EtcdExternal, e.clients
		cfg.Adjust = func(p *primary.Config) { p.Etcd.Prefix = "/dns/production" }
	})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	l := startLoad(t, c, seed)
	n := &nemesis{t: t, c: c, load: l, rnd: rand.New(rand.NewPCG(seed, 1<<32))}
	anyone := c.Names()[n.rnd.IntN(len(c.Names()))]
	for _, f := range []fault{
		{"kill -9 of etcd's leader", func(n *nemesis) {
			var i int
			n.c.Until(20*time.Second, "etcd has a leader", func(ctx context.Context) (err error) {
				i, err = e.leader(ctx)
				return err
			})
			e.kill(i)
			n.lasts()
			e.start(i)
		}},
		{"kill -9 of all of etcd", func(n *nemesis) {
			for i := range e.cmds {
				e.kill(i)
			}
			n.lasts()
			for i := range e.cmds {
				e.start(i)
			}
		}},
		{"kill -9 of a primary", func(n *nemesis) { n.kill(anyone) }},
		{"SIGSTOP of a primary", func(n *nemesis) { n.stop(anyone) }},
		{"planned restart of a primary", func(n *nemesis) { n.restart(anyone) }},
		{"empty disk of a primary", func(n *nemesis) {
			n.c.Kill(anyone)
			n.c.EmptyDisk(anyone)
			n.c.Restart(anyone)
		}},
	} {
		n.suffer(f)
	}
	l.stop()
	l.check(t)
}

// TestDevWithExternalEtcd: `dev --etcd external` as it is, through the loss of an etcd server and of a primary, and started
// again on its directory.
func TestDevWithExternalEtcd(t *testing.T) {
	dir := t.TempDir()
	external := func(cfg *devcluster.Config) {
		cfg.Dir, cfg.Etcd = dir, devcluster.EtcdExternal
		cfg.Zones = []string{"example.test", "second.test"}
	}
	c := harness.Start(t, external)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	l := startLoad(t, c, seed)
	n := &nemesis{t: t, c: c, load: l, rnd: rand.New(rand.NewPCG(seed, 1<<32))}
	for i, s := range c.Info().Etcd {
		n.suffer(fault{"kill -9 of " + s.Name, func(n *nemesis) {
			if err := syscall.Kill(c.Info().Etcd[i].PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			n.lasts()
			// A killed process is gone only when its parent has noticed.
			c.Until(30*time.Second, "start "+s.Name, func(ctx context.Context) error { return c.StartProcess(ctx, s.Name) })
		}})
	}
	n.suffer(fault{"kill -9 of a primary", func(n *nemesis) { n.kill("primary-1") }})
	l.stop()
	l.check(t)

	before := l.zoneStates(t)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again := harness.Start(t, external)
	again.Verified()
	l.c = again
	if after := l.zoneStates(t); !maps.Equal(before, after) {
		t.Errorf("started again the zones are %v, before %v", after, before)
	}
}
