package zone

import (
	"slices"
	"strings"
)

// Diff is the net change between two states of a zone as explicit RRs of class IN: first all of Del, then all of Add lead
// from one to the other. Both are in canonical order, except that the SOA comes first. An RRset whose TTL or whose owner's
// case changes is deleted and added as a whole.
type Diff struct {
	Del, Add []RR
}

// Empty reports whether nothing changes.
func (d Diff) Empty() bool { return len(d.Del) == 0 && len(d.Add) == 0 }

// WireLen is the length of all RRs in uncompressed wire format, in octets.
func (d Diff) WireLen() int {
	n := 0
	for _, rr := range d.Del {
		n += rr.WireLen()
	}
	for _, rr := range d.Add {
		n += rr.WireLen()
	}
	return n
}

// Serials returns the serials before and after; ok is false when the SOA does not change.
func (d Diff) Serials() (from, to uint32, ok bool) {
	if len(d.Del) == 0 || len(d.Add) == 0 || d.Del[0].Type != TypeSOA || d.Add[0].Type != TypeSOA {
		return 0, 0, false
	}
	return SOASerial(d.Del[0].Data), SOASerial(d.Add[0].Data), true
}

// addSets appends the change from RRset old to now; either may be nil.
func (d *Diff) addSets(old, now *RRset) {
	var was, is []string
	if old != nil {
		was = old.Data
	}
	if now != nil {
		is = now.Data
	}
	whole := old == nil || now == nil || old.TTL != now.TTL || old.Owner != now.Owner
	for len(was) > 0 || len(is) > 0 {
		order := 0
		switch {
		case len(was) == 0:
			order = 1
		case len(is) == 0:
			order = -1
		default:
			order = CompareData(now.Type, was[0], is[0])
		}
		if order == 0 && !whole && was[0] == is[0] {
			was, is = was[1:], is[1:]
			continue
		}
		if order <= 0 {
			d.Del = append(d.Del, RR{Name: old.Owner, Type: old.Type, Class: ClassIN, TTL: old.TTL, Data: was[0]})
			was = was[1:]
		}
		if order >= 0 {
			d.Add = append(d.Add, RR{Name: now.Owner, Type: now.Type, Class: ClassIN, TTL: now.TTL, Data: is[0]})
			is = is[1:]
		}
	}
}

// makeDiff returns an empty Diff with room for just so many RRs, in one piece of memory: histories keep many for long.
func makeDiff(del, add int) (d Diff) {
	all := make([]RR, del+add)
	if del > 0 {
		d.Del = all[:0:del]
	}
	if add > 0 {
		d.Add = all[del:del]
	}
	return d
}

// clone returns a copy of d.
func (d *Diff) clone() Diff {
	c := makeDiff(len(d.Del), len(d.Add))
	c.Del = append(c.Del, d.Del...)
	c.Add = append(c.Add, d.Add...)
	return c
}

// reset empties d and keeps its memory, but not what its RRs refer to, and not the memory that a rare large change took.
func (d *Diff) reset() {
	const keep = 256
	if cap(d.Del) > keep || cap(d.Add) > keep {
		*d = Diff{}
		return
	}
	clear(d.Del)
	clear(d.Add)
	d.Del, d.Add = d.Del[:0], d.Add[:0]
}

// soaFirst moves the SOA, which sorts behind the A and NS of the apex, to the front.
func (d *Diff) soaFirst() {
	for _, rrs := range [][]RR{d.Del, d.Add} {
		for i := range rrs {
			if rrs[i].Type == TypeSOA {
				soa := rrs[i]
				copy(rrs[1:i+1], rrs[:i])
				rrs[0] = soa
				break
			}
		}
	}
}

// Between returns the change that leads from zone a to zone b, which have the same origin.
func Between(a, b *Zone) Diff {
	var d Diff
	ia, ib := a.sets.Iter(), b.sets.Iter()
	moreA, moreB := ia.First(), ib.First()
	for moreA || moreB {
		switch {
		case !moreB || moreA && ia.Key() < ib.Key():
			d.addSets(ia.Value(), nil)
			moreA = ia.Next()
		case !moreA || ib.Key() < ia.Key():
			d.addSets(nil, ib.Value())
			moreB = ib.Next()
		default:
			if ia.Value() != ib.Value() {
				d.addSets(ia.Value(), ib.Value())
			}
			moreA, moreB = ia.Next(), ib.Next()
		}
	}
	d.soaFirst()
	return d
}

