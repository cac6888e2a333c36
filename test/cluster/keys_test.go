package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
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

// TestKeysAndZones crosses keys with zones: each key may change, read and transfer the zone that grants it, and none else.
func TestKeysAndZones(t *testing.T) {
	c := harness.Start(t, nil)
	const tenants = 4
	api := c.Admin[c.Names()[0]]
	var keys []*tsig.Key
	var zones []*adminapi.Zone
	for i := range tenants {
		k := addKey(t, c, fmt.Sprintf("tenant-%d.", i))
		keys = append(keys, &k)
		grant := fmt.Sprintf("key %q;", k.Name.String())
		z, err := api.AddZone(t.Context(), adminapi.AddZone{Name: fmt.Sprintf("zone-%d.test.", i), Settings: adminapi.ZoneSettings{
			UpdatePolicy: fmt.Sprintf("grant %s zonesub ANY;", k.Name), AllowQuery: grant, AllowTransfer: grant,
		}})
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, z)
	}
	keys = append(keys, nil) // nobody
	for _, p := range c.Info().Primaries {
		for i, key := range keys {
			for j, z := range zones {
				want := dns.RcodeRefused
				if i == j {
					want = dns.RcodeSuccess
				}
				origin := zone.MustParseName(z.Name)
				rr := harness.A(origin, p.Name, 60, [4]byte{192, 0, 2, byte(i)})
				serial := z.Serial
				got := map[string]int{
					"UPDATE": updateAs(t, key, p.DNS, origin, rr),
					"query":  ask(t, key, p.DNS, z.Name, dns.TypeSOA),
					"AXFR":   xfrRCode(t, key, p.DNS, z.Name, nil),
					"IXFR":   xfrRCode(t, key, p.DNS, z.Name, &serial),
				}
				for what, rcode := range got {
					if rcode != want {
						t.Errorf("%s of %s at %s with key %v: rcode %d, want %d", what, z.Name, p.Name, key, rcode, want)
					}
				}
			}
		}
	}
	for _, z := range c.Verified().Zones {
		if want := 3 + len(c.Names()); z.Name != "example.test." && z.Copies[0].Records != want {
			t.Errorf("%s has %d records, want %d", z.Name, z.Copies[0].Records, want)
		}
	}
}

// updateAs sends an update once, over TCP, signed or (nil) not.
func updateAs(t *testing.T, key *tsig.Key, addr string, origin zone.Name, rr zone.RR) int {
	t.Helper()
	// A message of its own each time: the same one again would get its first answer, whatever became of the key (I4).
	wire := named.AppendUpdate(nil, uint16(rand.Uint32()), origin, nil, []zone.RR{rr})
	if key != nil {
		wire = tsig.SignRequest(wire, *key, time.Now())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	rcode, err := exchange(ctx, "tcp", addr, wire)
	if err != nil {
		t.Log(err)
	}
	return rcode
}

// use gives what a key may do at a primary: UPDATE, query, AXFR.
func use(t *testing.T, key *tsig.Key, p devcluster.PrimaryInfo, label string) [3]int {
	t.Helper()
	origin := zone.MustParseName("example.test.")
	return [3]int{
		updateAs(t, key, p.DNS, origin, harness.A(origin, label, 60, [4]byte{192, 0, 2, 1})),
		ask(t, key, p.DNS, "example.test", dns.TypeSOA),
		xfrRCode(t, key, p.DNS, "example.test", nil),
	}
}

// TestRotation: from the moment that a rotation is acknowledged both secrets work for everything at every primary; from the
// moment that the old one is retired it works nowhere (C6); the same for the whole key when it is deleted.
func TestRotation(t *testing.T) {
	c := harness.Start(t, nil)
	api := c.Admin[c.Follower()]
	old := c.Key()
	fine := [3]int{}
	unknown := [3]int{rcodeNotAuth, rcodeNotAuth, rcodeNotAuth}
	everywhere := func(when string, key *tsig.Key, want [3]int) {
		t.Helper()
		for _, p := range c.Info().Primaries {
			if got := use(t, key, p, "r"); got != want {
				t.Errorf("%s: UPDATE, query and AXFR at %s: rcodes %v, want %v", when, p.Name, got, want)
			}
		}
	}
	everywhere("before", &old, fine)
	for round := range 3 {
		k, err := api.RotateKey(t.Context(), old.Name.String(), adminapi.RotateKey{})
		if err != nil {
			t.Fatal(err)
		}
		next := newest(t, k)
		everywhere(fmt.Sprintf("rotation %d, the old secret", round), &old, fine)
		everywhere(fmt.Sprintf("rotation %d, the new secret", round), &next, fine)
		if _, err := api.RetireKey(t.Context(), old.Name.String()); err != nil {
			t.Fatal(err)
		}
		everywhere(fmt.Sprintf("rotation %d, the retired secret", round), &old, unknown)
		everywhere(fmt.Sprintf("rotation %d, the only secret", round), &next, fine)
		old = next
	}
	if err := api.DeleteKey(t.Context(), old.Name.String(), ""); !adminapi.IsCode(err, adminapi.CodeConflict) {
		t.Errorf("deleting a key without a confirmation: %v", err)
	}
	everywhere("still there", &old, fine)
	if err := api.DeleteKey(t.Context(), old.Name.String(), old.Name.String()); err != nil {
		t.Fatal(err)
	}
	everywhere("deleted", &old, unknown)
	c.Verified()
}

// flow sends updates one after another, each once, and notes how each ended.
type flow struct {
	sent  time.Time
	rcode int
}

// stream runs flows into a zone through all primaries until stop is called, which gives all results.
func stream(t *testing.T, c *harness.Cluster, key tsig.Key, origin zone.Name) (stop func() []flow) {
	var mu sync.Mutex
	var all []flow
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i, p := range c.Info().Primaries {
		for j := range 2 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					rr := harness.A(origin, fmt.Sprintf("s-%d-%d-%d", i, j, n), 60, [4]byte{192, 0, 2, 1})
					sent := time.Now()
					actx, acancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
					rcode, err := update(actx, p.DNS, key, origin, rr)
					acancel()
					if err != nil {
						t.Errorf("an update of %s in flight got no answer: %v", origin, err)
					}
					mu.Lock()
					all = append(all, flow{sent, rcode})
					mu.Unlock()
				}
			})
		}
	}
	var once sync.Once
	stop = func() []flow {
		once.Do(func() { cancel(); wg.Wait() })
		return all
	}
	t.Cleanup(func() { stop() })
	return stop
}

