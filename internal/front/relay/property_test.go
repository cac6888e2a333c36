package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// An UPDATE without a signature leaves the relay at most once for each datagram of its client, in any order of events: answers
// of every kind, lost and late and strange ones, refusals, primaries that come and go, datagrams that the kernel does not take,
// copies of the client's, other requests, and time. What has not left this machine does not count. And no client hears SERVFAIL
// to a signed one that was applied, or still may be (D6).
func TestUnsignedLeavesOnce(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := newRandomSchedules(t, rand.New(rand.NewPCG(seed, 0)))
	for i := range schedules {
		r.schedule()
		if i%64 == 0 {
			r.w.check()
		}
	}
	t.Logf("%d schedules: %d updates without a signature arrived, %d left; %d signed ones left %d times; %d answers",
		schedules, r.arrived, r.left, r.signed, r.signedLeft, r.answers)
	if r.left == 0 || r.signedLeft <= r.signed || r.copies == 0 || r.unsent == 0 || r.heldBack() == 0 {
		t.Errorf("seed %d: the schedules are too tame", seed)
	}
}

type randomSchedules struct {
	t     *testing.T
	w     *world
	rng   *rand.Rand
	make  [3]func(uint64) []byte
	n     uint64
	tiers map[string]uint8

	// of the present schedule
	sent   []sentBefore
	out    map[uint64]int // how often updates without a signature have left
	during uint64         // the number of the one that is being presented, or that was not sent
	asked  map[uint64]int // during one event
	// applied are the signed ones that a primary has appended.
	applied map[uint64]bool

	arrived, left, signed, signedLeft, copies, unsent, answers int
}

type sentBefore struct {
	from netip.AddrPort
	msg  []byte
}

func newRandomSchedules(t *testing.T, rng *rand.Rand) *randomSchedules {
	r := &randomSchedules{t: t, rng: rng, tiers: map[string]uint8{}, out: map[uint64]int{}, applied: map[uint64]bool{}, asked: map[uint64]int{}}
	r.w = newWorld(t, func(c *Config) { c.Limits.PerSecond, c.Limits.Burst = 1e9, 1e9 })
	unsigned := updateMsg(t, string(serialMark))
	r.make = [3]func(uint64) []byte{numbered(unsigned), numbered(signedUpdate(t, string(serialMark))), numbered(queryMsg(t, string(serialMark)+".example.test."))}
	r.w.onAsk = r.onAsk
	return r
}

// number is what a message was made with.
func number(msg []byte) uint64 {
	// The owner is the first label that is eight octets long and is not the zone's; see numbered.
	for at := headerSize; at+9 <= len(msg); at++ {
		if msg[at] == 8 {
			if n := binary.BigEndian.Uint64(msg[at+1:]); n>>56 == numberTag {
				return n
			}
		}
	}
	panic("a message without a number")
}

// numberTag marks numbers, in their highest octet.
const numberTag = 0xA5

func (r *randomSchedules) fresh() uint64 {
	r.n++
	return numberTag<<56 | r.n
}

func (r *randomSchedules) onAsk(_ *line, e *entry) {
	switch {
	case !e.update:
	case e.again:
		r.signedLeft++
	default:
		r.asked[number(e.msg)]++
		r.left++
	}
}

// schedule is one run of some requests from nothing to nothing.
func (r *randomSchedules) schedule() {
	r.sent = r.sent[:0]
	clear(r.out)
	clear(r.applied)
	r.w.asks, r.w.replies = r.w.asks[:0], r.w.replies[:0]
	for range 3 + r.rng.IntN(12) {
		clear(r.asked)
		r.during = 0
		before := len(r.w.replies)
		allowed := r.event()
		for _, reply := range r.w.replies[before:] {
			r.truthful(reply.msg)
		}
		for n, times := range r.asked {
			if times > 1 || n != r.during || !allowed {
				r.t.Fatalf("update %#x was sent %d times by an event that must not send it", n, times)
			}
			if r.out[n]++; r.out[n] > 1 {
				r.t.Fatalf("update %#x has left %d times", n, r.out[n])
			}
		}
	}
	clear(r.asked)
	r.w.wait(r.w.cfg.Retry.Forget)
	if len(r.asked) > 0 {
		r.t.Fatalf("time alone has sent an update without a signature")
	}
	if n := r.w.x.shared.pending.Load(); n != 0 {
		r.t.Fatalf("%d requests are never forgotten", n)
	}
	if r.rng.IntN(8) == 0 {
		r.w.wait(doubtTime + lingerTime)
	}
}

