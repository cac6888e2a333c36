package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// startLinked runs a cluster whose primaries can be cut off one another.
func startLinked(t *testing.T, adjust func(*devcluster.Config)) (*harness.Cluster, *harness.Links) {
	t.Helper()
	dir := t.TempDir()
	links := harness.NewLinks(t, dir)
	return harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Dir, cfg.Adjust = dir, links.Adjust
		if adjust != nil {
			adjust(cfg)
		}
	}), links
}

// TestIsolatedPrimary: a primary that is cut off from the quorum, the leader at that, acknowledges nothing and shows
// nothing old (I1, I3, I6), also nothing to a key that was deleted meanwhile (C6). The others go on without it.
func TestIsolatedPrimary(t *testing.T) {
	for _, how := range []struct {
		name string
		link harness.Link
	}{{"connections break", harness.Refuse}, {"packets are lost", harness.Lose}} {
		t.Run(how.name, func(t *testing.T) { isolate(t, how.link) })
	}
}

func isolate(t *testing.T, how harness.Link) {
	c, links := startLinked(t, nil)
	origin := zone.MustParseName("example.test.")
	own, guest := c.Key(), addKey(t, c, "guest.")
	alone := c.Leader()
	var rest []string
	for _, n := range c.Names() {
		if n != alone {
			rest = append(rest, n)
		}
	}
	cut, other := c.Primary(alone), c.Primary(rest[0])
	mustUpdate(t, other.DNS, c.Key(), origin, harness.A(origin, "before", 60, [4]byte{192, 0, 2, 1}))
	if rcode := ask(t, &guest, cut.DNS, "before.example.test", dns.TypeA); rcode != dns.RcodeSuccess {
		t.Fatalf("a query before the partition: %s", dns.RcodeToString[rcode])
	}
	links.Isolate(c.Names(), []string{alone}, how)

	// The others elect a leader of their own, and take writes.
	c.Until(20*time.Second, "the others go on", attempt(other.DNS, own, origin, harness.A(origin, "during", 60, [4]byte{192, 0, 2, 2})))
	c.Until(20*time.Second, "a key is deleted", func(ctx context.Context) error {
		return c.Admin[rest[0]].DeleteKey(ctx, "guest.", "guest.")
	})

	// It must answer none of these. That it does not is seen when they have run into their limits.
	for range 2 {
		var wg sync.WaitGroup
		wg.Go(func() {
			if rcode := addOnce(t, cut.DNS, own, harness.A(origin, "alone", 60, [4]byte{192, 0, 2, 3})); rcode == noError {
				t.Errorf("%s acknowledged an update without a quorum", alone)
			}
		})
		for _, key := range []*tsig.Key{nil, &own, &guest} {
			for _, name := range []string{"before", "during"} {
				wg.Go(func() {
					rcode := ask(t, key, cut.DNS, name+".example.test", dns.TypeA)
					if rcode == dns.RcodeSuccess || rcode == dns.RcodeNameError {
						t.Errorf("%s answered a query (key %v) %s without a quorum", alone, key, dns.RcodeToString[rcode])
					}
				})
			}
		}
		wg.Wait()
	}

	links.Heal()
	c.Ready(alone)
	rep := c.Verified()
	if rep.Zones[0].Copies[0].Records < 5 {
		t.Errorf("records are missing: %+v", rep.Zones[0].Copies)
	}
	if rcode := ask(t, &guest, cut.DNS, "during.example.test", dns.TypeA); rcode != dns.RcodeNotAuth {
		t.Errorf("a deleted key, after healing: rcode %d", rcode)
	}
}

// TestNoQuorum: three primaries that do not hear one another answer no update and no query; together again they do.
func TestNoQuorum(t *testing.T) {
	c, links := startLinked(t, nil)
	origin := zone.MustParseName("example.test.")
	mustUpdate(t, c.Info().Endpoint, c.Key(), origin, harness.A(origin, "before", 60, [4]byte{192, 0, 2, 1}))
	for _, n := range c.Names() {
		links.Isolate(c.Names(), []string{n}, harness.Lose)
	}
	var wg sync.WaitGroup
	for _, p := range c.Info().Primaries {
		wg.Go(func() {
			if rcode := addOnce(t, p.DNS, c.Key(), harness.A(origin, "nobody", 60, [4]byte{192, 0, 2, 2})); rcode == noError {
				t.Errorf("%s acknowledged an update without a quorum", p.Name)
			}
		})
		wg.Go(func() {
			if rcode := ask(t, nil, p.DNS, "before.example.test", dns.TypeA); rcode != dns.RcodeServerFailure {
				t.Errorf("%s answers a query without a quorum with rcode %d, not SERVFAIL", p.Name, rcode)
			}
		})
	}
	wg.Wait()
	links.Heal()
	for _, p := range c.Info().Primaries {
		c.Until(20*time.Second, "updates are taken again", attempt(p.DNS, c.Key(), origin, harness.A(origin, "after", 60, [4]byte{192, 0, 2, 3})))
	}
	c.Verified()
}

// TestEmptyDisk: a primary without its disk becomes a new member, and gets everything back. The one whose disk is empty
// can't make the others forget.
func TestEmptyDisk(t *testing.T) {
	c := harness.Start(t, nil)
	n := &nemesis{t: t, c: c}
	origin := zone.MustParseName("example.test.")
	for i, victim := range slices.Concat(c.Names(), c.Names()[:1]) {
		mustUpdate(t, c.Info().Endpoint, c.Key(), origin, harness.A(origin, fmt.Sprintf("r%d", i), 60, [4]byte{192, 0, 2, byte(i)}))
		n.empty(victim)
		if rcode := ask(t, nil, c.Primary(victim).DNS, fmt.Sprintf("r%d.example.test", i), dns.TypeA); rcode != dns.RcodeSuccess {
			t.Errorf("%s, back from an empty disk: rcode %d", victim, rcode)
		}
	}
	if rep := c.Verified(); rep.Zones[0].Copies[0].Records != 3+4 {
		t.Errorf("records: %+v", rep.Zones[0].Copies)
	}
	members, err := c.Admin[c.Names()[0]].Members(t.Context())
	if err != nil || len(members) != 3 {
		t.Errorf("members: %+v, %v", members, err)
	}
}
