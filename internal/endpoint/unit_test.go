package endpoint

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// TestAdmissionOrder: within a lane first come, first served; lanes take turns;
// nothing is lost; never more than the window is proposed.
func TestAdmissionOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	var running []*request
	var order []*request
	a := &admission{window: 5, maxQueued: 1000, maxPerKey: 400, lanes: map[zone.Name]*lane{}}
	a.propose = func(r *request) {
		order = append(order, r)
		running = append(running, r)
		if len(running) > a.window {
			t.Fatalf("%d proposed at once", len(running))
		}
		if rng.IntN(4) == 0 { // answered before Propose returns
			running = running[:len(running)-1]
			a.done(r.lane)
		}
	}
	keys := []zone.Name{"\x01a\x00", "\x01b\x00", "\x01c\x00", ""}
	sent := map[*lane][]*request{}
	accepted := 0
	for range 3000 {
		if rng.IntN(3) > 0 {
			r := new(request)
			if a.submit(keys[rng.IntN(len(keys))], r) {
				accepted++
				sent[r.lane] = append(sent[r.lane], r)
			}
		} else if len(running) > 0 {
			i := rng.IntN(len(running))
			r := running[i]
			running = append(running[:i], running[i+1:]...)
			a.done(r.lane)
		}
	}
	for len(running) > 0 {
		r := running[0]
		running = running[1:]
		a.done(r.lane)
	}
	if len(order) != accepted {
		t.Fatalf("%d of %d proposed", len(order), accepted)
	}
	next := map[*lane]int{}
	for _, r := range order {
		if sent[r.lane][next[r.lane]] != r {
			t.Fatal("a lane's order is lost")
		}
		next[r.lane]++
	}
	if n, q := a.load(); n != 0 || q != 0 {
		t.Errorf("%d in flight, %d queued at the end", n, q)
	}
}

// TestAdmissionTurns: two lanes with much to do alternate.
func TestAdmissionTurns(t *testing.T) {
	var order []*request
	a := &admission{window: 1, maxQueued: 1000, maxPerKey: 400, lanes: map[zone.Name]*lane{}}
	a.propose = func(r *request) { order = append(order, r) }
	var first, second []*request
	for range 100 {
		r := new(request)
		a.submit("\x01a\x00", r)
		first = append(first, r)
	}
	for range 10 {
		r := new(request)
		a.submit("\x01b\x00", r)
		second = append(second, r)
	}
	for range 30 {
		a.done(order[len(order)-1].lane)
	}
	got := 0
	for _, r := range order[:22] {
		if r.lane == second[0].lane {
			got++
		}
	}
	if got != 10 || order[0] != first[0] {
		t.Errorf("%d of the second lane's 10 among the first 22", got)
	}
}

func TestAdmissionSweep(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	var expired []*request
	a := &admission{window: 1, maxQueued: 100, maxPerKey: 100, lanes: map[zone.Name]*lane{}}
	a.propose = func(*request) {}
	a.expire = func(r *request) { expired = append(expired, r) }
	for i := range 6 {
		a.submit(zone.Name([]string{"\x01a\x00", "\x01b\x00"}[i%2]), &request{received: now.Add(time.Duration(i) * time.Second)})
	}
	a.sweep(now.Add(3 * time.Second)) // the first is proposed, those of seconds 1 and 2 are late
	if n, q := a.load(); len(expired) != 2 || n != 1 || q != 3 {
		t.Errorf("%d expired, %d in flight, %d queued", len(expired), n, q)
	}
	a.sweep(now.Add(time.Hour))
	if n, q := a.load(); len(expired) != 5 || n != 1 || q != 0 || len(a.turn) != 0 {
		t.Errorf("%d expired, %d in flight, %d queued", len(expired), n, q)
	}
}

// TestShares: nobody gets more than half, nothing is lost.
func TestShares(t *testing.T) {
	s := newShares(10)
	a, b := sharer{key: "\x01a\x00"}, sharer{addr: clientAddr.Addr()}
	count := func(who sharer) (n int) {
		for s.acquire(who) {
			n++
		}
		return n
	}
	if n := count(a); n != 5 {
		t.Errorf("a gets %d", n)
	}
	if n := count(b); n != 5 {
		t.Errorf("b gets %d", n)
	}
	if s.acquire(sharer{}) {
		t.Error("more than the total")
	}
	for range 5 {
		s.release(a)
		s.release(b)
	}
	if s.used != 0 || len(s.by) != 0 {
		t.Errorf("%d used by %v", s.used, s.by)
	}
}

