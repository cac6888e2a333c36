package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// I2: after every step named holds the state machine's content, and no step needs more than its one UPDATE.
func TestRandomChanges(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		r := newRig(t, rel)
		r.pub.Start(r.m)
		rng := seed(t)
		changers := changers(r, rng, 4)
		accepted := 0
		for range 400 {
			var batch []fsm.Command
			for range 1 + rng.IntN(5) {
				c := changers[rng.IntN(len(changers))]
				v, _ := r.m.Zone(c.id)
				batch = append(batch, c.next(v.Zone))
			}
			for _, res := range r.apply(batch...).Results {
				if res.RCode == 0 {
					accepted++
				}
			}
			if rng.IntN(4) == 0 {
				r.expect(changers[rng.IntN(len(changers))].id)
			}
		}
		for _, c := range changers {
			r.expect(c.id)
			if err := r.pub.Verify(t.Context(), c.id); err != nil {
				t.Error(err)
			}
		}
		if accepted < 300 {
			t.Errorf("only %d requests were accepted; the generator is no good", accepted)
		}
		for _, reason := range []string{"size", "refused", "foreign", "different", "deadly"} {
			if n := r.replacements(reason); n != 0 {
				t.Errorf("%v zones were replaced (%s); every step should be one UPDATE", n, reason)
			}
		}
		if n := r.count(r.pub.metrics.failures); n != 0 {
			t.Errorf("%v attempts failed", n)
		}
	})
}

// C5: no publishing before the first barrier since start.
func TestNothingBeforeStart(t *testing.T) {
	r := newRig(t, namedtest.Get(t, "9.20"))
	id := r.addZone("example.test", fsm.ZoneSettings{})
	r.must(message(id, add("www.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
	if err := r.pub.Serving(id); !errors.Is(err, ErrNotServing) {
		t.Fatalf("Serving before Start: %v", err)
	}
	if st, _ := r.srv.Watch(); st.Phase != named.Down || st.PID != 0 {
		t.Fatalf("named runs before Start: %+v", st)
	}
	r.pub.Start(r.m)
	r.expect(id)
}

// I7: named killed, ended, hung, again and again, under changes.
func TestDeaths(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		r := newRig(t, rel)
		r.pub.Start(r.m)
		rng := seed(t)
		changers := changers(r, rng, 3)
		r.expect(changers[0].id)
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGKILL} {
			old := r.session(0).Incarnation()
			for i := range 60 {
				c := changers[rng.IntN(len(changers))]
				v, _ := r.m.Zone(c.id)
				r.apply(c.next(v.Zone))
				if i == 30 {
					r.signal(sig)
				}
			}
			r.session(old)
			for _, c := range changers {
				r.expect(c.id)
			}
		}
		if st, _ := r.srv.Watch(); st.Exits != 4 {
			t.Errorf("named ended %d times, want 4", st.Exits)
		}
	})
}

// I7, D7: content that somebody else put into named is found, gated and repaired.
func TestBehindOurBack(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		r := newRig(t, rel)
		r.pub.Start(r.m)
		id := r.addZone("example.test", fsm.ZoneSettings{})
		r.must(message(id, add("www.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
		r.expect(id)
		s := r.session(0)
		st := s.NewStream()
		defer st.Close()
		tamper := func() {
			t.Helper()
			if err := st.Update(t.Context(), id.Name, nil, []zone.RR{add("evil.example.test", 60, zone.TypeA, "\x06\x06\x06\x06")}); err != nil {
				t.Fatal(err)
			}
		}
		tamper()
		if err := r.pub.Verify(t.Context(), id); err == nil {
			t.Error("Verify finds nothing")
		}
		r.expect(id)
		// Without a verification the next step finds it.
		tamper()
		r.must(message(id, add("www.example.test", 60, zone.TypeA, "\x01\x02\x03\x05")))
		r.expect(id)
		if r.replacements("different") != 1 || r.replacements("foreign") != 1 {
			t.Errorf("replacements: different %v, foreign %v; want 1 and 1", r.replacements("different"), r.replacements("foreign"))
		}
		// A whole zone taken away.
		if err := s.DeleteZone(t.Context(), id.Name); err != nil {
			t.Fatal(err)
		}
		r.must(message(id, add("www.example.test", 60, zone.TypeA, "\x01\x02\x03\x06")))
		r.expect(id)
	})
}

// observed keeps what an Observer is told, in order.
type observed struct {
	mu  sync.Mutex
	log map[fsm.ZoneID][]string
}

func observe(o *observed) rigOption {
	o.log = map[fsm.ZoneID][]string{}
	return func(c *Config, _ *named.Config) { c.Observer = o }
}

func (o *observed) note(id fsm.ZoneID, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log[id] = append(o.log[id], text)
}

// Served and Gone implement Observer.
func (o *observed) Served(id fsm.ZoneID, serial uint32) { o.note(id, fmt.Sprint(serial)) }
func (o *observed) Gone(id fsm.ZoneID)                  { o.note(id, "gone") }

// take returns what came since the last call.
func (o *observed) take(id fsm.ZoneID) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.log[id]
	o.log[id] = nil
	return out
}

