package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Boundary is one publish step of a zone: every named goes from serial From to serial To by exactly Diff. The steps follow
// from the log alone, so every named walks through the same serials, and a secondary can IXFR from any of them.
type Boundary struct {
	Zone        ZoneID
	Incarnation uint64
	From, To    uint32
	// Diff is the net change. It lacks the SOA when serials that clients set led once round the number space (RFC 1982), and
	// is empty when nothing else changed either; then the step is not in the history.
	Diff  zone.Diff
	Index uint64 // of the entry that completed it; at most one a zone and entry
}

// boundaryOverhead is added to the wire length of a boundary's records for what they take in memory beyond it.
const boundaryOverhead = 64

func (b *Boundary) bytes() uint64 {
	return uint64(b.Diff.WireLen()) + boundaryOverhead*uint64(1+len(b.Diff.Del)+len(b.Diff.Add))
}

// zoneState is one zone. Once a snapshot shares it, it does not change: see Machine.writable. Slices only ever grow at the
// end or shrink at the front, so that a snapshot's shorter view of the same array stays what it was.
type zoneState struct {
	conf *ZoneConfig
	zone *zone.Zone
	gen  uint64 // Machine.gen when this copy was made

	// pending are the changes since the last boundary, one for each request, and pendingBytes their size.
	pending      []zone.Diff
	pendingBytes uint64
	cutMS        int64 // log time of the last boundary

	history      []Boundary // oldest first
	historyBytes uint64
}

// published is the serial of the last boundary: what every named has reached or will reach.
func (z *zoneState) published() uint32 {
	for _, d := range z.pending {
		if from, _, ok := d.Serials(); ok {
			return from
		}
	}
	return z.zone.Serial()
}

// change adds a change to the zone's pending ones. The zone itself has it already.
func (m *Machine) change(s *slot, d zone.Diff) {
	z := m.writable(s)
	z.pending = append(z.pending, d)
	z.pendingBytes += pendingSize(d)
	m.touch(s)
}

// pendingSize is what a change adds to the step that it will be part of: its RRs without the SOA, of which a step has one
// pair however many changes it is made of.
func pendingSize(d zone.Diff) uint64 {
	n := d.WireLen()
	if _, _, ok := d.Serials(); ok {
		n -= d.Del[0].WireLen() + d.Add[0].WireLen()
	}
	return uint64(n)
}

// requestCut has the pending changes of a zone, or of all, cut after this entry.
func (m *Machine) requestCut(id ZoneID) error {
	if id == (ZoneID{}) {
		for _, s := range m.dirty {
			s.cut = true
		}
		return nil
	}
	s := m.slots[id]
	if s == nil {
		return noSuchZone(id)
	}
	s.cut = s.dirty
	return nil
}

// cutDue completes the publish steps that are due after an entry: asked for, large, or long enough after the zone's last.
func (m *Machine) cutDue() {
	if len(m.dirty) == 0 {
		return
	}
	var due []*slot
	kept := m.dirty[:0]
	for _, s := range m.dirty {
		z := s.cur
		touched := s.touched
		s.touched = false
		switch {
		case z == nil: // deleted
			s.dirty = false
		case s.cut || m.stepFull(z):
			s.dirty, s.cut = false, false
			due = append(due, s)
		default:
			kept = append(kept, s)
			if touched {
				m.eff.Pending = append(m.eff.Pending, s.id)
			}
		}
	}
	clear(m.dirty[len(kept):])
	m.dirty = kept
	sortSlots(due)
	for _, s := range due {
		m.cut(s)
	}
	if len(due) > 0 {
		m.trimTotalHistory()
	}
	slices.SortFunc(m.eff.Pending, compareZoneIDs)
}

// stepFull says that a zone's pending changes are to become a publish step: there are many of them, or the last step is long
// enough ago. A zone that changes very fast waits up to three intervals for a large step, because named takes one of many
// RRs in less time for each RR.
func (m *Machine) stepFull(z *zoneState) bool {
	l := &m.st.limits
	age := m.st.timeMS - z.cutMS
	interval := int64(l.CutIntervalMS)
	if z.pendingBytes >= l.CutBytes/4 {
		interval *= 3
	}
	return z.pendingBytes >= l.CutBytes || age >= interval
}

// cut makes a zone's pending changes a boundary.
func (m *Machine) cut(s *slot) {
	z := m.writable(s)
	d := z.pending[0]
	if len(z.pending) > 1 {
		d = zone.Merge(z.pending...)
	}
	b := Boundary{
		Zone: s.id, Incarnation: z.conf.Incarnation, From: z.published(), To: z.zone.Serial(), Diff: d, Index: m.st.index,
	}
	z.pending, z.pendingBytes, z.cutMS = nil, 0, m.st.timeMS
	m.eff.Boundaries = append(m.eff.Boundaries, b)
	if d.Empty() {
		return // told all the same: somebody may wait for the changes to be published
	}
	m.remember(s, b)
	m.trimZoneHistory(z)
}

// historyQueue has the boundaries of all zones, oldest first, to find what goes when the total is too large. It is derived
// from the zones' histories. A reference whose boundary is gone is skipped.
type historyQueue struct {
	refs  []historyRef
	live  int    // boundaries in all histories; the other refs are of boundaries that are gone
	bytes uint64 // of all histories
}

