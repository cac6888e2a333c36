package update

import (
	"encoding/binary"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// sameData reports whether an update takes a and b for the same RDATA (dns_rdata_casecompare). That ignores the case of
// names in some types where zone.CompareData, the order within an RRset, does not: see foldData.
func sameData(t zone.Type, a, b string) bool {
	return a == b || len(a) == len(b) && foldData(t, a) == foldData(t, b)
}

// foldData lower-cases the names of d whose case updates ignore: those of zone.CanonicalData, and the gateways, rendezvous
// servers and locators that DNSSEC's canonical form leaves alone.
func foldData(t zone.Type, d string) string {
	names := -1 // where names begin; everything after the last of them is left alone
	many := false
	switch t {
	case zone.TypeHIP: // RFC 8005 5: HIT length, algorithm, key length, HIT, key, servers
		if len(d) >= 4 {
			names, many = 4+int(d[0])+int(binary.BigEndian.Uint16([]byte(d[2:4]))), true
		}
	case zone.TypeIPSECKEY: // RFC 4025 2.1: precedence, gateway type, algorithm, gateway
		if len(d) >= 3 && d[1] == 3 {
			names = 3
		}
	case zone.TypeAMTRELAY: // RFC 8777 4.2: precedence, discovery bit and type, relay
		if len(d) >= 2 && d[1]&0x7f == 3 {
			names = 2
		}
	case zone.TypeLP: // RFC 6742 2.4: preference, name
		names = 2
	default:
		return zone.CanonicalData(t, d)
	}
	for names >= 0 && names < len(d) {
		end := nameEnd(d, names)
		if end < 0 {
			break
		}
		d = d[:names] + string(zone.Name(d[names:end]).Canonical()) + d[end:]
		names = end
		if !many {
			break
		}
	}
	return d
}

// nameEnd returns the offset after the uncompressed name at at, or -1.
func nameEnd(d string, at int) int {
	for at < len(d) {
		l := int(d[at])
		at += 1 + l
		if l == 0 {
			return at
		}
	}
	return -1
}

// replaces reports whether adding RDATA update of type t removes the RDATA old of the same RRset (replaces_p): types of
// which there is one, and WKS of the same address and protocol.
func replaces(t zone.Type, update, old string) bool {
	switch t {
	case zone.TypeCNAME, zone.TypeDNAME, zone.TypeSOA:
		return true
	case zone.TypeWKS:
		return len(update) >= 5 && strings.HasPrefix(old, update[:5])
	default:
		return false
	}
}
