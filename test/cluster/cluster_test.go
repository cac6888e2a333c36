package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// otherBIND is the primary with BIND 9.20 beside the others' own.
const otherBIND = "primary-1"

// TestFaults is every fault once (a minute or so), or for as long as DURATION says. SEED repeats the order of the faults and
// what the clients try; what meets what is up to the machine.
func TestFaults(t *testing.T) {
	seed, duration := campaignOf(t)

	dir := t.TempDir()
	disk := mountDisk(t)
	links := harness.NewLinks(t, dir)
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Dir = dir
		cfg.Zones = []string{"example.test", "second.test"}
		cfg.Secondaries = 2
		cfg.Adjust = func(p *primary.Config) {
			links.Adjust(p)
			if p.Name == otherBIND { // replicas that run different releases are the same all the same (D1)
				p.Named.Path = namedtest.Get(t, "9.20").Named
			}
			if p.Name == diskOf && disk != nil {
				p.Dir, p.Etcd.DataDir = filepath.Join(disk.dir, "data"), filepath.Join(disk.dir, "etcd")
			}
		}
	})
	ctx, unwatch := context.WithCancel(t.Context())
	defer unwatch()
	watch := watchSerials(ctx, c)
	l := startLoad(t, c, seed)
	n := &nemesis{t: t, c: c, links: links, load: l, disk: disk, rnd: rand.New(rand.NewPCG(seed, 1<<32))}
	n.run(duration)
	l.stop()
	unwatch()
	watch.check(t)
	l.check(t)
}

// check is what holds after any faults, once they are healed and the clients have ended.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.c.Verified()
	l.quiet(t)
	l.readAll(t)
	l.c.Verified()
	l.replicasEqual(t)
	l.checkLedger(t)
	l.checkCounters(t)
	l.checkMetrics(t)
	l.c.CheckLogs()
	if err := l.checkSerials(); err != nil {
		t.Error(err)
	}
	for _, f := range l.failures {
		t.Error(f)
	}
	t.Logf("%d updates acknowledged, %d SERVFAIL, %d sent again later, %d transfers", l.done.Load(), l.servfails.Load(), l.replays.Load(), l.transfers.Load())
	l.history.check(t)
}

// doubtLimit is how long an update whose client has given up may still come in: its deadline in the log (4 s from receipt),
// and a second for clocks and queues (C2).
const doubtLimit = 5 * time.Second

// quiet checks that nothing arrives after the limit: the serials of all zones stand still.
func (l *load) quiet(t *testing.T) {
	t.Helper()
	l.c.Pause(doubtLimit)
	before := l.zoneStates(t)
	l.c.Pause(doubtLimit)
	if after := l.zoneStates(t); !maps.Equal(before, after) {
		t.Errorf("an update came in more than %s after its client had given up: %v, then %v", doubtLimit, before, after)
	}
}

// zoneStates are all zones' serials and digests at one primary.
func (l *load) zoneStates(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	l.c.Until(10*time.Second, "the zones are listed", func(ctx context.Context) error {
		zones, err := l.c.Admin[l.c.Names()[0]].Zones(ctx)
		for _, z := range zones {
			out[z.Name] = fmt.Sprintf("%d %s", z.Serial, z.Digest)
		}
		return err
	})
	return out
}

// readAll ends the history: every RRset, at every primary.
func (l *load) readAll(t *testing.T) {
	t.Helper()
	for i, addr := range l.primaries {
		asker := harness.Asker{Timeout: 5 * time.Second}
		for _, k := range l.history.keys() {
			call := l.history.now()
			resp, err := asker.Ask(t.Context(), "tcp", addr, k.name+"."+k.zone, uint16(k.typ))
			if err != nil {
				t.Fatal(err)
			}
			var values []string
			for _, rr := range resp.Answer {
				values = append(values, text(rr))
			}
			l.history.note(clients+len(l.primaries)+i, input{kind: read, key: k}, call, output{values: join(values)})
		}
	}
}

// replicasEqual compares what the replicas say of themselves: applied index, serials, digests.
func (l *load) replicasEqual(t *testing.T) {
	t.Helper()
	l.c.Until(20*time.Second, "all replicas have applied the same", func(ctx context.Context) error {
		s, err := l.c.Admin[l.c.Names()[0]].Status(ctx)
		if err != nil {
			return err
		}
		if !s.Healthy {
			return errors.New(s.Summary)
		}
		first := s.Replicas[0]
		for _, r := range s.Replicas {
			if r.AppliedIndex != first.AppliedIndex || !slices.Equal(r.Zones, first.Zones) {
				return fmt.Errorf("%s has applied %d: %+v; %s %d: %+v", r.Name, r.AppliedIndex, r.Zones, first.Name, first.AppliedIndex, first.Zones)
			}
		}
		return nil
	})
}

// checkMetrics: what must not have happened was not counted by any primary since its start.
func (l *load) checkMetrics(t *testing.T) {
	t.Helper()
	for _, name := range l.c.Names() {
		text, err := l.c.Admin[name].Metrics(t.Context())
		if err != nil {
			t.Error(err)
			continue
		}
		for _, metric := range []string{"zonekeeper_replica_digest_mismatches_total", "zonekeeper_apply_panics_total"} {
			if !strings.Contains(string(text), "\n"+metric+" 0\n") {
				t.Errorf("%s: %s is missing or not 0", name, metric)
			}
		}
	}
}

// checkLedger looks for every record that was ever added, in a transfer from each primary: each acknowledged one once, no
// refused one, and nothing that nobody sent.
func (l *load) checkLedger(t *testing.T) {
	t.Helper()
	k := l.signer.key()
	for _, z := range l.zones {
		for _, addr := range l.primaries {
			rrs, err := harness.Asker{Key: &k, Timeout: 10 * time.Second}.Transfer(t.Context(), addr, z, nil)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]int{}
			for _, rr := range rrs {
				label, _, _ := strings.Cut(rr.Header().Name, ".")
				if strings.HasPrefix(label, "u-") {
					seen[label]++
				}
			}
			for _, name := range l.entries(z, acknowledged) {
				if seen[name] != 1 {
					t.Errorf("%s at %s: %s was acknowledged and is there %d times", z, addr, name, seen[name])
				}
				delete(seen, name)
			}
			for _, name := range l.entries(z, refused) {
				if seen[name] != 0 {
					t.Errorf("%s at %s: %s is there, and its client was told that it was not applied", z, addr, name)
				}
				delete(seen, name)
			}
			for _, name := range l.entries(z, doubtful) {
				delete(seen, name)
			}
			for name := range seen {
				t.Errorf("%s at %s: %s is there, and nobody has sent it", z, addr, name)
			}
		}
	}
}

// checkCounters: each acknowledged increment counts once.
func (l *load) checkCounters(t *testing.T) {
	t.Helper()
	for i := range counters {
		k := counterKey(l, i)
		resp, err := harness.Asker{Timeout: 5 * time.Second}.Ask(t.Context(), "tcp", l.primaries[0], k.name+"."+k.zone, uint16(zone.TypeTXT))
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Answer) != 1 {
			t.Errorf("%s: %v", k, resp.Answer)
			continue
		}
		n, err := strconv.Atoi(text(resp.Answer[0]))
		if c := l.counts[i]; err != nil || n < c.acked || n > c.acked+c.unknown {
			t.Errorf("%s is %d (%v): %d increments were acknowledged, %d are unknown", k, n, err, c.acked, c.unknown)
		}
	}
}