// Merge returns the net change of diffs, one after another: an RR that one adds and a later one deletes, or the reverse, is
// in neither list of the result. RRs cancel only when they are identical, the case of names included.
func Merge(diffs ...Diff) Diff {
	size := 0
	for _, d := range diffs {
		size += len(d.Del) + len(d.Add)
	}
	changes := make([]placedRR, 0, size)
	// Most diffs delete the SOA that the one before added. Those pairs are left out here, before sorting.
	var soa RR
	for _, d := range diffs {
		for i, rr := range d.Del {
			if i == 0 && rr == soa {
				soa = RR{}
				continue
			}
			changes = append(changes, placedRR{rr: rr, n: -1})
		}
		for i, rr := range d.Add {
			if i == 0 && rr.Type == TypeSOA {
				rr, soa = soa, rr
				if rr == (RR{}) {
					continue
				}
			}
			changes = append(changes, placedRR{rr: rr, n: 1})
		}
	}
	if soa != (RR{}) {
		changes = append(changes, placedRR{rr: soa, n: 1})
	}
	sortPlaced(changes)
	return net(changes)
}

// net is what changes, in order, amount to.
func net(changes []placedRR) Diff {
	kept := changes[:0]
	del := 0
	for len(changes) > 0 {
		c := changes[0]
		same := 1
		for same < len(changes) && changes[same].rr == c.rr {
			c.n += changes[same].n
			same++
		}
		changes = changes[same:]
		if c.n < 0 {
			del++
		}
		if c.n != 0 {
			kept = append(kept, c)
		}
	}
	d := makeDiff(del, len(kept)-del)
	for _, c := range kept {
		if c.n < 0 {
			d.Del = append(d.Del, c.rr)
		} else {
			d.Add = append(d.Add, c.rr)
		}
	}
	d.soaFirst()
	return d
}

// Apply changes the zone by d. RRs of d.Del are removed whatever their TTL and case; RRs of d.Add set the TTL and the
// owner's case of their RRset.
func (z *Zone) Apply(d Diff) {
	for _, rr := range d.Del {
		if s := z.Get(rr.Name, rr.Type); s != nil {
			if left := s.Without(rr.Data); left == nil {
				z.Remove(rr.Name, rr.Type)
			} else if left != s {
				z.Set(left)
			}
		}
	}
	for _, rr := range d.Add {
		s := z.Get(rr.Name, rr.Type)
		if s == nil {
			s = &RRset{Type: rr.Type}
		}
		s = s.With(rr.Data)
		s.Owner, s.TTL = rr.Name, rr.TTL
		z.Set(s)
	}
}

// SortRRs puts rrs in canonical order of owner, type and RDATA, in place.
func SortRRs(rrs []RR) { sortRRs(rrs) }

func sortRRs(rrs []RR) []RR {
	list := make([]placedRR, len(rrs))
	for i, rr := range rrs {
		list[i].rr = rr
	}
	sortPlaced(list)
	for i := range list {
		rrs[i] = list[i].rr
	}
	return rrs
}

// placedRR is an RR with the key of its place in canonical order.
type placedRR struct {
	key    string
	keyEnd int // of the key within all keys
	rr     RR
	n      int // for Merge: +1 added, -1 deleted
}

// sortPlaced makes the keys and sorts.
func sortPlaced(list []placedRR) {
	const usual = 32 // octets of a key
	buf := make([]byte, 0, usual*len(list))
	for i := range list {
		buf = appendSetKey(buf, list[i].rr.Name, 1, list[i].rr.Type)
		list[i].keyEnd = len(buf)
	}
	keys, start := string(buf), 0
	for i := range list {
		list[i].key = keys[start:list[i].keyEnd]
		start = list[i].keyEnd
	}
	slices.SortFunc(list, func(a, b placedRR) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		if c := CompareData(a.rr.Type, a.rr.Data, b.rr.Data); c != 0 {
			return c
		}
		// The same RR in other words: any fixed order will do.
		if c := strings.Compare(a.rr.Data, b.rr.Data); c != 0 {
			return c
		}
		if c := strings.Compare(string(a.rr.Name), string(b.rr.Name)); c != 0 {
			return c
		}
		return int(int64(a.rr.TTL) - int64(b.rr.TTL))
	})
}
