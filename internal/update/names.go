package update

import (
	"encoding/binary"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// badName says what is wrong with the owner or a target of rr under check-names, "" when nothing is
// (dns_rdata_checkowner, dns_rdata_checknames).
func badName(rr *zone.RR) string {
	if !ownerOK(rr.Name, rr.Type) {
		return "the owner is not a valid host name"
	}
	switch rr.Type {
	case zone.TypeMB, zone.TypeMG:
		return "" // their targets are not checked
	case zone.TypeAFSDB, zone.TypeMX, zone.TypeNS, zone.TypeRT, zone.TypeSRV:
		return badHost(zone.Target(rr.Type, rr.Data))
	case zone.TypeDSYNC:
		return badHost(nameAt(rr.Data, 5))
	case zone.TypeSVCB, zone.TypeHTTPS:
		if binary.BigEndian.Uint16([]byte(rr.Data[:2])) != 0 { // an alias may point anywhere
			return badHost(zone.Target(rr.Type, rr.Data))
		}
	case zone.TypeA6:
		if prefix := int(rr.Data[0]); prefix != 0 {
			return badHost(nameAt(rr.Data, 1+16-prefix/8))
		}
	case zone.TypePTR:
		if isReverse(rr.Name) && !isServiceDiscovery(rr.Name) {
			return badHost(zone.Name(rr.Data))
		}
	case zone.TypeRP:
		return badMailbox(nameAt(rr.Data, 0))
	case zone.TypeMINFO:
		first := nameAt(rr.Data, 0)
		if bad := badMailbox(first); bad != "" {
			return bad
		}
		return badMailbox(nameAt(rr.Data, len(first)))
	case zone.TypeSOA:
		first := nameAt(rr.Data, 0)
		if bad := badHost(first); bad != "" {
			return bad
		}
		return badMailbox(nameAt(rr.Data, len(first)))
	default: // names in other types may be anything
	}
	return ""
}

func nameAt(d string, at int) zone.Name { return zone.Name(d[at:nameEnd(d, at)]) }

func badHost(n zone.Name) string {
	if isHostname(n, false) {
		return ""
	}
	return "the target " + n.String() + " is not a valid host name"
}

func badMailbox(n zone.Name) string {
	if isMailbox(n) {
		return ""
	}
	return "the target " + n.String() + " is not a valid mailbox"
}

func ownerOK(n zone.Name, t zone.Type) bool {
	switch t {
	case zone.TypeA:
		return isHostname(n, true) || isGlobalCatalog(n) || hasSPFLabel(n)
	case zone.TypeAAAA:
		return isHostname(n, true) || isGlobalCatalog(n)
	case zone.TypeA6, zone.TypeMX, zone.TypeWKS:
		return isHostname(n, true)
	case zone.TypeMB, zone.TypeMG:
		return isMailbox(n)
	default:
		return true
	}
}

// isHostname reports whether every label is letters, digits and inner hyphens (RFC 952, RFC 1123 2.1). The root is a host
// name; with wildcard, "*" may be the first label.
func isHostname(n zone.Name, wildcard bool) bool {
	rest := string(n)
	if wildcard && strings.HasPrefix(rest, "\x01*") {
		rest = rest[2:]
	}
	return hostLabels(rest)
}

func hostLabels(rest string) bool {
	for len(rest) > 1 {
		l := int(rest[0])
		for i, c := range []byte(rest[1 : 1+l]) {
			inner := i > 0 && i < l-1
			if !isAlnum(c) && !(inner && c == '-') {
				return false
			}
		}
		rest = rest[1+l:]
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isMailbox reports whether n is a mailbox: a first label of printable characters and a host name (RFC 1035 8).
func isMailbox(n zone.Name) bool {
	if n == zone.Root {
		return true
	}
	l := int(n[0])
	for _, c := range []byte(n[1 : 1+l]) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return hostLabels(string(n[1+l:]))
}

// isGlobalCatalog reports whether n is gc._msdcs below a host name, where Active Directory keeps addresses.
func isGlobalCatalog(n zone.Name) bool {
	const prefix = "\x02gc\x06_msdcs"
	return n.Labels() >= 2 && strings.HasPrefix(string(n.Canonical()), prefix) && isHostname(n[len(prefix):], false)
}

// hasSPFLabel reports whether n has a label that separates the target of an SPF exists mechanism (RFC 7208 5.7).
func hasSPFLabel(n zone.Name) bool {
	for n = n.Canonical(); n.Labels() > 1; n = n.Parent() { // the last label does not count
		switch string(n[1 : 1+int(n[0])]) {
		case "_spf", "_spf_verify", "_spf_rate":
			return true
		}
	}
	return false
}

// The trees of reverse mapping (RFC 1035 3.5, RFC 3596 2.5), the last one by its old name.
const (
	inAddrArpa zone.Name = "\x07in-addr\x04arpa\x00"
	ip6Arpa    zone.Name = "\x03ip6\x04arpa\x00"
	ip6Int     zone.Name = "\x03ip6\x03int\x00"
)

func isReverse(n zone.Name) bool {
	return n.IsSubdomainOf(inAddrArpa) || n.IsSubdomainOf(ip6Arpa) || n.IsSubdomainOf(ip6Int)
}

// isServiceDiscovery reports whether n is one of the names at which DNS-SD lists domains (RFC 6763 11).
func isServiceDiscovery(n zone.Name) bool {
	if n.Labels() < 3 {
		return false
	}
	lower := string(n.Canonical())
	for _, list := range []string{"\x01b", "\x02db", "\x01r", "\x02dr", "\x02lb"} {
		if strings.HasPrefix(lower, list+"\x07_dns-sd\x04_udp") {
			return true
		}
	}
	return false
}
