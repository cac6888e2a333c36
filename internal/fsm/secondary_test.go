package fsm

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSecondaries(t *testing.T) {
	c := newCluster(t, 1)
	for _, k := range []string{"s0.", "s1.", "other."} {
		c.addKey(k)
	}
	by := Actor{By: "cli"}
	before := c.machines[0].Settings()
	c.must(&PutSecondary{Name: "secondary-1", Key: mustName("S1."), Actor: by})
	c.must(&PutSecondary{Name: "secondary-0", Key: mustName("s0."), Notify: []string{"[::ffff:192.0.2.1]:53", "[2001:db8::1]:5353"}, Foreign: true, Actor: by})
	for _, tc := range []struct {
		cmd  Command
		want string
	}{
		{&PutSecondary{Name: "", Key: mustName("other."), Actor: by}, "use 1 to 63 lower-case letters"},
		{&PutSecondary{Name: "Upper", Key: mustName("other."), Actor: by}, "lower-case"},
		{&PutSecondary{Name: "-x", Key: mustName("other."), Actor: by}, "lower-case"},
		{&PutSecondary{Name: "a/b", Key: mustName("other."), Actor: by}, "lower-case"},
		{&PutSecondary{Name: strings.Repeat("a", 64), Key: mustName("other."), Actor: by}, "lower-case"},
		{&PutSecondary{Name: "x", Actor: by}, "key missing"},
		{&PutSecondary{Name: "x", Key: mustName("none."), Actor: by}, "key none. does not exist"},
		{&PutSecondary{Name: "x", Key: mustName("s1."), Actor: by}, "is that of secondary secondary-1"},
		{&PutSecondary{Name: "x", Key: mustName("other."), Notify: []string{"192.0.2.1"}, Actor: by}, "write address:port"},
		{&PutSecondary{Name: "x", Key: mustName("other."), Notify: []string{"192.0.2.1:0"}, Actor: by}, "no address and port of one host"},
		{&PutSecondary{Name: "x", Key: mustName("other."), Notify: []string{"224.0.0.1:53"}, Actor: by}, "no address and port of one host"},
		{&PutSecondary{Name: "x", Key: mustName("other."), Notify: []string{"192.0.2.1:53", "[::ffff:192.0.2.1]:53"}, Actor: by}, "twice"},
		{&PutSecondary{Name: "x", Key: mustName("other."), Notify: slices.Repeat([]string{"192.0.2.1:53"}, 17), Actor: by}, "use at most 16"},
		{&PutSecondary{Name: "secondary-1", Key: mustName("s1.")}, `managed by "cli"`},
		{&DeleteSecondary{Name: "secondary-1"}, `managed by "cli"`},
		{&DeleteSecondary{Name: "x", Actor: by}, "not registered"},
		{&DeleteKey{Name: mustName("s1.")}, "is that of secondary secondary-1"},
	} {
		if got := c.apply(tc.cmd).Results[0].Err; !strings.Contains(got, tc.want) {
			t.Errorf("%+v: got %q, want %q in it", tc.cmd, got, tc.want)
		}
	}
	s := c.machines[0].Settings()
	var got []string
	s.Secondaries(func(x *Secondary) bool {
		got = append(got, fmt.Sprint(x.Name, " ", x.Key, x.Notify, x.Foreign, x.ManagedBy))
		return true
	})
	want := []string{"secondary-0 s0.[192.0.2.1:53 [2001:db8::1]:5353] truecli", "secondary-1 s1.[] falsecli"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if s.Secondary("secondary-0") == nil || s.Secondary("none") != nil || !s.SecondaryKey(mustName("s1.")) || s.SecondaryKey(mustName("other.")) || s.SecondaryKey("") {
		t.Error("a look-up gives something else than the list")
	}
	if before.Secondary("secondary-0") != nil || before.SecondaryKey(mustName("s0.")) {
		t.Error("settings that were handed out have changed")
	}

	// Another key, and the old one is nobody's: it can be deleted.
	c.must(&PutSecondary{Name: "secondary-1", Key: mustName("other."), Actor: by})
	c.must(&DeleteKey{Name: mustName("s1.")})
	c.must(&DeleteSecondary{Name: "secondary-0", Actor: by})
	c.must(&DeleteKey{Name: mustName("s0.")})
	m, err := Restore(bytes.NewReader(checkpointOf(t, c.machines[0])))
	if err != nil {
		t.Fatal(err)
	}
	if s := m.Settings(); s.SecondaryKey(mustName("s0.")) || !s.SecondaryKey(mustName("other.")) {
		t.Error("a restored machine knows other keys of secondaries")
	}
}

func TestSecondariesAreBounded(t *testing.T) {
	c := newCluster(t, 1)
	for i := range maxSecondaries + 1 {
		c.addKey(fmt.Sprintf("s%d.", i))
		err := c.apply(&PutSecondary{Name: fmt.Sprintf("s%d", i), Key: mustName(fmt.Sprintf("s%d.", i))}).Results[0].Err
		if (err != "") != (i == maxSecondaries) {
			t.Fatalf("secondary %d: %q", i, err)
		}
	}
	c.must(&PutSecondary{Name: "s0", Key: mustName("s0."), Foreign: true}) // one that exists can still be changed
}

func TestGuarantee(t *testing.T) {
	c := newCluster(t, 1)
	id := c.addZone("example.test.")
	v := c.addKey("k.")
	settings := func(g Guarantee) ZoneSettings {
		return ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;", Guarantee: g}
	}
	refuse := func(cmd Command, want string) {
		t.Helper()
		if got := c.apply(cmd).Results[0].Err; !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", cmd.Kind(), got, want)
		}
	}
	for i, foreign := range []bool{false, true, false} {
		name := fmt.Sprintf("s%d", i)
		c.addKey(name + ".")
		c.must(&PutSecondary{Name: name, Key: mustName(name + "."), Foreign: foreign})
	}
	const tooMany = "3 secondaries, but only 2 of ours are registered"
	refuse(&PutZone{Zone: id, Settings: settings(Guarantee{Secondaries: 3})}, tooMany)
	refuse(&PutZone{Zone: ZoneOf(mustName("new.test.")), Create: true, Settings: settings(Guarantee{Secondaries: 3}), RRs: NewZoneRRs(mustName("new.test."), mustName("ns."), mustName("h."), nil)}, tooMany)
	refuse(&ImportBegin{ID: "i", Zone: ZoneOf(mustName("new.test.")), Settings: settings(Guarantee{Secondaries: 3})}, tooMany)
	refuse(&PutKeyGuarantee{Key: mustName("k."), Guarantee: Guarantee{Secondaries: 3}}, tooMany)
	refuse(&PutKeyGuarantee{Key: mustName("k."), Guarantee: Guarantee{Secondaries: 1, LimitMS: 10_001}}, "use at most 10000")
	refuse(&PutKeyGuarantee{Key: mustName("k."), Guarantee: Guarantee{LimitMS: 1}}, "without a number of secondaries")
	refuse(&PutKeyGuarantee{Key: mustName("none.")}, "does not exist")
	refuse(&PutKeyGuarantee{Key: mustName("k."), Actor: Actor{By: "operator"}}, "managed by nobody")

	for _, tc := range []struct{ zone, key, want Guarantee }{
		{Guarantee{}, Guarantee{}, Guarantee{}},
		{Guarantee{Secondaries: 2}, Guarantee{}, Guarantee{Secondaries: 2}},
		{Guarantee{}, Guarantee{Secondaries: 1, LimitMS: 9000}, Guarantee{Secondaries: 1, LimitMS: 9000}},
		{Guarantee{Secondaries: 2, LimitMS: 3000}, Guarantee{Secondaries: 1}, Guarantee{Secondaries: 2, LimitMS: 2000}},
		{Guarantee{Secondaries: 1, LimitMS: 500}, Guarantee{Secondaries: 2, LimitMS: 1000}, Guarantee{Secondaries: 2, LimitMS: 500}},
	} {
		c.must(&PutZone{Zone: id, Settings: settings(tc.zone)})
		c.must(&PutKeyGuarantee{Key: mustName("K."), Guarantee: tc.key})
		s := c.machines[0].Settings()
		if got := s.Guarantee(id, mustName("k.")); got != tc.want {
			t.Errorf("zone %+v, key %+v: got %+v, want %+v", tc.zone, tc.key, got, tc.want)
		}
		if got := s.Guarantee(id, ""); got != tc.zone {
			t.Errorf("unsigned: got %+v, want %+v", got, tc.zone)
		}
	}
	if d := (Guarantee{Secondaries: 1}).Limit(); d != 2*time.Second {
		t.Errorf("the limit is %s by default", d)
	}

	// A rotation keeps it, and so does the key's own floor.
	c.must(&PutKey{Name: mustName("k."), Algorithm: "hmac-sha256", Version: c.machines[0].Settings().NextKeyVersion, Sealed: []byte("b"), SecretID: secretID("b"), Rotate: true})
	c.must(&DeleteKey{Name: mustName("k."), Version: v})
	c.must(&Floor{TimeSigned: 1})
	if g := c.machines[0].Settings().Key(mustName("k.")).Guarantee; g.Secondaries != 2 {
		t.Errorf("after a rotation the key's guarantee is %+v", g)
	}
	m, err := Restore(bytes.NewReader(checkpointOf(t, c.machines[0])))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Settings().Guarantee(id, mustName("k.")); got != (Guarantee{Secondaries: 2, LimitMS: 500}) {
		t.Errorf("restored: %+v", got)
	}
}

