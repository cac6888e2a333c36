package cluster

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
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

// TestKeyComesBack: a key that is deleted and added again under its name is another key. What was signed with the old secret
// is applied no second time, by no primary, whatever has become of the name since (I4, C1, C6).
func TestKeyComesBack(t *testing.T) {
	c := harness.Start(t, nil)
	api := c.Admin[c.Follower()]
	origin := zone.MustParseName("guest.test.")
	old := addKey(t, c, "guest.")
	if _, err := api.AddZone(t.Context(), adminapi.AddZone{Name: "guest.test.", Settings: devcluster.OpenTo("guest.")}); err != nil {
		t.Fatal(err)
	}
	primaries := c.Info().Primaries
	send := func(addr string, wire []byte) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		rcode, err := exchange(ctx, "tcp", addr, wire)
		if err != nil {
			t.Error(err)
		}
		return rcode
	}
	var messages, signed [][]byte
	for i := range 12 {
		msg := named.AppendUpdate(nil, uint16(i), origin, nil, []zone.RR{harness.A(origin, fmt.Sprintf("g%d", i), 60, [4]byte{192, 0, 2, 1})})
		wire := tsig.SignRequest(msg, old, time.Now())
		if rcode := send(primaries[i%len(primaries)].DNS, wire); rcode != noError {
			t.Fatalf("update %d: rcode %d", i, rcode)
		}
		messages, signed = append(messages, msg), append(signed, wire)
	}
	// replay sends everything again, with other message IDs too, which no signature covers.
	replay := func(when string, want int) {
		t.Helper()
		for i, wire := range signed {
			other := append([]byte(nil), wire...)
			binary.BigEndian.PutUint16(other, ^binary.BigEndian.Uint16(other))
			for _, p := range primaries {
				for _, w := range [][]byte{wire, other} {
					if rcode := send(p.DNS, w); rcode != want {
						t.Errorf("%s: request %d again at %s: rcode %d, want %d", when, i, p.Name, rcode, want)
					}
				}
			}
		}
	}
	records := func(when string, want int) {
		t.Helper()
		if z, err := api.Zone(t.Context(), "guest.test."); err != nil || z.Records != want {
			t.Errorf("%s: %+v, %v; want %d records", when, z, err, want)
		}
	}
	clear := func(key tsig.Key) {
		t.Helper()
		for i := range signed {
			rr := zone.RR{Name: zone.MustParseName(fmt.Sprintf("g%d.guest.test.", i)), Type: zone.TypeANY, Class: zone.ClassANY}
			mustUpdate(t, primaries[i%len(primaries)].DNS, key, origin, rr)
		}
		records("deleted", 3)
	}
	clear(old)
	replay("the key is still there", noError)
	records("after a replay", 3)

	if err := api.DeleteKey(t.Context(), "guest.", "guest."); err != nil {
		t.Fatal(err)
	}
	replay("the key is deleted", rcodeNotAuth)
	if _, err := api.AddKey(t.Context(), adminapi.AddKey{Name: "guest.", Secret: base64.StdEncoding.EncodeToString(old.Secret)}); !adminapi.IsCode(err, adminapi.CodeConflict) {
		t.Errorf("the deleted secret comes back at once: %v", err)
	}
	next := addKey(t, c, "guest.")
	replay("the name has another secret", rcodeNotAuth)
	records("after a replay to the new key", 3)
	for i, msg := range messages { // signed anew they are new requests
		wire := tsig.SignRequest(msg, next, time.Now())
		if rcode := send(primaries[i%len(primaries)].DNS, wire); rcode != noError {
			t.Errorf("update %d with the new key: rcode %d", i, rcode)
		}
		signed[i] = wire
	}
	records("signed anew", 3+len(messages))

	// The same within a rotation, while the previous secret is still valid.
	k, err := api.RotateKey(t.Context(), "guest.", adminapi.RotateKey{})
	if err != nil {
		t.Fatal(err)
	}
	rotated := newest(t, k)
	clear(rotated)
	replay("the key is rotated", noError)
	records("after a replay with the previous secret", 3)
	if _, err := api.RetireKey(t.Context(), "guest."); err != nil {
		t.Fatal(err)
	}
	replay("the previous secret is retired", rcodeNotAuth)
	records("after a replay with the retired secret", 3)
	c.Verified()
}

