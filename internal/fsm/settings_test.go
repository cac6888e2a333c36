package fsm

import (
	"io"
	"sync"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/policy"
)

func TestSettings(t *testing.T) {
	c := newCluster(t, 1)
	before := c.machines[0].Settings()
	for _, name := range []string{"test.", "b.test.", "a.b.test."} {
		c.addZone(name)
	}
	c.addKey("K.Example.")
	s := c.machines[0].Settings()
	if before.NumZones() != 0 || before.NumKeys() != 0 {
		t.Error("settings that were handed out have changed")
	}
	if s.NumZones() != 3 || s.NumKeys() != 1 || s.Generation != before.Generation+4 || s.Index != c.index {
		t.Errorf("%d zones, %d keys, generation %d, index %d", s.NumZones(), s.NumKeys(), s.Generation, s.Index)
	}
	for name, want := range map[string]string{
		"test.": "test.", "x.test.": "test.", "B.TEST.": "b.test.", "x.y.a.b.test.": "a.b.test.", "xb.test.": "test.", "other.": "", ".": "",
	} {
		got := ""
		if z := s.Enclosing("", mustName(name)); z != nil {
			got = z.ID.String()
		}
		if got != want {
			t.Errorf("%s belongs to %q, want %q", name, got, want)
		}
	}
	if z := s.Zone(ZoneOf(mustName("B.test."))); z == nil || z.Policy == nil || z.AllowUpdate != nil {
		t.Errorf("zone b.test. is %+v", z)
	} else {
		anyone := policy.Subject{}
		if !z.AllowQuery.Match(anyone) || z.AllowTransfer.Match(anyone) {
			t.Error("by default anyone may query, and nobody may transfer")
		}
	}
	if k := s.Key(mustName("k.example.")); k == nil || len(k.Secrets) != 1 || k.Secrets[0].State != KeyActive {
		t.Errorf("key is %+v", k)
	}
	if s.Key(mustName("k.")) != nil || s.Zone(ZoneID{View: "inside", Name: mustName("test.")}) != nil {
		t.Error("found what does not exist")
	}
	if z, ok := c.machines[0].Zone(ZoneOf(mustName("none."))); ok || z.Zone != nil || c.machines[0].History(ZoneOf(mustName("none."))) != nil {
		t.Error("found a zone that does not exist")
	}
}

// Readers, checkpoints and Apply do not disturb one another; the race detector watches.
func TestConcurrentReaders(t *testing.T) {
	c := newCluster(t, 1)
	id := c.addZone("example.test.")
	v := c.addKey("k.")
	m := c.machines[0]
	stop := make(chan struct{})
	started := make(chan struct{}, 3)
	var wg sync.WaitGroup
	reader := func(fn func()) {
		wg.Go(func() {
			fn()
			started <- struct{}{}
			for {
				select {
				case <-stop:
					return
				default:
					fn()
				}
			}
		})
	}
	reader(func() {
		s := m.Snapshot()
		d, err := s.WriteCheckpoint(io.Discard)
		if again := s.Digest(); err != nil || d != again {
			t.Errorf("a snapshot changed: %v", err)
		}
	})
	reader(func() {
		view, _ := m.Zone(id)
		z := view.Oldest()
		for _, b := range view.History {
			z.Apply(b.Diff)
		}
		if z.Serial() != view.PublishedSerial || view.Published().Digest() != z.Digest() {
			t.Error("a view does not fit together")
		}
	})
	reader(func() { m.Settings().Zones(func(z *ZoneConfig) bool { return z.Incarnation != 0 }) })
	for range 3 {
		<-started
	}
	for i := range 400 {
		c.tick(int64(i % 7))
		c.apply(c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9")),
			c.signed("k.", v, updateWire(t, "example.test", "delname a.example.test.")))
		if i%50 == 0 {
			c.must(&PutZone{Zone: id, Settings: ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;"}})
		}
	}
	close(stop)
	wg.Wait()
}

// TestMaxRecords: a zone takes no update and no content beyond its limit, and a limit below what it has is taken: it may shrink then.
func TestMaxRecords(t *testing.T) {
	c := newCluster(t, 1)
	v := c.addKey("k.")
	id := c.addZone("example.test.")
	limit := func(n uint32) *PutZone {
		return &PutZone{Zone: id, Settings: ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;", MaxRecords: n}}
	}
	records := func() int {
		z, _ := c.machines[0].Zone(id)
		return z.Zone.Records()
	}
	has := records()
	c.must(limit(uint32(has + 1)))
	send := func(lines ...string) uint16 {
		t.Helper()
		c.tick(1000)
		return c.apply(c.signed("k.", v, updateWire(t, "example.test", lines...))).Results[0].RCode
	}
	if rc := send("add a.example.test. 60 A 192.0.2.1"); rc != 0 {
		t.Fatalf("up to the limit: %d", rc)
	}
	if rc := send("add b.example.test. 60 A 192.0.2.1"); rc != rcodeServFail || records() != has+1 {
		t.Errorf("beyond it: %d, %d records", rc, records())
	}
	if rc := send("delset a.example.test. A", "add b.example.test. 60 A 192.0.2.1"); rc != 0 {
		t.Errorf("one for another: %d", rc)
	}
	c.must(limit(uint32(has)))
	if rc := send("delset b.example.test. A"); rc != 0 || records() != has {
		t.Errorf("down to a lower limit: %d, %d records", rc, records())
	}
	other := ZoneOf(mustName("other.test."))
	put := &PutZone{Zone: other, Create: true, Settings: ZoneSettings{MaxRecords: 1}, RRs: NewZoneRRs(other.Name, mustName("ns."), mustName("h."), nil)}
	if res := c.apply(put).Results[0]; res.Err == "" {
		t.Error("a zone beyond its limit was made")
	}
}
