package zone

import (
	"fmt"
	"strings"

	"github.com/tidwall/btree"
)

// Zone is the RRsets of one zone of class IN: copy-on-write, ordered canonically. It is not safe for concurrent use, but
// a Snapshot is independent: it may be read by another goroutine while the zone changes.
type Zone struct {
	origin Name
	// sets is keyed by appendSetKey relative to the origin.
	sets    *btree.Map[string, *RRset]
	records int
	// sum is of all RRs but the apex SOA, which every update replaces: Digest adds it.
	sum  lanes
	apex apexSets
	hash hasher
	key  []byte
	diff Diff // room for Tx.Diff
	tx   *Tx
}

// apexSets are the RRsets that every update asks for, so that finding them costs no search. nil: absent.
type apexSets struct{ soa, ns, dname *RRset }

// Their keys, as appendSetKey makes them.
const (
	apexSOAKey   = "\x00\x00\x06"
	apexNSKey    = "\x00\x00\x02"
	apexDNAMEKey = "\x00\x00\x27"
)

// New returns an empty zone.
func New(origin Name) *Zone {
	return &Zone{origin: origin, sets: btree.NewMap[string, *RRset](0)}
}

// Origin returns the name of the apex.
func (z *Zone) Origin() Name { return z.origin }

// Snapshot returns an independent copy in O(1). A running transaction's changes are in it; the transaction itself is not.
// Taking one counts as a change of z where concurrent use is concerned.
func (z *Zone) Snapshot() *Zone {
	return &Zone{origin: z.origin, sets: z.sets.Copy(), records: z.records, sum: z.sum, apex: z.apex}
}

// appendKey appends the key of the RRset of type t at n, which must be in the zone.
func (z *Zone) appendKey(b []byte, n Name, t Type) []byte {
	return appendSetKey(b, n, len(z.origin), t)
}

// Contains reports whether n is at or below the origin.
func (z *Zone) Contains(n Name) bool { return n.IsSubdomainOf(z.origin) }

// Get returns the RRset of type t at n, nil when absent.
func (z *Zone) Get(n Name, t Type) *RRset {
	if !z.Contains(n) {
		return nil
	}
	if len(n) == len(z.origin) {
		switch t {
		case TypeSOA:
			return z.apex.soa
		case TypeNS:
			return z.apex.ns
		case TypeDNAME:
			return z.apex.dname
		default:
		}
	}
	var buf [MaxNameLen]byte
	s, _ := z.sets.Get(string(z.appendKey(buf[:0], n, t)))
	return s
}

// Sets returns all RRsets at n, by type; nil when there is none.
func (z *Zone) Sets(n Name) []*RRset { return z.AppendSets(nil, n) }

// AppendSets appends all RRsets at n, by type, to sets.
func (z *Zone) AppendSets(sets []*RRset, n Name) []*RRset {
	z.ascendAt(n, func(s *RRset) bool {
		sets = append(sets, s)
		return true
	})
	return sets
}

// Exists reports whether n owns an RRset. An empty non-terminal does not.
func (z *Zone) Exists(n Name) bool {
	found := false
	z.ascendAt(n, func(*RRset) bool {
		found = true
		return false
	})
	return found
}

func (z *Zone) ascendAt(n Name, fn func(*RRset) bool) {
	if !z.Contains(n) {
		return
	}
	var buf [MaxNameLen]byte
	z.ascendPrefix(string(append(appendRelativeKey(buf[:0], n, len(z.origin)), 0)), fn)
}

func (z *Zone) ascendPrefix(prefix string, fn func(*RRset) bool) {
	z.sets.Ascend(prefix, func(k string, s *RRset) bool { return strings.HasPrefix(k, prefix) && fn(s) })
}

// SOA returns the SOA RRset at the apex, nil when the zone has none.
func (z *Zone) SOA() *RRset { return z.apex.soa }

// Serial returns the serial of the SOA, 0 when the zone has none.
func (z *Zone) Serial() uint32 {
	if z.apex.soa == nil {
		return 0
	}
	return SOASerial(z.apex.soa.Data[0])
}

// Records returns the number of RRs.
func (z *Zone) Records() int { return z.records }

// Len returns the number of RRsets.
func (z *Zone) Len() int { return z.sets.Len() }

// Digest returns the digest of all RRs, in O(1).
func (z *Zone) Digest() Digest {
	sum := z.sum
	if soa := z.apex.soa; soa != nil {
		var h hasher
		for _, d := range soa.Data {
			sum.add(h.rr(soa.Owner, soa.Type, ClassIN, soa.TTL, d))
		}
	}
	return sum.digest()
}

