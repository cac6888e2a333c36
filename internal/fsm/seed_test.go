package fsm

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// backedUp is a state with something of everything, as a seed.
func backedUp(t *testing.T, versions uint64) []byte {
	t.Helper()
	s := NewSeed(startMS)
	do := func(c Command) {
		t.Helper()
		if err := s.Do(c); err != nil {
			t.Fatal(err)
		}
	}
	limits := DefaultLimits()
	limits.HistoryPerZone = 7
	do(&PutLimits{Limits: limits})
	for i, name := range []string{"k.", "s0."} {
		do(&PutKey{Name: mustName(name), Algorithm: "hmac-sha256", Version: versions + uint64(i), Sealed: []byte("sealed"), SecretID: secretID(name), Actor: Actor{By: "operator TSIGKey dns/k"}})
	}
	do(&PutSecondary{Name: "secondary-0", Key: mustName("s0."), Actor: Actor{By: "cli"}})
	do(&PutKeyGuarantee{Key: mustName("k."), Guarantee: Guarantee{Secondaries: 1}, Actor: Actor{By: "operator TSIGKey dns/k"}})
	for _, name := range []string{"example.test.", "other.test."} {
		z, err := zone.FromRRs(mustName(name), NewZoneRRs(mustName(name), mustName("ns."+name), mustName("hostmaster."+name), nil))
		if err != nil {
			z, err = zone.FromRRs(mustName(name), NewZoneRRs(mustName(name), mustName("ns.elsewhere."), mustName("hostmaster."+name), nil))
		}
		if err != nil {
			t.Fatal(err)
		}
		settings := ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;", Guarantee: Guarantee{Secondaries: 1, LimitMS: 500}, AlsoNotify: []string{"192.0.2.7:53 key k."}}
		if err := s.AddZone(settings, "operator Zone dns/"+name, WithSerial(z, 5000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddDeleted(mustName("gone.test."), 77); err != nil {
		t.Fatal(err)
	}
	do(&PutCatalog{Name: mustName("catalog.test."), Actor: Actor{By: "cli"}})
	s.CatalogSerial(900)
	do(&Floor{TimeSigned: startMS/1000 + MaxFudge})
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// plant sends a seed in chunks, and gives the answer to the commit.
func (c *cluster) plant(id string, seed []byte) Result {
	c.t.Helper()
	n := uint64(0)
	for chunk := range chunksOf(seed, 100) {
		n++
		if r := c.apply(&SeedChunk{ID: id, Seq: n, Data: chunk}).Results[0]; r.Err != "" {
			return r
		}
	}
	return c.apply(&SeedCommit{ID: id, Chunks: n}).Results[0]
}

func chunksOf(b []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// TestSeed: a seed becomes the content of an empty cluster in one entry; replicas that reload in the middle of it end the same (I2).
func TestSeed(t *testing.T) {
	for _, catalog := range []string{"", "catalog.test."} {
		t.Run("catalog "+catalog, func(t *testing.T) {
			c := newCluster(t, 2)
			if catalog != "" { // a secondary was registered before
				c.must(&PutCatalog{Name: mustName(catalog), Actor: Actor{By: "cli"}})
			}
			own := c.addKey("own.")
			seed := backedUp(t, own+1)
			half := c.apply(&SeedChunk{ID: "r", Seq: 1, Data: seed[:200]})
			if half.Results[0].Err != "" || half.Settings {
				t.Fatalf("the first chunk: %+v", half)
			}
			var cp bytes.Buffer
			if _, err := c.machines[1].Snapshot().WriteCheckpoint(&cp); err != nil {
				t.Fatal(err)
			}
			reloaded, err := Restore(&cp)
			if err != nil {
				t.Fatal(err)
			}
			c.machines[1] = reloaded
			c.must(&SeedChunk{ID: "r", Seq: 2, Data: seed[200:]})
			eff := c.apply(&SeedCommit{ID: "r", Chunks: 2})
			if eff.Results[0].Err != "" {
				t.Fatal(eff.Results[0].Err)
			}
			if a, b := c.machines[0].Snapshot().Digest(), c.machines[1].Snapshot().Digest(); a != b {
				t.Fatalf("replicas differ: %s, %s", a, b)
			}
			m := c.machines[0]
			v, ok := m.Zone(ZoneOf(mustName("example.test.")))
			if !ok || v.Zone.Serial() != 5000 || v.Config.ManagedBy != "operator Zone dns/example.test." || v.Config.Settings.Guarantee.LimitMS != 500 {
				t.Errorf("zone: %+v", v.Config)
			}
			if cat, ok := m.Zone(ZoneOf(mustName("catalog.test."))); !ok || !zone.SerialGE(cat.Zone.Serial(), 900) || len(cat.Zone.Sets(mustName("catalog.test."))) == 0 || cat.Zone.Len() != 5 {
				t.Errorf("the catalog has %d RRsets, serial %d", cat.Zone.Len(), cat.Zone.Serial())
			}
			s := m.Settings()
			if k := s.Key(mustName("k.")); k == nil || k.Guarantee.Secondaries != 1 || k.ManagedBy != "operator TSIGKey dns/k" || s.Key(mustName("own.")) == nil {
				t.Errorf("keys: %+v", k)
			}
			if s.Secondary("secondary-0") == nil || m.Limits().HistoryPerZone != 7 {
				t.Error("secondaries or limits are not there")
			}
			// A deleted zone that comes again is past what it was (C3).
			r := c.must(&PutZone{Zone: ZoneOf(mustName("gone.test.")), Create: true, RRs: NewZoneRRs(mustName("gone.test."), mustName("ns.elsewhere."), mustName("h.gone.test."), nil)})
			if !zone.SerialGT(r.Serial, 77) {
				t.Errorf("the deleted zone began at %d", r.Serial)
			}
			// What was signed before may have been applied in the former life (C1).
			u := c.signed("k.", own+1, nil)
			u.TimeSigned = uint64(c.timeMS/1000) - 5
			if r := c.apply(u).Results[0]; r.TSIGError != 18 {
				t.Errorf("an old request: %+v, want BADTIME", r)
			}
			if r := c.plant("again", seed); !strings.Contains(r.Err, "not empty") {
				t.Errorf("a second restore: %q", r.Err)
			}
		})
	}
}

// TestSeedRefused: what can't be restored changes nothing.
func TestSeedRefused(t *testing.T) {
	seed := backedUp(t, 50)
	broken := bytes.Clone(seed)
	broken[len(broken)/2] ^= 1
	for name, tc := range map[string]struct {
		before func(c *cluster)
		seed   []byte
		want   string
	}{
		"damaged":         {seed: broken, want: "restore \"r\""},
		"cut short":       {seed: seed[:len(seed)-9], want: "cut short"},
		"zones":           {before: func(c *cluster) { c.addZone("a.test.") }, seed: seed, want: "such as a.test."},
		"deleted zones":   {before: func(c *cluster) { id := c.addZone("a.test."); c.must(&DeleteZone{Zone: id, Confirm: id.Name}) }, seed: seed, want: "deleted"},
		"import":          {before: func(c *cluster) { c.must(&ImportBegin{ID: "i", Zone: ZoneOf(mustName("b.test."))}) }, seed: seed, want: "imports"},
		"another catalog": {before: func(c *cluster) { c.must(&PutCatalog{Name: mustName("c2.test.")}) }, seed: seed, want: "catalog is c2.test."},
		"key versions": {before: func(c *cluster) {
			c.must(&PutKey{Name: mustName("v."), Algorithm: "hmac-sha256", Version: 60, Sealed: []byte("x")})
		}, seed: seed, want: "was used before"},
		"a secondary's key": {before: func(c *cluster) { c.addKey("s0."); c.must(&PutSecondary{Name: "x", Key: mustName("s0.")}) }, seed: seed, want: "is that of secondary x"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 1)
			if tc.before != nil {
				tc.before(c)
			}
			generation := c.machines[0].Settings().Generation
			r := c.plant("r", tc.seed)
			if !strings.Contains(r.Err, tc.want) {
				t.Errorf("got %q, want %q in it", r.Err, tc.want)
			}
			if c.machines[0].Settings().Generation != generation {
				t.Error("it changed something")
			}
		})
	}
	t.Run("order", func(t *testing.T) {
		c := newCluster(t, 1)
		c.must(&SeedChunk{ID: "a", Seq: 1, Data: []byte("x")})
		for _, tc := range []struct {
			cmd  Command
			want string
		}{
			{&SeedChunk{ID: "b", Seq: 1}, `restore "a" is under way`},
			{&SeedChunk{ID: "b", Seq: 2}, "not under way"},
			{&SeedChunk{ID: "a", Seq: 3}, "where 2 belongs"},
			{&SeedCommit{ID: "b"}, "not under way"},
			{&SeedAbort{ID: "b"}, "not under way"},
			{&SeedAbort{ID: "a"}, ""},
			{&SeedCommit{ID: "a"}, "not under way"},
			{&SeedChunk{ID: "", Seq: 1}, "choose one"},
			{&SeedChunk{ID: "c", Seq: 1}, ""},
			{&SeedCommit{ID: "c", Chunks: 2}, "1 chunks arrived of 2"},
		} {
			if got := c.apply(tc.cmd).Results[0].Err; (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%s %+v: got %q, want %q", tc.cmd.Kind(), tc.cmd, got, tc.want)
			}
		}
		c.must(&SeedChunk{ID: "dead", Seq: 1, Data: []byte("x")})
		c.tick(int64(11 * time.Minute / time.Millisecond))
		c.must(&SeedChunk{ID: "next", Seq: 1, Data: []byte("x")})
	})
	t.Run("too large", func(t *testing.T) {
		c := newCluster(t, 1)
		c.must(&SeedChunk{ID: "a", Seq: 1, Data: []byte("x")})
		c.machines[0].st.seed.bytes = MaxSeedBytes
		if got := c.apply(&SeedChunk{ID: "a", Seq: 2, Data: []byte("x")}).Results[0].Err; !strings.Contains(got, fmt.Sprint(MaxSeedBytes)) {
			t.Errorf("got %q", got)
		}
	})
}
