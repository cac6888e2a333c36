package primary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/notify"
	"github.com/zonekeeper/zonekeeper/internal/propagation"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// hubRig is a hub over a state machine, with the admin API in front.
type hubRig struct {
	t       *testing.T
	m       *fsm.Machine
	p       *Primary
	tracker *propagation.Tracker
	client  *adminapi.Client

	fresh     error        // what waiting for the quorum ends with; set before it is asked
	later     atomic.Int64 // how far the hub's clock is ahead
	seq       uint64
	mu        sync.Mutex
	announced []string
}

func newHubRig(t *testing.T) *hubRig {
	r := &hubRig{t: t, m: fsm.New()}
	var err error
	if r.tracker, err = propagation.New(propagation.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	hub := newHub(func() *fsm.Machine { return r.m }, r.tracker, r, log)
	hub.now = func() time.Time { return time.Now().Add(time.Duration(r.later.Load())) }
	hub.caughtUp = func(context.Context) error { return r.fresh }
	r.p = &Primary{hub: hub, tracker: r.tracker, log: log}
	r.p.setReady("a test")
	a := &admin{p: r.p, log: log}
	mux := http.NewServeMux()
	a.handleChanges(mux)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	if r.client, err = adminapi.NewClient(srv.URL, srv.Client()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { hub.run(ctx) })
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
	r.apply(&fsm.PutKey{Name: zone.MustParseName("s0."), Algorithm: "hmac-sha256", Version: 1, Sealed: []byte("x"), SecretID: [16]byte{1}},
		&fsm.PutKey{Name: zone.MustParseName("s1."), Algorithm: "hmac-sha256", Version: 2, Sealed: []byte("x"), SecretID: [16]byte{2}},
		&fsm.PutCatalog{Name: zone.MustParseName("catalog.test"), Settings: fsm.ZoneSettings{AllowQuery: "none;"}},
		&fsm.PutSecondary{Name: "s0", Key: zone.MustParseName("s0.")},
		&fsm.PutSecondary{Name: "away", Key: zone.MustParseName("s1."), Foreign: true, Notify: []string{"192.0.2.1:53"}})
	return r
}

// Announce, Withdraw and Forget implement announcer.
func (r *hubRig) Announce(z zone.Name, soa zone.RR, to []notify.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range to {
		r.announced = append(r.announced, fmt.Sprintf("%s %d %s", z, zone.SOASerial(soa.Data), t))
	}
}

func (r *hubRig) Withdraw(z zone.Name, from []notify.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range from {
		r.announced = append(r.announced, fmt.Sprintf("%s not to %s", z, t))
	}
}

func (r *hubRig) Forget(z zone.Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announced = append(r.announced, z.String()+" forgotten")
}

// heard waits until exactly these announcements have been made since the last call, in any order.
func (r *hubRig) heard(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	var got []string
	eventually(r.t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = append(got, r.announced...)
		r.announced = nil
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("announced %q, want %q", got, want)
		}
		return nil
	})
}

// eventually repeats a check until it succeeds.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func (r *hubRig) apply(cmds ...fsm.Command) {
	r.t.Helper()
	r.seq++
	e, err := r.m.Apply(r.seq, fsm.EncodeEntry(fsm.Entry{Header: fsm.Header{Replica: "a", Epoch: 1, Seq: r.seq, TimeMS: 1}, Commands: cmds}))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, res := range e.Results {
		if res.Err != "" {
			r.t.Fatal(res.Err)
		}
	}
}

// add makes a zone and has it served with its serial.
func (r *hubRig) add(name string, s fsm.ZoneSettings) fsm.ZoneID {
	r.t.Helper()
	id := fsm.ZoneOf(zone.MustParseName(name))
	r.apply(&fsm.PutZone{Zone: id, Create: true, Settings: s,
		RRs: fsm.NewZoneRRs(id.Name, zone.MustParseName("ns.invalid"), zone.MustParseName("hostmaster.invalid"), nil)})
	r.p.hub.Served(id, 1)
	return id
}

// listener reads a secondary's stream.
type listener struct {
	lines chan adminapi.Changes
	ended chan error
	stop  context.CancelFunc
	zones map[string]uint32 // as told so far
}

