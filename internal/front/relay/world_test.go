package relay

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// world is an exchange with a clock of its own, and primaries that say what the test wants.
type world struct {
	t     testing.TB
	cfg   Config
	x     exchange
	now   time.Time
	lines map[string]*line // all that ever were, by name; the last of a name
	ids   int              // of each
	rng   *rand.Rand

	asks    []sentAsk // not answered
	replies []sentReply
	events  []string // since the last look

	onAsk func(l *line, e *entry) // by the property test
}

type sentAsk struct {
	line *line
	id   uint16
	msg  []byte
}

type sentReply struct {
	to  netip.AddrPort
	msg []byte
}

var epoch = time.Unix(1_800_000_000, 0)

func newShared(t testing.TB, c *Config) *shared {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), func() float64 { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	return &shared{
		budget: newBudget(c.Retry, epoch), buckets: newBuckets(c.Limits, epoch), doubts: newDoubts(1 << 10), seed: maphash.MakeSeed(),
		maxPending: int64(c.Limits.Pending), idle: make(chan struct{}, 1), metrics: m,
	}
}

// newWorld has no primaries yet.
func newWorld(t testing.TB, edit func(*Config)) *world {
	t.Helper()
	w := &world{t: t, cfg: DefaultConfig(), now: epoch, lines: map[string]*line{}, ids: 1024, rng: rand.New(rand.NewPCG(1, 2))}
	w.cfg.Answer = func(q []byte) []byte { return answerTo(q, rcodeServFail) }
	if edit != nil {
		edit(&w.cfg)
	}
	w.x = newExchange(&w.cfg, w, newShared(t, &w.cfg))
	return w
}

// answerTo is a reply to a request: its octets with QR and an RCODE.
func answerTo(query []byte, rcode byte) []byte {
	b := slices.Clone(query)
	b[2] |= 0x80
	b[3] = rcode
	return b
}

func (w *world) event(format string, args ...any) {
	if w.events != nil {
		w.events = append(w.events, fmt.Sprintf(format, args...))
	}
}

// ask implements wire.
func (w *world) ask(l *line, e *entry, id uint16) {
	if w.onAsk != nil {
		w.onAsk(l, e)
	}
	msg := slices.Clone(e.msg)
	setMessageID(msg, id)
	w.asks = append(w.asks, sentAsk{line: l, id: id, msg: msg})
	w.event("%s is asked", l.name)
}

// reply implements wire.
func (w *world) reply(to *origin, msg []byte) {
	w.replies = append(w.replies, sentReply{to.client, slices.Clone(msg)})
	w.event("%v gets %s", to.client, dns.RcodeToString[rcodeOf(msg)])
}

// primaries sets those that there are, as name and tier.
func (w *world) primaries(tiers map[string]uint8) {
	var lines []*line
	names := make([]string, 0, len(tiers))
	for n := range tiers {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		l := w.lines[n]
		if l == nil || !slices.Contains(w.x.lines, l) {
			l = newLine(n, tiers[n], w.ids, w.x.shared.metrics.seconds.WithLabelValues(n), w.rng)
			w.lines[n] = l
		}
		l.tier = tiers[n]
		lines = append(lines, l)
	}
	w.x.set(w.now, lines)
	w.flush()
}

// flush is what the worker does after each critical section.
func (w *world) flush() {
	w.x.reclaim()
	w.x.left()
}

func (w *world) request(from netip.AddrPort, msg []byte) {
	o := origin{client: from}
	o.peer.len, o.peer.raw.Port = 16, from.Port()
	w.x.request(w.now, &o, slices.Clone(msg))
	w.flush()
}

// answer lets a primary answer one of the messages that it was asked, and forgets that.
func (w *world) answer(i int, rcode byte) {
	a := w.asks[i]
	w.asks = slices.Delete(w.asks, i, i+1)
	w.x.answer(w.now, a.line, answerTo(a.msg, rcode))
	w.flush()
}

// wait lets time go by.
func (w *world) wait(d time.Duration) {
	for end := w.now.Add(d); ; {
		next := w.x.next()
		if next.IsZero() || next.After(end) {
			w.now = end
			return
		}
		w.now = next
		w.x.tick(w.now)
		w.flush()
	}
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// The messages that tests send differ in eight octets: the owner of an address.
var (
	serialMark = []byte("00000000")
)

// numbered makes copies of a message that differ in their owner and ID.
func numbered(template []byte) func(n uint64) []byte {
	at := -1
	for i := range template {
		if i+8 <= len(template) && slices.Equal(template[i:i+8], serialMark) {
			at = i
		}
	}
	if at < 0 {
		panic("the template has no place for a number")
	}
	return func(n uint64) []byte {
		b := slices.Clone(template)
		binary.BigEndian.PutUint64(b[at:], n)
		setMessageID(b, uint16(n))
		return b
	}
}

// check compares what the exchange knows with itself.
func (w *world) check() {
	w.t.Helper()
	bad := func(format string, args ...any) {
		w.t.Fatalf("after %v: "+format, append([]any{w.now.Sub(epoch)}, args...)...)
	}
	n := map[*line]int{}
	entries := 0
	var last time.Time
	for e := w.x.lives.first; e != nil; e = e.links[byStart].next {
		entries++
		if e.start.Before(last) {
			bad("entries are not in the order of their start")
		}
		last = e.start
		open := 0
		for i := range e.asked {
			a := &e.asked[i]
			if e.update && a.state != answered {
				open++
			}
			if a.state == answered {
				continue
			}
			n[a.line]++
			if s := a.line.slot(a.id); s.e != e || int(s.i) != i {
				bad("ID %d of %s is not that of its attempt", a.id, a.line.name)
			}
		}
		if open != e.open {
			bad("%d attempts are open, counted %d", open, e.open)
		}
		if len(e.asked) > maxAttempts || e.hedged > w.cfg.Retry.Max {
			bad("%d attempts, %d hedges", len(e.asked), e.hedged)
		}
	}
	if got := int(w.x.shared.pending.Load()); got != entries {
		bad("%d requests wait, counted %d", entries, got)
	}
	if len(w.x.byRequest) > entries {
		bad("%d requests wait, %d are known by their octets", entries, len(w.x.byRequest))
	}
	last = time.Time{}
	for e := w.x.due.first; e != nil; e = e.links[byDue].next {
		if !e.links[byStart].in || e.due.Before(last) {
			bad("an entry is due that is done with, or out of order")
		}
		last = e.due
	}
	for _, l := range slices.Concat(w.x.lines, w.x.leaving) {
		if l.live != n[l] {
			bad("%s owes %d answers, counted %d", l.name, n[l], l.live)
		}
		if l.inUse < l.live || l.inUse > l.live+len(l.lingering) {
			bad("%s: %d IDs in use, %d live, %d lingering", l.name, l.inUse, l.live, len(l.lingering))
		}
	}
}