func TestParseNotifyTarget(t *testing.T) {
	for _, tc := range []struct{ text, addr, key, err string }{
		{text: "192.0.2.1:53", addr: "192.0.2.1:53"},
		{text: " [2001:db8::1]:53  key  A.Key ", addr: "[2001:db8::1]:53", key: "a.key."},
		{text: "192.0.2.1", err: "write address:port"},
		{text: "", err: "write address:port"},
		{text: "192.0.2.1:53 key", err: "write address:port"},
		{text: "192.0.2.1:53 kee k", err: "write address:port"},
		{text: "192.0.2.1:53 key a..b", err: "the key's name"},
		{text: "0.0.0.0:53", err: "no address and port of one host"},
		{text: "192.0.2.1:0", err: "no address and port of one host"},
	} {
		addr, key, err := ParseNotifyTarget(tc.text)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || addr != (netip.AddrPort{}) || key != "" {
				t.Errorf("%q: got %v, %q, %v, want %q", tc.text, addr, key, err, tc.err)
			}
			continue
		}
		if err != nil || addr.String() != tc.addr || (key != "" || tc.key != "") && key.String() != tc.key {
			t.Errorf("%q: got %v, %q, %v", tc.text, addr, key, err)
		}
	}
}

// also-notify names keys that exist, in a new zone, in changed settings and in an import.
func TestAlsoNotifyKeys(t *testing.T) {
	c := newCluster(t, 1)
	id := c.addZone("example.test.")
	s := ZoneSettings{AlsoNotify: []string{"192.0.2.1:53", "192.0.2.2:53 key n."}}
	for _, cmd := range []Command{&PutZone{Zone: id, Settings: s}, &ImportBegin{ID: "i", Zone: id, Replace: true, Settings: s}} {
		if got := c.apply(cmd).Results[0].Err; !strings.Contains(got, "also-notify 192.0.2.2:53 key n.: the key does not exist") {
			t.Errorf("%s: %q", cmd.Kind(), got)
		}
	}
	c.addKey("n.")
	c.must(&PutZone{Zone: id, Settings: s})
	c.must(&ImportBegin{ID: "i", Zone: id, Replace: true, Settings: s})
}
