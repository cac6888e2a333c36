package zone

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrZone is wrapped by the errors about RRs that are well-formed but do not make a zone that can be served.
var ErrZone = errors.New("unusable zone")

// DefaultMaxErrors is how many problems a reader of zone data reports before it gives up.
const DefaultMaxErrors = 20

// Problems is a list of errors found in one piece of zone data.
type Problems []error

// Error returns one problem a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, err := range p {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As look at every problem.
func (p Problems) Unwrap() []error { return p }

// errorLimit collects problems up to a limit.
type errorLimit struct {
	limit    int
	problems Problems
}

// add reports whether there is room for more.
func (e *errorLimit) add(err error) bool {
	e.problems = append(e.problems, err)
	if len(e.problems) == e.limit {
		e.problems = append(e.problems, fmt.Errorf("more than %d problems; the rest is not shown: %w", e.limit, ErrZone))
		return false
	}
	return true
}

func (e *errorLimit) err() error {
	if len(e.problems) == 0 {
		return nil
	}
	return e.problems
}

// FromRRs builds a zone from RRs in any order, such as those of a zone transfer (its closing SOA is a duplicate, and
// duplicates do no harm). It refuses what named would not load or this package can't hold: owners outside the zone, other
// classes than IN, meta-types, no SOA or several, no NS at the apex or one without an address, CNAME beside other data,
// several RRs of a singleton type, and data of a signed zone (see StripSigning). RRs of one RRset that differ in TTL get
// the TTL of the first, as in named; TTLs above MaxTTL and RDATA above MaxDataLen are refused. The error is a Problems whose elements wrap ErrZone or ErrFormat.
func FromRRs(origin Name, rrs []RR) (*Zone, error) {
	at := func(int) string { return "" }
	return build(origin, rrs, at, DefaultMaxErrors)
}

// StripSigning returns rrs without the RRs that exist in signed zones only (IsSigning), and how many were left out.
func StripSigning(rrs []RR) ([]RR, int) {
	kept := slices.DeleteFunc(slices.Clone(rrs), func(rr RR) bool { return IsSigning(rr.Type) })
	return kept, len(rrs) - len(kept)
}

// build is FromRRs with a function that says where RR i came from: "" or "file:line: ".
func build(origin Name, rrs []RR, at func(i int) string, maxErrors int) (*Zone, error) {
	b := Builder{zone: New(origin), errs: errorLimit{limit: maxErrors}}
	b.add(rrs, at)
	return b.Zone()
}

// Builder is FromRRs for RRs that arrive in pieces: most of the work is done as they arrive. An RRset may begin in one piece
// and end in another. The zone depends on the RRs and their order, not on where the pieces end.
type Builder struct {
	zone   *Zone
	errs   errorLimit
	full   bool // so many problems that the rest is not looked at
	cnames bool // the zone has at least one
}

// NewBuilder begins a zone without RRs.
func NewBuilder(origin Name) *Builder {
	return &Builder{zone: New(origin), errs: errorLimit{limit: DefaultMaxErrors}}
}

// Add takes the next RRs. What is wrong with them is reported by Zone.
func (b *Builder) Add(rrs []RR) { b.add(rrs, func(int) string { return "" }) }

// Zone ends the building: it checks what only the whole zone can tell. The errors are those of FromRRs.
func (b *Builder) Zone() (*Zone, error) {
	if !b.full {
		b.errs.problems = append(b.errs.problems, checkApex(b.zone)...)
	}
	if err := b.errs.err(); err != nil {
		return nil, err
	}
	return b.zone, nil
}

// newSet is an RRset, or a part of one, that a piece brings.
type newSet struct {
	set   *RRset
	first int // the RR it began with
}

func (b *Builder) add(rrs []RR, at func(i int) string) {
	if b.full {
		return
	}
	origin := b.zone.origin
	slots := make(map[string]*newSet, len(rrs))
	order := make([]*newSet, 0, len(rrs))
	var buf []byte
	for i, rr := range rrs {
		if err := checkMember(origin, rr); err != nil {
			if b.problem("%s%w", at(i), err) {
				return
			}
			continue
		}
		buf = appendSetKey(buf[:0], rr.Name, len(origin), rr.Type)
		s := slots[string(buf)]
		if s == nil {
			s = &newSet{&RRset{Owner: rr.Name, Type: rr.Type, TTL: rr.TTL}, i}
			slots[string(buf)] = s
			order = append(order, s)
		}
		s.set.Data = append(s.set.Data, rr.Data)
	}
	later := b.zone.Len() > 0
	for _, s := range order {
		set := NewRRset(s.set.Owner, s.set.Type, s.set.TTL, slices.Clip(s.set.Data)...)
		if later {
			if old := b.zone.Get(set.Owner, set.Type); old != nil {
				set = NewRRset(old.Owner, old.Type, old.TTL, slices.Concat(old.Data, set.Data)...)
			}
		}
		if IsSingleton(set.Type) && len(set.Data) > 1 {
			if b.problem("%s%w: %s has %d different %s RRs; keep one", at(s.first), ErrZone, set.Owner, len(set.Data), set.Type) {
				return
			}
			set.Data = set.Data[:1]
		}
		b.zone.Set(set)
	}
	for _, s := range order {
		switch {
		case s.set.Type == TypeCNAME:
			for _, other := range b.zone.Sets(s.set.Owner) {
				if other.Type != TypeCNAME && !IsAtCNAME(other.Type) && b.beside(at(s.first), s.set.Owner, other.Type) {
					return
				}
			}
		case later && b.cnames && !IsAtCNAME(s.set.Type) && b.zone.Get(s.set.Owner, TypeCNAME) != nil:
			buf = appendSetKey(buf[:0], s.set.Owner, len(origin), TypeCNAME)
			if slots[string(buf)] != nil {
				continue // a CNAME of this piece finds it
			}
			if b.beside(at(s.first), s.set.Owner, s.set.Type) {
				return
			}
		}
	}
	for _, s := range order {
		b.cnames = b.cnames || s.set.Type == TypeCNAME
	}
}

