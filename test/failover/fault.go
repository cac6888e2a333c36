package failover

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// fault hurts a primary and heals it again.
type fault struct {
	name   string
	leader bool // whom: the primary with the log's leader, or another
	kind   *kind
}

// kind is a way to hurt.
type kind struct {
	name       string
	hurt, heal func(c *harness.Cluster, victim string)
	// p50 (0: none) and max are the targets for the gap.
	p50, max time.Duration
	// watch is how long after the fault gaps are looked for: longer than max, so that late ones are seen as well.
	watch time.Duration
}

var (
	// killed: the kernel closes the sockets, which all others notice at once.
	killed = &kind{
		name:  "kill -9",
		hurt:  func(c *harness.Cluster, v string) { c.Kill(v) },
		heal:  func(c *harness.Cluster, v string) { c.Restart(v) },
		p50:   600 * time.Millisecond,
		max:   1200 * time.Millisecond,
		watch: 2 * time.Second,
	}
	// hung: connections stay, and are accepted even; nothing answers.
	hung = &kind{
		name:  "SIGSTOP",
		hurt:  func(c *harness.Cluster, v string) { c.Signal(v, syscall.SIGSTOP) },
		heal:  func(c *harness.Cluster, v string) { c.Signal(v, syscall.SIGCONT); c.Ready(v) },
		max:   2500 * time.Millisecond,
		watch: 3 * time.Second,
	}
)

// cutOff loses every packet to and from the victim.
func cutOff(t *testing.T, n *harness.Network) *kind {
	const length = 3 * time.Second
	return &kind{
		name: "packets dropped",
		hurt: func(_ *harness.Cluster, v string) { n.Cut(v) },
		heal: func(c *harness.Cluster, v string) {
			n.Join(v)
			// TCP sends again what was lost after waiting twice as long each time: connections are silent for up to as
			// long as they were cut. Until then the next fault would be a second one at the same time, of three.
			c.Pause(length + time.Second)
			rejoined(t, c, v)
		},
		max:   2500 * time.Millisecond,
		watch: length,
	}
}

// rejoined waits until a primary takes part in the log again. Readiness does not say so.
func rejoined(t *testing.T, c *harness.Cluster, name string) {
	t.Helper()
	cl := harness.Dial(t, c.Primary(name).DNS, c.Key())
	c.Until(30*time.Second, name+" takes part", func(context.Context) error {
		// An update that changes nothing goes through the log like any other.
		rcode, err := cl.Update(zone.MustParseName(c.Info().Zones[0]+"."), nil, nil)
		if err == nil && rcode != 0 {
			err = fmt.Errorf("rcode %d", rcode)
		}
		return err
	})
}

// faults lists each kind for both sorts of victim.
func faults(kinds ...*kind) (out []fault) {
	for _, k := range kinds {
		out = append(out, fault{k.name + " of the leader", true, k}, fault{k.name + " of another", false, k})
	}
	return out
}

// measure injects a fault some times under load.
func measure(t *testing.T, c *harness.Cluster, s *stream, f fault, times int) harness.Outages {
	t.Helper()
	var out harness.Outages
	for range times {
		victim := c.Follower()
		if f.leader {
			victim = c.Leader()
		}
		at := time.Now()
		f.kind.hurt(c, victim)
		c.Until(20*time.Second, "writes go on after "+f.name, func(context.Context) error {
			if n := s.Waiting(at); n > 0 || time.Since(at) < f.kind.watch {
				return fmt.Errorf("%d clients wait for an answer to what they asked before", n)
			}
			return nil
		})
		o := s.Since(at)
		t.Logf("%s (%s): gap %v, longest request %v", f.name, victim, o.Gap.Round(time.Millisecond), o.Longest.Round(time.Millisecond))
		out = append(out, o)
		f.kind.heal(c, victim)
	}
	return out
}

// planned restarts every primary in order, as a rolling update does.
func planned(t *testing.T, c *harness.Cluster, s *stream) harness.Outages {
	t.Helper()
	var out harness.Outages
	for _, victim := range c.Names() {
		at := time.Now()
		c.Signal(victim, syscall.SIGTERM)
		c.Gone(victim)
		c.Restart(victim)
		o := s.Since(at)
		t.Logf("planned restart of %s: gap %v, longest request %v", victim, o.Gap.Round(time.Millisecond), o.Longest.Round(time.Millisecond))
		out = append(out, o)
	}
	return out
}

// check ends the load and asserts what must hold after any faults: no failed write, all replicas alike, exactly the
// acknowledged records there.
func check(t *testing.T, c *harness.Cluster, s *stream) {
	t.Helper()
	for _, f := range s.Stop() {
		t.Errorf("a write failed: %s", f)
	}
	rep := c.Verified()
	for _, copy := range rep.Zones[0].Copies {
		if got := int64(copy.Records) - 3; got != s.records.Load() { // SOA, NS and its address
			t.Errorf("%s: %s has %d records, %d were acknowledged", copy.Server, rep.Zones[0].Name, got, s.records.Load())
		}
	}
}
