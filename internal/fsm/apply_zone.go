package fsm

import (
	"fmt"
	"net/netip"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

func (m *Machine) putZone(c *PutZone) error {
	if err := c.Zone.validate(); err != nil {
		return err
	}
	conf, err := parseZoneConfig(c.Zone, c.Settings)
	if err != nil {
		return err
	}
	s := m.slots[c.Zone]
	if s != nil && s.cur.conf.catalog {
		return errCatalog(c.Zone)
	}
	if err := m.checkReferences(conf); err != nil {
		return err
	}
	if !c.Create {
		if s == nil {
			return noSuchZone(c.Zone)
		}
		if len(c.RRs) > 0 {
			return fmt.Errorf("zone %s exists: its settings can be changed here, its content by updates or an import", c.Zone)
		}
		return m.reconfigure(s, conf, c.Actor)
	}
	if s != nil {
		return fmt.Errorf("zone %s exists; change its settings, or import with replacement", c.Zone)
	}
	z, err := zone.FromRRs(c.Zone.Name, c.RRs)
	if err != nil {
		return fmt.Errorf("zone %s: %w", c.Zone, err)
	}
	if err := conf.room(uint64(z.Records())); err != nil {
		return err
	}
	if highest, ok := m.highestSerial(c.Zone); ok && usedSerial(z.Serial(), highest) {
		setSerial(z, zone.NextSerial(highest))
	}
	conf.ManagedBy = c.By
	m.installZone(conf, z, ZoneCreated)
	return nil
}

// room says why a zone can't begin with a number of records. One that has them already may have its limit lowered below: it takes no more then.
func (c *ZoneConfig) room(records uint64) error {
	if limit := c.Settings.MaxRecords; limit != 0 && records > uint64(limit) {
		return fmt.Errorf("zone %s would hold %d records; max-records is %d: raise it, or leave records out", c.ID, records, limit)
	}
	return nil
}

// reconfigure replaces a zone's settings.
func (m *Machine) reconfigure(s *slot, conf *ZoneConfig, by Actor) error {
	old := s.cur.conf
	if err := checkActor("zone "+s.id.String(), old.ManagedBy, by); err != nil {
		return err
	}
	conf.Incarnation, conf.ManagedBy = old.Incarnation, by.By
	m.writable(s).conf = conf
	m.configs.Set(s.key, conf)
	m.zoneEvent(conf, ZoneChanged)
	return nil
}

// installZone makes a zone visible, in the place of an older incarnation if there is one.
func (m *Machine) installZone(conf *ZoneConfig, z *zone.Zone, kind ZoneEventKind) {
	conf.Incarnation = m.st.index
	if old := m.slots[conf.ID]; old != nil {
		// Two in one entry must differ as well.
		conf.Incarnation = max(conf.Incarnation, old.cur.conf.Incarnation+1)
		m.dropZoneState(old)
	}
	if g, ok := m.st.graves.Delete(conf.ID.key()); ok {
		conf.Incarnation = max(conf.Incarnation, g.incarnation+1)
	}
	m.addSlot(&zoneState{conf: conf, zone: z, gen: m.gen, cutMS: m.st.timeMS})
	m.zoneEvent(conf, kind)
}

func (m *Machine) zoneEvent(conf *ZoneConfig, kind ZoneEventKind) {
	m.settingsChanged = true
	m.eff.Zones = append(m.eff.Zones, ZoneEvent{Zone: conf.ID, Incarnation: conf.Incarnation, Kind: kind})
	m.catalogChanged(conf.ID)
}

func (m *Machine) deleteZone(c *DeleteZone) error {
	s := m.slots[c.Zone]
	if s == nil {
		return noSuchZone(c.Zone)
	}
	if !c.Confirm.Equal(c.Zone.Name) {
		return fmt.Errorf("deleting zone %s needs a confirmation that repeats its name, got %q", c.Zone, c.Confirm)
	}
	conf := s.cur.conf
	if conf.catalog {
		return errCatalog(c.Zone)
	}
	if c.Incarnation != 0 && c.Incarnation != conf.Incarnation {
		return fmt.Errorf("zone %s was deleted and added again, or replaced, since its deletion was asked for; ask again if this one is meant", c.Zone)
	}
	if err := checkActor("zone "+c.Zone.String(), conf.ManagedBy, c.Actor); err != nil {
		return err
	}
	m.st.graves.Set(s.key, grave{id: c.Zone, serial: s.cur.zone.Serial(), incarnation: conf.Incarnation})
	m.dropZoneState(s)
	m.zoneEvent(conf, ZoneDeleted)
	return nil
}

func (m *Machine) bumpSerial(c *BumpSerial) error {
	s := m.slots[c.Zone]
	if s == nil {
		return noSuchZone(c.Zone)
	}
	z := m.writable(s)
	past := z.zone.Serial()
	if c.HasPast && zone.SerialGT(c.Past, past) {
		past = c.Past
	}
	tx := z.zone.Begin()
	setSerial(z.zone, zone.NextSerial(past))
	m.change(s, tx.Commit())
	s.cut = true
	if z.conf.catalog {
		m.catalogChanged(c.Zone)
	}
	return nil
}

// setSerial changes the serial of a zone that has an SOA.
func setSerial(z *zone.Zone, serial uint32) {
	soa := z.SOA()
	z.Set(zone.NewRRset(soa.Owner, zone.TypeSOA, soa.TTL, zone.WithSOASerial(soa.Data[0], serial)))
}

// Timers of the SOA of a new zone, in seconds. Secondaries are notified; the timers matter when that fails.
const (
	newZoneTTL     = 3600
	newZoneRefresh = 3600
	newZoneRetry   = 600
	newZoneExpire  = 1209600 // RFC 1912 section 2.2: two weeks
	newZoneMinimum = 60      // negative answers; short, for what is added next
)

// NewZoneRRs gives the content of a new zone: SOA with serial 1, one NS, and the NS's addresses when it lies in the zone.
func NewZoneRRs(origin, ns, mailbox zone.Name, addrs []netip.Addr) []zone.RR {
	soa := zone.SOA{
		MName: ns, RName: mailbox, Serial: 1,
		Refresh: newZoneRefresh, Retry: newZoneRetry, Expire: newZoneExpire, Minimum: newZoneMinimum,
	}
	rr := func(owner zone.Name, t zone.Type, data string) zone.RR {
		return zone.RR{Name: owner, Type: t, Class: zone.ClassIN, TTL: newZoneTTL, Data: data}
	}
	rrs := []zone.RR{rr(origin, zone.TypeSOA, soa.Data()), rr(origin, zone.TypeNS, string(ns))}
	if !ns.IsSubdomainOf(origin) {
		return rrs
	}
	for _, a := range addrs {
		t := zone.TypeA
		if a = a.Unmap(); a.Is6() {
			t = zone.TypeAAAA
		}
		rrs = append(rrs, rr(ns, t, string(a.AsSlice())))
	}
	return rrs
}