func (r *hubRig) listen(name string) *listener {
	ctx, cancel := context.WithCancel(r.t.Context())
	l := &listener{lines: make(chan adminapi.Changes), ended: make(chan error, 1), stop: cancel, zones: map[string]uint32{}}
	go func() {
		l.ended <- r.client.Changes(ctx, name, func(c adminapi.Changes) error {
			select {
			case l.lines <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	r.t.Cleanup(cancel)
	return l
}

// until reads lines until what was told is what is wanted.
func (l *listener) until(t *testing.T, want map[string]uint32) adminapi.Changes {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case c := <-l.lines:
			for _, z := range c.Zones {
				l.zones[z.Zone] = z.Serial
			}
			for _, z := range c.Gone {
				delete(l.zones, z)
			}
			if n := len(c.Zones) + len(c.Gone); n > adminapi.MaxZonesPerMessage {
				t.Fatalf("a line has %d zones", n)
			}
			if c.Complete && equalSerials(l.zones, want) {
				return c
			}
		case err := <-l.ended:
			t.Fatalf("the stream ended: %v", err)
		case <-deadline:
			t.Fatalf("told %v, want %v", l.zones, want)
		}
	}
}

func equalSerials(a, b map[string]uint32) bool {
	if len(a) != len(b) {
		return false
	}
	for z, s := range a {
		if t, ok := b[z]; !ok || t != s {
			return false
		}
	}
	return true
}

// A secondary is told every zone that it is to serve, and every change, and no other zone.
func TestStreamOfChanges(t *testing.T) {
	r := newHubRig(t)
	catalog := fsm.ZoneOf(zone.MustParseName("catalog.test"))
	r.p.hub.Served(catalog, 7)
	first := r.add("a.test", fsm.ZoneSettings{})
	hidden := r.add("hidden.test", fsm.ZoneSettings{AllowQuery: "192.0.2.0/24;"})
	l := r.listen("s0")
	line := l.until(t, map[string]uint32{"catalog.test.": 7, "a.test.": 1})
	if line.Ready || !strings.Contains(line.Reason, "a test") || line.Catalog != "catalog.test." || line.Confirmed != 0 {
		t.Errorf("a line of a primary that is not ready: %+v", line)
	}
	if skew := time.Since(time.UnixMilli(line.UnixMS)); skew.Abs() > 10*time.Second {
		t.Errorf("the line's clock is %s old", skew)
	}
	r.p.hub.Served(first, 2)
	l.until(t, map[string]uint32{"catalog.test.": 7, "a.test.": 2})
	r.p.hub.Gone(first)
	l.until(t, map[string]uint32{"catalog.test.": 7})
	r.p.hub.Served(first, 3)
	l.until(t, map[string]uint32{"catalog.test.": 7, "a.test.": 3})
	// A zone is hidden, another one is shown: no step of theirs goes with it.
	r.apply(&fsm.PutZone{Zone: first, Settings: fsm.ZoneSettings{AllowQuery: "none;"}}, &fsm.PutZone{Zone: hidden, Settings: fsm.ZoneSettings{}})
	l.until(t, map[string]uint32{"catalog.test.": 7, "hidden.test.": 1})
	v, _ := r.m.Zone(catalog)
	r.apply(&fsm.ConfirmCatalog{Serial: v.Zone.Serial()})
	for (<-l.lines).Confirmed != v.Zone.Serial() { // in some heartbeat
	}
	r.apply(&fsm.DeleteSecondary{Name: "s0"})
	for {
		select {
		case <-l.lines:
			continue
		case err := <-l.ended:
			if err == nil {
				t.Error("the stream of a secondary that is not registered any more ends without an error")
			}
		}
		break
	}
}

// Many zones come in lines of a bounded length, and only the last of them says that it is complete.
func TestStreamOfManyZones(t *testing.T) {
	r := newHubRig(t)
	want := map[string]uint32{}
	var cmds []fsm.Command
	var ids []fsm.ZoneID
	for i := range 2*adminapi.MaxZonesPerMessage + 1 {
		id := fsm.ZoneOf(zone.MustParseName(fmt.Sprintf("z%d.test", i)))
		ids = append(ids, id)
		cmds = append(cmds, &fsm.PutZone{Zone: id, Create: true, RRs: fsm.NewZoneRRs(id.Name, zone.MustParseName("ns.invalid"), zone.MustParseName("hostmaster.invalid"), nil)})
	}
	for chunk := range slices.Chunk(cmds, 500) {
		r.apply(chunk...)
	}
	for i, id := range ids {
		r.p.hub.Served(id, uint32(i))
		want[id.Name.String()] = uint32(i)
	}
	eventually(t, func() error {
		if n := len(r.tracker.Behind("s0", len(ids))); n != len(ids) {
			return fmt.Errorf("%d zones are known", n)
		}
		return nil
	})
	l := r.listen("s0")
	for n := range 2 {
		if c := <-l.lines; c.Complete || len(c.Zones) != adminapi.MaxZonesPerMessage {
			t.Errorf("line %d has %d zones, complete %v", n, len(c.Zones), c.Complete)
		} else {
			for _, z := range c.Zones {
				l.zones[z.Zone] = z.Serial
			}
		}
	}
	l.until(t, want)
}

// Reports count while the secondary's stream is open.
func TestReports(t *testing.T) {
	r := newHubRig(t)
	id := r.add("a.test", fsm.ZoneSettings{})
	report := func(full bool, zones ...adminapi.ZoneSerial) error {
		return r.client.Report(t.Context(), "s0", adminapi.Report{Instance: "x", Full: full, Zones: zones, Status: adminapi.SecondaryStatus{Ready: true, Name: "whatever"}})
	}
	wants := func(err error, code string) {
		t.Helper()
		var e *adminapi.Error
		if !errors.As(err, &e) || e.Code != code {
			t.Errorf("%v, want code %s", err, code)
		}
	}
	wants(report(true), adminapi.CodeConflict) // no stream
	l := r.listen("s0")
	l.until(t, map[string]uint32{"a.test.": 1})
	wants(report(false), adminapi.CodeConflict) // a change of nothing
	if err := report(true, adminapi.ZoneSerial{Zone: "A.test.", Serial: 1}); err != nil {
		t.Fatal(err)
	}
	of, err := r.client.Propagation(t.Context(), "a.test.")
	if err != nil || len(of) != 1 || of[0] != (adminapi.SecondarySerial{Secondary: "s0", Zone: "a.test.", Serial: 1, Current: 1}) {
		t.Errorf("propagation: %+v, %v", of, err)
	}
	wants(report(false, adminapi.ZoneSerial{Zone: "..", Serial: 1}), adminapi.CodeInvalid)
	wants(r.client.Report(t.Context(), "s0", adminapi.Report{Instance: "x", Gone: make([]string, adminapi.MaxZonesPerMessage+1)}), adminapi.CodeInvalid)
	wants(r.client.Report(t.Context(), "away", adminapi.Report{Instance: "x", Full: true}), adminapi.CodeForbidden)
	wants(r.client.Report(t.Context(), "nobody", adminapi.Report{Instance: "x", Full: true}), adminapi.CodeNotFound)
	wants(r.client.Changes(t.Context(), "nobody", nil), adminapi.CodeNotFound)

	served := make(chan int, 1)
	r.tracker.Await(id.Name, 2, "", 1, time.Minute, func(n int) { served <- n })
	if err := report(false, adminapi.ZoneSerial{Zone: "a.test.", Serial: 2}); err != nil {
		t.Fatal(err)
	}
	if n := <-served; n != 1 {
		t.Errorf("served by %d", n)
	}

	// Another stream of the same name ends the first, and the secondary still counts.
	second := r.listen("s0")
	second.until(t, map[string]uint32{"a.test.": 1})
	for open := true; open; {
		select {
		case <-l.lines:
		case <-l.ended:
			open = false
		}
	}
	if err := report(false); err != nil {
		t.Error(err)
	}
	// It is connected, and hangs.
	r.later.Store(int64(reportSilence + time.Second))
	eventually(t, func() error {
		if r.tracker.Connected("s0") {
			return errors.New("a secondary that reports nothing counts")
		}
		return nil
	})
	if err := report(false); err != nil || !r.tracker.Connected("s0") {
		t.Errorf("it reports again: %v", err)
	}
	second.stop()
	eventually(t, func() error {
		if r.tracker.Connected("s0") {
			return errors.New("a secondary without a stream counts")
		}
		return nil
	})
	wants(report(true), adminapi.CodeConflict)
}

// Everybody who is to be told is told of every change, and one who is new at once.
func TestAnnouncements(t *testing.T) {
	r := newHubRig(t)
	catalog := fsm.ZoneOf(zone.MustParseName("catalog.test"))
	r.p.hub.Served(catalog, 7)
	r.heard("catalog.test. 7 192.0.2.1:53 key s1.")
	id := r.add("a.test", fsm.ZoneSettings{AlsoNotify: []string{"[2001:db8::1]:5300", "192.0.2.2:53 key s0."}})
	r.heard("a.test. 1 192.0.2.1:53 key s1.", "a.test. 1 [2001:db8::1]:5300", "a.test. 1 192.0.2.2:53 key s0.")
	hidden := r.add("hidden.test", fsm.ZoneSettings{AllowQuery: "none;", AlsoNotify: []string{"192.0.2.3:53"}})
	r.heard("hidden.test. 1 192.0.2.3:53")

	r.apply(&fsm.PutZone{Zone: hidden, Settings: fsm.ZoneSettings{AllowQuery: "none;", AlsoNotify: []string{"192.0.2.3:53", "192.0.2.4:53"}}})
	r.heard("hidden.test. 1 192.0.2.4:53")
	r.apply(&fsm.PutSecondary{Name: "away", Key: zone.MustParseName("s1."), Foreign: true, Notify: []string{"192.0.2.1:53", "192.0.2.9:53"}})
	r.heard("catalog.test. 7 192.0.2.9:53 key s1.", "a.test. 1 192.0.2.9:53 key s1.")
	r.apply(&fsm.PutZone{Zone: id, Settings: fsm.ZoneSettings{}})
	r.p.hub.Served(id, 2) // nobody says which of the two is noticed first
	r.heard("a.test. not to [2001:db8::1]:5300", "a.test. not to 192.0.2.2:53 key s0.", "a.test. 2 192.0.2.1:53 key s1.", "a.test. 2 192.0.2.9:53 key s1.")
	r.apply(&fsm.PutSecondary{Name: "away", Key: zone.MustParseName("s1."), Foreign: true, Notify: []string{"192.0.2.9:53"}})
	r.heard("catalog.test. not to 192.0.2.1:53 key s1.", "a.test. not to 192.0.2.1:53 key s1.")
	r.apply(&fsm.PutZone{Zone: id, Settings: fsm.ZoneSettings{AllowQuery: "none;"}}) // secondaries are not to hear of it now
	r.heard("a.test. not to 192.0.2.9:53 key s1.")
	r.apply(&fsm.DeleteZone{Zone: hidden, Confirm: hidden.Name})
	r.p.hub.Gone(hidden)
	r.heard("hidden.test. forgotten")
}

func TestDigestOfSerial(t *testing.T) {
	r := newHubRig(t)
	id := r.add("a.test", fsm.ZoneSettings{AllowUpdate: "any;"})
	digests := map[uint32]string{}
	var last uint32
	for i := range 3 {
		v, _ := r.m.Zone(id)
		last = v.Zone.Serial()
		digests[last] = v.Zone.Digest().String()
		r.apply(&fsm.Update{Addr: netip.MustParseAddr("127.0.0.1"), AddrProven: true, Wire: named.AppendUpdate(nil, 1, id.Name, nil, []zone.RR{
			{Name: zone.MustParseName(fmt.Sprintf("h%d.a.test", i)), Type: zone.TypeA, Class: zone.ClassIN, TTL: 60, Data: "\x01\x02\x03\x04"}})}, &fsm.Cut{Zone: id})
	}
	for serial, want := range digests {
		d, err := r.client.Digest(t.Context(), "a.test.", serial)
		if err != nil || d.Digest != want || d.Serial != serial || d.Records == 0 {
			t.Errorf("serial %d: %+v, %v; want %s", serial, d, err, want)
		}
	}
	ask := func(zone string, serial uint32, want string) {
		t.Helper()
		if _, err := r.client.Digest(t.Context(), zone, serial); !adminapi.IsCode(err, want) {
			t.Errorf("%s serial %d: %v, want %s", zone, serial, err, want)
		}
	}
	ask("none.test.", 1, adminapi.CodeNotFound)
	ask("a.test.", last-10, adminapi.CodeNotFound)    // too old to be remembered
	ask("a.test.", last+5, adminapi.CodeConflict)     // nobody ever had it
	ask("a.test.", last+1<<31, adminapi.CodeConflict) // neither older nor newer
	r.fresh = &adminapi.Error{Code: adminapi.CodeUnavailable, Message: "no quorum"}
	ask("a.test.", last+5, adminapi.CodeUnavailable) // this primary alone can't know
	ask("a.test.", last-10, adminapi.CodeNotFound)
}
