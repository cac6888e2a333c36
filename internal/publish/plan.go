package publish

import (
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// This file decides and does nothing else: no lock, clock or connection.

// update is one guarded UPDATE: the zone goes from the exact SOA `from` to the SOA that updates[0] adds.
type update struct {
	origin  zone.Name
	from    zone.RR
	updates []zone.RR
}

// compose puts a step's RRs in an order in which none of named's own rules for UPDATE (BIND lib/ns/update.c) bites:
//
//   - the new SOA first, so that the serial moves whatever becomes of the rest;
//   - then the deletions, because an addition beside a CNAME, or of a CNAME beside anything, is ignored, and an addition
//     with another TTL rewrites the TTL of what is still there;
//   - then the additions;
//   - the deletions of the apex NS last, because the deletion of the last one is ignored. An apex NS that is in both lists
//     (another TTL, another case) is only added: its addition replaces it.
//
// Deletions name single RRs, never a whole RRset or name: 9.20 has been seen to stop at those.
func compose(origin zone.Name, d zone.Diff) update {
	u := update{origin: origin, from: d.Del[0], updates: make([]zone.RR, 1, len(d.Del)+len(d.Add))}
	u.updates[0] = d.Add[0]
	apexNS := func(rr zone.RR) bool { return rr.Type == zone.TypeNS && rr.Name.Equal(origin) }
	for _, rr := range d.Del[1:] {
		if !apexNS(rr) {
			rr.Class = zone.ClassNONE
			u.updates = append(u.updates, rr)
		}
	}
	u.updates = append(u.updates, d.Add[1:]...)
	for _, rr := range d.Del[1:] {
		if apexNS(rr) && !adds(d.Add, rr) {
			rr.Class = zone.ClassNONE
			u.updates = append(u.updates, rr)
		}
	}
	return u
}

// adds reports whether list has rr, whatever its TTL and case.
func adds(list []zone.RR, rr zone.RR) bool {
	for _, a := range list {
		if a.Type == rr.Type && a.Name.Equal(rr.Name) && zone.CompareData(a.Type, a.Data, rr.Data) == 0 {
			return true
		}
	}
	return false
}

// size is the length of a step's message before its signature, in octets.
func size(origin zone.Name, d zone.Diff) int {
	n := 12 + len(origin) + 4
	if len(d.Del) > 0 {
		n += named.UpdateSize(origin, d.Del[0]) // the prerequisite
	}
	for _, rr := range d.Del {
		n += named.UpdateSize(origin, rr)
	}
	for _, rr := range d.Add {
		n += named.UpdateSize(origin, rr)
	}
	return n
}

// limits say which steps named can be led through.
type limits struct {
	maxUpdate int
	maxDeaths int
	deaths    map[uint32]int // by a step's To: how often named ended with it in flight
}

// sendable reports whether a step can be an UPDATE: it fits, the serial grows (named ignores an SOA that does not), and
// named has survived it.
func (l limits) sendable(b fsm.Boundary) bool {
	from, to, ok := b.Diff.Serials()
	return ok && from == b.From && to == b.To && zone.SerialGT(to, from) &&
		l.deaths[b.To] < l.maxDeaths && size(b.Zone.Name, b.Diff) <= l.maxUpdate
}

// obstacle names what makes a step unsendable.
func (l limits) obstacle(b fsm.Boundary) string {
	switch {
	case l.deaths[b.To] >= l.maxDeaths:
		return "deadly"
	case size(b.Zone.Name, b.Diff) > l.maxUpdate:
		return "size"
	}
	return "serial"
}

// take returns how many steps go into the next message and their net change. Zero: the first step can't be sent, the zone
// must be replaced.
func (l limits) take(steps []fsm.Boundary, merge bool) (int, zone.Diff) {
	if !l.sendable(steps[0]) {
		return 0, zone.Diff{}
	}
	if !merge || len(steps) == 1 {
		return 1, steps[0].Diff
	}
	diffs := []zone.Diff{steps[0].Diff}
	total := size(steps[0].Zone.Name, steps[0].Diff)
	for _, b := range steps[1:] {
		// The net change is never longer than the sum.
		if total += size(b.Zone.Name, b.Diff); total > l.maxUpdate || !l.sendable(b) || b.From != steps[len(diffs)-1].To {
			break
		}
		diffs = append(diffs, b.Diff)
	}
	n := len(diffs)
	// Half the number space in one leap is no increase any more (RFC 1982).
	if n == 1 || !zone.SerialGT(steps[n-1].To, steps[0].From) {
		return 1, steps[0].Diff
	}
	return n, zone.Merge(diffs...)
}

// verdict is what an SOA RR, seen in named after an UPDATE whose fate is unknown, says about that zone.
type verdict uint8

const (
	foreign verdict = iota // neither before nor after: replace the zone
	before                 // not carried out
	after                  // carried out
)

// judge compares an SOA with the steps that were sent, and returns how many of them are carried out.
func judge(soa zone.RR, steps []fsm.Boundary) (verdict, int) {
	for i, b := range steps {
		if soa.Equal(b.Diff.Del[0]) {
			if i == 0 {
				return before, 0
			}
			return after, i
		}
		if soa.Equal(b.Diff.Add[0]) {
			return after, i + 1
		}
	}
	return foreign, 0
}

// view is the state machine's view of a zone: its content at the last boundary, and how it got there.
type view struct {
	index   uint64 // every boundary up to this log index is covered
	content *zone.Zone
	history []fsm.Boundary // oldest first, gapless, ending at content
}

func newView(v fsm.ZoneView) view {
	return view{index: v.Index, content: v.Published(), history: v.History}
}

// extend lets the view go back to the first of the steps that named has not acknowledged: when named is far behind, the
// state machine has forgotten some of them. False: there is a gap that neither remembers.
func (v *view) extend(queue []fsm.Boundary) bool {
	for len(queue) > 0 && queue[len(queue)-1].Index > v.index {
		queue = queue[:len(queue)-1]
	}
	if len(queue) == 0 || len(v.history) > 0 && v.history[0].Index <= queue[0].Index {
		return true
	}
	rest := v.history
	for len(rest) > 0 && rest[0].Index <= queue[len(queue)-1].Index {
		rest = rest[1:]
	}
	end := v.content.Serial()
	if len(rest) > 0 {
		end = rest[0].From
	}
	if queue[len(queue)-1].To != end {
		return false
	}
	v.history = append(slices.Clip(queue), rest...)
	return true
}

// load says with which content to load the zone and through which steps to lead it then, so that a secondary finds IXFR
// from as far back as possible (C5). It goes back over at most maxSteps.
func (v view) load(l limits, maxSteps int) (*zone.Zone, []fsm.Boundary) {
	first := len(v.history)
	serial := v.content.Serial()
	for first > 0 && len(v.history)-first < maxSteps {
		b := v.history[first-1]
		if b.To != serial || !l.sendable(b) {
			break
		}
		serial = b.From
		first--
	}
	z := v.content.Snapshot()
	for i := len(v.history) - 1; i >= first; i-- {
		z.Apply(reverse(v.history[i].Diff))
	}
	return z, v.history[first:]
}

// after returns the steps from the state that named's SOA shows to the view's; false when that SOA is none of them, or
// the way from there can't be sent.
func (v view) after(soa zone.RR, l limits) ([]fsm.Boundary, bool) {
	if s := v.content.SOA(); s != nil && soa.Equal(s.RR(0)) {
		return nil, true
	}
	for i := len(v.history) - 1; i >= 0; i-- {
		b := v.history[i]
		if !l.sendable(b) {
			return nil, false
		}
		if soa.Equal(b.Diff.Del[0]) {
			return v.history[i:], true
		}
	}
	return nil, false
}

// at returns the digest and number of RRs of the zone at the state that an SOA shows, which may be before the view or in
// the trail of steps after it; false when it is neither.
func (v view) at(soa zone.RR, trail []fsm.Boundary) (*zone.Zone, bool) {
	z := v.content
	if s := z.SOA(); s != nil && soa.Equal(s.RR(0)) {
		return z, true
	}
	for i := len(v.history) - 1; i >= 0; i-- {
		// A step may leave the SOA alone: see fsm.Boundary.
		if _, _, moves := v.history[i].Diff.Serials(); moves && soa.Equal(v.history[i].Diff.Del[0]) {
			z = z.Snapshot()
			for j := len(v.history) - 1; j >= i; j-- {
				z.Apply(reverse(v.history[j].Diff))
			}
			return z, true
		}
	}
	for i, b := range trail {
		if _, _, moves := b.Diff.Serials(); moves && soa.Equal(b.Diff.Add[0]) {
			z = z.Snapshot()
			for _, b := range trail[:i+1] {
				z.Apply(b.Diff)
			}
			return z, true
		}
	}
	return nil, false
}

func reverse(d zone.Diff) zone.Diff { return zone.Diff{Del: d.Add, Add: d.Del} }

// replayBudget is how many steps each of n zones may be led through after a start, so that many zones with a long history
// do not keep a restarted replica out of service: 40,000 steps take some ten seconds.
func replayBudget(zones int) int { return max(1, 40_000/max(1, zones)) }
