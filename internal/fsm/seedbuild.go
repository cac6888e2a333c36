package fsm

import (
	"fmt"
	"io"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Seed gathers the content of a backup by the rules by which the state machine takes changes, so that what a Seed accepted is
// accepted by SeedCommit as well, but for what depends on the cluster that it goes to.
type Seed struct{ m *Machine }

// NewSeed begins an empty seed at a log time in milliseconds since 1970.
func NewSeed(timeMS int64) *Seed {
	m := New()
	m.st.index, m.st.timeMS = 1, timeMS
	return &Seed{m: m}
}

// Do applies a command of settings: PutLimits, PutKey, PutKeyGuarantee, PutSecondary, PutCatalog, Floor.
func (s *Seed) Do(c Command) error {
	if res := s.m.command(c, &Entry{}); res.Err != "" {
		return fmt.Errorf("%s: %s", c.Kind(), res.Err)
	}
	return nil
}

// AddZone adds a zone with its content, which belongs to the seed from now on.
func (s *Seed) AddZone(settings ZoneSettings, managedBy string, z *zone.Zone) error {
	id := ZoneOf(z.Origin())
	conf, err := parseZoneConfig(id, settings)
	if err == nil {
		err = s.m.checkReferences(conf)
	}
	switch {
	case err != nil:
		return err
	case s.m.slots[id] != nil:
		return fmt.Errorf("zone %s is there twice", id)
	case z.SOA() == nil:
		return fmt.Errorf("zone %s has no SOA", id)
	}
	conf.ManagedBy = managedBy
	s.m.installZone(conf, z, ZoneCreated)
	return nil
}

// AddDeleted remembers the highest serial of a zone that was deleted (rule C3).
func (s *Seed) AddDeleted(name zone.Name, serial uint32) error {
	id := ZoneOf(name)
	if s.m.slots[id] != nil {
		return fmt.Errorf("zone %s is there and deleted", id)
	}
	s.m.st.graves.Set(id.key(), grave{id: id, serial: serial})
	return nil
}

// CatalogSerial sets the serial of the catalog that PutCatalog has made.
func (s *Seed) CatalogSerial(serial uint32) {
	if z := s.m.slots[s.m.st.catalog.id]; z != nil {
		setSerial(z.cur.zone, serial)
	}
}

// Machine is the state gathered so far: for reading.
func (s *Seed) Machine() *Machine {
	s.m.publishSettings()
	return s.m
}

// Write streams the seed, for SeedChunks.
func (s *Seed) Write(w io.Writer) error {
	s.m.dirty = nil
	s.m.st.zones.Scan(func(_ string, z *zoneState) bool { // the first transfer after a restore is a whole one
		z.pending, z.history = nil, nil
		return true
	})
	_, err := s.m.Snapshot().WriteCheckpoint(w)
	return err
}

// Contents is what a snapshot holds but the zones' records, for a backup. It is shared: read only.
type Contents struct {
	Index       uint64
	TimeMS      int64
	Version     uint8
	Limits      Limits
	Keys        []*Key
	Secondaries []*Secondary
	Deleted     []DeletedZone
	// Catalog is the zone that is the catalog; its name is "" when there is none.
	Catalog ZoneID
}

// DeletedZone is a zone that was, and the highest serial that it had.
type DeletedZone struct {
	Zone   ZoneID
	Serial uint32
}

// Contents gives what the snapshot holds, in the order of the state.
func (s *Snapshot) Contents() Contents {
	c := Contents{Index: s.st.index, TimeMS: s.st.timeMS, Version: s.st.version, Limits: s.st.limits, Catalog: s.st.catalog.id}
	s.st.keys.Scan(func(_ zone.Name, k *keyRecord) bool {
		c.Keys = append(c.Keys, k.Key)
		return true
	})
	s.st.secondaries.Scan(func(_ string, x *Secondary) bool {
		c.Secondaries = append(c.Secondaries, x)
		return true
	})
	s.st.graves.Scan(func(_ string, g grave) bool {
		c.Deleted = append(c.Deleted, DeletedZone{Zone: g.id, Serial: g.serial})
		return true
	})
	return c
}

// Zones calls fn for each zone, the catalog too, in the order of the state, until it returns false. The zone is fn's own.
func (s *Snapshot) Zones(fn func(*ZoneConfig, *zone.Zone) bool) {
	s.st.zones.Scan(func(_ string, z *zoneState) bool {
		s.mu.Lock()
		content := z.zone.Snapshot()
		s.mu.Unlock()
		return fn(z.conf, content)
	})
}

// WithSerial gives a copy of a zone that differs in the serial only.
func WithSerial(z *zone.Zone, serial uint32) *zone.Zone {
	out := z.Snapshot()
	setSerial(out, serial)
	return out
}
