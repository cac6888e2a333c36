package propagation

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// fault makes one primary bad and good again.
type fault struct {
	name       string
	hurt, heal func(c *harness.Cluster, victim string)
}

// The watcher looks at a fault for this long; afterwards the primary is healed.
const faultLength = 4 * time.Second

func closed() fault {
	return fault{"closed (kill -9)",
		func(c *harness.Cluster, v string) { c.Kill(v) },
		func(c *harness.Cluster, v string) { c.Restart(v) }}
}

// hung: connections stay, and new ones are accepted even; nothing answers.
func hung() fault {
	return fault{"hung (SIGSTOP)",
		func(c *harness.Cluster, v string) { c.Signal(v, syscall.SIGSTOP) },
		func(c *harness.Cluster, v string) { c.Signal(v, syscall.SIGCONT); c.Ready(v) }}
}

func namedHung() fault {
	return fault{"its named hung (SIGSTOP)",
		func(c *harness.Cluster, v string) { c.SignalNamed(v, syscall.SIGSTOP) },
		func(c *harness.Cluster, v string) { c.ContinueNamed(v); c.Ready(v) }}
}

// behind: it is reached by secondaries, and no longer learns what the others write.
func behind(links *harness.Links) fault {
	return fault{"behind (cut off the log)",
		func(c *harness.Cluster, v string) { links.Isolate(c.Names(), []string{v}, harness.Lose) },
		func(c *harness.Cluster, v string) { links.Heal(); c.Ready(v) }}
}

// cut: every packet to and from it is lost, and nobody is told.
func cut(n *harness.Network) fault {
	return fault{"cut (packets dropped)",
		func(_ *harness.Cluster, v string) { n.Cut(v) },
		func(c *harness.Cluster, v string) {
			n.Join(v)
			c.Pause(faultLength + time.Second) // TCP sends again what was lost after pauses of that order
			c.Ready(v)
		}}
}

// endure makes one fault after another under load, each of the log's leader and of another primary, and says how long it took
// at most for an acknowledged change to be visible.
func endure(t *testing.T, c *harness.Cluster, r rig, limit time.Duration, times int, faults ...fault) {
	t.Helper()
	zones := zoneNames(faultZones, "fault.test.")
	w := watch(t, r.servers, zones, roughly)
	l := start(t, w, loading{addr: r.write, key: r.key, zones: zones, clients: 1, rate: 40, repeat: 250 * time.Millisecond, patience: 10 * time.Second})
	for _, f := range faults {
		for _, leader := range []bool{true, false} {
			var all spread
			for range times {
				victim, who := c.Follower(), "another"
				if leader {
					victim, who = c.Leader(), "the leader"
				}
				at := time.Now()
				f.hurt(c, victim)
				c.Pause(faultLength)
				s := w.delays(at)
				f.heal(c, victim)
				if _, err := w.drained(30 * time.Second); err != nil {
					t.Errorf("%s of %s: %v", f.name, victim, err)
				}
				t.Logf("%s of %s, %s: %v", f.name, who, victim, s)
				all = append(all, s...)
				if s.at(1) > limit {
					t.Errorf("%s of %s, %s: an acknowledged change was visible after %v only, more than %v", f.name, who, victim, s.at(1), limit)
				}
				if len(s) == 0 {
					t.Errorf("%s of %s: no update was acknowledged within %v", f.name, who, faultLength)
				}
			}
			if leader {
				row("fault: "+f.name, "of the leader", sorted(all).String())
			} else {
				row("fault: "+f.name, "of another", sorted(all).String())
			}
		}
	}
	l.done()
	if _, err := w.drained(30 * time.Second); err != nil {
		t.Error(err)
	}
	l.check(r.write)
	if err := w.monotonic(); err != nil {
		t.Error(err)
	}
	c.Verified()
	c.CheckLogs()
}

const faultZones = 10

func startLinked(t *testing.T) (*harness.Cluster, rig, *harness.Links) {
	t.Helper()
	dir := t.TempDir()
	links := harness.NewLinks(t, dir)
	c, r := cluster(t, zoneNames(faultZones, "fault.test."), func(cfg *devcluster.Config) { cfg.Dir, cfg.Adjust = dir, links.Adjust })
	return c, r, links
}

// startNetworked starts a cluster whose primaries have a network of their own; clients and secondaries reach them over it.
func startNetworked(t *testing.T) (*harness.Cluster, rig, *harness.Network) {
	t.Helper()
	n := harness.NewNetwork(t, []string{"primary-0", "primary-1", "primary-2"}, 0)
	c, r := cluster(t, zoneNames(faultZones, "fault.test."), func(cfg *devcluster.Config) {
		cfg.Adjust = n.Adjust
		cfg.AdjustSecondary = func(sc *secondary.Config) { // where primaries can ask it for its copies
			admin := netip.MustParseAddrPort(sc.Admin.Listen)
			sc.Admin.Listen = netip.AddrPortFrom(netip.MustParseAddr(n.Addr("")), admin.Port()).String()
		}
		harness.Wrap(t, cfg, n.Enter)
	})
	return c, r, n
}