// A step of more than a message, and a serial that leaps, replace the zone. Whoever observes learns of each serial that is
// served, and of each moment from which on the zone is not.
func TestWholeZone(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		var o observed
		r := newRig(t, rel, observe(&o))
		r.pub.Start(r.m)
		id := r.addZone("example.test", fsm.ZoneSettings{})
		r.expect(id)
		told := func(want ...string) {
			t.Helper()
			if got := o.take(id); !slices.Equal(got, want) {
				t.Errorf("the observer was told %q, want %q", got, want)
			}
		}
		serial := func() string {
			v, _ := r.m.Zone(id)
			return fmt.Sprint(v.Zone.Serial())
		}
		told(serial())
		var big []fsm.Command
		for i := range 40 {
			big = append(big, message(id, add(zoneName(i)+".example.test", 60, zone.TypeTXT, "\x01x"), add(zoneName(i)+".example.test", 60, zone.Type(65300), strings.Repeat("y", 2000))))
		}
		r.must(big...)
		r.expect(id)
		if n := r.replacements("size"); n != 1 {
			t.Errorf("%v replacements for size, want 1", n)
		}
		told("gone", serial())
		r.must(message(id, add("small.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
		r.expect(id)
		if n := r.replacements("size"); n != 1 {
			t.Errorf("%v replacements for size after a small step, want still 1", n)
		}
		told(serial())
		r.must(&fsm.DeleteZone{Zone: id, Confirm: id.Name})
		told("gone")
	})
}

// Zones and keys come, change and go at run time.
func TestSettings(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		r := newRig(t, rel)
		r.pub.Start(r.m)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		id := r.addZone("example.test", fsm.ZoneSettings{})
		r.expect(id)
		key := &fsm.PutKey{Name: name("tenant.test"), Algorithm: "hmac-sha256", Version: 1, Sealed: []byte("0123456789abcdef"), SecretID: [16]byte{1}}
		settle := func(e fsm.Effects) {
			t.Helper()
			if err := r.pub.WaitSettings(ctx, e.Index); err != nil {
				t.Fatal(err)
			}
		}
		transfers := func() bool {
			t.Helper()
			return r.transferAs(ctx, id.Name, key)
		}
		settle(r.must(key))
		if transfers() {
			t.Error("a key transfers a zone that does not grant it")
		}
		settle(r.must(&fsm.PutZone{Zone: id, Settings: fsm.ZoneSettings{AllowUpdate: "127.0.0.1;", AllowTransfer: `key "tenant.test";`}}))
		if !transfers() {
			t.Error("a key does not transfer a zone that grants it")
		}
		settle(r.must(&fsm.DeleteKey{Name: key.Name}))
		if transfers() {
			t.Error("a revoked key transfers the zone")
		}
		r.must(message(id, add("www.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
		r.expect(id)
		// Deleted and added again: another zone, a serial that was never used.
		settle(r.must(&fsm.DeleteZone{Zone: id, Confirm: id.Name}))
		if err := r.pub.Serving(id); !errors.Is(err, ErrNotServing) {
			t.Errorf("Serving a deleted zone: %v", err)
		}
		if _, err := r.pub.WaitPublished(ctx, id, r.index); !errors.Is(err, ErrNotServing) {
			t.Errorf("WaitPublished of a deleted zone: %v", err)
		}
		r.addZone("example.test", fsm.ZoneSettings{})
		r.expect(id)
	})
}

// C5: a ticket ends with the incarnation of named, even when the next one serves the same content.
func TestTicket(t *testing.T) {
	r := newRig(t, namedtest.Get(t, "9.20"))
	r.pub.Start(r.m)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	id := r.addZone("example.test", fsm.ZoneSettings{})
	first, err := r.pub.WaitPublished(ctx, id, r.index)
	if err != nil {
		t.Fatal(err)
	}
	if now, terr := r.pub.Ticket(id); terr != nil || now != first || !r.pub.Valid(first) {
		t.Errorf("Ticket = %v, %v; want the same, valid", now, terr)
	}
	r.must(message(id, add("www.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
	r.expect(id)
	if !r.pub.Valid(first) {
		t.Error("a ticket ends with a further step")
	}
	old := r.session(0).Incarnation()
	r.signal(syscall.SIGKILL)
	r.session(old)
	second, err := r.pub.WaitPublished(ctx, id, r.index)
	if err != nil {
		t.Fatal(err)
	}
	if r.pub.Valid(first) || !r.pub.Valid(second) {
		t.Errorf("after a restart: first valid %v, second %v", r.pub.Valid(first), r.pub.Valid(second))
	}
	if _, err := r.pub.WaitPublished(ctx, fsm.ZoneOf(name("other.test")), r.index); !errors.Is(err, ErrNotServing) {
		t.Errorf("WaitPublished of an unknown zone: %v", err)
	}
}
