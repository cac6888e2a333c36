package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// limits: one address that sends and connects far beyond what it may is cut, and another one sees nothing of it.
func limits(t *testing.T, s *site, flood int) {
	const rate, burst, conns, perSecond = 100, 100, 20, 20
	n := s.spare(func(c object) {
		c["limits"] = object{
			"connections": 1000, "connections_per_address": conns, "connections_per_second": perSecond, "datagrams_per_second": rate, "burst": burst,
			// The writers share one address, and they are the ones that must see no limit.
			"exempt": []any{s.Host("client").V4.String() + "/32"},
		}
	})
	n.start()
	s.until(patient, "the spare is ready", n.isReady)
	st := s.streamTo([]string{s.spareAddr()}, "udp", "tcp")
	st.goesOn("before")

	// UDP: queries as fast as they leave.
	conn, err := s.DialContext("stranger")(t.Context(), "udp", s.spareAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	for i := range flood {
		msg := named.AppendUpdate(nil, uint16(i), zone.MustParseName(origin), nil, nil) // refused: not signed
		if _, err := conn.Write(msg); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	limited := func() float64 { return n.metrics()[`zonekeeper_relay_limited_total{reason="rate"}`] }
	most := float64(burst) + rate*(took.Seconds()+1)
	s.until(patient, "the rest is dropped", func(context.Context) error {
		if l := limited(); l < float64(flood)-most {
			return fmt.Errorf("%v of %d are; %v were allowed in %v", l, flood, most, took)
		}
		return nil
	})

	// TCP: as many connections at once as the host can make.
	var held []net.Conn
	refused := 0
	for range 5 * conns {
		c, err := s.DialContext("stranger")(t.Context(), "tcp", s.spareAddr())
		if err != nil {
			refused++
			continue
		}
		held = append(held, c)
		defer c.Close()
	}
	// Those that were not refused are open; the others end at once.
	open := 0
	for _, c := range held {
		if err := c.SetReadDeadline(time.Now().Add(time.Second / 2)); err != nil {
			t.Fatal(err)
		}
		var one [1]byte
		if _, err := c.Read(one[:]); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		} else {
			refused++
		}
	}
	if open > conns {
		t.Errorf("one address has %d connections, its limit is %d", open, conns)
	}
	st.goesOn("beside a flood")
	st.check(t)
	for _, y := range st.counters {
		if n := len(y.client.broken); n > 0 {
			s.quiet("%d connections of the other address broke: %s", n, y.client.broken[0])
		}
	}
	t.Logf("of %d datagrams of one address in %v the relay dropped %v; of %d connections %d were refused", flood, took.Round(time.Millisecond), limited(), 5*conns, refused)
}

// descriptors: connections that say nothing, or half of a message, are cut; and neither they, nor many short ones, nor reloads keep
// a descriptor.
func descriptors(t *testing.T, s *site, connects, reloads int) {
	n := s.spare(func(c object) {
		c["limits"] = object{"connections": 1000, "connections_per_address": 1000, "connections_per_second": 1 << 20}
		c["primaries"].(object)["static"] = nil
		c["primaries"].(object)["dns"] = object{"name": resolverName, "every": "100ms"}
	})
	all := []netip.Addr{s.Host("primary-0").V4, s.Host("primary-1").V4, s.Host("primary-2").V4}
	r := newResolver(n, all...)
	n.start()
	s.until(patient, "the spare is ready", n.isReady)
	write := func() {
		for _, network := range []string{"udp", "tcp"} {
			if err := s.client(network, s.spareAddr()).nothing(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	before := n.descriptors()

	half := []byte{0, 40, 1, 2, 3}
	slow := map[string]<-chan time.Duration{
		"nothing": s.slow(nil, 0), "half of a message": s.slow(half, 0), "an octet of a message twice a second": s.slow(append([]byte{0, 200}, make([]byte, 200)...), time.Second/2),
	}
	for i := range connects {
		c, err := s.DialContext("client")(t.Context(), "tcp", s.spareAddr())
		if err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 { // cut in the middle of a message
			if _, err := c.Write(half); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Close() // as a scanner does
	}
	for i := range reloads {
		list := all[:2+i%2]
		r.set(list...)
		s.until(patient, "the reload", func(ctx context.Context) error {
			st, err := n.status(ctx)
			if err == nil && len(st.Primaries) != len(list) {
				err = fmt.Errorf("%d primaries", len(st.Primaries))
			}
			return err
		})
		write()
	}
	for what, cut := range slow {
		select {
		case after := <-cut:
			t.Logf("a connection on which %s was said was cut after %v", what, after.Round(time.Millisecond))
			if after < slowCut-time.Second {
				t.Errorf("a connection on which %s was said was cut after %v, before its time", what, after)
			}
			if after > 2*slowCut {
				s.quiet("a connection on which %s was said was cut after %v", what, after)
			}
		case <-time.After(patient):
			t.Errorf("a connection on which %s is said is never cut", what)
		}
	}
	r.set(all...)
	s.until(patient, "descriptors are where they were", func(context.Context) error {
		now := n.descriptors()
		if len(n.processes("haproxy")) > 1 {
			return errors.New("a replaced HAProxy is still there")
		}
		// Checks and the admin API have connections that come and go.
		if now > before+12 {
			return fmt.Errorf("%d descriptors, %d before", now, before)
		}
		return nil
	})
	t.Logf("%d descriptors before %d connections and %d reloads, %d after", before, connects, reloads, n.descriptors())
}

// slowCut is when a connection ends on which nothing is said (HAProxy), or on which a message is not complete (the primary).
const slowCut = 5 * time.Second

// slow opens a connection to the spare, sends some octets, at once or with pauses, and tells how long it took until it was closed.
func (s *site) slow(octets []byte, pause time.Duration) <-chan time.Duration {
	s.t.Helper()
	conn, err := s.DialContext("client")(s.t.Context(), "tcp", s.spareAddr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if pause == 0 {
		if _, err := conn.Write(octets); err != nil {
			s.t.Fatal(err)
		}
	}
	opened, cut := time.Now(), make(chan time.Duration, 1)
	if pause > 0 {
		go func() {
			for i := range octets {
				if _, err := conn.Write(octets[i : i+1]); err != nil {
					return // it was cut
				}
				<-time.After(pause)
			}
		}()
	}
	go func() {
		_, _ = io.Copy(io.Discard, conn) // until FIN or RST
		cut <- time.Since(opened)
	}()
	return cut
}

// descriptors counts those of the front and of its HAProxy.
func (n *node) descriptors() (open int) {
	n.s.t.Helper()
	for _, pid := range append(n.processes("haproxy"), n.proc.PID()) {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			continue // it ended meanwhile
		}
		open += len(list)
	}
	return open
}

// modes: behind a load balancer the client's address comes from its PROXY header, over TCP by a real HAProxy and over UDP in a datagram,
// and from nobody else; with a Service it is that of the packet.
func modes(t *testing.T, s *site) {
	client, balancer := s.Host("client").V4, s.Host("balancer").V4
	s.part(t, "LoadBalancer", func(t *testing.T) {
		n := s.spare(func(c object) {
			c["mode"] = "loadbalancer"
			c["listen"].(object)["proxy_from"] = []any{balancer.String() + "/32"}
		})
		n.start()
		s.until(patient, "the spare is ready", n.isReady)
		runBalancer(t, s)
		byTCP := addrPort(balancer, portDNS)
		s.until(patient, "a write through the load balancer passes", func(context.Context) error { return s.client("tcp", byTCP).nothing() })
		answer, err := s.ask("client", "tcp", byTCP, unsigned("balanced-tcp"), nil)
		if err != nil || answer.Rcode != dns.RcodeSuccess {
			t.Errorf("the client's update through a load balancer: %v, %v", answer, err)
		}
		if answer, err = s.ask("stranger", "tcp", byTCP, unsigned("balanced-stranger"), nil); err != nil || answer.Rcode != dns.RcodeRefused {
			t.Errorf("a stranger's update through a load balancer: %v, %v", answer, err)
		}
		for from, want := range map[string]int{"balancer": dns.RcodeSuccess, "stranger": -1} {
			wait := silence
			if want >= 0 {
				wait = patient
			}
			msg, err := unsigned("balanced-udp-" + from).Pack()
			if err != nil {
				t.Fatal(err)
			}
			header := forgeries(s)[1].header(netip.AddrPortFrom(client, 4711), netip.MustParseAddrPort(s.spareAddr()), true, msg)
			rcode, err := s.sendRaw(from, "udp", s.spareAddr(), append(header, msg...), wait)
			if err != nil {
				rcode = -1
			}
			if rcode != want {
				t.Errorf("a PROXY header in a datagram from %s: %d (%v), want %d", from, rcode, err, want)
			}
		}
		// A load balancer's address without a header is nobody's.
		if err := s.client("tcp", s.spareAddr()).nothing(); err != nil {
			t.Errorf("a client that comes by itself: %v", err)
		}
		n.proc.Stop()
	})
	s.part(t, "Service", func(t *testing.T) {
		n := s.spare(func(c object) { c["listen"] = object{"addresses": []any{"0.0.0.0", "::"}} })
		n.start()
		s.until(patient, "the spare is ready", n.isReady)
		for i, addr := range []string{s.spareAddr(), addrPort(s.Host(spareName).V6, portDNS)} {
			for _, network := range []string{"udp", "tcp"} {
				s.until(patient, "a write over "+network+" to "+addr, func(context.Context) error { return s.client(network, addr).nothing() })
				answer, err := s.ask("client", network, addr, unsigned(fmt.Sprintf("service-%s-%d", network, i)), nil)
				if err != nil || answer.Rcode != dns.RcodeSuccess {
					t.Errorf("the client's update over %s to %s: %v, %v", network, addr, answer, err)
				}
			}
		}
		n.proc.Stop()
	})
}