const (
	cutLength   = 2 * time.Second
	cutLimit    = time.Second
	cutAttempts = 3 // a machine with other work may be late once; who waits for the one that is gone is late each time
)

// TestCut is the short form for packets that are lost: what is acknowledged while a primary is cut off is visible within a second,
// by way of another one.
func TestCut(t *testing.T) {
	c, r, n := startNetworked(t)
	zones := zoneNames(faultZones, "fault.test.")
	w := watch(t, r.servers, zones, roughly)
	l := start(t, w, loading{addr: r.write, key: r.key, zones: zones, clients: 1, rate: 40, repeat: 250 * time.Millisecond, patience: 10 * time.Second})
	for who, pick := range map[string]func() string{"the leader": c.Leader, "another": c.Follower} {
		var tried []string
		for range cutAttempts {
			victim, at := pick(), time.Now()
			n.Cut(victim)
			c.Pause(cutLength)
			s := w.delays(at)
			n.Join(victim)
			c.Ready(victim)
			tried = append(tried, fmt.Sprintf("%s: %v", victim, s))
			if len(s) > 0 && s.at(1) <= cutLimit {
				tried = tried[:0]
				t.Logf("cut off %s, %s: %v", who, victim, s)
				break
			}
		}
		if len(tried) > 0 {
			t.Errorf("cut off %s: an acknowledged change was not visible within %v, or none was acknowledged: %q", who, cutLimit, tried)
		}
	}
	l.done()
	if _, err := w.drained(30 * time.Second); err != nil {
		t.Error(err)
	}
	if err := w.monotonic(); err != nil {
		t.Error(err)
	}
	c.CheckLogs()
}

// TestFault is the short form: each fault that needs no network of its own, once.
func TestFault(t *testing.T) {
	c, r, links := startLinked(t)
	endure(t, c, r, faultLength-500*time.Millisecond, 1, closed(), hung(), behind(links))
}

// TestMeasurePropagationFault: changes go on being visible while a primary is bad in one way or the other.
func TestMeasurePropagationFault(t *testing.T) {
	if !measuring(t) {
		return
	}
	t.Run("one machine", func(t *testing.T) {
		c, r, links := startLinked(t)
		endure(t, c, r, time.Second, 3, closed(), hung(), namedHung(), behind(links))
	})
	t.Run("network", func(t *testing.T) {
		c, r, n := startNetworked(t)
		endure(t, c, r, time.Second, 3, cut(n))
	})
	t.Run("plain BIND", plainFaults)
}

// plainFaults are ways in which the first of two primaries of a plain BIND secondary is bad; the second one changes and says so.
func plainFaults(t *testing.T) {
	zones := zoneNames(1, "hole.test.")
	for _, f := range []struct {
		name  string
		first func(t *testing.T) string // its address, as in named.conf
	}{
		{"dropped", func(t *testing.T) string {
			n := harness.NewNetwork(t, []string{"hole"}, 0)
			n.Cut("hole")
			return n.Addr("hole")
		}},
		{"closed", func(t *testing.T) string { return inConf(namedtest.FreePort(t)) }},
		{"hung", func(t *testing.T) string { return inConf(deafServer(t)) }},
		{"behind", func(t *testing.T) string { return inConf(startPlain(t, zones, 0, tuned).primary) }},
	} {
		t.Run(f.name, func(t *testing.T) { plainFault(t, f.name, zones, f.first(t)) })
	}
}

func inConf(a netip.AddrPort) string { return fmt.Sprintf("%s port %d", a.Addr(), a.Port()) }

// plainPatience bounds the wait for a change at a plain BIND: it may try the bad primary three times, 15 s each, over UDP and over TCP.
const plainPatience = 4 * time.Minute

func plainFault(t *testing.T, name string, zones []zone.Name, first string) {
	p := startPlain(t, zones, 1, tuned, first)
	w := watch(t, p.secondaries, zones, roughly)
	err := harness.Retry(plainPatience, func(ctx context.Context) error {
		_, err := harness.Serial(ctx, p.secondaries[0].addr, zones[0].String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	l := start(t, w, loading{addr: p.primary.String(), key: p.key, zones: zones, clients: 1, rate: 1})
	<-time.After(3 * time.Second)
	l.done()
	what := "fault: first primary " + name
	if _, err := w.drained(plainPatience); err != nil {
		row(what, "BIND, tuned timers", fmt.Sprintf("not within %v: %v", plainPatience, err))
		return
	}
	row(what, "BIND, tuned timers", fmt.Sprint(w.delays(time.Time{})))
}

// deafServer takes what it is sent over UDP and connections over TCP, and says nothing.
func deafServer(t *testing.T) netip.AddrPort {
	t.Helper()
	addr := namedtest.FreePort(t)
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	must(t, err)
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	must(t, err)
	t.Cleanup(func() {
		_ = u.Close() // nothing was written
		_ = l.Close()
	})
	return addr
}
