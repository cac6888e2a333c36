package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

var (
	proxyKey = []byte("a key of the fronts and primaries")
	nextKey  = []byte("the key that comes after it")
)

// startRelay runs a relay on a free port of 127.0.0.1 until the test ends.
func startRelay(t testing.TB, edit func(*Config), ups ...Upstream) *Relay {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Listen, cfg.Keys, cfg.Drain = []netip.AddrPort{addrPort("127.0.0.1:0")}, proxyproto.Fixed(proxyKey), 0
	cfg.Answer = func(q []byte) []byte { return answerTo(q, rcodeServFail) }
	if edit != nil {
		edit(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Set(ups)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// server is a primary that shows what it gets, and says what the test wants.
type server struct {
	t    testing.TB
	conn *net.UDPConn
	got  chan datagram
}

type datagram struct {
	header proxyproto.Header
	msg    []byte
	from   netip.AddrPort
	raw    []byte // with the header
}

func startServer(t testing.TB, at string) *server {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, conn: conn, got: make(chan datagram, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // ICMP, after the relay has gone
			}
			h, err := proxyproto.Parse(b[:n], nil, proxyproto.Keys{proxyKey, nextKey}, time.Now())
			if err != nil || !h.Proven {
				t.Errorf("the relay's header: %v, proven: %v", err, h.Proven)
			}
			s.got <- datagram{h, bytes.Clone(b[h.Length:n]), from, bytes.Clone(b[:n])}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return s
}

func (s *server) addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s *server) upstream(name string) Upstream { return Upstream{Name: name, DNS: s.addr()} }

// next waits for a datagram.
func (s *server) next() datagram {
	s.t.Helper()
	select {
	case d := <-s.got:
		return d
	case <-time.After(patience):
		s.t.Fatal("the primary is not asked")
		panic("unreachable")
	}
}

func (s *server) answer(d datagram, rcode byte) {
	s.t.Helper()
	if _, err := s.conn.WriteToUDPAddrPort(answerTo(d.msg, rcode), d.from); err != nil {
		s.t.Fatal(err)
	}
}

// serve answers NOERROR to everything until the test ends.
func (s *server) serve() {
	stop, done := make(chan struct{}), make(chan struct{})
	s.t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		for {
			select {
			case d := <-s.got:
				_, _ = s.conn.WriteToUDPAddrPort(answerTo(d.msg, 0), d.from) // fails when the relay has gone
			case <-stop:
				return
			}
		}
	}()
}

// dial makes a client's socket.
func dial(t testing.TB, from string, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	var local *net.UDPAddr
	if from != "" {
		local = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	c, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t testing.TB, c *net.UDPConn, msg []byte) {
	t.Helper()
	if _, err := c.Write(msg); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, c *net.UDPConn) []byte {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxDatagram)
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return b[:n]
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A message reaches a primary unchanged but for its ID, behind a header that names the client; the answer leaves from the
// address that was asked, with the client's ID.
func TestCarries(t *testing.T) {
	lb := []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32"), netip.MustParsePrefix("2001:db8::9/128")}
	for _, c := range []struct {
		name         string
		listen       string
		packetInfo   bool
		primary      string
		from         string // the client's address
		ask          string // the address that it asks; "": where the relay listens
		behind, want string // client behind a load balancer, and what the primary hears
	}{
		{name: "IPv4", listen: "127.0.0.1:0", primary: "127.0.0.1:0", from: "127.0.0.2"},
		{name: "IPv6", listen: "[::1]:0", primary: "[::1]:0", from: "::1"},
		{name: "IPv6 clients, IPv4 primaries", listen: "[::1]:0", primary: "127.0.0.1:0", from: "::1"},
		{name: "IPv4 clients, IPv6 primaries", listen: "127.0.0.1:0", primary: "[::1]:0", from: "127.0.0.2"},
		{name: "IPv4, every address", listen: "0.0.0.0:0", packetInfo: true, primary: "127.0.0.1:0", from: "127.0.0.2", ask: "127.0.0.77"},
		{name: "IPv6, every address", listen: "[::]:0", packetInfo: true, primary: "127.0.0.1:0", from: "::1", ask: "::1"},
		{name: "packet information where it is not needed", listen: "127.0.0.1:0", packetInfo: true, primary: "127.0.0.1:0", from: "127.0.0.2"},
		{name: "a load balancer", listen: "0.0.0.0:0", packetInfo: true, primary: "127.0.0.1:0", from: "127.0.0.9", ask: "127.0.0.77", behind: "203.0.113.5:4567", want: "203.0.113.5:4567"},
		{name: "a load balancer, IPv6 clients", listen: "127.0.0.1:0", primary: "127.0.0.1:0", from: "127.0.0.9", behind: "[2001:db8::5]:4567", want: "[2001:db8::5]:4567"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startServer(t, c.primary)
			r := startRelay(t, func(cfg *Config) {
				cfg.Listen, cfg.PacketInfo, cfg.ProxyFrom = []netip.AddrPort{addrPort(c.listen)}, c.packetInfo, lb
			}, p.upstream("primary"))
			to := r.Addrs()[0]
			if c.ask != "" {
				to = netip.AddrPortFrom(netip.MustParseAddr(c.ask), to.Port())
			}
			client := dial(t, c.from, to) // connected: it hears nobody else
			want := client.LocalAddr().(*net.UDPAddr).AddrPort()
			if c.want != "" {
				want = addrPort(c.want)
			}
			for _, msg := range [][]byte{queryMsg(t, "h.example.test."), signedUpdate(t, "h"), updateMsg(t, "h"), append(make([]byte, 40_000), 1)} {
				out := msg
				if c.behind != "" {
					out = proxyproto.Append(nil, addrPort(c.behind), to, true, nil, time.Now(), nil)
					out = append(out, msg...)
				}
				send(t, client, out)
				d := p.next()
				if d.header.Client != want {
					t.Errorf("the primary hears of client %v, want %v", d.header.Client, want)
				}
				if !bytes.Equal(d.msg[2:], msg[2:]) {
					t.Errorf("the message has changed: %x, was %x", d.msg, msg)
				}
				p.answer(d, 0)
				if got := receive(t, client); !bytes.Equal(got, answerTo(msg, 0)) {
					t.Errorf("the client gets %x, want %x", got, answerTo(msg, 0))
				}
			}
		})
	}
}

// A key that is replaced proves the next header; the primaries have both meanwhile.
func TestKeysChange(t *testing.T) {
	p := startServer(t, "127.0.0.1:0")
	var keys atomic.Pointer[proxyproto.Keys]
	keys.Store(&proxyproto.Keys{proxyKey, nextKey})
	r := startRelay(t, func(c *Config) { c.Keys = func() proxyproto.Keys { return *keys.Load() } }, p.upstream("primary"))
	client := dial(t, "127.0.0.1", r.Addrs()[0])
	for _, use := range []proxyproto.Keys{{proxyKey, nextKey}, {nextKey, proxyKey}, {proxyKey}} {
		keys.Store(&use)
		send(t, client, updateMsg(t, "h"))
		d := p.next()
		if _, err := proxyproto.Parse(d.raw, nil, use[:1], time.Now()); err != nil {
			t.Errorf("with the keys %v: %v", use, err)
		}
		p.answer(d, 0)
		receive(t, client)
	}
}

// said is a log that a test reads while it is written.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// A flood of headers that are not believed leaves a few lines, which say how many there were.
func TestComplaints(t *testing.T) {
	said := new(said)
	c := newComplaints(slog.New(slog.NewTextHandler(said, nil)))
	now := time.Unix(1_000_000, 0)
	for range 1000 {
		c.proxy(now, addrPort("192.0.2.66:4711"), errNotBalancer)
	}
	if n := strings.Count(said.take(), "client=192.0.2.66:4711"); n != complaintsBurst {
		t.Errorf("%d lines", n)
	}
	c.proxy(now.Add(time.Second), addrPort("[2001:db8::66]:4711"), errNotBalancer)
	if line := said.take(); !strings.Contains(line, "[2001:db8::66]:4711") || !strings.Contains(line, "suppressed=990") {
		t.Errorf("later: %s", line)
	}
}

// What is no request, or not from whom it should be, goes nowhere.
func TestDropped(t *testing.T) {
	p := startServer(t, "127.0.0.1:0")
	said := new(said)
	r := startRelay(t, func(c *Config) {
		c.ProxyFrom, c.Logger = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}, slog.New(slog.NewTextHandler(said, nil))
	}, p.upstream("primary"))
	query := queryMsg(t, "h.example.test.")
	header := proxyproto.Append(nil, addrPort("203.0.113.5:1"), addrPort("192.0.2.1:53"), true, nil, time.Now(), nil)
	proven := proxyproto.Append(nil, addrPort("203.0.113.5:1"), addrPort("192.0.2.1:53"), true, proxyKey, time.Now(), query)
	m := r.shared.metrics
	for _, c := range []struct {
		name, from string
		msg        []byte
		counter    prometheus.Counter
	}{
		{"an empty datagram", "127.0.0.2", nil, m.size},
		{"half a header", "127.0.0.2", query[:11], m.size},
		{"too much for a datagram with a PROXY header", "127.0.0.2", make([]byte, maxRequest+1), m.size},
		{"an answer", "127.0.0.2", answerTo(query, 0), m.response},
		{"a PROXY header from a client", "127.0.0.2", append(header, query...), m.proxy},
		{"a proven one too: it is not for us to believe", "127.0.0.2", append(proven, query...), m.proxy},
		{"version 1", "127.0.0.2", []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 53\r\n"), m.proxy},
		{"a load balancer without a header", "127.0.0.9", query, m.proxy},
		{"half a PROXY header", "127.0.0.9", header[:20], m.proxy},
		{"a load balancer's header alone", "127.0.0.9", header, m.size},
	} {
		before := counted(t, c.counter)
		from := dial(t, c.from, r.Addrs()[0])
		send(t, from, c.msg)
		eventually(t, c.name+" is counted", func() bool { return counted(t, c.counter) == before+1 })
		line := said.take()
		if c.counter != m.proxy {
			if line != "" {
				t.Errorf("%s: logged: %s", c.name, line)
			}
			continue
		}
		for _, want := range []string{"level=WARN", "PROXY header refused", "client=" + from.LocalAddr().String(), "listen.proxy_from", "suppressed=0"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: logged without %s: %s", c.name, want, line)
			}
		}
	}
	// LOCAL: the load balancer's own check of us.
	local := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"), query...)
	c := dial(t, "127.0.0.9", r.Addrs()[0])
	send(t, c, local)
	d := p.next()
	if d.header.Client != c.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("the check is said to come from %v", d.header.Client)
	}
	p.answer(d, 0)
	receive(t, c)
	if len(p.got) > 0 {
		t.Error("the primary has got more")
	}
	// A primary that says what nobody asked.
	if _, err := p.conn.WriteToUDPAddrPort(answerTo([]byte{0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0), d.from); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a stray answer is counted", func() bool { return counted(t, m.stray)+counted(t, m.late) == 1 })
}

