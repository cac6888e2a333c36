package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Subject is who sends a request, as far as it is proven.
type Subject struct {
	Signer zone.Name  // name of the TSIG key whose signature verified; "" = unsigned
	Addr   netip.Addr // client address; invalid = not proven, then no rule by address grants anything
	TCP    bool       // the client spoke TCP (or TLS)
}

// matchType is the third word of a rule.
type matchType byte

const (
	matchName matchType = iota
	matchSubdomain
	matchZonesub
	matchWildcard
	matchSelf
	matchSelfsub
	matchSelfwild
	matchTCPSelf
	match6to4Self
)

var matchWords = [...]string{ //nolint:gochecknoglobals // a constant table
	matchName: "name", matchSubdomain: "subdomain", matchZonesub: "zonesub", matchWildcard: "wildcard",
	matchSelf: "self", matchSelfsub: "selfsub", matchSelfwild: "selfwild",
	matchTCPSelf: "tcp-self", match6to4Self: "6to4-self",
}

func (m matchType) String() string { return matchWords[m] }

// typeLimit is one element of a rule's type list; Max 0 sets no limit.
type typeLimit struct {
	Type zone.Type
	Max  int
}

type rule struct {
	grant    bool
	identity zone.Name
	match    matchType
	name     zone.Name // Root for zonesub
	types    []typeLimit
}

// Policy is the ordered list of rules of one update-policy statement.
type Policy struct {
	rules []rule
}

// Allow reports whether s may change RRs of type t at owner in the zone origin. The first rule that applies decides; when
// none does, the answer is no. With ok, max is the number of RRs of type t that the rule lets owner hold, 0 for no limit.
// target is the target of a PTR or SRV RR, "" otherwise; only rules on Kerberos principals look at it, and those are
// refused when a policy is parsed.
func (p *Policy) Allow(s Subject, origin, owner zone.Name, t zone.Type, target zone.Name) (max int, ok bool) {
	_ = target
	for i := range p.rules {
		r := &p.rules[i]
		if r.applies(s, origin, owner) && r.covers(t) {
			if !r.grant {
				return 0, false
			}
			return r.max(t), true
		}
	}
	return 0, false
}

func (r *rule) applies(s Subject, origin, owner zone.Name) bool {
	switch r.match {
	case matchTCPSelf, match6to4Self:
		if !s.TCP || !s.Addr.IsValid() {
			return false
		}
		self := reverseName(s.Addr)
		if r.match == match6to4Self {
			self = reverse6to4Name(s.Addr)
		}
		return r.identifies(self) && owner.Equal(self)
	default: // the signer decides
	}
	if s.Signer == "" || !r.identifies(s.Signer) {
		return false
	}
	switch r.match {
	case matchName:
		return owner.Equal(r.name)
	case matchSubdomain:
		return owner.IsSubdomainOf(r.name)
	case matchZonesub:
		return owner.IsSubdomainOf(origin)
	case matchWildcard:
		return matchesWildcard(owner, r.name)
	case matchSelf:
		return owner.Equal(s.Signer)
	case matchSelfsub:
		return owner.IsSubdomainOf(s.Signer)
	case matchSelfwild: // "*." and the signer have to make a name, though every owner below the signer is one
		return len(s.Signer)+2 <= zone.MaxNameLen && strictlyBelow(owner, s.Signer)
	default:
		return false
	}
}

// identifies reports whether who is the rule's identity: the same name, or any name below a wildcard.
func (r *rule) identifies(who zone.Name) bool {
	if isWildcard(r.identity) {
		return matchesWildcard(who, r.identity)
	}
	return who.Equal(r.identity)
}

func (r *rule) covers(t zone.Type) bool {
	if len(r.types) == 0 {
		// named.conf's documentation adds NSEC and NSEC3; those never get as far as a policy.
		return t != zone.TypeNS && t != zone.TypeSOA && t != zone.TypeRRSIG
	}
	for _, l := range r.types {
		if l.Type == zone.TypeANY || l.Type == t {
			return true
		}
	}
	return false
}

// max is the limit of the element for t itself, else that of the last ANY.
func (r *rule) max(t zone.Type) int {
	n := 0
	for _, l := range r.types {
		if l.Type == t {
			return l.Max
		}
		if l.Type == zone.TypeANY {
			n = l.Max
		}
	}
	return n
}

// String prints the rules as named.conf accepts them, one a line. ParsePolicy of the result gives an equal policy.
func (p *Policy) String() string {
	var b strings.Builder
	for _, r := range p.rules {
		verb := "deny"
		if r.grant {
			verb = "grant"
		}
		fmt.Fprintf(&b, "%s %s %s", verb, quote(r.identity.String()), r.match)
		if r.match != matchZonesub {
			b.WriteString(" " + quote(r.name.String()))
		}
		for _, l := range r.types {
			b.WriteString(" " + l.Type.String())
			if l.Max != 0 {
				fmt.Fprintf(&b, "(%d)", l.Max)
			}
		}
		b.WriteString(";\n")
	}
	return b.String()
}

// isWildcard is zone.Name.IsWildcard plus the name "*." alone, which BIND takes as "any name".
func isWildcard(n zone.Name) bool { return len(n) >= 2 && n[0] == 1 && n[1] == '*' }

// matchesWildcard reports whether n lies strictly below the parent of the wildcard w, at any depth: wider than the DNS's
// own wildcards (dns_name_matcheswildcard).
func matchesWildcard(n, w zone.Name) bool { return strictlyBelow(n, w.Parent()) }

func strictlyBelow(n, p zone.Name) bool { return len(n) > len(p) && n.IsSubdomainOf(p) }

// reverseName is the owner of the PTR RR of a (RFC 1035 3.5, RFC 3596 2.5).
func reverseName(a netip.Addr) zone.Name {
	a = a.Unmap()
	var b strings.Builder
	if a.Is4() {
		v := a.As4()
		fmt.Fprintf(&b, "%d.%d.%d.%d.in-addr.arpa.", v[3], v[2], v[1], v[0])
	} else {
		v := a.As16()
		writeNibbles(&b, v[:])
		b.WriteString("ip6.arpa.")
	}
	return zone.MustParseName(b.String())
}

// reverse6to4Name is the name of the /48 that 6to4 gives to an IPv4 address, or of the /48 of an IPv6 address (RFC 3056).
func reverse6to4Name(a netip.Addr) zone.Name {
	a = a.Unmap()
	var b strings.Builder
	if a.Is4() {
		v := a.As4()
		writeNibbles(&b, v[:])
		b.WriteString("2.0.0.2.ip6.arpa.")
	} else {
		v := a.As16()
		writeNibbles(&b, v[:6])
		b.WriteString("ip6.arpa.")
	}
	return zone.MustParseName(b.String())
}

func writeNibbles(b *strings.Builder, octets []byte) {
	for i := len(octets) - 1; i >= 0; i-- {
		fmt.Fprintf(b, "%x.%x.", octets[i]&0xf, octets[i]>>4)
	}
}
