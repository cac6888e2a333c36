package endpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// counter returns the sum of a counter's or gauge's values with a label value.
func counter(t testing.TB, reg prometheus.Gatherer, name, value string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "zonekeeper_endpoint_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := value == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetValue() == value
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(testTimeout)
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not after %v", what, testTimeout)
		}
	}
}

// TestGarbage: whatever comes, nothing breaks, and good requests are answered.
func TestGarbage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	s := w.start(nil)
	addr := s.Addrs()[0]
	k := testKey(t, "key.", tsig.HMACSHA256)
	good := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test.", withEDNS), k, time.Now())
	query := queryMsg(t, "h.elsewhere.", dns.TypeA, withEDNS)

	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send := func(b []byte) {
		if len(b) <= 65000 { // the most that fits into a datagram is a little less than 64 KiB
			_, _ = c.Write(b) // a full socket buffer loses it, as the network may
		}
		conn := tcpDial(t, addr)
		tcpSend(t, conn, b)
		conn.Close()
	}
	for _, base := range [][]byte{good, query} {
		for range 150 {
			b := append([]byte(nil), base...)
			for range 1 + rng.IntN(4) {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			send(b[:rng.IntN(len(b)+1)])
			send(b)
		}
	}
	big := make([]byte, maxMessage)
	for i := range big {
		big[i] = byte(rng.Uint32())
	}
	send(big)
	// 64 KiB of names that point at one another, counted as 65,535 RRs.
	loops := append([]byte(nil), query[:12]...)
	loops[2], loops[5], loops[7] = 0, 0, 0
	binary.BigEndian.PutUint16(loops[6:], 65535)
	for len(loops) < maxMessage-12 {
		loops = append(loops, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
	}
	send(loops)
	chain := append([]byte(nil), good[:12]...) // a zone name of pointers, each to the one before
	for range 5000 {
		chain = binary.BigEndian.AppendUint16(chain, uint16(0xc000|(len(chain)-2)&0x3fff))
	}
	send(chain)

	fresh := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), k, time.Now())
	for _, reply := range [][]byte{tcpAsk(t, addr, fresh), udpAsk(t, addr, fresh)} {
		if err := tsig.VerifyResponse(reply, fresh, k, time.Now()); err != nil || rcodeOf(reply) != 0 {
			t.Errorf("after the garbage: RCODE %d, %v", rcodeOf(reply), err)
		}
	}
}

// TestNeverAnswersAnswers: no two servers talk for ever.
func TestNeverAnswersAnswers(t *testing.T) {
	w := newWorld(t)
	s := w.start(nil)
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addrs()[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, b := range [][]byte{{}, {1}, make([]byte, 11), append([]byte{0, 1, 0x80, 0}, make([]byte, 8)...), append([]byte{0, 1, 0xa8, 0}, make([]byte, 600)...)} {
		if _, err = c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = c.Write(withID(queryMsg(t, "elsewhere.", dns.TypeA), 99)); err != nil {
		t.Fatal(err)
	}
	if err = c.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 512)
	n, err := c.Read(b)
	if err != nil || unpack(t, b[:n]).Id != 99 {
		t.Errorf("something was answered that must not be: % x, %v", b[:n], err)
	}
}

// idleClients is the environment variable that makes this test's program a
// client: file descriptors for both ends would exceed one process's limit.
const idleClients = "ENDPOINT_TEST_IDLE_CLIENTS"

// TestIdleConnections opens ten thousand: memory stays bounded, and others are
// served.
func TestIdleConnections(t *testing.T) {
	const n = 10_000
	if to := os.Getenv(idleClients); to != "" {
		openIdle(t, netip.MustParseAddrPort(to), n)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent has seen enough
		return
	}
	w := newWorld(t)
	s := w.start(func(c *Config) { c.MaxConns, c.MaxConnsPerAddr = n+10, n })
	addr := s.Addrs()[0]
	before := memory()
	child := exec.Command(os.Args[0], "-test.run=^TestIdleConnections$")
	child.Env = append(os.Environ(), idleClients+"="+addr.String())
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		_ = child.Wait() // it only held connections
	}()
	eventually(t, "all connections are accepted", func() bool { return s.conns.len() == n })
	each := float64(memory()-before) / n
	t.Logf("%.1f KiB for each idle connection", each/1024)
	if each > 12<<10 {
		t.Errorf("%.0f octets for each idle connection", each)
	}
	k := testKey(t, "key.", tsig.HMACSHA256)
	signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), k, time.Now())
	for _, reply := range [][]byte{tcpAsk(t, addr, signed), udpAsk(t, addr, signed)} {
		if rcodeOf(reply) != 0 {
			t.Errorf("RCODE %d beside the idle connections", rcodeOf(reply))
		}
	}
}