// A primary whose port is closed is known by ICMP: what may be asked elsewhere is, at once.
func TestRefused(t *testing.T) {
	live, dead := startServer(t, "127.0.0.1:0"), startServer(t, "127.0.0.1:0")
	r := startRelay(t, func(c *Config) { c.Retry.After, c.Retry.Forget = time.Hour, 2*time.Hour }, dead.upstream("dead"))
	c := dial(t, "", r.Addrs()[0])
	first := signedUpdate(t, "first")
	send(t, c, first)
	dead.next()
	dead.conn.Close()
	r.Set([]Upstream{dead.upstream("dead"), live.upstream("live")})
	// The first one is asked again when anything finds out that the primary is dead.
	for i := range 4 {
		send(t, c, numberedQuery(t, i))
	}
	for range 5 {
		live.answer(live.next(), 0)
	}
	for range 5 {
		receive(t, c)
	}
	// One without a signature never reaches it: the kernel says so before, or nothing does.
	send(t, c, updateMsg(t, "h"))
	live.answer(live.next(), 0)
	receive(t, c)
}

func numberedQuery(t testing.TB, i int) []byte {
	b := queryMsg(t, fmt.Sprintf("h%d.example.test.", i))
	setMessageID(b, uint16(i))
	return b
}

// No primary: the relay's own answer.
func TestNobody(t *testing.T) {
	r := startRelay(t, nil)
	c := dial(t, "", r.Addrs()[0])
	msg := signedUpdate(t, "h")
	send(t, c, msg)
	if got := receive(t, c); !bytes.Equal(got, answerTo(msg, rcodeServFail)) {
		t.Errorf("got %x", got)
	}
}

