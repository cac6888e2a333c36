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

// clone returns a copy of d in one piece of memory and no larger than it has to be: histories keep many for long.
func (d *Diff) clone() (c Diff) {
	del := len(d.Del)
	all := make([]RR, del+len(d.Add))
	copy(all, d.Del)
	copy(all[del:], d.Add)
	if del > 0 {
		c.Del = all[:del:del]
	}
	if del < len(all) {
		c.Add = all[del:]
	}
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
	// state is what becomes of one RR: +1 added, -1 deleted, 0 both, which is no change.
	size := 0
	for _, d := range diffs {
		size += len(d.Del) + len(d.Add)
	}
	state := make(map[RR]int, size)
	for _, d := range diffs {
		for _, rr := range d.Del {
			state[rr]--
		}
		for _, rr := range d.Add {
			state[rr]++
		}
	}
	var d Diff
	for rr, n := range state {
		switch {
		case n < 0:
			d.Del = append(d.Del, rr)
		case n > 0:
			d.Add = append(d.Add, rr)
		}
	}
	d.Del, d.Add = sortRRs(d.Del), sortRRs(d.Add)
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
	type keyed struct {
		key string
		rr  RR
	}
	ks := make([]keyed, len(rrs))
	for i, rr := range rrs {
		ks[i] = keyed{string(appendSetKey(nil, rr.Name, 1, rr.Type)), rr}
	}
	slices.SortFunc(ks, func(a, b keyed) int {
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
	for i := range ks {
		rrs[i] = ks[i].rr
	}
	return rrs
}
