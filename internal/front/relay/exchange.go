package relay

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// wire does what an exchange decides. Its methods don't wait. The octets stay valid until the wire has called reclaim.
type wire interface {
	// ask sends e's message to a primary, under an ID of that line.
	ask(l *line, e *entry, id uint16)
	// reply sends an answer that has the client's ID.
	reply(to *origin, msg []byte)
}

// exchange decides for one worker: which primary is asked, when another one, and which answer the client gets. It is not safe
// for concurrent use. Time is given to it and never goes back.
type exchange struct {
	retry   Retry
	none    func(query []byte) []byte // Config.Answer
	wire    wire
	shared  *shared
	lines   []*line
	leaving []*line // not asked any more, but they may still answer
	turn    int

	byRequest map[uint64]*entry
	lives     list
	due       list
	spare     []*entry // to be used again
	ended     []*entry // the same, once the wire has let go of them
}

// shared is what the workers of a relay have in common.
type shared struct {
	budget     *budget
	buckets    *buckets
	doubts     *doubts
	seed       maphash.Seed // of hashes of messages
	pending    atomic.Int64
	maxPending int64
	idle       chan struct{} // gets a value when pending falls to 0
	metrics    *metrics
	complaints *complaints
}

// identify gives the hashes by which a datagram is known: content is that of its octets without the ID, request that of client,
// ID and content.
func (x *exchange) identify(client netip.AddrPort, msg []byte) (content, request uint64) {
	content = maphash.Bytes(x.shared.seed, msg[2:])
	var b [16 + 2 + 2 + 8]byte
	addr := client.Addr().As16()
	copy(b[:], addr[:])
	binary.BigEndian.PutUint16(b[16:], client.Port())
	copy(b[18:], msg[:2])
	binary.BigEndian.PutUint64(b[20:], content)
	return content, maphash.Bytes(x.shared.seed, b[:])
}

// identity is how doubts knows an update. A signed one is the same whoever sends it, under whatever message ID (I4); one without
// a signature is the same only when it comes from the same client under the same ID.
func identity(content, request uint64, again bool) uint64 {
	if again {
		return content
	}
	return request
}

func newExchange(c *Config, w wire, s *shared) exchange {
	return exchange{
		retry: c.Retry, none: c.Answer, wire: w, shared: s,
		byRequest: map[uint64]*entry{}, lives: list{of: byStart}, due: list{of: byDue},
	}
}

// request takes a client's datagram; it has a whole header and is no response.
func (x *exchange) request(now time.Time, from *origin, msg []byte) {
	b, v := x.shared.buckets.take(from.client.Addr(), now)
	if v != admitted {
		x.shared.metrics.limit(v)
		return
	}
	content, request := x.identify(from.client, msg)
	first := x.byRequest[request]
	switch {
	case first != nil && first.from == *from && bytes.Equal(first.msg, msg):
		x.joined(now, first)
	case x.shared.pending.Load() >= x.shared.maxPending:
		x.shared.metrics.limitedAll.Inc()
	default:
		update, again := isUpdate(msg), repeatable(msg)
		id := identity(content, request, again)
		if l := x.pick(now, nil); l != nil {
			x.enter(now, from, msg, l, entry{request: request, identity: id, update: update, again: again, bucket: b})
			return
		}
		x.unreachable(now, from, msg, update, id)
	}
	x.shared.buckets.done(b)
}

// unreachable answers for the primaries, of which none can be asked.
func (x *exchange) unreachable(now time.Time, from *origin, msg []byte, update bool, identity uint64) {
	if update && x.shared.doubts.has(now, identity) {
		x.shared.metrics.heldBack.Inc()
		return
	}
	x.shared.metrics.unreachable.Inc()
	if reply := x.none(msg); reply != nil {
		x.wire.reply(from, reply)
	}
}

// enter begins to wait for an answer; fresh is what is known already.
func (x *exchange) enter(now time.Time, from *origin, msg []byte, l *line, fresh entry) {
	var e *entry
	if n := len(x.spare); n > 0 {
		e, x.spare = x.spare[n-1], x.spare[:n-1]
	} else {
		e = new(entry)
	}
	fresh.from, fresh.start = *from, now
	fresh.msg = append(e.msg[:0], msg...) //nolint:gocritic // fresh becomes *e below, with the buffer of the old one
	fresh.asked = e.asked[:0]
	*e = fresh
	x.shared.pending.Add(1)
	x.lives.push(e)
	if x.byRequest[e.request] == nil {
		x.byRequest[e.request] = e
	}
	x.ask(now, e, l)
	x.arm(now, e)
}

