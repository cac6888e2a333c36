package overload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	origin   = "example.test."
	floodKey = "flood-key."
	// patience is what a well-behaved client may have to wait at the 99th percentile, on a machine that the attackers and
	// two other replicas share with it. The figures that matter are logged.
	patience = 2 * time.Second
	// memory is how much a primary may grow under everything here together: the endpoint's own limits add up to less.
	memory = 700 << 20
	// shortAnswer bounds every answer to what is no proper request.
	shortAnswer = 512
)

// rig is a cluster, the primary under attack, and the client that must not notice.
type rig struct {
	*harness.Cluster
	victim  string
	addr    string
	control *control
	flood   tsig.Key
}

// TestInput attacks one primary of three through its DNS port, in every way at a time, and in the end looks at what is left.
func TestInput(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) {
		// As from a shell or a container with the usual limit; the program has to raise it.
		cfg.Command = append([]string{"/bin/sh", "-c", `ulimit -S -n 1024; exec "$0" "$@"`}, cfg.Command...)
	})
	r := &rig{Cluster: c, victim: c.Names()[0]}
	r.addr = c.Primary(r.victim).DNS
	added, err := c.Admin[r.victim].AddKey(t.Context(), adminapi.AddKey{Name: floodKey})
	if err != nil {
		t.Fatal(err)
	}
	r.flood = harness.MustKey(t, added.Name, added.Versions[0].Algorithm, added.Versions[0].Secret)
	own := c.Key()
	settings := devcluster.OpenTo(own.Name.String())
	settings.UpdatePolicy += fmt.Sprintf(" grant %s zonesub ANY;", floodKey)
	if _, err := c.Admin[r.victim].SetZone(t.Context(), origin, settings); err != nil {
		t.Fatal(err)
	}
	r.control = startControl(t, r.addr, origin, own)
	r.control.written(50, 20*time.Second)
	r.control.unharmed("before", patience)

	pid := c.Primary(r.victim).PID
	before := usageOf(t, pid)
	t.Logf("%s before: %s", r.victim, before)
	if before.soft < before.hard-1 { // the Go runtime leaves one, to notice whether somebody else has set the limit
		t.Errorf("%s may open %d files, and could raise that to %d", r.victim, before.soft, before.hard)
	}
	for _, attack := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"garbage", garbage}, {"truncated", truncated}, {"compression", compression}, {"opcodes and classes", opcodes},
		{"replays", replays}, {"large messages", large}, {"half-sent messages", halfSent}, {"idle connections", idle},
		{"flood from one key", flood},
	} {
		t.Run(attack.name, func(t *testing.T) {
			r.control.t = t
			r.control.enter(attack.name)
			attack.run(t, r)
			r.control.written(20, 20*time.Second)
			r.control.unharmed(attack.name, patience)
			t.Logf("%s: %s", r.victim, usageOf(t, pid))
		})
	}
	r.control.t = t
	r.control.enter("after")
	r.control.written(20, 20*time.Second)
	after := usageOf(t, pid)
	t.Logf("%s after: %s", r.victim, after)
	if after.rss > before.rss+memory {
		t.Errorf("%s holds %s after, %s before", r.victim, after, before)
	}
	c.Until(30*time.Second, "the connections' files are closed", func(context.Context) error {
		if u := usageOf(t, pid); u.fds > before.fds+20 {
			return fmt.Errorf("%d files are open, %d before", u.fds, before.fds)
		}
		return nil
	})
	var addrs []string
	for _, p := range c.Info().Primaries {
		addrs = append(addrs, p.DNS)
	}
	r.control.check(addrs...)
	c.Verified()
}

// answers collects what comes back on a socket, and judges it: nothing but short answers that refuse.
type answers struct {
	mu   sync.Mutex
	n    map[string]int
	bad  []string
	done chan struct{}
}

func collect(conn net.Conn) *answers {
	a := &answers{n: map[string]int{}, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		buf := make([]byte, 65535)
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // a datagram that came back as unreachable
			}
			a.judge(buf[:n])
		}
	}()
	return a
}