// The copies of an update that a client sends are answered by a primary as one. SERVFAIL reaches the client when all of them
// have it, and never while one may be applied.
func TestCopiesAtEndpoint(t *testing.T) {
	proposed := make(chan proposal, 16)
	at := startPrimary(t, proposed, nil)
	r := startRelay(t, func(c *Config) { c.Retry.After, c.Retry.Max = time.Millisecond, 0 }, Upstream{Name: "primary", DNS: at})
	m := r.shared.metrics
	for _, c := range []struct {
		name string
		end  func(proposal)
		want int
	}{
		{"refused", func(p proposal) { p.done(fsm.Result{}, errNotApplied) }, rcodeServFail},
		{"applied", func(p proposal) { p.done(fsm.Result{}, nil) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := dial(t, "", r.Addrs()[0])
			k := testKey(t)
			msg := tsig.SignRequest(updateMsg(t, c.name), k, time.Now())
			before := counted(t, m.toPrimary)
			send(t, client, msg)
			first := <-proposed
			eventually(t, "the copy is passed on", func() bool {
				send(t, client, msg)
				return counted(t, m.toPrimary) >= before+2
			})
			// Whether the copy comes before or after this: one that was refused is proposed again.
			c.end(first)
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case p := <-proposed:
						c.end(p)
					case <-stop:
						return
					}
				}
			}()
			reply := receive(t, client)
			close(stop)
			<-done
			if err := tsig.VerifyResponse(reply, msg, k, time.Now()); err != nil || rcodeOf(reply) != c.want {
				t.Errorf("the client gets RCODE %d, %v; want %d", rcodeOf(reply), err, c.want)
			}
		})
	}
	// In doubt at the primary: silence there, and here.
	client := dial(t, "", r.Addrs()[0])
	msg := signedUpdate(t, "doubt")
	send(t, client, msg)
	(<-proposed).done(fsm.Result{}, errors.New("in doubt"))
	r.Set(nil)
	heldBack := counted(t, m.heldBack)
	other := dial(t, "", r.Addrs()[0])
	send(t, other, msg)
	eventually(t, "the front's own SERVFAIL is held back", func() bool { return counted(t, m.heldBack) == heldBack+1 })
}