func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// openIdle opens connections from several loopback addresses, which have more
// ports than one.
func openIdle(t testing.TB, to netip.AddrPort, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, 0, n)
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	for i := range n {
		d := net.Dialer{Timeout: testTimeout, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%4))}}
		c, err := d.Dial("tcp", to.String())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, c)
	}
	return conns
}

// TestEviction: when the table is full, a newcomer replaces an idle connection.
func TestEviction(t *testing.T) {
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	s := w.start(func(c *Config) { c.MaxConns, c.Registerer = 8, reg })
	openIdle(t, s.Addrs()[0], 8)
	eventually(t, "the table is full", func() bool { return s.conns.len() == 8 })
	if got := rcodeOf(tcpAsk(t, s.Addrs()[0], queryMsg(t, "elsewhere.", dns.TypeA))); got != 5 {
		t.Errorf("RCODE %d", got)
	}
	if counter(t, reg, "drops_total", dropEvicted) != 1 {
		t.Error("nobody was evicted")
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	w := newWorld(t)
	s := w.start(func(c *Config) { c.MaxConnsPerAddr = 2 })
	addr := s.Addrs()[0]
	for range 2 {
		c := tcpDial(t, addr)
		tcpSend(t, c, queryMsg(t, "elsewhere.", dns.TypeA))
		tcpRead(t, c)
	}
	c := tcpDial(t, addr)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("third connection: %v", err)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 9)}}
	o, err := other.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	tcpSend(t, o, queryMsg(t, "elsewhere.", dns.TypeA))
	tcpRead(t, o)
}

// TestSlowloris: half a message is cut after MessageTimeout, an idle connection
// after IdleTimeout, and one that waits for our answer is not idle.
func TestSlowloris(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.write = func(_ *fsm.Update, done func(fsm.Result, error)) {
		go func() { <-release; done(fsm.Result{}, nil) }()
	}
	s := w.start(func(c *Config) { c.MessageTimeout, c.IdleTimeout = 150*time.Millisecond, 300*time.Millisecond })
	addr := s.Addrs()[0]
	k := testKey(t, "key.", tsig.HMACSHA256)
	waiting := tcpDial(t, addr)
	tcpSend(t, waiting, tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), k, time.Now()))

	for name, b := range map[string][]byte{"idle": nil, "one octet": {0}, "length only": {0, 100}, "half": {0, 100, 1, 2, 3}} {
		c := tcpDial(t, addr)
		start := time.Now()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: cut after %v", name, d)
		}
	}
	close(release)
	if got := rcodeOf(tcpRead(t, waiting)); got != 0 {
		t.Errorf("RCODE %d on the connection that waited", got)
	}
}

// TestBudget defends I8: messages of 64 KiB that never end take only the room for
// large messages, and give it back.
func TestBudget(t *testing.T) {
	w := newWorld(t)
	s := w.start(func(c *Config) { c.MaxLargeBytes, c.MessageTimeout = 2*maxMessage, 400*time.Millisecond })
	addr := s.Addrs()[0]
	for range 20 {
		c := tcpDial(t, addr)
		if _, err := c.Write([]byte{0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the room for large messages is taken", func() bool {
		if s.budget.large.TryAcquire(maxMessage) {
			s.budget.large.Release(maxMessage)
			return false
		}
		return true
	})
	k := testKey(t, "key.", tsig.HMACSHA256)
	signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), k, time.Now())
	if got := rcodeOf(tcpAsk(t, addr, signed)); got != 0 {
		t.Errorf("RCODE %d for a usual message", got)
	}
	eventually(t, "the room comes back", func() bool {
		if !s.budget.large.TryAcquire(2 * maxMessage) {
			return false
		}
		s.budget.large.Release(2 * maxMessage)
		return true
	})
	var many []dns.RR
	for i := range 1000 {
		rr, err := dns.NewRR(fmt.Sprintf("h%d.example.test. 60 IN A 192.0.2.1", i))
		if err != nil {
			t.Fatal(err)
		}
		many = append(many, rr)
	}
	large := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test.", func(m *dns.Msg) { m.Insert(many) }), k, time.Now())
	if got := rcodeOf(tcpAsk(t, addr, large)); got != 0 || len(large) < 20_000 {
		t.Errorf("RCODE %d for a message of %d octets", got, len(large))
	}
	eventually(t, "everything is given back", func() bool {
		if !s.budget.requests.TryAcquire(int64(s.cfg.MaxRequests)) {
			return false
		}
		s.budget.requests.Release(int64(s.cfg.MaxRequests))
		return true
	})
}