// Ascend calls fn for every RRset until it returns false: in canonical order of owners, the apex first, by type number
// within an owner. fn must not change the zone.
func (z *Zone) Ascend(fn func(*RRset) bool) {
	z.sets.Scan(func(_ string, s *RRset) bool { return fn(s) })
}

// AscendBelow is Ascend over the RRsets at or below n.
func (z *Zone) AscendBelow(n Name, fn func(*RRset) bool) {
	if n.Equal(z.origin) || !z.Contains(n) && z.origin.IsSubdomainOf(n) {
		z.Ascend(fn)
		return
	}
	if !z.Contains(n) {
		return
	}
	z.ascendPrefix(string(appendRelativeKey(nil, n, len(z.origin))), fn)
}

// RRs returns all RRs in the order of Ascend, but with the SOA first, as in a zone transfer.
func (z *Zone) RRs() []RR {
	rrs := make([]RR, 0, z.records)
	if z.apex.soa != nil {
		rrs = append(rrs, z.apex.soa.RR(0))
	}
	z.Ascend(func(s *RRset) bool {
		if s != z.apex.soa {
			rrs = append(rrs, s.RRs()...)
		}
		return true
	})
	return rrs
}

// Set puts s in place of the RRset of its type at its owner; without data it removes that RRset. The zone keeps s, which
// must not change any more; one with Data out of order is copied in order. It panics when the owner is not in the zone:
// callers decide that with the answer they give (NOTZONE), not here.
func (z *Zone) Set(s *RRset) {
	if !z.Contains(s.Owner) {
		panic(fmt.Sprintf("zone: %s %s does not belong to the zone %s", s.Owner, s.Type, z.origin))
	}
	if len(s.Data) == 0 {
		z.Remove(s.Owner, s.Type)
		return
	}
	if !s.ordered() {
		s = NewRRset(s.Owner, s.Type, s.TTL, append([]string(nil), s.Data...)...)
	}
	key := z.setKey(s.Owner, s.Type)
	old, replaced := z.sets.Set(key, s)
	if !replaced {
		old = nil
	}
	z.changed(key, old, s)
}

// Remove removes the RRset of type t at n, if there is one.
func (z *Zone) Remove(n Name, t Type) {
	if !z.Contains(n) {
		return
	}
	key := z.setKey(n, t)
	if old, ok := z.sets.Delete(key); ok {
		z.changed(key, old, nil)
	}
}

// setKey is appendKey's result to keep.
func (z *Zone) setKey(n Name, t Type) string {
	if len(n) == len(z.origin) {
		switch t {
		case TypeSOA:
			return apexSOAKey
		case TypeNS:
			return apexNSKey
		case TypeDNAME:
			return apexDNAMEKey
		default:
		}
	}
	z.key = z.appendKey(z.key[:0], n, t)
	return string(z.key)
}

// changed keeps count, digest, the apex's RRsets and the transaction's notes in step with one RRset that was replaced.
func (z *Zone) changed(key string, old, s *RRset) {
	if old != nil {
		z.records -= len(old.Data)
	}
	if s != nil {
		z.records += len(s.Data)
	}
	if z.tx != nil {
		z.tx.note(key, old, s)
	}
	switch key {
	case apexSOAKey:
		z.apex.soa = s
		return // not in the sum
	case apexNSKey:
		z.apex.ns = s
	case apexDNAMEKey:
		z.apex.dname = s
	default:
	}
	z.addUp(old, s)
}

// addUp moves the sum from old to s. RRs that are in both cost no hashing: changing one RR of a large RRset costs two
// hashes, not two for each RR.
func (z *Zone) addUp(old, s *RRset) {
	var was, now []string
	if old != nil {
		was = old.Data
	}
	if s != nil {
		now = s.Data
	}
	sameTTL := old != nil && s != nil && old.TTL == s.TTL
	for len(was) > 0 || len(now) > 0 {
		order := 0
		switch {
		case len(was) == 0:
			order = 1
		case len(now) == 0:
			order = -1
		default:
			order = CompareData(s.Type, was[0], now[0])
		}
		if order == 0 && sameTTL {
			was, now = was[1:], now[1:]
			continue
		}
		if order <= 0 {
			z.sum.sub(z.hash.rr(old.Owner, old.Type, ClassIN, old.TTL, was[0]))
			was = was[1:]
		}
		if order >= 0 {
			z.sum.add(z.hash.rr(s.Owner, s.Type, ClassIN, s.TTL, now[0]))
			now = now[1:]
		}
	}
}