func (a *answers) judge(resp []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	bad := func(format string, args ...any) {
		if len(a.bad) < 10 {
			a.bad = append(a.bad, fmt.Sprintf(format, args...))
		}
	}
	if len(resp) < 12 || resp[2]&0x80 == 0 {
		bad("%x is no answer", resp)
		return
	}
	rcode := int(resp[3] & 15)
	a.n[dns.RcodeToString[rcode]]++
	if rcode == dns.RcodeSuccess {
		bad("NOERROR: %x", resp)
	}
	if len(resp) > shortAnswer {
		bad("an answer of %d octets", len(resp))
	}
}

// report ends the collection.
func (a *answers) report(t *testing.T, conn net.Conn, sent int) {
	t.Helper()
	_ = conn.Close()
	<-a.done
	t.Logf("%d sent; answers: %v", sent, a.n)
	for _, b := range a.bad {
		t.Error(b)
	}
}

func dialUDP(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// evil is a record that must never be in the zone.
func evil(label string) []zone.RR {
	return []zone.RR{harness.A(zone.MustParseName(origin), "evil-"+label, 60, [4]byte{192, 0, 2, 66})}
}

// absent checks that no record of evil is there.
func (r *rig) absent(t *testing.T) {
	t.Helper()
	key := r.Key()
	rrs, err := harness.Asker{Key: &key, Timeout: 20 * time.Second}.Transfer(t.Context(), r.addr, origin, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range rrs {
		if strings.HasPrefix(rr.Header().Name, "evil-") {
			t.Errorf("%s is in the zone", rr)
		}
	}
}

// garbage sends random octets, and proper signed updates with octets changed.
func garbage(t *testing.T, r *rig) {
	const datagrams = 20_000
	rnd := rand.New(rand.NewPCG(1, 2))
	conn := dialUDP(t, r.addr)
	a := collect(conn)
	unsigned := named.AppendUpdate(nil, 1, zone.MustParseName(origin), nil, evil("garbage"))
	signed := tsig.SignRequest(unsigned, r.flood, time.Now())
	for i := range datagrams {
		msg := make([]byte, rnd.IntN(1400))
		for i := range msg {
			msg[i] = byte(rnd.Uint32())
		}
		if i%2 == 0 {
			msg = append(msg[:0], signed...)
			for range 1 + rnd.IntN(4) {
				at := 2 + rnd.IntN(len(unsigned)-2) // the message ID is not signed
				msg[at] ^= byte(1 + rnd.IntN(255))
			}
		}
		if len(msg) > 2 {
			msg[2] &^= 0x80 // a response would be dropped at once
		}
		if _, err := conn.Write(msg); err != nil {
			continue // what an earlier datagram caused
		}
	}
	r.settle(t)
	a.report(t, conn, datagrams)
	r.absent(t)
}

// settle waits until everything that was sent before has been looked at: an answer comes to a question that follows it.
func (r *rig) settle(t *testing.T) {
	t.Helper()
	r.Until(20*time.Second, "an answer", func(ctx context.Context) error {
		_, err := harness.Asker{Timeout: time.Second}.Ask(ctx, "udp", r.addr, origin, dns.TypeSOA)
		return err
	})
}

// truncated sends a signed update cut off at each of its octets.
func truncated(t *testing.T, r *rig) {
	signed := tsig.SignRequest(named.AppendUpdate(nil, 1, zone.MustParseName(origin), nil, evil("truncated")), r.flood, time.Now())
	conn := dialUDP(t, r.addr)
	a := collect(conn)
	for n := range len(signed) {
		if _, err := conn.Write(signed[:n]); err != nil {
			t.Fatal(err)
		}
	}
	r.settle(t)
	a.report(t, conn, len(signed))
	r.absent(t)
}

// compression sends messages whose names point at themselves, forward, or in circles.
func compression(t *testing.T, r *rig) {
	header := func(opcode byte, counts ...uint16) []byte {
		b := []byte{0x12, 0x34, opcode << 3, 0}
		for _, n := range counts {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		return b
	}
	question := func(opcode byte, name ...byte) []byte {
		qtype := dns.TypeA
		if opcode == dns.OpcodeUpdate {
			qtype = dns.TypeSOA
		}
		b := append(header(opcode, 1, 0, 0, 0), name...)
		b = binary.BigEndian.AppendUint16(b, qtype)
		return binary.BigEndian.AppendUint16(b, dns.ClassINET)
	}
	// An update whose zone is proper and whose record's owner, or whose target, is a loop.
	proper := named.AppendUpdate(nil, 0x1234, zone.MustParseName(origin), nil, nil)
	binary.BigEndian.PutUint16(proper[8:], 1)
	at := byte(len(proper))
	owner := append(append([]byte(nil), proper...), 0xc0, at, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
	target := append(append([]byte(nil), proper...), 1, 'x', 0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, at+14)
	long := header(dns.OpcodeQuery, 1, 0, 0, 0)
	for range 200 { // each label is fine, the name is not
		long = append(long, 1, 'a')
	}
	long = append(long, 0, 0, 1, 0, 1)
	for _, tc := range []struct {
		name string
		msg  []byte
	}{
		{"a question that points at itself", question(dns.OpcodeQuery, 0xc0, 12)},
		{"a question that points forward", question(dns.OpcodeQuery, 0xc0, 14)},
		{"a question that points behind the end", question(dns.OpcodeQuery, 0xff, 0xff)},
		{"two pointers in a circle", question(dns.OpcodeQuery, 0xc0, 14, 0xc0, 12)},
		{"a label and a pointer back to it", question(dns.OpcodeQuery, 1, 'a', 0xc0, 12)},
		{"a zone that points at itself", question(dns.OpcodeUpdate, 0xc0, 12)},
		{"a record's owner that points at itself", owner},
		{"a record's target that points at itself", target},
		{"a name of more than 255 octets", long},
	} {
		for _, network := range []string{"udp", "tcp"} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			resp, err := harness.Bytes(ctx, network, r.addr, tc.msg)
			cancel()
			if err != nil {
				t.Errorf("%s over %s: %v", tc.name, network, err)
				continue
			}
			if rcode := int(resp[3] & 15); rcode != dns.RcodeFormatError || len(resp) > shortAnswer {
				t.Errorf("%s over %s: %s in %d octets, want a short FORMERR", tc.name, network, dns.RcodeToString[rcode], len(resp))
			}
		}
	}
}

// opcodes sends what the server does not do.
func opcodes(t *testing.T, r *rig) {
	ask := func(what string, msg []byte) int {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		resp, err := harness.Bytes(ctx, "udp", r.addr, msg)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return -1
		}
		return int(resp[3] & 15)
	}
	for opcode := range 16 {
		switch opcode {
		case dns.OpcodeQuery, dns.OpcodeNotify, dns.OpcodeUpdate:
			continue
		}
		m := new(dns.Msg)
		m.SetQuestion(origin, dns.TypeSOA)
		m.Opcode = opcode
		wire, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(fmt.Sprintf("opcode %d", opcode), wire); got != dns.RcodeNotImplemented {
			t.Errorf("opcode %d: rcode %d, want NOTIMP", opcode, got)
		}
	}
	for _, class := range []uint16{dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, 0, 42} {
		msg := named.AppendUpdate(nil, class, zone.MustParseName(origin), nil, evil("class"))
		binary.BigEndian.PutUint16(msg[12+len(zone.MustParseName(origin))+2:], class)
		signed := tsig.SignRequest(msg, r.flood, time.Now())
		switch got := ask(fmt.Sprintf("update of class %d", class), signed); got {
		case dns.RcodeFormatError, dns.RcodeNotAuth, dns.RcodeRefused, dns.RcodeNotImplemented:
		default:
			t.Errorf("update of class %d: rcode %d", class, got)
		}
		m := new(dns.Msg)
		m.SetQuestion(origin, dns.TypeSOA)
		m.Question[0].Qclass = class
		wire, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		switch got := ask(fmt.Sprintf("query of class %d", class), wire); got {
		case dns.RcodeFormatError, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeServerFailure:
		default:
			t.Errorf("query of class %d: rcode %d", class, got)
		}
	}
	r.absent(t)
}

// replays sends requests whose time has passed, or has not come.
func replays(t *testing.T, r *rig) {
	for _, off := range []time.Duration{-time.Hour, -301 * time.Second, 302 * time.Second, 24 * time.Hour} {
		msg := named.AppendUpdate(nil, 7, zone.MustParseName(origin), nil, evil("replay"))
		signed := tsig.SignRequest(msg, r.flood, time.Now().Add(off))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		resp, err := harness.Bytes(ctx, "udp", r.addr, signed)
		cancel()
		if err != nil {
			t.Errorf("signed %s from now: %v", off, err)
			continue
		}
		var refused *tsig.ResponseError
		err = tsig.VerifyResponse(resp, signed, r.flood, time.Now().Add(off))
		if rcode := int(resp[3] & 15); rcode != dns.RcodeNotAuth || !errors.As(err, &refused) || refused.TSIGError != tsig.BadTime {
			t.Errorf("signed %s from now: %s, %v; want NOTAUTH with BADTIME", off, dns.RcodeToString[rcode], err)
		}
	}
	r.absent(t)
}

// large sends messages of the greatest size over many connections at once.
func large(t *testing.T, r *rig) {
	const conns, each = 64, 10
	junk := make([]byte, 65535)
	copy(junk, []byte{0, 1, dns.OpcodeUpdate << 3, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 0})
	var rrs []zone.RR
	for i := range 2900 {
		rrs = append(rrs, harness.A(zone.MustParseName(origin), fmt.Sprintf("evil-%d", i), 60, [4]byte{192, 0, 2, 66}))
	}
	stranger := r.flood
	stranger.Name = zone.MustParseName("nobody.")
	key, err := tsig.NewKey(stranger)
	if err != nil {
		t.Fatal(err)
	}
	msg := named.AppendUpdate(nil, 2, zone.MustParseName(origin), nil, rrs[:1000])
	strange := tsig.SignRequest(msg, key, time.Now())
	var wg sync.WaitGroup
	var answered atomic.Int64
	for n := range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			d := dns.Conn{Conn: conn}
			for i := range each {
				body := junk
				if (n+i)%2 == 0 {
					body = strange
				}
				if _, err := d.Write(body); err != nil {
					return // it may close the connection on us
				}
				resp := make([]byte, 65535)
				k, err := d.Read(resp)
				if err != nil {
					return
				}
				answered.Add(1)
				if resp[3]&15 == dns.RcodeSuccess || k > shortAnswer {
					t.Errorf("an answer of %d octets with rcode %d", k, resp[3]&15)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d messages of 20 to 64 KiB answered", answered.Load(), conns*each)
	r.absent(t)
}

// crowd opens connections from many addresses, and sends each the same octets.
func crowd(t *testing.T, addr string, conns, perSource int, send []byte) []net.Conn {
	t.Helper()
	var l []net.Conn
	for i := range conns {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 9, byte(1+i/perSource))}, Timeout: 10 * time.Second}
		conn, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if len(send) > 0 {
			if _, err := conn.Write(send); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		l = append(l, conn)
	}
	return l
}

// halfSent begins messages and never ends them: the server does not wait for long.
func halfSent(t *testing.T, r *rig) {
	const conns = 1000
	pid := r.Primary(r.victim).PID
	before := usageOf(t, pid)
	l := crowd(t, r.addr, conns, 500, []byte{0x40, 0, 0, 1, dns.OpcodeUpdate << 3, 0})
	start := time.Now()
	var wg sync.WaitGroup
	var open atomic.Int64
	for _, conn := range l {
		wg.Go(func() {
			defer conn.Close()
			_ = conn.SetReadDeadline(start.Add(15 * time.Second))
			if _, err := conn.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
				open.Add(1)
			}
		})
	}
	wg.Wait()
	t.Logf("%d half-sent messages: closed after %s at most; %s before, %s after", conns, time.Since(start).Round(100*time.Millisecond), before, usageOf(t, pid))
	if n := open.Load(); n > 0 {
		t.Errorf("%d of %d connections with half a message are open after 15 s", n, conns)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// idle opens ten thousand connections and leaves them alone. Others, old and new, are served.
func idle(t *testing.T, r *rig) {
	const conns = 10_000
	pid := r.Primary(r.victim).PID
	before := usageOf(t, pid)
	l := crowd(t, r.addr, conns, 1000, nil)
	defer func() {
		for _, conn := range l {
			_ = conn.Close()
		}
	}()
	r.Until(20*time.Second, "the connections are accepted", func(context.Context) error {
		if u := usageOf(t, pid); u.fds < before.fds+conns {
			return fmt.Errorf("%d files are open, %d before", u.fds, before.fds)
		}
		return nil
	})
	during := usageOf(t, pid)
	t.Logf("%d connections: %s before, %s with them: %d octets each", conns, before, during, (during.rss-before.rss)/conns)
	if grown := during.rss - before.rss; grown > conns*16<<10 {
		t.Errorf("%d connections cost %d MiB", conns, grown>>20)
	}
	for range 20 {
		start := time.Now()
		if _, err := (harness.Asker{Timeout: 5 * time.Second}).Ask(t.Context(), "tcp", r.addr, origin, dns.TypeSOA); err != nil {
			t.Errorf("a new connection beside them, after %s: %v", time.Since(start), err)
		}
	}
	r.control.written(50, 20*time.Second)
}

// flood writes with one key as fast as the cluster takes it, over connections that do not wait for answers, and over UDP.
// The other key's client gets its turn.
func flood(t *testing.T, r *rig) {
	const conns, window, lasts = 8, 64, 5 * time.Second
	end := time.Now().Add(lasts)
	var sent atomic.Int64
	var answers [16]atomic.Int64
	var wg sync.WaitGroup
	message := func(conn, i int) []byte {
		value := func(i int) string { return string([]byte{byte(len(fmt.Sprint(i)))}) + fmt.Sprint(i) }
		rr := zone.RR{Name: zone.MustParseName(fmt.Sprintf("flood-%d.%s", conn, origin)), Type: zone.TypeTXT, Class: zone.ClassIN, TTL: 60, Data: value(i)}
		old := rr
		old.Class, old.TTL, old.Data = zone.ClassNONE, 0, value(i-1)
		return tsig.SignRequest(named.AppendUpdate(nil, uint16(i), zone.MustParseName(origin), nil, []zone.RR{rr, old}), r.flood, time.Now())
	}
	for n := range conns {
		network := []string{"tcp", "tcp", "tcp", "udp"}[n%4]
		nc, err := net.Dial(network, r.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn := &dns.Conn{Conn: nc, UDPSize: 4096}
		slots := make(chan struct{}, window)
		wg.Go(func() { // the answers
			buf := make([]byte, 65535)
			for {
				k, err := conn.Read(buf)
				if errors.Is(err, net.ErrClosed) || (err != nil && network == "tcp") {
					return
				}
				if err != nil || k < 12 {
					continue
				}
				answers[buf[3]&15].Add(1)
				select {
				case <-slots:
				default:
				}
			}
		})
		wg.Go(func() {
			defer nc.Close()
			for i := 1; time.Now().Before(end); i++ {
				select {
				case slots <- struct{}{}:
				case <-time.After(100 * time.Millisecond): // a lost datagram keeps no place for ever
				}
				if _, err := conn.Write(message(n, i)); err != nil && network == "tcp" {
					return
				}
				sent.Add(1)
			}
		})
	}
	wg.Wait()
	ok, servfail := answers[dns.RcodeSuccess].Load(), answers[dns.RcodeServerFailure].Load()
	t.Logf("%d sent in %s: %d NOERROR, %d SERVFAIL", sent.Load(), lasts, ok, servfail)
	for rcode := range answers {
		if n := answers[rcode].Load(); n > 0 && rcode != dns.RcodeSuccess && rcode != dns.RcodeServerFailure {
			t.Errorf("%d updates of the flood were answered %s", n, dns.RcodeToString[rcode])
		}
	}
	if ok == 0 {
		t.Error("not one update of the flood was applied: the limit for one key is too low to be of use")
	}
}