// Run answers what waits before it ends, and leaves no descriptor and no goroutine behind.
func TestEnds(t *testing.T) {
	p := startServer(t, "127.0.0.1:0")
	other := startServer(t, "127.0.0.1:0")
	before := descriptors(t)
	cfg := DefaultConfig()
	cfg.Listen, cfg.Keys, cfg.Drain = []netip.AddrPort{addrPort("127.0.0.1:0"), addrPort("[::1]:0")}, proxyproto.Fixed(proxyKey), patience
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	// Many clients, and primaries that come and go.
	for i := range 100 {
		ups := []Upstream{p.upstream("primary")}
		if i%2 == 0 {
			ups = append(ups, Upstream{Name: "other", DNS: other.addr(), Tier: uint8(1 + i%3)})
		}
		r.Set(ups)
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.Addrs()[i%2]))
		if err != nil {
			t.Fatal(err)
		}
		send(t, c, queryMsg(t, "h.example.test."))
		p.answer(p.next(), 0)
		receive(t, c)
		c.Close()
	}
	open := descriptors(t)
	if most := before + 2*r.cfg.Sockets*(1+100); open > most {
		t.Errorf("%d descriptors are open, %d before: more than one a primary and worker", open, before)
	}
	r.Set([]Upstream{p.upstream("primary")})
	eventually(t, "sockets of primaries that have gone are closed", func() bool {
		r.apply(nil)
		return descriptors(t) <= before+2*r.cfg.Sockets*2
	})

	c := dial(t, "", r.Addrs()[0])
	send(t, c, signedUpdate(t, "last"))
	d := p.next()
	cancel()
	p.answer(d, 0)
	receive(t, c)
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	r.Set([]Upstream{p.upstream("primary")}) // too late, and harmless
	c.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if err := r.Probe(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a relay that has ended is probed: %v", err)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestProbe(t *testing.T) {
	r := startRelay(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Probe(ctx); err != nil {
		t.Fatal(err)
	}
	w := r.workers[0]
	w.mu.Lock()
	short, cancelShort := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelShort()
	if err := r.Probe(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a worker hangs, the probe says: %v", err)
	}
	w.mu.Unlock()
	for range 10 {
		if err := r.Probe(ctx); err != nil {
			t.Error(err)
		}
	}
	// It still works.
	c := dial(t, "", r.Addrs()[0])
	send(t, c, queryMsg(t, "h.example.test."))
	receive(t, c)
}

// Addresses that this node does not hold are bound by Freebind; without it the error says so.
func TestListen(t *testing.T) {
	cfg := DefaultConfig()
	for _, addr := range []string{"192.0.2.100:0", "[2001:db8::100]:0"} {
		cfg.Listen, cfg.Freebind = []netip.AddrPort{addrPort(addr)}, true
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Addrs()[0]; got.Addr() != cfg.Listen[0].Addr() || got.Port() == 0 {
			t.Errorf("listens on %v", got)
		}
		r.close()
		cfg.Registerer = prometheus.NewRegistry()
		cfg.Freebind = false
		if _, err = New(cfg); !errors.Is(err, unix.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "set Freebind") {
			t.Errorf("an address of nobody: %v", err)
		}
		cfg.Registerer = prometheus.NewRegistry()
	}
	taken := startServer(t, "127.0.0.1:0")
	cfg.Listen = []netip.AddrPort{taken.addr()}
	if _, err := New(cfg); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("an address that is taken: %v", err)
	}
}

