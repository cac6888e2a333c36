package update

import "github.com/zonekeeper/zonekeeper/internal/zone"

// maxTTL is the greatest TTL (RFC 2181 8). named takes greater ones from updates, but makes them 0 when it loads its zone
// file again. Refusing them is an intended difference; see docs/differences.md.
const maxTTL = 1<<31 - 1

// prescan refuses a message with an update that is malformed, forbidden or not permitted, before any update or
// prerequisite is looked at (send_update). The first RR that fails decides. limits is what auth said for each update
// about the number of RRs, or nil when there are no limits.
func (v view) prescan(updates []zone.RR, auth Authorizer, opt Options) (limits []int, f *failure) {
	for i := range updates {
		rr := &updates[i]
		if !rr.Name.IsSubdomainOf(v.origin) {
			return nil, fail(NotZone, "%s is not in the zone %s", rr.Name, v.origin)
		}
		if f := wellFormed(rr, opt); f != nil {
			return nil, f
		}
		if f := v.updatable(rr); f != nil {
			return nil, f
		}
		limit, f := v.permitted(rr, auth)
		if f != nil {
			return nil, f
		}
		if f := v.maintainable(rr); f != nil {
			return nil, f
		}
		if rr.Class == zone.ClassIN && rr.TTL > maxTTL && (opt.MaxTTL == 0 || opt.MaxTTL > maxTTL) {
			return nil, refuse(EDENotSupported, "%s %s: TTL %d is greater than %d (RFC 2181 8)", rr.Name, rr.Type, rr.TTL, maxTTL)
		}
		if rr.Class == zone.ClassIN && len(rr.Data) > zone.MaxDataLen {
			return nil, refuse(EDENotSupported, "%s %s: RDATA of %d octets; a signed zone transfer carries %d", rr.Name, rr.Type, len(rr.Data), zone.MaxDataLen)
		}
		if limit != 0 && limits == nil {
			limits = make([]int, len(updates))
		}
		if limits != nil {
			limits[i] = limit
		}
	}
	return limits, nil
}

func wellFormed(rr *zone.RR, opt Options) *failure {
	switch rr.Class {
	case zone.ClassIN:
		if zone.IsMeta(rr.Type) {
			return fail(FormErr, "%s %s: a meta-type cannot be added", rr.Name, rr.Type)
		}
		if opt.CheckNames {
			if bad := badName(rr); bad != "" {
				return refuse(EDEOther, "%s %s: %s", rr.Name, rr.Type, bad)
			}
		}
		if opt.CheckSVCB && rr.Type == zone.TypeSVCB {
			if bad := zone.ServiceBindingProblem(rr.Name, rr.Data); bad != "" {
				return refuse(EDEOther, "%s SVCB: %s", rr.Name, bad)
			}
		}
	case zone.ClassANY:
		if rr.TTL != 0 || rr.Data != "" || zone.IsMeta(rr.Type) && rr.Type != zone.TypeANY {
			return fail(FormErr, "%s %s: malformed deletion of an RRset", rr.Name, rr.Type)
		}
	case zone.ClassNONE:
		if rr.TTL != 0 || zone.IsMeta(rr.Type) {
			return fail(FormErr, "%s %s: malformed deletion of an RR", rr.Name, rr.Type)
		}
	default:
		return fail(FormErr, "%s %s: class %s has no meaning in an update", rr.Name, rr.Type, rr.Class)
	}
	return nil
}

// updatable refuses, in whatever class, the types that a server maintains itself.
func (v view) updatable(rr *zone.RR) *failure {
	switch rr.Type {
	case zone.TypeNSEC3, zone.TypeNSEC, zone.TypeSIG, zone.TypeNXT:
		return refuse(EDENotSupported, "%s RRs cannot be updated", rr.Type)
	case zone.TypeRRSIG:
		if !rr.Name.Equal(v.origin) {
			return refuse(EDENotSupported, "RRSIG RRs cannot be updated below the apex")
		}
	default:
	}
	return nil
}

// permitted asks auth. A deletion is judged by what it would delete: of the PTR and SRV RRs and of whole names only what
// exists counts, so that deleting nothing is always permitted.
func (v view) permitted(rr *zone.RR, auth Authorizer) (limit int, f *failure) {
	hasTarget := rr.Type == zone.TypePTR || rr.Type == zone.TypeSRV
	ok := true
	switch {
	case rr.Class == zone.ClassANY && hasTarget:
		ok = allowedSet(v.Get(rr.Name, rr.Type), rr.Name, auth)
	case rr.Class == zone.ClassANY && rr.Type == zone.TypeANY:
		for _, set := range v.Sets(rr.Name) {
			if set.Type != zone.TypeRRSIG && set.Type != zone.TypeNSEC && !allowedSet(set, rr.Name, auth) {
				ok = false
				break
			}
		}
	case rr.Class == zone.ClassNONE && hasTarget:
		if v.holds(rr) {
			_, ok = auth.Allow(rr.Name, rr.Type, zone.Target(rr.Type, rr.Data))
		}
	default:
		limit, ok = auth.Allow(rr.Name, rr.Type, target(rr.Type, rr.Data))
	}
	if !ok {
		return 0, refuse(EDEProhibited, "the policy does not let this client change %s %s", rr.Name, rr.Type)
	}
	return limit, nil
}

// allowedSet reports whether every RR of set may be changed.
func allowedSet(set *zone.RRset, owner zone.Name, auth Authorizer) bool {
	if set == nil {
		return true
	}
	if set.Type != zone.TypePTR && set.Type != zone.TypeSRV {
		_, ok := auth.Allow(owner, set.Type, "")
		return ok
	}
	for _, d := range set.Data {
		if _, ok := auth.Allow(owner, set.Type, zone.Target(set.Type, d)); !ok {
			return false
		}
	}
	return true
}

func target(t zone.Type, data string) zone.Name {
	if t == zone.TypePTR || t == zone.TypeSRV {
		return zone.Target(t, data)
	}
	return ""
}

// maintainable refuses what makes named maintain DNSSEC by itself: zones are unsigned here, the releases of named differ
// in what they do with such data, and some mishandle it. Intended differences; see docs/differences.md.
func (v view) maintainable(rr *zone.RR) *failure {
	apex := rr.Name.Equal(v.origin)
	if rr.Class == zone.ClassIN {
		switch rr.Type {
		case zone.TypeDNSKEY, zone.TypeNSEC3PARAM, zone.TypeRRSIG:
			return refuse(EDENotSupported, "%s RRs cannot be added: this zone is not signed here", rr.Type)
		case zone.TypeCDS, zone.TypeCDNSKEY:
			if apex {
				return refuse(EDENotSupported, "%s RRs cannot be added at the apex: this zone is not signed here", rr.Type)
			}
		default:
		}
		return nil
	}
	if !apex {
		return nil
	}
	// A zone that was made by zone.FromRRs holds neither type, so this is a second lock on the same door.
	for _, t := range []zone.Type{zone.TypeNSEC3PARAM, zone.TypePrivate} {
		if (rr.Type == zone.TypeANY || rr.Type == t) && v.Get(v.origin, t) != nil {
			return refuse(EDENotSupported, "the apex holds %s RRs of a signed zone, whose deletion some BIND releases mishandle", t)
		}
	}
	return nil
}