// event does one random thing. It reports whether it may send an update without a signature, which is that of r.during.
func (r *randomSchedules) event() (allowed bool) {
	switch k := r.rng.IntN(100); {
	case k < 30:
		return r.request()
	case k < 55:
		r.answer()
	case k < 60: // a stranger's, or a second one
		if l := r.anyLine(); l != nil {
			r.w.x.answer(r.w.now, l, answerTo(r.make[0](r.rng.Uint64()), byte(r.rng.IntN(6))))
			r.w.flush()
		}
	case k < 68:
		if l := r.anyLine(); l != nil {
			r.w.x.refused(r.w.now, l)
			r.w.flush()
		}
	case k < 74:
		return r.notSent()
	case k < 84:
		r.primaries()
	default:
		r.w.wait(time.Duration(r.rng.IntN(400)) * time.Millisecond)
	}
	return false
}

func (r *randomSchedules) request() bool {
	var s sentBefore
	if len(r.sent) > 0 && r.rng.IntN(3) == 0 {
		s = r.sent[r.rng.IntN(len(r.sent))]
		r.copies++
		if r.rng.IntN(8) == 0 {
			s.from = netip.AddrPortFrom(s.from.Addr(), s.from.Port()+1)
		}
	} else {
		kind := r.rng.IntN(3)
		s = sentBefore{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.rng.IntN(4))}), uint16(r.rng.IntN(4))), r.make[kind](r.fresh())}
		if kind == 1 {
			r.signed++
		}
		r.sent = append(r.sent, s)
	}
	if !isUpdate(s.msg) || repeatable(s.msg) {
		r.w.request(s.from, s.msg)
		return false
	}
	r.arrived++
	r.during = number(s.msg)
	if r.waits(s) {
		r.w.request(s.from, s.msg)
		return false // it joins
	}
	delete(r.out, r.during) // the client's own decision
	r.w.request(s.from, s.msg)
	return true
}

func (r *randomSchedules) waits(s sentBefore) bool {
	for e := r.w.x.lives.first; e != nil; e = e.links[byStart].next {
		if e.from.client == s.from && slices.Equal(e.msg, s.msg) {
			return true
		}
	}
	return false
}

// answer answers something that was asked, now or long ago.
func (r *randomSchedules) answer() {
	if len(r.w.asks) == 0 {
		return
	}
	r.answers++
	i := r.rng.IntN(len(r.w.asks))
	msg := r.w.asks[i].msg
	rcode := [...]byte{0, rcodeServFail, rcodeServFail, 5}[r.rng.IntN(4)]
	if isUpdate(msg) && repeatable(msg) && rcode != rcodeServFail {
		rcode = decision(number(msg)) // wherever it is asked
		r.applied[number(msg)] = rcode == 0
	}
	r.w.answer(i, rcode)
}

// decision is what the log makes of a signed update.
func decision(n uint64) byte {
	if n%3 == 0 {
		return 5
	}
	return 0
}

// truthful checks what a client is told.
func (r *randomSchedules) truthful(reply []byte) {
	if rcode(reply) != rcodeServFail || !isUpdate(reply) || !repeatable(reply) || decision(number(reply)) != 0 {
		return
	}
	n := number(reply)
	if r.applied[n] {
		r.t.Fatalf("SERVFAIL to update %#x, which was applied", n)
	}
	for _, a := range r.w.asks {
		if isUpdate(a.msg) && repeatable(a.msg) && number(a.msg) == n {
			r.t.Fatalf("SERVFAIL to update %#x has passed, and %s has not said so", n, a.line.name)
		}
	}
}

// notSent takes back what was asked last.
func (r *randomSchedules) notSent() bool {
	if len(r.w.asks) == 0 {
		return false
	}
	i := len(r.w.asks) - 1
	a := r.w.asks[i]
	if s := a.line.slot(a.id); s.e == nil || s.e.asked[s.i].sent != r.w.now {
		return false // the kernel says so at once
	}
	r.w.asks = r.w.asks[:i]
	r.unsent++
	if isUpdate(a.msg) && !repeatable(a.msg) {
		r.during = number(a.msg)
		r.out[r.during]--
		r.left--
	}
	r.w.x.unsent(r.w.now, a.line, a.id)
	r.w.flush()
	return true
}

func (r *randomSchedules) primaries() {
	for _, name := range []string{"a", "b", "c"} {
		switch r.rng.IntN(5) {
		case 0:
			delete(r.tiers, name)
		case 1:
			r.tiers[name] = 2
		case 2:
			r.tiers[name] = 1
		default:
			r.tiers[name] = 0
		}
	}
	r.w.primaries(r.tiers)
}

func (r *randomSchedules) anyLine() *line {
	if len(r.w.x.lines) == 0 {
		return nil
	}
	return r.w.x.lines[r.rng.IntN(len(r.w.x.lines))]
}

func (r *randomSchedules) heldBack() int { return counted(r.t, r.w.x.shared.metrics.heldBack) }