func TestValidate(t *testing.T) {
	c := DefaultConfig()
	err := c.Validate()
	for _, want := range []string{"Listen", "Writer, Reader and Settings", "not an address"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %q", err, want)
		}
	}
	c.MaxConns, c.ProxyKeys = 0, proxyproto.Fixed([]byte("short"))
	err = c.Validate()
	for _, want := range []string{"MaxConns is 0", "ProxyKeys"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %q", err, want)
		}
	}
}

// TestReplyShape: an explanation only for those who speak EDNS, the DO bit
// comes back, the text stays short.
func TestReplyShape(t *testing.T) {
	for _, edns := range []bool{false, true} {
		q := queryMsg(t, "example.test.", dns.TypeSOA)
		if edns {
			q = queryMsg(t, "example.test.", dns.TypeSOA, func(m *dns.Msg) { m.SetEdns0(4096, true); m.RecursionDesired = true })
		}
		var m message
		if err := m.parse(q); err != nil {
			t.Fatal(err)
		}
		b := m.appendReply(nil, q, answer{rcode: rcodeRefused, ede: edeProhibited, text: strings.Repeat("x", 1000)})
		reply := unpack(t, b)
		opt := reply.IsEdns0()
		if reply.Rcode != 5 || len(b) > 512 || (opt != nil) != edns || reply.RecursionDesired != edns {
			t.Errorf("EDNS %v: %v", edns, reply)
		}
		if ede, text := edeOf(t, b); edns && (ede != edeProhibited || len(text) != maxEDEText || !opt.Do()) {
			t.Errorf("EDE %d of %d octets", ede, len(text))
		}
	}
}

// FuzzHandle: any message is handled, and any reply parses.
func FuzzHandle(f *testing.F) {
	w := newWorld(f)
	s := w.start(func(c *Config) { c.RefreshEvery = 1 })
	k := testKey(f, "key.", tsig.HMACSHA256)
	now := time.Now()
	f.Add(tsig.SignRequest(updateMsg(f, "example.test.", "h.example.test.", withEDNS), k, now))
	f.Add(updateMsg(f, "example.test.", "h.example.test."))
	f.Add(queryMsg(f, "elsewhere.", dns.TypeA, withEDNS))
	f.Add(queryMsg(f, "example.test.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }))
	f.Add(proxyproto.Append(nil, clientAddr, serverAddr, true, proxyKey, now, nil))
	done := make(chan []byte, 1)
	f.Fuzz(func(t *testing.T, msg []byte) {
		_, _ = proxyproto.Parse(msg, nil, proxyproto.Keys{proxyKey}, now)
		if len(msg) > maxMessage {
			return
		}
		r := newRequest(s, fuzzReplier{done}, client{addr: clientAddr, proven: true, via: overTCP}, now)
		r.msg = append(r.msg[:0], msg...)
		r.handle()
		var reply []byte
		select {
		case reply = <-done:
		case <-time.After(testTimeout):
			t.Fatal("the request is never finished")
		}
		if reply == nil {
			return
		}
		if len(reply) < headerLen || reply[2]&0x80 == 0 || binary.BigEndian.Uint16(reply) != binary.BigEndian.Uint16(msg) {
			t.Fatalf("reply % x", reply)
		}
		var m message
		if err := m.parse(reply); err != nil {
			t.Fatalf("our reply: %v", err)
		}
		if _, err := tsig.Find(reply); err != nil {
			t.Fatalf("our reply: %v", err)
		}
	})
}

type fuzzReplier struct{ done chan []byte }

func (f fuzzReplier) finish(r *request) {
	var b []byte
	if !r.silent {
		b = r.render(nil, time.Now())
	}
	r.free()
	f.done <- b
}

func (f fuzzReplier) part(*request, []byte) error     { return nil }
func (f fuzzReplier) abort(r *request)                { r.silent = true; f.finish(r) }
func (f fuzzReplier) updateOrder(*request, zone.Name) {}
