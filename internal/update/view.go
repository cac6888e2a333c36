package update

import "github.com/zonekeeper/zonekeeper/internal/zone"

// reader is the content of a zone, at rest or in the middle of a change.
type reader interface {
	Get(n zone.Name, t zone.Type) *zone.RRset
	Sets(n zone.Name) []*zone.RRset
	Exists(n zone.Name) bool
	AscendBelow(n zone.Name, fn func(*zone.RRset) bool)
}

// view is content with the questions that an update asks of it.
type view struct {
	reader
	origin zone.Name
}

// holds reports whether rr exists.
func (v view) holds(rr *zone.RR) bool {
	set := v.Get(rr.Name, rr.Type)
	if set == nil {
		return false
	}
	for _, d := range set.Data {
		if sameData(rr.Type, d, rr.Data) {
			return true
		}
	}
	return false
}

// findResult is what a lookup of one type at one name gives (dns_db_find without options).
type findResult int

const (
	foundData    findResult = iota
	foundNothing            // the name exists and has other types only (NXRRSET)
	foundNoName             // NXDOMAIN
	foundEmpty              // an empty non-terminal
	foundCNAME
	foundDNAME   // the name lies below a DNAME
	foundZoneCut // the name lies at or below a delegation
	foundOutside // the name is not in the zone
)

// find looks up type t at n, with wildcards, DNAMEs and delegations.
func (v view) find(n zone.Name, t zone.Type) findResult {
	if !n.IsSubdomainOf(v.origin) {
		return foundOutside
	}
	if cut := v.cutAbove(n); cut != foundData {
		return cut
	}
	if sets := v.Sets(n); len(sets) > 0 {
		if !n.Equal(v.origin) && v.Get(n, zone.TypeNS) != nil {
			return foundZoneCut
		}
		return typeAmong(sets, t)
	}
	if r, ok := v.findWildcard(n, t); ok {
		return r
	}
	if v.below(n) {
		return foundEmpty
	}
	return foundNoName
}

// cutAbove looks for a delegation or a DNAME strictly above n, from the apex down; foundData when there is none.
func (v view) cutAbove(n zone.Name) findResult {
	depth := n.Labels() - v.origin.Labels()
	for up := depth; up > 0; up-- {
		anc := n
		for range up {
			anc = anc.Parent()
		}
		switch {
		case up < depth && v.Get(anc, zone.TypeNS) != nil:
			return foundZoneCut
		case v.Get(anc, zone.TypeDNAME) != nil:
			return foundDNAME
		}
	}
	return foundData
}

func typeAmong(sets []*zone.RRset, t zone.Type) findResult {
	r := foundNothing
	for _, s := range sets {
		switch s.Type {
		case t:
			return foundData
		case zone.TypeCNAME:
			r = foundCNAME
		}
	}
	return r
}

// findWildcard looks for the wildcard that covers n, which does not exist (RFC 4592 3.3.1): the one below the closest
// encloser, where an empty non-terminal is an encloser as well.
func (v view) findWildcard(n zone.Name, t zone.Type) (findResult, bool) {
	for below := n; !below.Equal(v.origin); below = below.Parent() {
		if v.below(below) {
			return 0, false
		}
		encloser := below.Parent()
		wild := zone.Name("\x01*") + encloser
		if len(wild) <= zone.MaxNameLen {
			if sets := v.Sets(wild); len(sets) > 0 {
				return typeAmong(sets, t), true
			}
			if v.below(wild) {
				return foundNothing, true
			}
		}
		if v.Exists(encloser) {
			return 0, false
		}
	}
	return 0, false
}

// below reports whether anything exists at or below n.
func (v view) below(n zone.Name) bool {
	any := false
	v.AscendBelow(n, func(*zone.RRset) bool {
		any = true
		return false
	})
	return any
}
