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
