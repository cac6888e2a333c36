package failover

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	clients = 8
	repeat  = 250 * time.Millisecond
)

// TestFailover is the short form for make test: each fault once. Only the order of magnitude is asserted: the machine
// may be loaded.
func TestFailover(t *testing.T) {
	c := harness.Start(t, nil)
	s := start(t, c, clients, repeat)
	for _, f := range faults(killed, hung) {
		if gap := measure(t, c, s, f, 1)[0].Gap; gap > 5*time.Second {
			t.Errorf("%s: gap %v", f.name, gap)
		}
	}
	planned(t, c, s)
	check(t, c, s)
}

// measuring says whether make failover runs: it takes 20 minutes of a quiet machine, and root.
func measuring(t *testing.T) bool {
	t.Helper()
	if os.Getenv("ZONEKEEPER_MEASURE") == "Failover" {
		return true
	}
	t.Log("a measurement: run it with make failover")
	return false
}

// times is how often a fault is injected: n, or what ZONEKEEPER_REPEATS says, to try things out.
func times(n int) int {
	if _, err := fmt.Sscan(os.Getenv("ZONEKEEPER_REPEATS"), &n); err != nil {
		return n
	}
	return n
}

// row prints a line that a script can pick out of a test's output.
func row(where, what, result string) { fmt.Printf("TABLE %-10s %-30s %s\n", where, what, result) }

// table measures faults, prints a line for each and holds them to their targets.
func table(t *testing.T, c *harness.Cluster, where string, n map[*kind]int, list []fault) {
	t.Helper()
	s := start(t, c, clients, repeat)
	for _, f := range list {
		l := measure(t, c, s, f, times(n[f.kind]))
		row(where, f.name, l.String())
		if p50 := l.Gaps().P50(); f.kind.p50 > 0 && p50 > f.kind.p50 {
			t.Errorf("%s, %s: median gap %v, the target is %v", where, f.name, p50, f.kind.p50)
		}
		if longest := l.Gaps().Max(); longest > f.kind.max {
			t.Errorf("%s, %s: longest gap %v, the target is %v", where, f.name, longest, f.kind.max)
		}
	}
	row(where, "planned restart", planned(t, c, s).String())
	check(t, c, s)
}

// TestMeasureFailover: the primaries of one machine, with its disk.
func TestMeasureFailover(t *testing.T) {
	if !measuring(t) {
		return
	}
	c := harness.Start(t, nil)
	table(t, c, "local", map[*kind]int{killed: 50, hung: 10}, faults(killed, hung))
}

// TestMeasureFailoverDropped: no packet of the victim arrives anywhere, and nobody is told.
func TestMeasureFailoverDropped(t *testing.T) {
	if !measuring(t) {
		return
	}
	c, n := startNetworked(t, 0, func(string) []string { return nil })
	dropped := cutOff(t, n)
	table(t, c, "network", map[*kind]int{dropped: 10}, faults(dropped))
}

// TestMeasureFailoverCloud: a fsync takes 10 ms and a round trip between any two hosts, clients included, 2 ms: a
// cloud's volumes, and three of its zones.
func TestMeasureFailoverCloud(t *testing.T) {
	if !measuring(t) {
		return
	}
	dir := t.TempDir()
	c, n := startNetworked(t, time.Millisecond, func(name string) []string {
		return harness.SlowSync(filepath.Join(dir, name), 10*time.Millisecond, 0, 0)
	})
	dropped := cutOff(t, n)
	table(t, c, "cloud", map[*kind]int{killed: 10, hung: 5, dropped: 5}, faults(killed, hung, dropped))
	for _, name := range c.Names() {
		if harness.CountDelayed(t, filepath.Join(dir, name)) == 0 {
			t.Errorf("no fsync of %s was delayed: this was not the cloud", name)
		}
	}
}

// startNetworked runs a cluster whose primaries have namespaces of their own, and run behind more words if any.
func startNetworked(t *testing.T, delay time.Duration, words func(name string) []string) (*harness.Cluster, *harness.Network) {
	t.Helper()
	n := harness.NewNetwork(t, []string{"primary-0", "primary-1", "primary-2"}, delay)
	return harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Adjust = n.Adjust
		harness.Wrap(t, cfg, func(name string) []string { return append(n.Enter(name), words(name)...) })
	}), n
}

// TestMeasureFailoverStalls: a fsync that takes 500 ms, of the leader or of another, again and again, elects nobody.
func TestMeasureFailoverStalls(t *testing.T) {
	if !measuring(t) {
		return
	}
	const (
		victim = "primary-0"
		stall  = 500 * time.Millisecond
		step   = 151 // odd: the write-ahead log's turn and the store's
	)
	trace := filepath.Join(t.TempDir(), victim)
	c := harness.Start(t, func(cfg *devcluster.Config) {
		harness.Wrap(t, cfg, func(name string) []string {
			if name != victim {
				return nil
			}
			return harness.SlowSync(trace, stall, step, step)
		})
	})
	s := start(t, c, clients, repeat)
	for _, who := range []string{"leader", "follower"} {
		if who == "leader" {
			enthrone(t, c, victim)
		} else {
			enthrone(t, c, "primary-1")
		}
		before, stalls, at := now(t, c), harness.CountDelayed(t, trace), time.Now()
		c.Until(3*time.Minute, "the fsync of the "+who+" stalls", func(context.Context) error {
			if n := harness.CountDelayed(t, trace) - stalls; n < times(15) {
				return fmt.Errorf("%d stalls so far", n)
			}
			return nil
		})
		stalls = harness.CountDelayed(t, trace) - stalls
		after := now(t, c)
		row("stalls", "500 ms fsync of the "+who, fmt.Sprintf("%d stalls, elections: %v; %v", stalls, after.String() != before.String(), harness.Outages{s.Since(at)}))
		if after.String() != before.String() {
			t.Errorf("%d stalls of %v of the %s's fsync caused an election: before, %v; after, %v", stalls, stall, who, before, after)
		}
	}
	check(t, c, s)
}

// TestMeasureFailoverLoad: as many clients as the benchmark has, as fast as they can, elect nobody.
func TestMeasureFailoverLoad(t *testing.T) {
	if !measuring(t) {
		return
	}
	const load, length = 256, 30 * time.Second
	c := harness.Start(t, nil)
	before, at := now(t, c), time.Now()
	s := start(t, c, load, time.Second)
	c.Pause(length)
	after, n := now(t, c), s.Count()
	row("load", fmt.Sprint(load, " clients"), fmt.Sprintf("elections: %v; %.0f updates/s; %v", after.String() != before.String(),
		float64(n)/time.Since(at).Seconds(), harness.Outages{s.Since(at)}))
	if after.String() != before.String() {
		t.Errorf("the load caused an election: before, %v; after, %v", before, after)
	}
	check(t, c, s)
}