type historyRef struct {
	index uint64
	slot  *slot
}

// stale says that the boundary is gone.
func (r historyRef) stale() bool {
	z := r.slot.cur
	return z == nil || len(z.history) == 0 || z.history[0].Index > r.index
}

// remember adds a boundary to a zone's history.
func (m *Machine) remember(s *slot, b Boundary) {
	z, q := s.cur, &m.history
	z.history = append(z.history, b)
	z.historyBytes += b.bytes()
	q.bytes += b.bytes()
	q.live++
	q.refs = append(q.refs, historyRef{index: b.Index, slot: s})
	// A zone that changes often drops its own oldest ones behind the back of the queue, whose front may be a zone that
	// never changes again.
	if len(q.refs) > 2*q.live+1024 {
		q.refs = slices.DeleteFunc(q.refs, historyRef.stale)
	}
}

// dropOldest forgets the oldest boundary of a zone.
func (m *Machine) dropOldest(z *zoneState) {
	n := z.history[0].bytes()
	z.historyBytes -= n
	m.history.bytes -= n
	m.history.live--
	z.history = z.history[1:]
}

func (m *Machine) trimZoneHistory(z *zoneState) {
	l := &m.st.limits
	for uint64(len(z.history)) > l.HistoryPerZone || z.historyBytes > l.HistoryZoneBytes {
		m.dropOldest(z)
	}
}

// trimTotalHistory forgets the oldest boundaries of the cluster while all histories together are too large.
func (m *Machine) trimTotalHistory() {
	q := &m.history
	for len(q.refs) > 0 {
		r := q.refs[0]
		stale := r.stale()
		if !stale && q.bytes <= m.st.limits.HistoryTotalBytes {
			return
		}
		if !stale {
			m.dropOldest(m.writable(r.slot))
		}
		q.refs = q.refs[1:]
	}
}

// trimAllHistory applies new limits.
func (m *Machine) trimAllHistory() {
	for _, s := range m.sortedSlots() {
		if len(s.cur.history) > 0 {
			m.trimZoneHistory(m.writable(s))
		}
	}
	m.trimTotalHistory()
}

func (m *Machine) sortedSlots() []*slot {
	list := make([]*slot, 0, len(m.slots))
	for _, s := range m.slots {
		list = append(list, s)
	}
	sortSlots(list)
	return list
}

// dropZoneState forgets what a zone leaves in the machine's own accounts. Its slot is dead afterwards.
func (m *Machine) dropZoneState(s *slot) {
	m.history.bytes -= s.cur.historyBytes
	m.history.live -= len(s.cur.history)
	s.cur = nil
	delete(m.slots, s.id)
	m.st.zones.Delete(s.key)
	m.configs.Delete(s.key)
}

// ZoneView is a zone as of one log index. Its owner may do with it what it likes, in one goroutine.
type ZoneView struct {
	Config *ZoneConfig
	// Index is the log index that the view shows: that of the last entry applied.
	Index uint64
	// Zone is the newest state, with the changes that no boundary covers yet.
	Zone *zone.Zone
	// History are the last boundaries, oldest first: a gapless way to PublishedSerial.
	History []Boundary
	// PublishedSerial is that of the last boundary.
	PublishedSerial uint32

	pending []zone.Diff
}

// Zone gives a zone as of the last entry applied; false when there is none. It takes constant time.
func (m *Machine) Zone(id ZoneID) (ZoneView, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slots[id]
	if s == nil {
		return ZoneView{}, false
	}
	z := s.cur
	return ZoneView{
		Config: z.conf, Index: m.st.index, Zone: z.zone.Snapshot(), History: slices.Clip(z.history),
		PublishedSerial: z.published(), pending: slices.Clip(z.pending),
	}, true
}

// History gives the last boundaries of a zone, oldest first; nil when there is no such zone.
func (m *Machine) History(id ZoneID) []Boundary {
	v, _ := m.Zone(id)
	return v.History
}

// Published gives the zone as of its last boundary.
func (v *ZoneView) Published() *zone.Zone {
	z := v.Zone.Snapshot()
	for _, d := range slices.Backward(v.pending) {
		z.Apply(reverse(d))
	}
	return z
}

// Oldest gives the zone as it was before the first boundary of History: what a named is loaded with that is then led
// through History, so that it can answer IXFR from there on.
func (v *ZoneView) Oldest() *zone.Zone {
	z := v.Published()
	for _, b := range slices.Backward(v.History) {
		z.Apply(reverse(b.Diff))
	}
	return z
}

// At gives the zone as it was published with a serial; false when History does not reach there.
func (v *ZoneView) At(serial uint32) (*zone.Zone, bool) {
	z := v.Published()
	for _, b := range slices.Backward(v.History) {
		if z.Serial() == serial {
			break
		}
		z.Apply(reverse(b.Diff))
	}
	return z, z.Serial() == serial
}

func reverse(d zone.Diff) zone.Diff { return zone.Diff{Del: d.Add, Add: d.Del} }

func noSuchZone(id ZoneID) error { return fmt.Errorf("zone %s does not exist", id) }

func compareZoneIDs(a, b ZoneID) int { return strings.Compare(a.key(), b.key()) }
