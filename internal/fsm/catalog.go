package fsm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// The catalog zone (RFC 9432) is a zone like any other, but for who changes it: its content follows from the set of zones,
// and is brought up to date at the end of each entry that changes the set. So it has the serials, boundaries, digests and
// checkpoints that every zone has, and is the same at every replica.

// catalog says which zone is the catalog. The zero one: there is none.
type catalog struct {
	id ZoneID
	// confirmed is the serial up to which removals are confirmed, 0 when none are: no zone of ours has the serial 0.
	confirmed uint32
}

func (c catalog) exists() bool { return c.id.Name != "" }

// SOA of the catalog, in seconds. The timers matter when no NOTIFY arrives; expire is BIND's greatest (24 weeks), because a
// catalog that expires takes the zones with it, and their own SOAs say for how long they are good.
const (
	catalogTTL     = 0 // RFC 9432 section 4.1: no resolver ever asks
	catalogRefresh = 60
	catalogRetry   = 15
	catalogExpire  = 14_515_200
	catalogMinimum = 0
)

const (
	catalogInvalid = zone.Name("\x07invalid\x00") // RFC 9432 section 4.1: a catalog needs no name server
	catalogZones   = "\x05zones"
	catalogVersion = "\x07version"
	catalogSchema  = "\x012" // as RDATA of a TXT record
	// memberOctets of the digest of a name are its label, in hexadecimal.
	memberOctets = 16
	memberLength = "\x20" // of that label, as its first octet
	// maxCatalogName leaves room for a member's label and "zones" (RFC 1035 section 3.1: 255 octets in all).
	maxCatalogName = 255 - (1 + 2*memberOctets) - len(catalogZones)
)

// CatalogRRs gives the whole content of a catalog zone. Members are canonical names.
func CatalogRRs(catalog zone.Name, serial uint32, members []zone.Name) []zone.RR {
	soa := zone.SOA{
		MName: catalogInvalid, RName: catalogInvalid, Serial: serial,
		Refresh: catalogRefresh, Retry: catalogRetry, Expire: catalogExpire, Minimum: catalogMinimum,
	}
	rr := func(owner zone.Name, t zone.Type, data string) zone.RR {
		return zone.RR{Name: owner, Type: t, Class: zone.ClassIN, TTL: catalogTTL, Data: data}
	}
	rrs := make([]zone.RR, 0, 3+len(members))
	rrs = append(rrs, rr(catalog, zone.TypeSOA, soa.Data()), rr(catalog, zone.TypeNS, string(catalogInvalid)),
		rr(catalogVersion+catalog, zone.TypeTXT, catalogSchema))
	for _, name := range members {
		rrs = append(rrs, rr(memberOwner(catalog, name), zone.TypePTR, string(name)))
	}
	return rrs
}

// memberOwner is the owner of a member's PTR. Its label follows from the member's name alone: with another label a secondary
// drops the zone and loads it anew (RFC 9432 section 5.4), so a zone that is deleted and added again keeps its own.
func memberOwner(catalog, member zone.Name) zone.Name {
	sum := sha256.Sum256([]byte(member))
	label := hex.EncodeToString(sum[:memberOctets])
	return zone.Name(memberLength+label+catalogZones) + catalog
}

// IsMember says that the zone is a member of the catalog, so that secondaries serve it: they answer everyone, so a zone that
// the primaries hide is none.
func (c *ZoneConfig) IsMember() bool {
	return !c.catalog && c.ID.View == "" && strings.HasPrefix(c.AllowQuery.String(), "any;")
}

// parseCatalogConfig parses the settings of the catalog.
func parseCatalogConfig(id ZoneID, s ZoneSettings) (*ZoneConfig, error) {
	if err := id.validate(); err != nil {
		return nil, err
	}
	switch {
	case id.Name == zone.Root:
		return nil, errors.New("the root zone can't be the catalog; use a name of its own, such as catalog.zonekeeper.invalid")
	case len(id.Name) > maxCatalogName:
		return nil, fmt.Errorf("catalog %s: the name takes %d octets; use at most %d, so that members fit below it", id, len(id.Name), maxCatalogName)
	case s.UpdatePolicy != "" || s.AllowUpdate != "" || s.Guarantee != (Guarantee{}):
		return nil, fmt.Errorf("catalog %s: nobody can update it; leave update-policy, allow-update and the guarantee empty", id)
	}
	conf, err := parseZoneConfig(id, s)
	if err != nil {
		return nil, err
	}
	conf.catalog = true
	return conf, nil
}

// Check says what is wrong with the command, whatever the state, before it is put into the log.
func (c *PutCatalog) Check() error {
	_, err := parseCatalogConfig(ZoneOf(c.Name), c.Settings)
	return err
}