// TestDatagramsBeyondTheBudget are dropped, and count.
func TestDatagramsBeyondTheBudget(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.write = func(_ *fsm.Update, done func(fsm.Result, error)) {
		go func() { <-release; done(fsm.Result{}, nil) }()
	}
	reg := prometheus.NewRegistry()
	s := w.start(func(c *Config) { c.MaxRequests, c.Registerer = 1, reg })
	k := testKey(t, "key.", tsig.HMACSHA256)
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addrs()[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := c.Write(tsig.SignRequest(withID(updateMsg(t, "example.test.", "h.example.test."), uint16(i)), k, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "one is dropped", func() bool { return counter(t, reg, "drops_total", dropOverload) == 1 })
	close(release)
	b := make([]byte, 512)
	if n, err := c.Read(b); err != nil || unpack(t, b[:n]).Id != 0 {
		t.Errorf("answer % x, %v", b[:n], err)
	}
}

// TestPipelining: many updates of one connection are proposed in order, answered
// in any, and the connection stops reading at its limit.
func TestPipelining(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var held []func(fsm.Result, error)
	w.write = func(_ *fsm.Update, done func(fsm.Result, error)) {
		mu.Lock()
		held = append(held, done)
		mu.Unlock()
	}
	w.set(func(s *testSettings) {
		z := testZone(t, "example.test.", "key")
		z.AllowUpdate = acl(t, `key "key"; key "other";`)
		s.zones[z.ID.Name] = z
	})
	s := w.start(func(c *Config) { c.MaxConnInFlight = 10 })
	keys := []tsig.Key{testKey(t, "key.", tsig.HMACSHA256), testKey(t, "other.", tsig.HMACSHA256)}
	c := tcpDial(t, s.Addrs()[0])
	const n = 40
	for i := range n {
		msg := withID(updateMsg(t, "example.test.", fmt.Sprintf("h%d.example.test.", i)), uint16(i))
		tcpSend(t, c, tsig.SignRequest(msg, keys[i/20], time.Now()))
	}
	pending := func() int { mu.Lock(); defer mu.Unlock(); return len(held) }
	eventually(t, "the connection's limit", func() bool { return pending() == 10 })
	seen := map[uint16]bool{}
	for len(seen) < n {
		mu.Lock()
		batch := held
		held = nil
		mu.Unlock()
		for i := len(batch) - 1; i >= 0; i-- { // answered backwards
			batch[i](fsm.Result{}, nil)
		}
		for range batch {
			seen[unpack(t, tcpRead(t, c)).Id] = true
		}
		if len(seen) < n {
			eventually(t, "more is read", func() bool { return pending() > 0 })
		}
	}
	for i, u := range w.updates() {
		if m := unpack(t, u.Wire); int(m.Id) != i {
			t.Fatalf("proposal %d is message %d", i, m.Id)
		}
	}
}

// TestHalfClose: a client that has said all it wants still gets its answers.
func TestHalfClose(t *testing.T) {
	w := newWorld(t)
	w.write = func(_ *fsm.Update, done func(fsm.Result, error)) {
		time.AfterFunc(50*time.Millisecond, func() { done(fsm.Result{}, nil) })
	}
	s := w.start(nil)
	c := tcpDial(t, s.Addrs()[0])
	tcpSend(t, c, tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), testKey(t, "key.", tsig.HMACSHA256), time.Now()))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := rcodeOf(tcpRead(t, c)); got != 0 {
		t.Errorf("RCODE %d", got)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection stays: %v", err)
	}
}

// TestStop: what was asked before is answered, new connections are not taken.
func TestStop(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.write = func(_ *fsm.Update, done func(fsm.Result, error)) {
		go func() { <-release; done(fsm.Result{}, nil) }()
	}
	cfg := DefaultConfig()
	cfg.Listen = []netip.AddrPort{namedtest.FreePort(w.t)}
	cfg.Named = netip.MustParseAddrPort("127.0.0.1:1")
	cfg.Writer, cfg.Reader, cfg.Settings = w, w, func() Settings { return w.settings.Load() }
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, testTimeout) }()
	k := testKey(t, "key.", tsig.HMACSHA256)
	c := tcpDial(t, s.Addrs()[0])
	tcpSend(t, c, tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), k, time.Now()))
	u, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addrs()[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Write(tsig.SignRequest(updateMsg(t, "example.test.", "u.example.test."), k, time.Now())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are proposed", func() bool { return len(w.updates()) == 2 })
	cancel()
	eventually(t, "the listener is closed", func() bool {
		late, dialErr := net.DialTimeout("tcp", s.Addrs()[0].String(), time.Second)
		if dialErr == nil {
			late.Close()
		}
		return dialErr != nil
	})
	close(release)
	if got := rcodeOf(tcpRead(t, c)); got != 0 {
		t.Errorf("TCP: RCODE %d", got)
	}
	b := make([]byte, 512)
	if err := u.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Read(b); err != nil || b[3]&15 != 0 {
		t.Errorf("UDP: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