// arm sees to it that e is looked at again after a time of silence.
func (x *exchange) arm(now time.Time, e *entry) {
	if e.again && e.hedged < x.retry.Max {
		e.due = now.Add(x.retry.After)
		x.due.push(e)
	}
}

func (x *exchange) ask(now time.Time, e *entry, l *line) {
	id := l.assign(now, e, len(e.asked))
	e.asked = append(e.asked, attempt{line: l, id: id, sent: now})
	if e.update {
		e.open++
		x.shared.doubts.asked(e.identity)
	}
	x.wire.ask(l, e, id)
}

// refuse is told that an attempt at an update has done nothing.
func (x *exchange) refuse(e *entry) {
	e.open--
	x.shared.doubts.refused(e.identity)
}

// joined takes a datagram that repeats a request under way. What can be done for that one is done by asking another primary
// after a time of silence. Where this was not possible the copy is passed on, to the same primary.
func (x *exchange) joined(now time.Time, e *entry) {
	x.shared.metrics.copies.Inc()
	if !e.again || len(e.asked) == maxAttempts || now.Sub(e.asked[len(e.asked)-1].sent) < x.retry.After {
		return
	}
	var l *line
	if a := e.waits(); a != nil {
		l = a.line
	} else if l = x.pick(now, e); l == nil { // all have failed: the client asks anew
		l = x.pick(now, nil)
	}
	if l != nil && l.room(now) {
		x.ask(now, e, l)
	}
}

// answer takes a datagram from a primary.
func (x *exchange) answer(now time.Time, l *line, msg []byte) {
	id := messageID(msg)
	s := l.slot(id)
	if !s.used || !isResponse(msg) {
		x.shared.metrics.stray.Inc()
		return
	}
	e := s.e
	if e == nil {
		l.release(id)
		x.shared.metrics.late.Inc()
		return
	}
	if isUpdate(msg) != e.update {
		x.shared.metrics.stray.Inc()
		return
	}
	i := int(s.i)
	a := &e.asked[i]
	l.seconds.Observe(now.Sub(a.sent).Seconds())
	a.state = answered
	l.release(id)
	l.live--
	how := endingOf(msg)
	if e.update && how == endUnanswered {
		x.refuse(e)
	}
	if rcode(msg) == rcodeServFail {
		if e.update {
			if x.shared.doubts.has(now, e.identity) {
				x.shared.metrics.heldBack.Inc()
				return
			}
		} else if e.waits() != nil {
			e.held = append(e.held[:0], msg...)
			return
		}
	}
	if e.hedged > 0 {
		x.shared.metrics.hedged(i > 0)
	}
	x.deliver(e, msg)
	x.end(now, e, how)
}

// endingOf says what an answer to an update tells about its copies. What a primary says before it asks the log, such as that the
// signature is too old by its clock, is true of the copy that it has seen, and decides nothing about another.
func endingOf(msg []byte) ending {
	switch rcode(msg) {
	case 0:
		return endApplied
	case rcodeNXDomain, rcodeYXDomain, rcodeYXRRSet, rcodeNXRRSet, rcodeNotZone:
		return endDecided
	default:
		return endUnanswered
	}
}

func (x *exchange) deliver(e *entry, msg []byte) {
	setMessageID(msg, messageID(e.msg))
	x.wire.reply(&e.from, msg)
}

// end forgets a request.
func (x *exchange) end(now time.Time, e *entry, how ending) {
	for i := range e.asked {
		if a := &e.asked[i]; a.state != answered {
			a.line.forsake(now, a.id)
		}
	}
	if e.update {
		x.shared.doubts.ended(now, e.identity, e.from.client.Addr(), e.open, how)
	}
	x.lives.remove(e)
	x.due.remove(e)
	if x.byRequest[e.request] == e {
		delete(x.byRequest, e.request)
	}
	x.shared.buckets.done(e.bucket)
	if x.shared.pending.Add(-1) == 0 {
		select {
		case x.shared.idle <- struct{}{}:
		default:
		}
	}
	x.ended = append(x.ended, e)
}

// What is kept for later requests: entries, and messages of ordinary size.
const (
	maxSpare = 1024
	keepSize = 2048
)

// reclaim is called when the wire holds no octets any more.
func (x *exchange) reclaim() {
	for i, e := range x.ended {
		if len(x.spare) < maxSpare && cap(e.msg) <= keepSize {
			e.held = nil
			x.spare = append(x.spare, e)
		}
		x.ended[i] = nil
	}
	x.ended = x.ended[:0]
}

