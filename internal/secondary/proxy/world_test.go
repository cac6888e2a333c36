package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

var origin = zone.MustParseName("example.test.")

// world is a proxy without sockets, made to run in a bubble of package synctest,
// and primaries on pipes.
type world struct {
	t         *testing.T
	p         *Proxy
	primaries []*primary
	open      atomic.Int64 // connections to primaries

	mu     sync.Mutex
	order  []int // in which primaries are offered
	floor  map[zone.Name]uint32
	failed []error
	blamed []string
	done   []string // "zone serial kind"
}

// fault is what a primary does instead of answering on.
type fault string

const (
	sound     fault = ""
	refused   fault = "refuses connections"
	blackHole fault = "black hole"
	mute      fault = "goes mute"
	closes    fault = "closes the connection"
	errorCode fault = "reports an error"
	wrongID   fault = "answers something else"
	garbage   fault = "sends garbage"
	cutShort  fault = "sends half a message"
	dies      fault = "stops being live"
)

func faults() []fault {
	return []fault{sound, refused, blackHole, mute, closes, errorCode, wrongID, garbage, cutShort, dies}
}

// plan is how a primary treats one question.
type plan struct {
	fault fault
	after int // messages before the fault
	delay time.Duration
	whole bool // all records even for an IXFR
	rcode byte // of errorCode; 0: SERVFAIL
}

// primary is a fake one. Its zone has the records r0, r1, … as many as size, and
// each version adds one record that only this primary would send.
type primary struct {
	w     *world
	i     int
	addr  netip.AddrPort
	mu    sync.Mutex
	gone  chan struct{} // nil: not live
	plan  func() plan
	asked int

	serial uint32
	oldest uint32 // the first serial that it has differences from
	size   int
}

func newWorld(t *testing.T, primaries int, adjust func(*Config)) *world {
	t.Helper()
	w := &world{t: t, floor: map[zone.Name]uint32{}}
	cfg := DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.HoldBytes = 4000
	cfg.Choose = w.choose
	cfg.Floor = func(z zone.Name) (uint32, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s, ok := w.floor[z]
		return s, ok
	}
	cfg.Failed = func(name string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failed = append(w.failed, err)
		w.blamed = append(w.blamed, name)
	}
	cfg.Done = func(z zone.Name, to uint32, how Kind) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = append(w.done, fmt.Sprintf("%v %d %v", z, to, how))
	}
	if adjust != nil {
		adjust(&cfg)
	}
	var err error
	if w.p, err = unbound(cfg); err != nil {
		t.Fatal(err)
	}
	w.p.pool.dial = w.dial
	for i := range primaries {
		w.order = append(w.order, i)
		w.primaries = append(w.primaries, &primary{
			w: w, i: i, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 53),
			gone: make(chan struct{}), plan: func() plan { return plan{} }, serial: 10, oldest: 1, size: 3,
		})
	}
	return w
}

// close ends what the proxy keeps, and checks that nothing is left open. The bubble
// itself finds goroutines that are left.
func (w *world) close() {
	w.t.Helper()
	w.p.pool.close()
	if n := w.open.Load(); n != 0 {
		w.t.Errorf("%d connections to primaries are still open", n)
	}
}

func (w *world) choose(zone.Name) []Primary {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Primary
	for _, i := range w.order {
		pr := w.primaries[i]
		pr.mu.Lock()
		out = append(out, Primary{Name: fmt.Sprintf("primary-%d", i), Addr: pr.addr, Gone: pr.gone})
		pr.mu.Unlock()
	}
	return out
}

