package failover

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	clients = 8
	repeat  = 250 * time.Millisecond
)

// fault hurts a primary and heals it again.
type fault struct {
	name   string
	leader bool // whom: the primary with the log's leader, or another
	hurt   func(c *harness.Cluster, victim string)
	heal   func(c *harness.Cluster, victim string)
}

func faults() []fault {
	kill := func(c *harness.Cluster, v string) { c.Signal(v, syscall.SIGKILL) }
	restart := func(c *harness.Cluster, v string) { c.Restart(v) }
	stop := func(c *harness.Cluster, v string) { c.Signal(v, syscall.SIGSTOP) }
	cont := func(c *harness.Cluster, v string) { c.Signal(v, syscall.SIGCONT); c.Ready(v) }
	return []fault{
		{"kill -9 of the leader", true, kill, restart},
		{"kill -9 of another", false, kill, restart},
		{"SIGSTOP of the leader", true, stop, cont},
		{"SIGSTOP of another", false, stop, cont},
	}
}

// measure injects a fault some times under load and gives the gaps.
func measure(t *testing.T, c *harness.Cluster, s *stream, f fault, times int) gaps {
	t.Helper()
	var out gaps
	for range times {
		victim := c.Follower()
		if f.leader {
			victim = c.Leader()
		}
		before := s.count()
		at := time.Now()
		f.hurt(c, victim)
		c.Until(10*time.Second, "writes go on after "+f.name, func(context.Context) error {
			// Well over the longest gap, so that a late stall is seen as well.
			if time.Since(at) < 3*time.Second || s.count() < before+clients {
				return fmt.Errorf("%d acknowledged since", s.count()-before)
			}
			return nil
		})
		gap := s.gapAfter(at)
		t.Logf("%s (%s): gap %v", f.name, victim, gap.Round(time.Millisecond))
		out = append(out, gap)
		f.heal(c, victim)
	}
	return out
}

// check asserts what must hold after any faults: no failed write, all replicas alike, every acknowledged record there.
func check(t *testing.T, c *harness.Cluster, s *stream) {
	t.Helper()
	for _, f := range s.end() {
		t.Errorf("a write failed: %s", f)
	}
	rep := c.Verified()
	want := s.count()
	for _, copy := range rep.Zones[0].Copies {
		if got := copy.Records - 3; got < want { // SOA, NS and its address
			t.Errorf("%s: %s has %d records, %d were acknowledged", copy.Server, rep.Zones[0].Name, got, want)
		}
	}
}

// TestFailover is the short form for make test: each fault once.
func TestFailover(t *testing.T) {
	c := harness.Start(t, nil)
	s := start(t, c, clients, repeat)
	for _, f := range faults() {
		g := measure(t, c, s, f, 1)
		if g[0] > 5*time.Second { // a loaded machine; the measurement has the real limits
			t.Errorf("%s: gap %v", f.name, g[0])
		}
	}
	planned(t, c, s)
	check(t, c, s)
}

// planned restarts every primary in order, as a rolling update does: no write may fail, and none be lost.
func planned(t *testing.T, c *harness.Cluster, s *stream) gaps {
	t.Helper()
	var out gaps
	for _, victim := range c.Names() {
		at := time.Now()
		c.Signal(victim, syscall.SIGTERM)
		c.Gone(victim)
		c.Restart(victim)
		gap := s.gapAfter(at)
		t.Logf("planned restart of %s: gap %v", victim, gap.Round(time.Millisecond))
		out = append(out, gap)
	}
	return out
}

// TestMeasureFailover prints the table of `make failover` and holds it to the targets.
func TestMeasureFailover(t *testing.T) {
	if os.Getenv("ZONEKEEPER_MEASURE") != "Failover" {
		t.Log("a measurement: run it with make failover")
		return
	}
	const times = 50
	limits := map[string]struct{ p50, max time.Duration }{
		"kill -9 of the leader": {600 * time.Millisecond, 1200 * time.Millisecond},
		"kill -9 of another":    {600 * time.Millisecond, 1200 * time.Millisecond},
		"SIGSTOP of the leader": {0, 2500 * time.Millisecond},
		"SIGSTOP of another":    {0, 2500 * time.Millisecond},
	}
	c := harness.Start(t, nil)
	s := start(t, c, clients, repeat)
	for _, f := range faults() {
		n := times
		if limits[f.name].p50 == 0 {
			n = times / 5
		}
		g := measure(t, c, s, f, n)
		t.Logf("TABLE %-28s %v", f.name, g)
		fail(t, f.name, g, limits[f.name].p50, limits[f.name].max)
	}
	t.Logf("TABLE %-28s %v", "planned restart", planned(t, c, s))
	check(t, c, s)
}

// fail holds measured gaps to their limits; p50 0 is none.
func fail(t *testing.T, name string, g gaps, p50, longest time.Duration) {
	t.Helper()
	s := slices.Sorted(slices.Values(g))
	if p50 > 0 && s[len(s)/2] > p50 {
		t.Errorf("%s: median gap %v, the target is %v", name, s[len(s)/2], p50)
	}
	if s[len(s)-1] > longest {
		t.Errorf("%s: longest gap %v, the target is %v", name, s[len(s)-1], longest)
	}
}
