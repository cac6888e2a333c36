package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestGuarantee: an update with a propagation guarantee is acknowledged when that many secondaries serve it, or after the
// limit; acknowledged it is in any case.
func TestGuarantee(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Secondaries = 2 })
	const primary, limit = "primary-0", 1500 * time.Millisecond
	api, key, n := c.Admin[primary], addKey(t, c, "patient."), 0
	guarantee := func(ofZone, ofKey adminapi.Guarantee) {
		t.Helper()
		s := adminapi.ZoneSettings{UpdatePolicy: "grant patient. zonesub ANY;", Guarantee: &ofZone}
		if _, err := api.SetZone(t.Context(), "example.test.", s); err != nil {
			t.Fatal(err)
		}
		if err := api.SetKeyGuarantee(t.Context(), "patient.", ofKey); err != nil {
			t.Fatal(err)
		}
	}
	count := func(result string) float64 {
		return c.Metric(primary, fmt.Sprintf("zonekeeper_propagation_waits_total{result=%q}", result))
	}
	update := func() (name string, wire, resp []byte, took time.Duration) {
		t.Helper()
		n++
		origin := zone.MustParseName("example.test.")
		label := fmt.Sprintf("g%d", n)
		rr := harness.A(origin, label, 60, [4]byte{192, 0, 2, byte(n)})
		wire = named.AppendUpdate(nil, uint16(rand.Uint32()), origin, nil, []zone.RR{rr})
		wire[11]++ // an OPT record: without it there is no room for an extended error
		wire = tsig.SignRequest(append(wire, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0), key, time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		resp, err := harness.Bytes(ctx, "tcp", c.Primary(primary).DNS, wire)
		if err != nil || resp[3]&15 != noError {
			t.Fatalf("update: %x, %v", resp, err)
		}
		return label + ".example.test.", wire, resp, time.Since(began)
	}
	// now looks once: what was promised is there with the acknowledgement.
	now := func(name string, at ...string) {
		t.Helper()
		for _, s := range at {
			if got, err := harness.Answer(t.Context(), c.Secondary(s).DNS, name, dns.TypeA); err != nil || len(got) != 1 {
				t.Errorf("%s was acknowledged, and %s answers %q, %v", name, s, got, err)
			}
		}
	}
	kept := func(what string, at ...string) {
		t.Helper()
		before := count("served")
		name, _, _, took := update()
		now(name, at...)
		if after := count("served"); took >= limit || after != before+1 {
			t.Errorf("%s: answered after %v, %v waits were served, then %v", what, took, before, after)
		}
		t.Logf("%s: acknowledged after %v", what, took.Round(time.Millisecond))
	}
	none := adminapi.Guarantee{}
	k := func(n int) adminapi.Guarantee {
		return adminapi.Guarantee{Secondaries: n, LimitMS: int(limit.Milliseconds())}
	}

	guarantee(none, none)
	if update(); count("served")+count("limit")+count("skipped") != 0 {
		t.Error("an update without a guarantee waited")
	}
	guarantee(k(2), none)
	for range 10 {
		kept("zone, 2 of 2", "secondary-0", "secondary-1")
	}
	guarantee(none, k(2))
	kept("key, 2 of 2", "secondary-0", "secondary-1")

	// One is stopped, not killed: nobody is told that it is gone.
	c.Signal("secondary-1", syscall.SIGSTOP)
	defer c.Signal("secondary-1", syscall.SIGCONT)
	if err := syscall.Kill(c.Secondary("secondary-1").NamedPID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(c.Secondary("secondary-1").NamedPID, syscall.SIGCONT) }()
	guarantee(k(1), none)
	kept("zone, 1 of 2", "secondary-0")
	guarantee(k(1), k(2)) // the stricter one counts
	before := count("limit")
	name, wire, resp, took := update()
	now(name, "secondary-0")
	if after := count("limit"); took < limit || took > limit+2*time.Second || after != before+1 {
		t.Errorf("2 of 2, one is stopped: answered after %v, %v waits ended at their limit, then %v", took, before, after)
	}
	if text := extendedError(t, resp); !strings.Contains(text, "durable; served by 1 of 2 secondaries") {
		t.Errorf("the answer says %q", text)
	}
	// Sent again it gets the same answer, and changes nothing (I4).
	again, err := exchange(t.Context(), "tcp", c.Primary("primary-1").DNS, wire)
	if err != nil || again != noError {
		t.Errorf("the same update again: rcode %d, %v", again, err)
	}

	if err := syscall.Kill(c.Secondary("secondary-1").NamedPID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.Signal("secondary-1", syscall.SIGCONT)
	for i := range n {
		served(t, c, fmt.Sprintf("g%d.example.test.", i+1), fmt.Sprintf("192.0.2.%d", i+1), "secondary-1")
	}
	guarantee(k(2), k(2))
	c.Until(visible, "the guarantee is kept again", func(context.Context) error {
		if _, _, _, took := update(); took >= limit {
			return fmt.Errorf("answered after %v", took)
		}
		return nil
	})
	c.Verified()
	c.CheckLogs()
}

// extendedError gives the text of an answer's extended DNS error (RFC 8914).
func extendedError(t *testing.T, resp []byte) string {
	t.Helper()
	var m dns.Msg
	if err := m.Unpack(resp); err != nil {
		t.Fatal(err)
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok {
				return ede.ExtraText
			}
		}
	}
	return ""
}

