package proxy

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// TestNewsIsAnsweredHere: a question for the SOA is answered without a primary when there is a newer serial, and only when its
// signature is good. Without primaries every other answer is SERVFAIL.
func TestNewsIsAnsweredHere(t *testing.T) {
	k, other := testKey(t, "0123456789abcdef"), testKey(t, "another secret..")
	ring, err := tsig.NewRing(k)
	if err != nil {
		t.Fatal(err)
	}
	var serial atomic.Uint32
	serial.Store(42)
	c := DefaultConfig()
	c.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	c.Choose = func(zone.Name) []Primary { return nil }
	c.Floor = func(zone.Name) (uint32, bool) { return 41, true }
	c.News = func(z zone.Name) (uint32, bool) { n := serial.Load(); return n, n != 0 && z == origin }
	c.Keys = ring
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Run(t.Context()) }()
	conn, err := net.Dial("udp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(q []byte) []byte {
		t.Helper()
		if _, err := conn.Write(q); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 512)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return buf[:n]
	}
	now := time.Now()
	q := tsig.SignRequest(query(zone.TypeSOA, 0), k, now)
	answer := ask(q)
	if got, ok := xfr.AnswerSerial(answer, origin); !ok || got != serial.Load() || answer[2] != 0x84 {
		t.Errorf("serial %d, %v, of % x", got, ok, answer)
	}
	if err := tsig.VerifyResponse(answer, q, k, now); err != nil {
		t.Error(err)
	}
	for what, q := range map[string][]byte{
		"unsigned":       query(zone.TypeSOA, 0),
		"of another key": tsig.SignRequest(query(zone.TypeSOA, 0), other, now),
		"of an hour ago": tsig.SignRequest(query(zone.TypeSOA, 0), k, now.Add(-time.Hour)),
	} {
		if answer := ask(q); xfr.RCode(answer) != rcodeServFail {
			t.Errorf("a question %s: RCODE %d", what, xfr.RCode(answer))
		}
	}
	serial.Store(0)
	if answer := ask(q); xfr.RCode(answer) != rcodeServFail {
		t.Errorf("a question without any news: RCODE %d", xfr.RCode(answer))
	}
}
