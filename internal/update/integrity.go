package update

import "github.com/zonekeeper/zonekeeper/internal/zone"

// checkNameservers refuses a change after which an NS RR of the apex names a host of the zone without an address
// (dns_zone_nscheck). Every change is held to it, whatever it touched.
func (e *editor) checkNameservers() *failure {
	set := e.Get(e.origin, zone.TypeNS)
	if set == nil {
		return nil
	}
	for _, d := range set.Data {
		host := zone.Name(d)
		r := e.Find(host, zone.TypeA)
		if r == zone.FoundOtherTypes {
			r = e.Find(host, zone.TypeAAAA)
		}
		switch r {
		case zone.FoundOtherTypes, zone.FoundNoName, zone.FoundEmpty:
			return refuse(EDEOther, "the zone's name server %s would have no address", host)
		case zone.FoundCNAME:
			return refuse(EDEOther, "the zone's name server %s would be a CNAME", host)
		case zone.FoundDNAME:
			return refuse(EDEOther, "the zone's name server %s would be below a DNAME", host)
		default: // has an address, or it is not ours to know
		}
	}
	return nil
}

// checkMailExchangers refuses the addition of an MX RR whose target in the zone has no address (check_mx). Unlike
// checkNameservers it lets an empty non-terminal pass, as named does.
func (e *editor) checkMailExchangers() *failure {
	return e.journal.each(opAdd, zone.TypeMX, func(mx *entry) *failure {
		host := zone.Name(mx.data[2:])
		r := e.Find(host, zone.TypeA)
		if r == zone.FoundOtherTypes {
			r = e.Find(host, zone.TypeAAAA)
		}
		switch r {
		case zone.FoundOtherTypes, zone.FoundNoName:
			return refuse(EDEOther, "%s MX: %s has no address", mx.owner, host)
		case zone.FoundCNAME:
			return refuse(EDEOther, "%s MX: %s is a CNAME", mx.owner, host)
		case zone.FoundDNAME:
			return refuse(EDEOther, "%s MX: %s is below a DNAME", mx.owner, host)
		default: // has an address, or it is not ours to know
		}
		return nil
	})
}

// removeOrphanedDS removes DS RRsets where a DS was added or an NS deleted and no delegation is left (RFC 3658 2.2). The
// serial has moved by then, so adding a DS without NS moves it and changes nothing else.
func (e *editor) removeOrphanedDS() {
	var orphans []zone.Name
	collect := func(changed *entry) *failure {
		if e.Get(changed.owner, zone.TypeNS) == nil || changed.owner.Equal(e.origin) {
			orphans = append(orphans, changed.owner)
		}
		return nil
	}
	e.journal.each(opDel, zone.TypeNS, collect)
	e.journal.each(opAdd, zone.TypeDS, collect)
	for _, owner := range orphans {
		if set := e.Get(owner, zone.TypeDS); set != nil {
			e.shrink(set, nil)
		}
	}
}