// TestRolledPrimaries restarts all primaries in turn under load: what secondaries serve never goes back, and no zone that they
// have is transferred whole.
func TestRolledPrimaries(t *testing.T) {
	const zones, clients = 8, 4
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Secondaries, cfg.Zones = 2, nil
		for i := range zones {
			cfg.Zones = append(cfg.Zones, fmt.Sprintf("z%d.test", i))
		}
	})
	before := map[string]adminapi.TransferCounts{}
	for _, s := range c.SecondaryNames() {
		before[s] = c.Own(s).Transfers
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var acked atomic.Int64
	for i := range clients {
		client := harness.Dial(t, c.Info().Endpoint, c.Key())
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				origin := zone.MustParseName(fmt.Sprintf("z%d.test.", n%zones))
				rr := harness.A(origin, fmt.Sprintf("c%d-%d", i, n), 60, [4]byte{192, 0, 2, byte(n)})
				rcode, err := client.Update(origin, nil, []zone.RR{rr})
				switch {
				case err == nil && rcode == noError:
					acked.Add(1)
				case err != nil && !errors.Is(err, harness.ErrNoAnswer):
					t.Error(err)
				}
				select { // a few hundred a second, on any machine
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	watch := watchSerials(ctx, c)
	for _, p := range c.Names() {
		at := acked.Load()
		c.Signal(p, syscall.SIGTERM)
		c.Gone(p)
		c.Restart(p)
		c.Until(visible, "updates go on", func(context.Context) error {
			if n := acked.Load(); n < at+50 {
				return fmt.Errorf("%d, then %d", at, n)
			}
			return nil
		})
	}
	stop()
	wg.Wait()
	watch.check(t)
	for _, err := range watch.silent {
		t.Errorf("a secondary does not answer: %v", err)
	}
	c.Verified()
	for _, s := range c.SecondaryNames() {
		now := c.Own(s).Transfers
		if now.AXFR != before[s].AXFR || now.IXFR == before[s].IXFR {
			t.Errorf("%s: transfers before %+v, after %+v", s, before[s], now)
		}
		t.Logf("%s: %d IXFR, %d AXFR, %d up to date, %d failovers", s, now.IXFR-before[s].IXFR, now.AXFR-before[s].AXFR, now.UpToDate-before[s].UpToDate, now.Failovers-before[s].Failovers)
	}
	t.Logf("%d updates", acked.Load())
	c.CheckLogs()
}

// serialWatch looks at the serials of all zones at all secondaries, as fast as they answer. Its fields are complete when done
// has returned.
type serialWatch struct {
	done         func()
	mu           sync.Mutex
	looks, steps int // questions, and new serials among the answers
	falls        []string
	silent       []error
}

// watchSerials watches the zones that there are now until ctx ends.
func watchSerials(ctx context.Context, c *harness.Cluster) *serialWatch {
	var wg sync.WaitGroup
	w := &serialWatch{done: wg.Wait}
	zones := c.Info().Zones
	for _, s := range c.Info().Secondaries {
		wg.Go(func() {
			last := map[string]uint32{}
			for i := 0; ctx.Err() == nil; i++ {
				z := zones[i%len(zones)]
				serial, err := harness.Serial(ctx, s.DNS, z)
				if ctx.Err() != nil {
					return
				}
				w.mu.Lock()
				w.looks++
				old, seen := last[z]
				switch {
				case err != nil:
					w.silent = append(w.silent, err)
				case seen && zone.SerialGT(old, serial):
					w.falls = append(w.falls, fmt.Sprintf("%s: serial of %s fell from %d to %d", s.Name, z, old, serial))
				case seen && serial != old:
					w.steps++
				}
				w.mu.Unlock()
				if err == nil {
					last[z] = serial
				}
				select {
				case <-time.After(2 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	return w
}

// check is for when the watch has ended: serials grew, and none fell.
func (w *serialWatch) check(t *testing.T) {
	t.Helper()
	w.done()
	for _, f := range w.falls {
		t.Error(f)
	}
	if w.steps == 0 {
		t.Error("no serial was seen to grow at a secondary")
	}
	t.Logf("%d looks at the secondaries' serials, %d new ones, %d without an answer", w.looks, w.steps, len(w.silent))
}