// beside notes that a CNAME does not stand alone, and reports whether that were too many problems.
func (b *Builder) beside(at string, owner Name, other Type) bool {
	return b.problem("%s%w: %s has a CNAME and %s; a CNAME stands alone (RFC 2181 10.1): delete one of them", at, ErrZone, owner, other)
}

// problem notes one, and reports whether there are too many to go on.
func (b *Builder) problem(format string, args ...any) bool {
	b.full = !b.errs.add(fmt.Errorf(format, args...))
	return b.full
}

// checkMember reports what keeps one RR out of the zone.
func checkMember(origin Name, rr RR) error {
	switch {
	case rr.Class != ClassIN:
		return fmt.Errorf("%w: %s %s is of class %s; only IN is served", ErrZone, rr.Name, rr.Type, rr.Class)
	case !rr.Name.Valid():
		return fmt.Errorf("%w: owner %s of a %s", ErrFormat, rr.Name, rr.Type)
	case !rr.Name.IsSubdomainOf(origin):
		return fmt.Errorf("%w: %s %s is outside the zone %s; remove it, or check the origin and missing trailing dots", ErrZone, rr.Name, rr.Type, origin)
	case rr.TTL > MaxTTL:
		return fmt.Errorf("%w: %s %s has the TTL %d; at most %d is allowed (RFC 2181 8): lower it", ErrZone, rr.Name, rr.Type, rr.TTL, MaxTTL)
	case len(rr.Data) > MaxDataLen:
		return fmt.Errorf("%w: %s %s has RDATA of %d octets; a signed zone transfer carries %d: shorten it", ErrZone, rr.Name, rr.Type, len(rr.Data), MaxDataLen)
	case IsMeta(rr.Type):
		return fmt.Errorf("%w: %s %s: a meta-type can't be in a zone; remove it", ErrZone, rr.Name, rr.Type)
	case IsSigning(rr.Type):
		return fmt.Errorf("%w: %s %s belongs to a signed zone, and signatures can't be replicated; import the unsigned zone, or ask for the DNSSEC data to be stripped", ErrZone, rr.Name, rr.Type)
	case IsObsolete(rr.Type):
		return fmt.Errorf("%w: %s %s is obsolete, and named loads no zone file that has one; write it as MX (RFC 973)", ErrZone, rr.Name, rr.Type)
	case rr.Type == TypeSOA && len(rr.Name) != len(origin):
		return fmt.Errorf("%w: SOA at %s; it belongs to the apex %s only", ErrZone, rr.Name, origin)
	}
	if err := CheckData(rr.Type, ClassIN, rr.Data); err != nil {
		return fmt.Errorf("RDATA of %s %s: %w", rr.Name, rr.Type, err)
	}
	return nil
}

// checkApex asks for what named wants before it loads a zone: an SOA, NS, and addresses of those NS that are in the zone.
func checkApex(z *Zone) (problems Problems) {
	if z.SOA() == nil {
		problems = append(problems, fmt.Errorf("%w: %s has no SOA; add one at the apex", ErrZone, z.origin))
	}
	ns := z.Get(z.origin, TypeNS)
	if ns == nil {
		return append(problems, fmt.Errorf("%w: %s has no NS at the apex; add at least one", ErrZone, z.origin))
	}
	for _, d := range ns.Data {
		target := Name(d)
		r := z.Find(target, TypeA)
		if r == FoundOtherTypes {
			r = z.Find(target, TypeAAAA)
		}
		switch r {
		case FoundOtherTypes, FoundNoName, FoundEmpty:
			problems = append(problems, fmt.Errorf("%w: %s has the NS %s without an address; add its A or AAAA", ErrZone, z.origin, target))
		case FoundCNAME:
			problems = append(problems, fmt.Errorf("%w: %s has the NS %s, which is a CNAME; name its target instead", ErrZone, z.origin, target))
		case FoundDNAME:
			problems = append(problems, fmt.Errorf("%w: %s has the NS %s, which is below a DNAME; move it", ErrZone, z.origin, target))
		case Found, FoundZoneCut, FoundOutside: // has an address, or another zone is to give it
		}
	}
	return problems
}
