package zone

// FindResult is what a lookup of one type at one name gives (dns_db_find without options).
type FindResult int

// The results. Found is data of the type itself; the others tell what is there instead.
const (
	Found           FindResult = iota
	FoundOtherTypes            // the name exists and has other types only (NXRRSET)
	FoundNoName                // NXDOMAIN
	FoundEmpty                 // an empty non-terminal
	FoundCNAME                 // the name is an alias
	FoundDNAME                 // the name lies below a DNAME
	FoundZoneCut               // the name lies at or below a delegation
	FoundOutside               // the name is not in the zone
)

// Find looks up type t at n as an authoritative server does: with wildcards, DNAMEs and delegations.
func (z *Zone) Find(n Name, t Type) FindResult {
	if !n.IsSubdomainOf(z.origin) {
		return FoundOutside
	}
	if cut := z.cutAbove(n); cut != Found {
		return cut
	}
	var few [4]*RRset
	if sets := z.AppendSets(few[:0], n); len(sets) > 0 {
		if !n.Equal(z.origin) && typeAmong(sets, TypeNS) == Found {
			return FoundZoneCut
		}
		return typeAmong(sets, t)
	}
	if r, ok := z.findWildcard(n, t); ok {
		return r
	}
	if z.hasBelow(n) {
		return FoundEmpty
	}
	return FoundNoName
}

// cutAbove looks for a delegation or a DNAME strictly above n, from the apex down; Found when there is none.
func (z *Zone) cutAbove(n Name) FindResult {
	depth := n.Labels() - z.origin.Labels()
	for up := depth; up > 0; up-- {
		anc := n
		for range up {
			anc = anc.Parent()
		}
		switch {
		case up < depth && z.Get(anc, TypeNS) != nil:
			return FoundZoneCut
		case z.Get(anc, TypeDNAME) != nil:
			return FoundDNAME
		}
	}
	return Found
}

func typeAmong(sets []*RRset, t Type) FindResult {
	r := FoundOtherTypes
	for _, s := range sets {
		switch s.Type {
		case t:
			return Found
		case TypeCNAME:
			r = FoundCNAME
		default:
		}
	}
	return r
}

// findWildcard looks for the wildcard that covers n, which does not exist (RFC 4592 3.3.1): the one below the closest
// encloser, where an empty non-terminal is an encloser as well.
func (z *Zone) findWildcard(n Name, t Type) (FindResult, bool) {
	for below := n; !below.Equal(z.origin); below = below.Parent() {
		if z.hasBelow(below) {
			return 0, false
		}
		encloser := below.Parent()
		wild := Name("\x01*") + encloser
		if len(wild) <= MaxNameLen {
			if sets := z.Sets(wild); len(sets) > 0 {
				return typeAmong(sets, t), true
			}
			if z.hasBelow(wild) {
				return FoundOtherTypes, true
			}
		}
		if z.Exists(encloser) {
			return 0, false
		}
	}
	return 0, false
}

// hasBelow reports whether anything exists at or below n.
func (z *Zone) hasBelow(n Name) bool {
	any := false
	z.AscendBelow(n, func(*RRset) bool {
		any = true
		return false
	})
	return any
}
