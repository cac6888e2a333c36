package kube

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	writers = 6
	// pace is the pause between two writes of one: the nodes share this machine.
	pace = 50 * time.Millisecond
	// giveUp is how long one write may take, repeats of the same octets included: longer than any fault, and shorter than the time after
	// which a signature is too old.
	giveUp = 2 * time.Minute
)

// stream is clients that write. Each has a counter: a write takes it from n to n+1 on condition that it is n. Applied twice, or lost, the
// next one fails (I1, I4).
type stream struct {
	harness.Stream
	s    *site
	addr string // of the Service of updates

	mu       sync.Mutex
	counters []*counter
}

type counter struct {
	name  zone.Name
	acked int
}

// write starts the clients, which send through a Service from outside of the cluster.
func (s *site) write(addr string, key tsig.Key) *stream {
	s.t.Helper()
	st := &stream{s: s, addr: net.JoinHostPort(addr, "53")}
	for i := range writers {
		c := &counter{name: zone.MustParseName(fmt.Sprintf("counter-%s-%d.%s", strings.ReplaceAll(addr, ".", "-"), i, zoneName))}
		st.counters = append(st.counters, c)
		conn, err := s.dial("udp", st.addr)
		if err != nil {
			s.t.Fatal(err)
		}
		client := harness.NewClient(s.t, conn, key)
		client.GiveUp = giveUp
		st.Go(pace, func(int) error { return st.count(client, c) })
	}
	s.t.Cleanup(func() { st.Stop() })
	return st
}

// count takes a counter one further.
func (st *stream) count(client *harness.Client, c *counter) error {
	st.mu.Lock()
	n := c.acked
	st.mu.Unlock()
	rr := func(class zone.Class, ttl uint32, data string) zone.RR {
		return zone.RR{Name: c.name, Type: zone.TypeA, Class: class, TTL: ttl, Data: data}
	}
	prereq := rr(zone.ClassIN, 0, value(n))
	change := []zone.RR{rr(zone.ClassNONE, 0, value(n)), rr(zone.ClassIN, 60, value(n+1))}
	if n == 0 {
		prereq, change = rr(zone.ClassNONE, 0, ""), change[1:]
	}
	rcode, err := client.UpdateWithin(giveUp, zone.MustParseName(zoneName), []zone.RR{prereq}, change)
	if err == nil && rcode != 0 {
		err = errors.New(dns.RcodeToString[int(rcode)])
	}
	if err != nil {
		return fmt.Errorf("%s from %d: %w", c.name, n, err)
	}
	st.mu.Lock()
	c.acked = n + 1
	st.mu.Unlock()
	return nil
}

// value is a counter's value as an address.
func value(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

// flowing waits until every client that waits now has had its answer.
func (st *stream) flowing(s *site) {
	s.t.Helper()
	now := time.Now()
	s.until("writes flow again", func() error {
		if n := st.Waiting(now); n > 0 {
			return fmt.Errorf("%d clients wait", n)
		}
		return nil
	})
}

// check stops the clients and asserts what must hold after any faults: no failed write, and every acknowledged one applied once. Asked are
// the servers at addrs: the Service of updates, secondaries.
func (st *stream) check(t *testing.T, addrs ...string) {
	t.Helper()
	failed := st.Stop()
	for _, f := range failed[:min(len(failed), 5)] {
		t.Errorf("a write failed (one of %d): %s", len(failed), f)
	}
	total := 0
	for _, c := range st.counters {
		total += c.acked
		for _, addr := range append([]string{st.addr}, addrs...) {
			st.s.until("a counter has its value at "+addr, func() error {
				v, err := st.s.valueAt(addr, c.name)
				if err == nil && v != c.acked {
					err = fmt.Errorf("%s is %d, %d were acknowledged", c.name, v, c.acked)
				}
				return err
			})
		}
	}
	t.Logf("%d writes acknowledged, each applied once", total)
}

// valueAt asks a server for a counter.
func (s *site) valueAt(addr string, name zone.Name) (int, error) {
	conn, err := s.dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	m := new(dns.Msg)
	m.SetQuestion(name.String(), dns.TypeA)
	m.RecursionDesired = false
	c := dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	answer, _, err := c.ExchangeWithConn(m, &dns.Conn{Conn: conn})
	switch {
	case err != nil:
		return 0, err
	case answer.Rcode == dns.RcodeNameError:
		return 0, nil
	case answer.Rcode != dns.RcodeSuccess || len(answer.Answer) != 1:
		return 0, fmt.Errorf("no counter: %s", strings.ReplaceAll(answer.String(), "\n", "; "))
	}
	a, ok := answer.Answer[0].(*dns.A)
	if !ok {
		return 0, fmt.Errorf("no address: %s", answer.Answer[0])
	}
	return int(binary.BigEndian.Uint32(a.A.To4())), nil
}
