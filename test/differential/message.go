package differential

import (
	"encoding/binary"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// message is an UPDATE in the making.
type message struct {
	zones      []question
	prereqs    []zone.RR
	updates    []zone.RR
	additional []zone.RR
	// compress writes owners at or below the zone with a pointer to its name in the header.
	compress bool
	trailing []byte
}

type question struct {
	name  zone.Name
	t     zone.Type
	class zone.Class
}

func newMessage(origin zone.Name) *message {
	return &message{zones: []question{{origin, zone.TypeSOA, zone.ClassIN}}}
}

func (m *message) require(rrs ...zone.RR) *message {
	m.prereqs = append(m.prereqs, rrs...)
	return m
}

func (m *message) update(rrs ...zone.RR) *message {
	m.updates = append(m.updates, rrs...)
	return m
}

func (m *message) wire(id uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = binary.BigEndian.AppendUint16(b, 5<<11)
	for _, n := range []int{len(m.zones), len(m.prereqs), len(m.updates), len(m.additional)} {
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	for _, q := range m.zones {
		b = append(b, q.name...)
		b = binary.BigEndian.AppendUint16(b, uint16(q.t))
		b = binary.BigEndian.AppendUint16(b, uint16(q.class))
	}
	for _, rrs := range [][]zone.RR{m.prereqs, m.updates, m.additional} {
		for _, rr := range rrs {
			b = m.appendRR(b, rr)
		}
	}
	return append(b, m.trailing...)
}

func (m *message) appendRR(b []byte, rr zone.RR) []byte {
	if !m.compress || len(m.zones) == 0 || len(rr.Name) < len(m.zones[0].name) {
		return zone.AppendRR(b, rr)
	}
	cut := len(rr.Name) - len(m.zones[0].name)
	if !rr.Name.IsSubdomainOf(m.zones[0].name) || rr.Name[cut:] != m.zones[0].name {
		return zone.AppendRR(b, rr)
	}
	b = append(b, rr.Name[:cut]...)
	b = append(b, 0xc0, 12)
	return append(b, zone.AppendRR(nil, rr)[len(rr.Name):]...)
}

// The forms of RFC 2136 2.4 and 2.5.

func nameInUse(n zone.Name) zone.RR {
	return zone.RR{Name: n, Type: zone.TypeANY, Class: zone.ClassANY}
}
func nameNotInUse(n zone.Name) zone.RR {
	return zone.RR{Name: n, Type: zone.TypeANY, Class: zone.ClassNONE}
}
func setExists(n zone.Name, t zone.Type) zone.RR {
	return zone.RR{Name: n, Type: t, Class: zone.ClassANY}
}
func setNotExists(n zone.Name, t zone.Type) zone.RR {
	return zone.RR{Name: n, Type: t, Class: zone.ClassNONE}
}
func exactly(s *zone.RRset) []zone.RR {
	rrs := s.RRs()
	for i := range rrs {
		rrs[i].TTL = 0
	}
	return rrs
}
func deleteSet(n zone.Name, t zone.Type) zone.RR {
	return zone.RR{Name: n, Type: t, Class: zone.ClassANY}
}
func deleteName(n zone.Name) zone.RR { return deleteSet(n, zone.TypeANY) }
func deleteRR(rr zone.RR) zone.RR {
	rr.Class, rr.TTL = zone.ClassNONE, 0
	return rr
}
