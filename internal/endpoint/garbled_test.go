package endpoint

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// garbled gives messages that are cut at every length, and messages with octets that something on the way has changed.
func garbled(t testing.TB, rng *rand.Rand, changed int) [][]byte {
	k := testKey(t, "key.", tsig.HMACSHA256)
	notify := new(dns.Msg)
	notify.SetNotify("example.test.")
	n, err := notify.Pack()
	if err != nil {
		t.Fatal(err)
	}
	update := updateMsg(t, "example.test.", "h.example.test.", withEDNS)
	whole := [][]byte{
		queryMsg(t, "www.example.test.", dns.TypeA, withEDNS), queryMsg(t, "example.test.", dns.TypeSOA), n, update,
		updateMsg(t, "example.test.", "h.example.test."), tsig.SignRequest(update, k, time.Now()),
		tsig.SignRequest(queryMsg(t, "example.test.", dns.TypeSOA), k, time.Now()),
	}
	var out [][]byte
	for _, msg := range whole {
		for n := headerLen; n < len(msg); n++ {
			out = append(out, msg[:n])
		}
		for range changed {
			bad := append([]byte(nil), msg...)
			for range 1 + rng.IntN(3) {
				at := rng.IntN(len(bad))
				if rng.IntN(2) == 0 { // the header and what it counts decide most
					at = 2 + rng.IntN(min(len(bad)-2, 40))
				}
				bad[at] = []byte{0, 1, 0xff, 0xc0, 0x0c, bad[at] ^ 1<<rng.IntN(8), byte(rng.Uint32())}[rng.IntN(7)]
			}
			bad[2] &= 0x7f // nobody answers answers
			out = append(out, bad)
		}
	}
	return out
}

// TestGarbledAsNamed: a message that named answers FORMERR, NOTIMP, BADVERS or not at all gets the same from us, down to the
// echo of the header and the question, the OPT RR and the TSIG RR (I5).
func TestGarbledAsNamed(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		k := testKey(t, "key.", tsig.HMACSHA256)
		named := startNamed(t, rel, spec{keys: []tsig.Key{k}, query: "any;", transfer: "any;", update: `key "key";`})
		w := newWorld(t)
		s := w.start(func(c *Config) { c.Named, c.RefreshEvery = named, time.Millisecond })
		ours, theirs := dialer(t, s.Addrs()[0]), dialer(t, named)
		compared, silent := 0, 0
		for i, msg := range garbled(t, rand.New(rand.NewPCG(seed, 0)), 150) {
			want := theirs(msg, uint16(i))
			class := rcodeClass(want)
			if class == "" {
				got := ours(msg, uint16(i))
				// What the zone decides is the log's, which this test has not got.
				if c := rcodeClass(got); c != "" && c != "silence" {
					t.Errorf("%x:\n  named    %s\n  endpoint %s", msg, garbledShape(want), garbledShape(got))
				}
				continue
			}
			got := ours(msg, uint16(i))
			if class == "FORMERR" && got != nil && rcodeOf(got) == 0 && opcodeOf(got) == dns.OpcodeUpdate {
				continue // the state machine finds out; see test/differential
			}
			if compared++; want == nil {
				silent++
			}
			if g, w := garbledShape(got), garbledShape(want); g != w {
				t.Errorf("%x:\n  named    %s\n  endpoint %s", msg, w, g)
			}
		}
		t.Logf("%d answers compared, %d of them silence", compared, silent)
		if compared < 300 {
			t.Errorf("only %d messages were answered so", compared)
		}
	})
}

func opcodeOf(msg []byte) int { return int(msg[2] >> 3 & 0xf) }

// rcodeClass is "" for answers that need more than the message.
func rcodeClass(msg []byte) string {
	switch {
	case msg == nil:
		return "silence"
	case rcodeOf(msg) == dns.RcodeFormatError:
		return "FORMERR"
	case rcodeOf(msg) == dns.RcodeNotImplemented:
		return "NOTIMP"
	}
	return ""
}

// garbledShape is all of an answer but signatures, times, sizes and options; of one that does not parse, its octets.
func garbledShape(msg []byte) string {
	if msg == nil {
		return "silence"
	}
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		return fmt.Sprintf("%x", msg[2:])
	}
	s := fmt.Sprintf("opcode %d rcode %d flags %04x counts %d %d %d", m.Opcode, m.Rcode, binary.BigEndian.Uint16(msg[2:]), len(m.Question), len(m.Answer), len(m.Ns))
	for _, q := range m.Question {
		s += fmt.Sprintf("; question %s %d %d", dns.CanonicalName(q.Name), q.Qtype, q.Qclass)
	}
	if o := m.IsEdns0(); o != nil {
		s += fmt.Sprintf("; EDNS %d do %v", o.Version(), o.Do())
	}
	if r := m.IsTsig(); r != nil {
		s += fmt.Sprintf("; TSIG %s error %d MAC %d", r.Hdr.Name, r.Error, r.MACSize)
	}
	return s
}

// dialer gives a function that sends a datagram with an ID of its own and returns the answer with that ID, nil for none.
func dialer(t testing.TB, to netip.AddrPort) func(msg []byte, id uint16) []byte {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	buf := make([]byte, maxMessage)
	return func(msg []byte, id uint16) []byte {
		own := append([]byte(nil), msg...)
		binary.BigEndian.PutUint16(own, id)
		if _, err := c.Write(own); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(400 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := c.Read(buf)
			if err != nil {
				return nil
			}
			if n >= headerLen && binary.BigEndian.Uint16(buf) == id {
				return append([]byte(nil), buf[:n]...)
			}
		}
	}
}
