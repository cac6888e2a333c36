package update

import (
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// prerequisites evaluates the prerequisite section in order (RFC 2136 3.2); "RRset exists (value dependent)" comes after
// all others, as the sets have to be gathered first.
func (v view) prerequisites(prereqs []zone.RR) *failure {
	var exact []*zone.RR
	for i := range prereqs {
		rr := &prereqs[i]
		if rr.TTL != 0 {
			return fail(FormErr, "prerequisite %s %s has a TTL", rr.Name, rr.Type)
		}
		if !rr.Name.IsSubdomainOf(v.origin) {
			return fail(NotZone, "prerequisite %s is not in the zone %s", rr.Name, v.origin)
		}
		switch rr.Class {
		case zone.ClassANY:
			switch {
			case rr.Type == zone.TypeANY && !v.Exists(rr.Name):
				return fail(NXDomain, "%s is not in use", rr.Name)
			case rr.Type != zone.TypeANY && v.Get(rr.Name, rr.Type) == nil:
				return fail(NXRRset, "%s %s does not exist", rr.Name, rr.Type)
			}
		case zone.ClassNONE:
			switch {
			case rr.Type == zone.TypeANY && v.Exists(rr.Name):
				return fail(YXDomain, "%s is in use", rr.Name)
			case rr.Type != zone.TypeANY && v.Get(rr.Name, rr.Type) != nil:
				return fail(YXRRset, "%s %s exists", rr.Name, rr.Type)
			}
		case zone.ClassIN:
			exact = append(exact, rr)
		default:
			return fail(FormErr, "prerequisite %s %s: class %s has no meaning", rr.Name, rr.Type, rr.Class)
		}
	}
	return v.exactSets(exact)
}

// exactSets checks that each RRset named by the RRs is made of exactly those RRs. An RR given twice can't match, as an
// RRset has no duplicates.
func (v view) exactSets(rrs []*zone.RR) *failure {
	if len(rrs) == 0 {
		return nil
	}
	type id struct {
		name zone.Name
		t    zone.Type
	}
	want := map[id][]string{}
	for _, rr := range rrs {
		k := id{rr.Name.Canonical(), rr.Type}
		want[k] = append(want[k], foldData(rr.Type, rr.Data))
	}
	for _, rr := range rrs { // in message order, so that the explanation is the same everywhere
		k := id{rr.Name.Canonical(), rr.Type}
		data, pending := want[k]
		if !pending {
			continue
		}
		delete(want, k)
		set := v.Get(rr.Name, rr.Type)
		if set == nil || len(set.Data) != len(data) {
			return fail(NXRRset, "%s %s is not exactly as required", rr.Name, rr.Type)
		}
		have := make([]string, len(set.Data))
		for i, d := range set.Data {
			have[i] = foldData(set.Type, d)
		}
		slices.Sort(have)
		slices.Sort(data)
		if !slices.Equal(have, data) {
			return fail(NXRRset, "%s %s is not exactly as required", rr.Name, rr.Type)
		}
	}
	return nil
}
