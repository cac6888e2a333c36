package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// checkCatalog checks that the catalog has exactly the members that follow from the settings.
func checkCatalog(t *testing.T, m *Machine) {
	t.Helper()
	s := m.Settings()
	id, confirmed, ok := s.Catalog()
	if !ok {
		return
	}
	v, ok := m.Zone(id)
	if !ok || !v.Config.IsCatalog() {
		t.Fatalf("the catalog %s is no zone, or does not know what it is", id)
	}
	var members []zone.Name
	s.Zones(func(c *ZoneConfig) bool {
		if q := c.Settings.AllowQuery; c.ID != id && (q == "" || q == "any;") {
			members = append(members, c.ID.Name)
		}
		return true
	})
	want, err := zone.FromRRs(id.Name, CatalogRRs(id.Name, v.Zone.Serial(), members))
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Zone.Digest(); got != want.Digest() {
		t.Fatalf("catalog is\n%s\nwant\n%s", lines(v.Zone.RRs()), lines(want.RRs()))
	}
	if confirmed != 0 && !zone.SerialGE(v.Zone.Serial(), confirmed) {
		t.Fatalf("serial %d is confirmed, the catalog is at %d", confirmed, v.Zone.Serial())
	}
}

func lines(rrs []zone.RR) string {
	var b strings.Builder
	for _, rr := range rrs {
		fmt.Fprintf(&b, "%s %d %s %q\n", rr.Name, rr.TTL, rr.Type, rr.Data)
	}
	return b.String()
}

// catalogOf gives the catalog's present serial and the names of its members.
func catalogOf(t testing.TB, m *Machine) (uint32, []string) {
	t.Helper()
	id, _, ok := m.Settings().Catalog()
	if !ok {
		t.Fatal("there is no catalog")
	}
	v, _ := m.Zone(id)
	var members []string
	v.Zone.Ascend(func(s *zone.RRset) bool {
		if s.Type == zone.TypePTR {
			members = append(members, zone.Name(s.Data[0]).String())
		}
		return true
	})
	slices.Sort(members)
	return v.Zone.Serial(), members
}

