package endpoint

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// TestCopiesShareTheOutcome: a client that sends an update again, from where it was or from elsewhere, while the first copy is
// under way gets the outcome of that one, and the log gets one proposal (I4, D6).
func TestCopiesShareTheOutcome(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		rcode int // -1: silence
	}{
		{"applied", nil, 0},
		{"refused", errTestOverloaded, rcodeServFail},
		{"in doubt", errTestInDoubt, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			log := new(holder)
			w.write = log.write
			reg := prometheus.NewRegistry()
			s := w.start(func(c *Config) { c.Registerer = reg })
			signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), testKey(t, "key.", tsig.HMACSHA256), time.Now())
			first, again := dialUDP(t, s.Addrs()[0]), dialUDP(t, s.Addrs()[0])
			stream := tcpDial(t, s.Addrs()[0])
			write(t, first, signed)
			eventually(t, "the first copy is proposed", func() bool { return len(w.updates()) == 1 })
			write(t, first, signed)
			write(t, first, signed)
			write(t, again, withID(signed, 77))
			tcpSend(t, stream, signed)
			eventually(t, "the copies have come", func() bool {
				s.copies.mu.Lock()
				defer s.copies.mu.Unlock()
				n := 0
				for _, r := range s.copies.firsts {
					for ; r != nil; r = r.copies {
						n++
					}
				}
				return n == 3 && dropped(t, reg, dropCopy) == 2
			})
			log.answer(1, tt.err)
			if tt.rcode < 0 {
				eventually(t, "all are dropped", func() bool { return dropped(t, reg, dropInDoubt) == 3 })
			} else {
				for name, reply := range map[string][]byte{"first": read(t, first), "again": read(t, again), "over TCP": tcpRead(t, stream)} {
					if m := unpack(t, reply); m.Rcode != tt.rcode || name == "again" && m.Id != 77 || m.IsTsig() == nil {
						t.Errorf("%s: %v", name, m)
					}
				}
			}
			if n := len(w.updates()); n != 1 {
				t.Errorf("%d proposals", n)
			}
			if n := len(s.copies.firsts); n != 0 {
				t.Errorf("%d requests are still known", n)
			}
		})
	}
}

// TestDoubtIsRemembered: once an update ended in doubt, no copy of it is called refused, until one is decided (D6).
func TestDoubtIsRemembered(t *testing.T) {
	w := newWorld(t)
	log := new(holder)
	w.write = log.write
	reg := prometheus.NewRegistry()
	s := w.start(func(c *Config) { c.Registerer = reg })
	key := testKey(t, "key.", tsig.HMACSHA256)
	signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), key, time.Now())
	other := tsig.SignRequest(updateMsg(t, "example.test.", "other.example.test."), key, time.Now())
	n := 0
	send := func(msg []byte, err error) net.Conn {
		t.Helper()
		c := dialUDP(t, s.Addrs()[0])
		write(t, c, msg)
		n++
		eventually(t, "it is proposed", func() bool { return len(w.updates()) == n })
		log.answer(1, err)
		return c
	}
	silent := func(want float64) {
		t.Helper()
		eventually(t, "it is dropped", func() bool { return dropped(t, reg, dropInDoubt) == want })
	}
	send(signed, errTestInDoubt)
	silent(1)
	send(signed, errTestOverloaded)
	silent(2)
	if got := rcodeOf(read(t, send(other, errTestOverloaded))); got != rcodeServFail {
		t.Errorf("another request: RCODE %d", got)
	}
	if got := rcodeOf(read(t, send(signed, nil))); got != 0 {
		t.Errorf("decided: RCODE %d", got)
	}
	if n := len(s.copies.doubts); n != 0 {
		t.Errorf("%d doubts are remembered after the decision", n)
	}
	send(other, errTestInDoubt)
	silent(3)
	s.copies.sweep(time.Now().Add(299 * time.Second))
	if n := len(s.copies.doubts); n != 1 {
		t.Errorf("%d doubts are remembered while the signature can verify", n)
	}
	s.copies.sweep(time.Now().Add(302 * time.Second))
	if n := len(s.copies.doubts); n != 0 {
		t.Errorf("%d doubts are remembered when the signature can't verify any more", n)
	}
}

// TestCopiesAreBounded: a request sent again from many places waits for a few of them only, and doubts have a limit (I8).
func TestCopiesAreBounded(t *testing.T) {
	c := newCopies()
	first := &request{signed: true}
	if got := c.join(first); got != joinedNone {
		t.Fatal(got)
	}
	for i := range maxCopies {
		r := &request{signed: true, peer: netip.AddrPortFrom(netip.Addr{}, uint16(i+1))}
		if got := c.join(r); got != joinedFirst {
			t.Fatalf("copy %d: %v", i, got)
		}
	}
	if got := c.join(&request{signed: true, peer: netip.AddrPortFrom(netip.Addr{}, 99)}); got != joinedNot {
		t.Errorf("one too many: %v", got)
	}
	n := 0
	for r := c.end(first, outcomeKnown); r != nil; r = r.copies {
		n++
	}
	if n != maxCopies {
		t.Errorf("%d copies get an answer", n)
	}
	for i := range maxDoubts + 10 {
		r := &request{signed: true}
		r.update.Fingerprint[0], r.update.Fingerprint[1], r.update.Fingerprint[2] = byte(i), byte(i>>8), byte(i>>16)
		if got := c.join(r); got != joinedNone {
			t.Fatal(got)
		}
		c.end(r, outcomeDoubt)
	}
	if len(c.doubts) != maxDoubts || len(c.firsts) != 0 {
		t.Errorf("%d doubts, %d under way", len(c.doubts), len(c.firsts))
	}
}

func dropped(t *testing.T, reg prometheus.Gatherer, reason string) float64 {
	t.Helper()
	return counter(t, reg, "drops_total", reason)
}

func dialUDP(t *testing.T, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, c net.Conn, msg []byte) {
	t.Helper()
	if _, err := c.Write(msg); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c net.Conn) []byte {
	t.Helper()
	b := make([]byte, maxMessage)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}