// errCatalog refuses what may be done to every other zone.
func errCatalog(id ZoneID) error {
	return fmt.Errorf("zone %s is the catalog: its content follows from the zones, and it can't be changed, imported or deleted", id)
}

func (m *Machine) putCatalog(c *PutCatalog) error {
	id := ZoneOf(c.Name)
	conf, err := parseCatalogConfig(id, c.Settings)
	if err != nil {
		return err
	}
	if err := m.checkReferences(conf); err != nil {
		return err
	}
	s, now := m.slots[id], m.st.catalog
	switch {
	case now.exists() && now.id != id:
		return fmt.Errorf("the catalog is %s, and secondaries know it by that name; it can't become %s", now.id, id)
	case now.exists():
		return m.reconfigure(s, conf, c.Actor)
	case s != nil:
		return fmt.Errorf("zone %s exists; choose another name for the catalog", id)
	}
	serial := uint32(1)
	if highest, ok := m.highestSerial(id); ok {
		serial = zone.NextSerial(highest)
	}
	conf.ManagedBy = c.By
	return m.createCatalog(conf, serial)
}

// createCatalog makes the catalog of the zones that there are, under a name that no zone has.
func (m *Machine) createCatalog(conf *ZoneConfig, serial uint32) error {
	id := conf.ID
	z, err := zone.FromRRs(id.Name, CatalogRRs(id.Name, serial, m.members()))
	if err != nil {
		return fmt.Errorf("catalog %s: %w", id, err)
	}
	m.st.catalog = catalog{id: id}
	m.installZone(conf, z, ZoneCreated)
	return nil
}

// members are the names of the zones that belong into the catalog, in the order of their octets.
func (m *Machine) members() []zone.Name {
	var names []zone.Name
	m.configs.Scan(func(_ string, c *ZoneConfig) bool {
		if c.IsMember() {
			names = append(names, c.ID.Name)
		}
		return true
	})
	return names
}

// confirmCatalog needs no actor's leave: it changes nothing that somebody manages, and it is urgent.
func (m *Machine) confirmCatalog(c *ConfirmCatalog) error {
	now := &m.st.catalog
	if !now.exists() {
		return errors.New("there is no catalog; it comes with the first secondary")
	}
	serial := m.slots[now.id].cur.zone.Serial()
	if c.Serial == 0 || !zone.SerialGE(serial, c.Serial) {
		return fmt.Errorf("catalog %s: serial %d can't be confirmed: it is not a serial that the catalog has had, which is at %d", now.id, c.Serial, serial)
	}
	if now.confirmed == 0 || zone.SerialGT(c.Serial, now.confirmed) {
		now.confirmed = c.Serial
		m.settingsChanged = true
	}
	return nil
}

// catalogChanged notes that the entry under way changed whether a zone is a member, or the catalog itself.
func (m *Machine) catalogChanged(id ZoneID) {
	if m.st.catalog.exists() {
		m.catalogDue = append(m.catalogDue, id)
	}
}

// updateCatalog makes the catalog follow what the entry changed: in one step, with one serial.
func (m *Machine) updateCatalog() {
	if len(m.catalogDue) == 0 {
		return
	}
	due := m.catalogDue
	m.catalogDue = nil
	slices.SortFunc(due, compareZoneIDs)

	s := m.slots[m.st.catalog.id]
	origin := s.id.Name
	var tx *zone.Tx
	for _, id := range slices.Compact(due) {
		target := m.slots[id]
		want := target != nil && target.cur.conf.IsMember()
		owner := memberOwner(origin, id.Name)
		if has := s.cur.zone.Get(owner, zone.TypePTR) != nil; has == want {
			continue
		}
		z := m.writable(s).zone
		if tx == nil {
			tx = z.Begin()
		}
		if want {
			z.Set(zone.SingleRRset(owner, zone.TypePTR, catalogTTL, string(id.Name)))
		} else {
			z.Remove(owner, zone.TypePTR)
		}
	}
	if tx != nil {
		setSerial(s.cur.zone, zone.NextSerial(s.cur.zone.Serial()))
		m.change(s, tx.Commit())
	}
	// A confirmation that the serial has left behind by half the number space would count for the future (RFC 1982).
	if c := &m.st.catalog; c.confirmed != 0 && !zone.SerialGE(s.cur.zone.Serial(), c.confirmed) {
		c.confirmed = 0
		m.settingsChanged = true
	}
}

// catalogItem reads a checkpoint's.
func (c *checkpointReader) catalogItem(r *reader) error {
	if c.st.catalog.exists() {
		r.fail("a second catalog")
	}
	c.st.catalog.id.read(r)
	c.st.catalog.confirmed = r.uint32("serial")
	if !c.st.catalog.exists() {
		r.fail("catalog without a name")
	}
	return nil
}

func (c catalog) append(b []byte) []byte { return appendUvarint(c.id.append(b), uint64(c.confirmed)) }