// TestZoneComesAndGoes deletes a zone and adds one of the same name, again and again, while clients write it and followers
// transfer it, and primaries and their named die. A serial has one content through all lives of the name (I2, C3), no life
// shows records of one before, and no update of a life that is over comes in late.
func TestZoneComesAndGoes(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	t.Logf("SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c, links := startLinked(t, nil)
	const name = "again.test."
	origin, key := zone.MustParseName(name), c.Key()
	var addrs []string
	for _, p := range c.Info().Primaries {
		addrs = append(addrs, p.DNS)
	}
	seen := newVersions()
	ctx, stop := context.WithCancel(context.Background())
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()
	for _, of := range [][]string{addrs, addrs[:1], addrs[1:2], addrs[2:]} {
		f := &follower{zone: "again.test", key: func() tsig.Key { return key }, primaries: of, versions: seen}
		followers.Go(func() { f.follow(ctx, 60*time.Millisecond) })
	}
	var last uint32
	for life := range 8 {
		c.Until(60*time.Second, "the zone is added", func(ctx context.Context) error {
			_, err := c.Admin[c.Names()[rnd.IntN(3)]].AddZone(ctx, adminapi.AddZone{Name: name, Settings: devcluster.OpenTo(key.Name.String())})
			if adminapi.IsCode(err, adminapi.CodeConflict) {
				return nil
			}
			return err
		})
		c.Until(60*time.Second, "the new zone is read", func(ctx context.Context) error {
			z, err := c.Admin[c.Names()[rnd.IntN(3)]].Zone(ctx, name)
			if err == nil && (z.Records != 3 || life > 0 && !zone.SerialGT(z.Serial, last)) {
				t.Errorf("life %d begins with %d records at serial %d; the one before ended at %d", life, z.Records, z.Serial, last)
			}
			return err
		})
		writers := writeNames(t, c, key, origin, life)
		c.Pause(time.Duration(200+rnd.IntN(500)) * time.Millisecond)
		victim, repair := c.Names()[rnd.IntN(3)], func() {}
		switch rnd.IntN(4) {
		case 0:
			c.Kill(victim)
			repair = func() { c.Restart(victim) }
		case 1:
			c.SignalNamed(victim, syscall.SIGKILL)
		case 2:
			c.SignalNamed(victim, syscall.SIGSTOP)
			repair = func() { c.ContinueNamed(victim) }
		case 3:
			links.Isolate(c.Names(), []string{victim}, harness.Lose)
			repair = links.Heal
		}
		c.Pause(time.Duration(rnd.IntN(1500)) * time.Millisecond)
		c.Until(60*time.Second, "the zone is deleted", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			api := c.Admin[c.Names()[rnd.IntN(3)]]
			if z, err := api.Zone(ctx, name); err == nil {
				last = z.Serial
			}
			err := api.DeleteZone(ctx, name, name)
			if adminapi.IsCode(err, adminapi.CodeNotFound) {
				return nil
			}
			return err
		})
		writers()
		repair()
		for _, n := range c.Names() {
			c.Ready(n)
		}
		for _, a := range addrs {
			if rcode := ask(t, nil, a, "again.test", dns.TypeSOA); rcode != dns.RcodeRefused {
				t.Errorf("life %d is over, and its SOA at %s: rcode %d", life, a, rcode)
			}
		}
		// An attempt to delete may still be on its way through a primary that was cut off.
		c.Pause(doubtLimit)
	}
	stop()
	followers.Wait()
	for _, p := range seen.problems {
		t.Error(p)
	}
	t.Logf("%d versions seen, %d steps of IXFRs, %d zones transferred whole", len(seen.seen), seen.incremental, seen.whole)
	c.Verified()
	c.CheckLogs()
}

// writeNames adds records through all primaries until the function that it returns is called, or the zone is gone.
func writeNames(t *testing.T, c *harness.Cluster, key tsig.Key, origin zone.Name, life int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i, p := range c.Info().Primaries {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				actx, acancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
				rr := harness.A(origin, fmt.Sprintf("l%d-%d-%d", life, i, n), 60, [4]byte{192, 0, 2, 1})
				rcode, err := update(actx, p.DNS, key, origin, rr)
				if err != nil { // a closed port answers at once
					<-actx.Done()
				}
				acancel()
				switch {
				case err != nil, rcode == noError, rcode == rcodeServFail:
				case rcode == rcodeNotAuth:
					return
				default:
					t.Errorf("an update of %s: rcode %d", origin, rcode)
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}