// tick does what time brings, and returns next.
func (x *exchange) tick(now time.Time) time.Time {
	for e := x.lives.first; e != nil && !now.Before(e.start.Add(x.retry.Forget)); e = x.lives.first {
		if e.held != nil {
			x.deliver(e, e.held)
		} else {
			x.shared.metrics.unanswered.Inc()
		}
		x.end(now, e, endUnanswered)
	}
	for e := x.due.first; e != nil && !now.Before(e.due); e = x.due.first {
		x.due.remove(e)
		x.hedge(now, e, true)
		x.arm(now, e)
	}
	return x.next()
}

// next is when to call tick; zero: not before a request comes.
func (x *exchange) next() (t time.Time) {
	if e := x.lives.first; e != nil {
		t = e.start.Add(x.retry.Forget)
	}
	if e := x.due.first; e != nil && e.due.Before(t) {
		t = e.due
	}
	return t
}

// hedge asks one more primary, if that is allowed.
func (x *exchange) hedge(now time.Time, e *entry, charge bool) {
	if !e.again || e.hedged >= x.retry.Max || len(e.asked) == maxAttempts {
		return
	}
	l := x.pick(now, e)
	if l == nil {
		return
	}
	if charge && !x.shared.budget.spend(now) {
		x.shared.metrics.overBudget.Inc()
		return
	}
	e.hedged++
	x.ask(now, e, l)
}

// refused is told that nobody listens at a line's primary, or that it can't be reached.
func (x *exchange) refused(now time.Time, l *line) {
	l.shunned = now.Add(x.retry.After)
	x.lost(now, l)
}

// lost gives up a line: what it owes is asked elsewhere, if that can be.
func (x *exchange) lost(now time.Time, l *line) {
	if l.live == 0 {
		return
	}
	var next *entry
	for e := x.lives.first; e != nil; e = next {
		next = e.links[byStart].next
		concerned := false
		for i := range e.asked {
			if a := &e.asked[i]; a.line == l && a.state == waiting {
				a.state, concerned = lost, true
			}
		}
		if !concerned {
			continue
		}
		if x.hedge(now, e, false); e.held != nil && e.waits() == nil {
			x.deliver(e, e.held)
			x.end(now, e, endUnanswered)
		}
	}
}

// unsent is told that what was to be asked under an ID has not left this machine. It may go elsewhere, whatever it is.
func (x *exchange) unsent(now time.Time, l *line, id uint16) {
	l.shunned = now.Add(x.retry.After)
	s := l.slot(id)
	if s.e == nil {
		return
	}
	e := s.e
	e.asked[s.i].state = answered
	l.release(id)
	l.live--
	if e.update {
		x.refuse(e)
	}
	if e.waits() != nil || len(e.asked) == maxAttempts {
		return
	}
	if other := x.pick(now, e); other != nil {
		x.ask(now, e, other)
		return
	}
	switch {
	case e.held != nil:
		x.deliver(e, e.held)
	case e.open == 0:
		x.unreachable(now, &e.from, e.msg, e.update, e.identity)
	default: // some primary may have it
		return
	}
	x.end(now, e, endUnanswered)
}

// pick chooses the primary that has least to answer, of those of the best tier that there is; e, if given, was not yet sent to
// it.
func (x *exchange) pick(now time.Time, e *entry) *line {
	tier := uint8(tierDown)
	for _, l := range x.lines {
		tier = min(tier, l.tier)
	}
	if tier == tierDown {
		return nil
	}
	var best *line
	for i := range x.lines {
		l := x.lines[(x.turn+i)%len(x.lines)]
		if l.tier != tier || (e != nil && e.wasAsked(l)) || !l.room(now) {
			continue
		}
		if best == nil || l.before(best, now) {
			best = l
		}
	}
	x.turn++
	return best
}

func (l *line) before(other *line, now time.Time) bool {
	if a, b := l.shunned.After(now), other.shunned.After(now); a != b {
		return b
	}
	return l.load() < other.load()
}

// set replaces the lines. What those owe that are missing, or are not to be asked any more, is asked elsewhere.
func (x *exchange) set(now time.Time, lines []*line) {
	old := x.lines
	x.lines = lines
	for _, l := range old {
		if !slices.Contains(lines, l) {
			x.leaving = append(x.leaving, l)
			x.lost(now, l)
		}
	}
	for _, l := range lines {
		if l.tier == tierDown {
			x.lost(now, l)
		}
	}
}

// left returns the lines that have left and owe nothing more.
func (x *exchange) left() (lines []*line) {
	x.leaving = slices.DeleteFunc(x.leaving, func(l *line) bool {
		if l.live == 0 {
			lines = append(lines, l)
		}
		return l.live == 0
	})
	return lines
}