// counted is a connection that is counted while it is open.
type counted struct {
	net.Conn
	once sync.Once
	open *atomic.Int64
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

var errRefused = errors.New("connection refused")

func (w *world) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	var pr *primary
	for _, p := range w.primaries {
		if p.addr == addr {
			pr = p
		}
	}
	switch pl := pr.next(); {
	case pl.fault == refused:
		return nil, errRefused
	case pl.fault == blackHole && pl.after == 0:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	a, b := net.Pipe()
	w.open.Add(1)
	go pr.serve(b)
	return &counted{Conn: a, open: &w.open}, nil
}

// next is the plan for what comes next.
func (pr *primary) next() plan {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.plan()
}

func (pr *primary) serve(c net.Conn) {
	defer c.Close()
	for {
		q, err := xfr.ReadFrame(c, nil)
		if err != nil {
			return
		}
		pr.mu.Lock()
		pr.asked++
		pr.mu.Unlock()
		pl := pr.next()
		if pl.delay > 0 { // or until the proxy gives up
			if c.SetReadDeadline(time.Now().Add(pl.delay)) != nil {
				return
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || c.SetReadDeadline(time.Time{}) != nil {
				return
			}
		}
		msgs := pr.answer(q, pl.whole)
		for i, msg := range msgs {
			if pl.fault != sound && i == min(pl.after, len(msgs)-1) {
				if !pr.act(c, pl, msg) {
					return
				}
			}
			if xfr.WriteFrame(c, msg) != nil {
				return
			}
		}
	}
}

// act does what goes wrong; it reports whether the answer goes on.
func (pr *primary) act(c net.Conn, pl plan, msg []byte) bool {
	switch pl.fault {
	case errorCode:
		code := pl.rcode
		if code == 0 {
			code = rcodeServFail
		}
		_ = xfr.WriteFrame(c, reply(msg, code)) // the proxy may be gone
		return false
	case wrongID:
		bad := append([]byte(nil), msg...)
		bad[0]++
		_ = xfr.WriteFrame(c, bad)
		return false
	case garbage:
		bad := append([]byte(nil), msg[:headerLen]...)
		_ = xfr.WriteFrame(c, append(bad, 0xff, 0xff, 0xff))
		return false
	case cutShort:
		var b []byte
		b = binary.BigEndian.AppendUint16(b, uint16(len(msg)))
		_, _ = c.Write(append(b, msg[:len(msg)/2]...))
		return false
	case dies:
		pr.mu.Lock()
		if pr.gone != nil {
			close(pr.gone)
			pr.gone = nil
		}
		pr.mu.Unlock()
		_, _ = io.Copy(io.Discard, c)
		return false
	case mute, blackHole:
		_, _ = io.Copy(io.Discard, c) // until the proxy gives up
		return false
	case sound, refused:
		return true
	case closes:
	}
	return false
}

func soaAt(serial uint32) zone.RR {
	return zone.RR{Name: origin, Type: zone.TypeSOA, Class: zone.ClassIN, TTL: 60,
		Data: zone.SOA{MName: "\x01m\x00", RName: "\x01r\x00", Serial: serial, Refresh: 1, Retry: 1, Expire: 1, Minimum: 1}.Data()}
}

// record is the nth record of primary i.
func record(i, n int) zone.RR {
	label := fmt.Sprintf("r%d", n)
	return zone.RR{Name: zone.Name(string([]byte{byte(len(label))}) + label + string(origin)), Type: zone.TypeA, Class: zone.ClassIN, TTL: 60, Data: string([]byte{10, byte(i), byte(n >> 8), byte(n)})}
}

// perMessage is how many records a message of a transfer has.
const perMessage = 8

// answer makes the answer's messages.
func (pr *primary) answer(q []byte, asWhole bool) [][]byte {
	name, qtype, have, err := xfr.ParseQuestion(q)
	if err != nil || name != origin {
		return [][]byte{reply(q, rcodeNotAuth)}
	}
	pr.mu.Lock()
	serial, oldest, size := pr.serial, pr.oldest, pr.size
	pr.mu.Unlock()
	rrs := []zone.RR{soaAt(serial)}
	switch {
	case qtype == zone.TypeSOA, qtype == zone.TypeIXFR && !zone.SerialGT(serial, have):
	case qtype == zone.TypeIXFR && !asWhole && zone.SerialGE(have, oldest):
		for s := have; s != serial; s++ {
			rrs = append(rrs, soaAt(s), soaAt(s+1), record(pr.i, int(s)))
		}
		rrs = append(rrs, soaAt(serial))
	default:
		for n := range size {
			rrs = append(rrs, record(pr.i, n))
		}
		rrs = append(rrs, soaAt(serial))
	}
	var out [][]byte
	for len(rrs) > 0 {
		n := min(perMessage, len(rrs))
		msg := reply(q, 0)
		msg[7] = byte(n)
		for _, rr := range rrs[:n] {
			msg = zone.AppendRR(msg, rr)
		}
		out = append(out, msg)
		rrs = rrs[n:]
	}
	return out
}

// query is a question; have is for IXFR.
func query(qtype zone.Type, have uint32) []byte {
	b := []byte{0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	b = append(b, origin...)
	b = binary.BigEndian.AppendUint16(b, uint16(qtype))
	b = append(b, 0, 1)
	if qtype == zone.TypeIXFR {
		b[9] = 1
		b = zone.AppendRR(b, soaAt(have))
	}
	return b
}

// result is what the name server gets.
type result struct {
	rcode  int
	broken bool // the connection was broken
	c      xfr.Changes
	from   int // the primary whose records they are; -1: none has told
	serial uint32
	took   time.Duration // until the first octet
}

// client is a connection of the name server.
type client struct {
	w *world
	c net.Conn
}

func (w *world) client(ctx context.Context) *client {
	a, b := net.Pipe()
	go w.p.serveTCP(ctx, b)
	return &client{w, a}
}

func (k *client) close() { k.c.Close() }

// ask asks and reads the answer as BIND does. Messages of different primaries in
// one transfer are an error.
func (k *client) ask(q []byte) (result, error) {
	start := time.Now()
	if errors.Is(xfr.WriteFrame(k.c, q), io.ErrClosedPipe) {
		return result{broken: true}, nil
	}
	_, qtype, _, err := xfr.ParseQuestion(q)
	if err != nil {
		return result{}, err
	}
	var end *xfr.End
	if qtype != zone.TypeSOA {
		if end, err = xfr.NewEnd(q); err != nil {
			return result{}, err
		}
	}
	r := result{from: -1}
	var msgs [][]byte
	for last := false; !last; {
		msg, err := xfr.ReadFrame(k.c, nil)
		if r.broken = err != nil; r.broken {
			return r, nil
		}
		if len(msgs) == 0 {
			r.took = time.Since(start)
		}
		msgs = append(msgs, msg)
		if msg[0] != q[0] || msg[1] != q[1] {
			return r, errors.New("an answer to something else")
		}
		if r.rcode = xfr.RCode(msg); r.rcode != 0 {
			if len(msgs) > 1 {
				return r, errors.New("an error in the middle of a transfer")
			}
			return r, nil
		}
		if end == nil {
			serial, ok := xfr.AnswerSerial(msg, origin)
			if !ok {
				return r, errors.New("no SOA in the answer")
			}
			r.serial = serial
			return r, nil
		}
		if last, err = end.Next(msg); err != nil {
			return r, err
		}
	}
	if r.c, err = xfr.Decode(q, msgs); err != nil {
		return r, err
	}
	r.serial = r.c.To
	for _, rr := range r.c.Add {
		if rr.Type != zone.TypeA {
			continue
		}
		if i := int(rr.Data[1]); r.from >= 0 && r.from != i {
			return r, fmt.Errorf("records of the primaries %d and %d in one transfer", r.from, i)
		} else {
			r.from = i
		}
	}
	return r, nil
}
