package proxy

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

func TestValidate(t *testing.T) {
	good := func() Config {
		c := DefaultConfig()
		c.Listen = netip.MustParseAddrPort("127.0.0.1:0")
		c.Choose = func(zone.Name) []Primary { return nil }
		c.Floor = func(zone.Name) (uint32, bool) { return 0, false }
		return c
	}
	c := good()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Config){
		"Listen":          func(c *Config) { c.Listen = netip.MustParseAddrPort("192.0.2.1:53") },
		"Choose":          func(c *Config) { c.Choose = nil },
		"Floor":           func(c *Config) { c.Floor = nil },
		"Catalog":         func(c *Config) { c.Screen = func([]byte, [][]byte) error { return nil } },
		"HedgeAfter":      func(c *Config) { c.HedgeAfter = 0 },
		"later than":      func(c *Config) { c.HedgeAfter = time.Minute },
		"IdleTimeout":     func(c *Config) { c.IdleTimeout = -1 },
		"Total":           func(c *Config) { c.Total = 0 },
		"HoldBytes":       func(c *Config) { c.HoldBytes = 0 },
		"MaxCatalogBytes": func(c *Config) { c.MaxCatalogBytes = 0 },
		"MaxConns":        func(c *Config) { c.MaxConns = 0 },
		"Logger":          func(c *Config) { c.Logger = nil },
		"News and Keys":   func(c *Config) { c.Keys = tsig.Ring{} },
	} {
		c := good()
		spoil(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	taken := prometheus.NewRegistry()
	c = good()
	c.Registerer = taken
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Errorf("Run that was never to run: %v", err)
	}
	if _, err := New(c); err == nil {
		t.Error("metrics registered twice")
	}
}

// TestSockets: both sockets have one port, questions that come before Run wait for
// it, and with no primary at all the answer is SERVFAIL.
func TestSockets(t *testing.T) {
	c := DefaultConfig()
	c.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	c.Choose = func(zone.Name) []Primary { return nil }
	c.Floor = func(zone.Name) (uint32, bool) { return 0, false }
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.Dial("udp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	q := query(zone.TypeSOA, 0)
	if _, err := udp.Write(q); err != nil {
		t.Fatal(err)
	}
	if err := xfr.WriteFrame(tcp, q); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	buf := make([]byte, 512)
	n, err := udp.Read(buf)
	if err != nil || xfr.RCode(buf[:n]) != rcodeServFail {
		t.Errorf("over UDP: % x, %v", buf[:n], err)
	}
	msg, err := xfr.ReadFrame(tcp, nil)
	if err != nil || xfr.RCode(msg) != rcodeServFail || len(msg) != len(q) {
		t.Errorf("over TCP: % x, %v", msg, err)
	}
	for _, q := range [][]byte{query(zone.TypeAXFR, 0), query(zone.TypeIXFR, 7)} {
		if _, err := udp.Write(q); err != nil {
			t.Fatal(err)
		}
		if n, err := udp.Read(buf); err != nil || xfr.RCode(buf[:n]) != rcodeRefused {
			t.Errorf("a transfer over UDP: % x, %v", buf[:n], err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestSigned: what an answer to a signed question must be.
func TestSigned(t *testing.T) {
	k, err := tsig.NewKey(tsig.Key{Name: zone.MustParseName("k."), Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := tsig.NewRing(k)
	if err != nil {
		t.Fatal(err)
	}
	var other tsig.Key
	if other, err = tsig.NewKey(tsig.Key{Name: k.Name, Algorithm: k.Algorithm, Secret: []byte("another secret..")}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, tc := range []struct {
		name string
		key  tsig.Key
		at   time.Time
		tsig uint16
		rc   int
	}{
		{"good", k, now, 0, 0},
		{"wrong secret", other, now, tsig.BadSig, rcodeNotAuth},
		{"wrong time", k, now.Add(-time.Hour), tsig.BadTime, rcodeNotAuth},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q, ok := parse(tsig.SignRequest(query(zone.TypeSOA, 0), tc.key, tc.at))
			if !ok || !q.signed {
				t.Fatal("the question is not taken for a signed one")
			}
			verified, err := tsig.Verify(q.msg, ring, now)
			if (err != nil) != (tc.tsig != 0) {
				t.Fatal(err)
			}
			msg := reply(q.msg, byte(tc.rc))
			if tc.rc == 0 {
				msg[7] = 1
				msg = zone.AppendRR(msg, soaAt(7))
			}
			plain := append([]byte(nil), msg...)
			err = (&answer{}).add(&q, verified.Sign(msg, now))
			var answered *AnswerError
			switch {
			case tc.tsig == 0 && err != nil:
				t.Errorf("a signed answer: %v", err)
			case tc.tsig != 0 && (!asAnswer(err, &answered) || answered.TSIG != tc.tsig || answered.RCode != tc.rc):
				t.Errorf("%v, want TSIG error %d", err, tc.tsig)
			}
			if err := (&answer{}).add(&q, plain); err == nil {
				t.Error("an unsigned answer to a signed question is taken for a good one")
			}
		})
	}
}

func asAnswer(err error, to **AnswerError) bool {
	e, ok := err.(*AnswerError) //nolint:errorlint // add returns it unwrapped
	*to = e
	return ok
}

// FuzzAnswer: no answer of a primary makes the proxy panic, and what is taken for
// good has a serial.
func FuzzAnswer(f *testing.F) {
	pr := &primary{serial: 10, oldest: 1, size: 3}
	for _, q := range [][]byte{query(zone.TypeSOA, 0), query(zone.TypeIXFR, 7), query(zone.TypeAXFR, 0)} {
		for _, msg := range pr.answer(q, false) {
			f.Add(q, msg)
		}
		f.Add(q, reply(q, rcodeRefused))
	}
	f.Fuzz(func(t *testing.T, msg, in []byte) {
		if answerable(msg) {
			if out := reply(msg, rcodeServFail); len(out) < headerLen || out[2]&0x80 == 0 {
				t.Fatalf("our reply % x", out)
			}
		}
		q, ok := parse(msg)
		if !ok {
			return
		}
		a := &answer{}
		if a.add(&q, in) == nil {
			if _, err := zoneSerial(a, &q); err != nil {
				t.Fatal(err)
			}
			_ = a.add(&q, in)
		}
	})
}

// zoneSerial checks that a good answer has a serial.
func zoneSerial(a *answer, q *question) (uint32, error) {
	if q.transfer() {
		if s, ok := a.end.Serial(); ok {
			return s, nil
		}
		return 0, errNoSOA
	}
	return a.serial, nil
}