// Many clients at once while primaries come and go: every request is answered, because there always is somebody.
func TestBusy(t *testing.T) {
	a, b, c := startServer(t, "127.0.0.1:0"), startServer(t, "127.0.0.1:0"), startServer(t, "127.0.0.1:0")
	for _, s := range []*server{a, b, c} {
		s.serve()
	}
	r := startRelay(t, nil, a.upstream("a"))
	stop := make(chan struct{})
	var set, clients sync.WaitGroup
	set.Go(func() {
		ups := []Upstream{a.upstream("a"), b.upstream("b"), c.upstream("c")}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			now := slices.Clone(ups)
			now[i%3].Tier = uint8(i / 3 % 3)
			r.Set(now)
			if i%5 == 0 {
				r.Set(ups[:1+i/5%3])
			}
			if err := r.Probe(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	for n := range 16 {
		clients.Go(func() {
			conn := dial(t, "", r.Addrs()[0])
			for i := range 100 {
				msg := signedUpdate(t, fmt.Sprintf("h%d-%d", n, i))
				for tries := 0; ; tries++ {
					if tries == 10 {
						t.Errorf("client %d, update %d: no answer", n, i)
						return
					}
					send(t, conn, msg)
					if got, err := receiveWithin(conn, 2*time.Second); err == nil && messageID(got) == messageID(msg) {
						break
					}
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	set.Wait()
	eventually(t, "nothing waits", func() bool { return r.shared.pending.Load() == 0 })
}

func receiveWithin(c *net.UDPConn, d time.Duration) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return nil, err
	}
	b := make([]byte, maxDatagram)
	n, err := c.Read(b)
	return b[:n], err
}