// tally counts the updates with an answer, and those of them sent after a moment.
func tally(all []flow, rcode int, since time.Time) (n, after int) {
	for _, f := range all {
		if f.rcode != rcode {
			continue
		}
		n++
		if f.sent.After(since) {
			after++
		}
	}
	return n, after
}

// TestRevocationUnderLoad: nothing that was sent after the acknowledgement of a key's deletion is taken, anywhere; every
// update under way gets a true answer.
func TestRevocationUnderLoad(t *testing.T) {
	c := harness.Start(t, nil)
	origin := zone.MustParseName("example.test.")
	stop := stream(t, c, c.Key(), origin)
	c.Pause(time.Second)
	if err := c.Admin[c.Follower()].DeleteKey(t.Context(), "dev-key.", "dev-key."); err != nil {
		t.Fatal(err)
	}
	acknowledged := time.Now()
	c.Pause(300 * time.Millisecond)
	all := stop()
	taken, late := tally(all, noError, acknowledged)
	refused, after := tally(all, rcodeNotAuth, acknowledged)
	if late > 0 || after == 0 || taken+refused != len(all) {
		t.Errorf("of %d updates %d were taken, %d of them sent after the key was deleted; %d were answered NOTAUTH, %d of them sent after", len(all), taken, late, refused, after)
	}
	if got := c.Verified().Zones[0].Copies[0].Records; got != 3+taken {
		t.Errorf("%d records, want 3 and the %d acknowledged", got, taken)
	}
}

// TestZoneDeletion: it needs a confirmation, gives updates under way a true answer, leaves other zones alone, and a zone of
// the same name begins anew with a higher serial (C3).
func TestZoneDeletion(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Zones = []string{"doomed.test", "example.test"} })
	doomed, kept := zone.MustParseName("doomed.test."), zone.MustParseName("example.test.")
	api := c.Admin[c.Follower()]
	for _, confirm := range []string{"", "example.test.", "doomed"} {
		if err := api.DeleteZone(t.Context(), "doomed.test.", confirm); !adminapi.IsCode(err, adminapi.CodeConflict) {
			t.Errorf("deletion confirmed with %q: %v", confirm, err)
		}
	}
	stopDoomed, stopKept := stream(t, c, c.Key(), doomed), stream(t, c, c.Key(), kept)
	c.Pause(time.Second)
	before, err := api.Zone(t.Context(), "doomed.test.")
	if err != nil {
		t.Fatal(err)
	}
	if err := api.DeleteZone(t.Context(), "doomed.test.", "doomed.test."); err != nil {
		t.Fatal(err)
	}
	acknowledged := time.Now()
	c.Pause(300 * time.Millisecond)
	all, other := stopDoomed(), stopKept()
	taken, late := tally(all, noError, acknowledged)
	refused, after := tally(all, rcodeNotAuth, acknowledged)
	if late > 0 || after == 0 || taken+refused != len(all) {
		t.Errorf("of %d updates %d were taken, %d of them sent after the zone was deleted; %d were answered NOTAUTH, %d of them sent after", len(all), taken, late, refused, after)
	}
	if n, _ := tally(other, noError, acknowledged); n != len(other) {
		t.Errorf("%d of %d updates of another zone failed", len(other)-n, len(other))
	}
	for _, p := range c.Info().Primaries {
		if rcode := ask(t, nil, p.DNS, "doomed.test", dns.TypeSOA); rcode != dns.RcodeRefused {
			t.Errorf("a deleted zone's SOA at %s: rcode %d", p.Name, rcode)
		}
	}
	again, err := api.AddZone(t.Context(), adminapi.AddZone{Name: "doomed.test.", Settings: devcluster.OpenTo("dev-key.")})
	if err != nil {
		t.Fatal(err)
	}
	if again.Records != 3 || !zone.SerialGT(again.Serial, before.Serial) {
		t.Errorf("the zone came back with %d records and serial %d, it had serial %d", again.Records, again.Serial, before.Serial)
	}
	for _, z := range c.Verified().Zones {
		if z.Name == "example.test." && z.Copies[0].Records != 3+len(other) {
			t.Errorf("%s has %d records, want 3 and the %d acknowledged", z.Name, z.Copies[0].Records, len(other))
		}
	}
}