// The content of RFC 9432, to the letter.
func TestCatalogRRs(t *testing.T) {
	got := lines(CatalogRRs(mustName("catalog.zonekeeper.invalid."), 7, []zone.Name{mustName("example.test."), mustName(".")}))
	want := `catalog.zonekeeper.invalid. 0 SOA "\ainvalid\x00\ainvalid\x00\x00\x00\x00\a\x00\x00\x00<\x00\x00\x00\x0f\x00\xdd|\x00\x00\x00\x00\x00"
catalog.zonekeeper.invalid. 0 NS "\ainvalid\x00"
version.catalog.zonekeeper.invalid. 0 TXT "\x012"
1b4132c087a4d979c884bad48da2b84e.zones.catalog.zonekeeper.invalid. 0 PTR "\aexample\x04test\x00"
6e340b9cffb37a989ca544e6bb780a2c.zones.catalog.zonekeeper.invalid. 0 PTR "\x00"
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The catalog follows the set of zones, whatever entries do, and moves its serial at most once for each of them; machines
// that take part in the log, or begin from a checkpoint in the middle of it, have the same one. TestReplicasAgree compares
// their digests, this one what is in the catalog and when it moves.
func TestCatalogFollows(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 4
	}
	base := uint64(time.Now().UnixNano()) &^ 1
	moved := 0
	for i := range seeds {
		seed := base + 2*uint64(i) // even: with a catalog from the start
		g := newLogMaker(t, seed, 2)
		for step := range 150 {
			before, _ := catalogOf(t, g.c.machines[0])
			g.step()
			after, _ := catalogOf(t, g.c.machines[0])
			checkCatalog(t, g.c.machines[0])
			bumped := slices.ContainsFunc(g.last, func(c Command) bool {
				b, ok := c.(*BumpSerial)
				return ok && b.Zone == ZoneOf(makerCatalog)
			})
			if after != before && after != zone.NextSerial(before) && !bumped {
				t.Fatalf("seed %d, step %d: the serial went from %d to %d in one entry", seed, step, before, after)
			}
			if after != before {
				moved++
			}
			if step%20 == 10 {
				m, err := Restore(bytes.NewReader(checkpointOf(t, g.c.machines[0])))
				if err != nil {
					t.Fatal(err)
				}
				g.c.machines[0] = m
			}
			if a, b := g.c.machines[0].Snapshot().Digest(), g.c.machines[1].Snapshot().Digest(); a != b {
				t.Fatalf("seed %d, step %d: digests %s and %s", seed, step, a, b)
			}
		}
	}
	if moved < 4*seeds {
		t.Errorf("the catalog moved only %d times: this test proves less than it says", moved)
	}
}

func TestCatalogMembers(t *testing.T) {
	c := newCluster(t, 1)
	m := c.machines[0]
	one := c.addZone("one.test.")
	c.must(&PutCatalog{Name: mustName("Catalog.Test."), Actor: Actor{By: "cli"}})
	expect := func(serial uint32, members ...string) {
		t.Helper()
		if s, got := catalogOf(t, m); s != serial || !slices.Equal(got, members) {
			t.Fatalf("serial %d, members %v; want %d, %v", s, got, serial, members)
		}
	}
	expect(1, "one.test.")

	// Many in one entry move the serial once, and one that comes and goes not at all.
	put := func(name string, s ZoneSettings) *PutZone {
		return &PutZone{Zone: ZoneOf(mustName(name)), Create: true, Settings: s, RRs: NewZoneRRs(mustName(name), mustName("ns."), mustName("h."), nil)}
	}
	c.apply(put("two.test.", ZoneSettings{}), put("three.test.", ZoneSettings{AllowQuery: "any; key k;"}), put("four.test.", ZoneSettings{AllowQuery: "!192.0.2.1; any;"}))
	expect(2, "one.test.", "three.test.", "two.test.")
	c.apply(put("five.test.", ZoneSettings{}), &DeleteZone{Zone: ZoneOf(mustName("five.test.")), Confirm: mustName("five.test.")})
	expect(2, "one.test.", "three.test.", "two.test.")

	// A change that is not about membership does not move it; hiding a zone and showing it does.
	c.must(&PutZone{Zone: one, Settings: ZoneSettings{MaxTTL: 60}})
	expect(2, "one.test.", "three.test.", "two.test.")
	c.must(&PutZone{Zone: one, Settings: ZoneSettings{AllowQuery: "none;"}})
	expect(3, "three.test.", "two.test.")
	c.must(&PutZone{Zone: one, Settings: ZoneSettings{AllowQuery: "any;"}})
	expect(4, "one.test.", "three.test.", "two.test.")

	// Deleted and added again in one entry: the member, and so its label, stays.
	c.apply(&DeleteZone{Zone: one, Confirm: one.Name}, put("one.test.", ZoneSettings{}))
	expect(4, "one.test.", "three.test.", "two.test.")
	c.must(&DeleteZone{Zone: one, Confirm: one.Name})
	expect(5, "three.test.", "two.test.")

	// An imported zone is a member when it is visible, not before.
	rrs := NewZoneRRs(mustName("imported.test."), mustName("ns."), mustName("h."), nil)
	c.apply(&ImportBegin{ID: "i", Zone: ZoneOf(mustName("imported.test."))}, &ImportChunk{ID: "i", Seq: 1, RRs: rrs})
	expect(5, "three.test.", "two.test.")
	c.must(&ImportCommit{ID: "i", Records: uint64(len(rrs)), Digest: zone.DigestRRs(rrs)})
	expect(6, "imported.test.", "three.test.", "two.test.")

	// Its steps are published like any zone's.
	c.must(&Cut{})
	id, _, _ := m.Settings().Catalog()
	h := m.History(id)
	if len(h) == 0 || h[len(h)-1].To != 6 || h[0].From != 1 {
		t.Errorf("history %+v", h)
	}
}

// Nothing but the set of zones changes the catalog.
func TestCatalogIsProtected(t *testing.T) {
	c := newCluster(t, 1)
	m := c.machines[0]
	v := c.addKey("k.")
	c.addZone("one.test.")
	id := ZoneOf(mustName("catalog.test."))
	rrs := NewZoneRRs(id.Name, mustName("ns."), mustName("h."), nil)
	// This import begins while the name is free.
	c.apply(&ImportBegin{ID: "early", Zone: id}, &ImportChunk{ID: "early", Seq: 1, RRs: rrs})
	c.must(&PutCatalog{Name: id.Name, Actor: Actor{By: "cli"}})
	before := m.Snapshot().Digest()
	takeOver := Actor{TakeOver: true}
	for _, tc := range []struct {
		cmd  Command
		want string
	}{
		{&PutZone{Zone: id, Settings: ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;"}, Actor: takeOver}, "is the catalog"},
		{&PutZone{Zone: id, Create: true, RRs: rrs, Actor: takeOver}, "is the catalog"},
		{&DeleteZone{Zone: id, Confirm: id.Name, Actor: takeOver}, "is the catalog"},
		{&ImportBegin{ID: "late", Zone: id, Replace: true, Actor: takeOver}, "is the catalog"},
		{&ImportCommit{ID: "early", Records: uint64(len(rrs)), Digest: zone.DigestRRs(rrs)}, "is the catalog"},
		{&PutCatalog{Name: mustName("other.test."), Actor: Actor{By: "cli"}}, "can't become other.test."},
		{&PutCatalog{Name: id.Name}, `managed by "cli"`},
		{&PutCatalog{Name: id.Name, Settings: ZoneSettings{AllowUpdate: "any;"}, Actor: takeOver}, "nobody can update it"},
		{&PutCatalog{Name: id.Name, Settings: ZoneSettings{Guarantee: Guarantee{Secondaries: 1}}, Actor: takeOver}, "nobody can update it"},
		{&PutCatalog{Name: id.Name, Settings: ZoneSettings{AlsoNotify: []string{"192.0.2.1:53 key x."}}, Actor: takeOver}, "the key does not exist"},
	} {
		if got := c.apply(tc.cmd).Results[0].Err; !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %q, want %q in it", tc.cmd.Kind(), got, tc.want)
		}
	}
	res := c.apply(c.signed("k.", v, updateWire(t, id.Name.String(), "add x.catalog.test. 60 TXT x"))).Results[0]
	if res.RCode != rcodeRefused {
		t.Errorf("an update of the catalog: %+v, want REFUSED", res)
	}
	if s, members := catalogOf(t, m); s != 1 || !slices.Equal(members, []string{"one.test."}) {
		t.Errorf("serial %d, members %v", s, members)
	}
	if before == m.Snapshot().Digest() {
		t.Error("the index is part of the state")
	}
}

// A catalog takes no name that is in use, no name without room for members, and continues past the serials of a zone that
// had its name (rule C3).
func TestCatalogNames(t *testing.T) {
	c := newCluster(t, 1)
	old := c.addZone("old.test.")
	c.must(&BumpSerial{Zone: old, Past: 99, HasPast: true})
	long := strings.Repeat(strings.Repeat("a", 50)+".", 4) + strings.Repeat("b", 11) + "."
	for name, want := range map[string]string{
		"old.test.": "exists; choose another name", ".": "root zone", long: "takes 217 octets; use at most 216", "": "name missing",
	} {
		cmd := &PutCatalog{}
		if name != "" {
			cmd.Name = mustName(name)
		}
		if got := c.apply(cmd).Results[0].Err; !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", name, got, want)
		}
	}
	c.must(&DeleteZone{Zone: old, Confirm: old.Name})
	if res := c.must(&PutCatalog{Name: old.Name}); res.Serial != 101 {
		t.Errorf("the catalog begins at serial %d, the zone before it ended at 100", res.Serial)
	}
	c.must(&PutCatalog{Name: old.Name, Settings: ZoneSettings{AllowQuery: "none;"}})
	if z := c.machines[0].Settings().Zone(old); !z.IsCatalog() || z.Settings.AllowQuery != "none;" {
		t.Errorf("after a change of its settings the catalog is %+v", z)
	}
	checkCatalog(t, c.machines[0])
}

func TestConfirmCatalog(t *testing.T) {
	c := newCluster(t, 1)
	confirm := func(serial, want uint32, refused string) {
		t.Helper()
		err := c.apply(&ConfirmCatalog{Serial: serial}).Results[0].Err
		_, got, _ := c.machines[0].Settings().Catalog()
		if got != want || !strings.Contains(err, refused) || (err == "") != (refused == "") {
			t.Errorf("confirming %d: %d is confirmed, error %q; want %d, %q", serial, got, err, want, refused)
		}
	}
	confirm(1, 0, "there is no catalog")
	id := ZoneOf(mustName("catalog.test."))
	c.must(&PutCatalog{Name: id.Name})
	c.addZone("one.test.")
	c.addZone("two.test.") // serial 3
	confirm(4, 0, "can't be confirmed")
	confirm(0, 0, "can't be confirmed")
	confirm(2, 2, "")
	confirm(1, 2, "") // never backwards
	confirm(3, 3, "")

	// Serials that went half round the number space leave no confirmation of the future behind.
	c.must(&BumpSerial{Zone: id, Past: 3 + 1<<31 - 1, HasPast: true})
	confirm(2, 0, "can't be confirmed")
}

// Ten thousand zones in the catalog cost an entry that adds one no more than a few hundred do.
func BenchmarkCatalogAdd(b *testing.B) {
	for _, zones := range []int{100, 10_000} {
		b.Run(fmt.Sprint(zones), func(b *testing.B) {
			c := newCluster(b, 1)
			c.must(&PutCatalog{Name: mustName("catalog.test.")})
			add := func(name string) {
				c.apply(&PutZone{Zone: ZoneOf(mustName(name)), Create: true, RRs: NewZoneRRs(mustName(name), mustName("ns."), mustName("h."), nil)})
			}
			for i := range zones {
				add(fmt.Sprintf("z%d.test.", i))
			}
			for i := 0; b.Loop(); i++ {
				add(fmt.Sprintf("x%d.test.", i))
			}
		})
	}
}
