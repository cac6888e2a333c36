package endpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

var (
	errTestOverloaded = errors.New("test: overloaded")
	errTestInDoubt    = errors.New("test: in doubt")
)

// world is everything behind the endpoint, in memory.
type world struct {
	t        testing.TB
	settings atomic.Pointer[testSettings]

	mu       sync.Mutex
	barrier  func(context.Context, fsm.ZoneID) error
	refresh  func(context.Context) error
	proposed []fsm.Update // copies, in order
	// write answers an update; nil: NOERROR at once.
	write func(u *fsm.Update, done func(fsm.Result, error))

	barriers, refreshes atomic.Int64
	replaced            atomic.Bool // named restarts after every barrier
}

func (w *world) Propose(c fsm.Command, _ time.Time, done func(fsm.Result, error)) {
	u := c.(*fsm.Update)
	cp := *u
	cp.Wire = append([]byte(nil), u.Wire...)
	w.mu.Lock()
	w.proposed = append(w.proposed, cp)
	write := w.write
	w.mu.Unlock()
	if write == nil {
		done(fsm.Result{}, nil)
		return
	}
	write(u, done)
}

func (w *world) updates() []fsm.Update {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]fsm.Update(nil), w.proposed...)
}

func (w *world) Barrier(ctx context.Context, id fsm.ZoneID) (Permit, error) {
	w.barriers.Add(1)
	w.mu.Lock()
	f := w.barrier
	w.mu.Unlock()
	if f == nil {
		return w.permit, nil
	}
	return w.permit, f(ctx, id)
}

func (w *world) Serving(fsm.ZoneID) (Permit, error) { return w.permit, nil }

// permit is the Permit of every read.
func (w *world) permit() bool { return !w.replaced.Load() }

func (w *world) Refresh(ctx context.Context) error {
	w.refreshes.Add(1)
	w.mu.Lock()
	f := w.refresh
	w.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx)
}

// testSettings are Settings made of literals.
type testSettings struct {
	tsig.Ring
	generation uint64
	zones      map[zone.Name]Zone
	secondary  zone.Name         // its key, "" for none
	rates      map[zone.Name]int // by key, which is its group
}

func (s *testSettings) Rate(key zone.Name) (group string, perSecond int) {
	if n := s.rates[key]; n > 0 {
		return key.String(), n
	}
	return "", 0
}

func (s *testSettings) Secondary(key zone.Name) bool { return key != "" && key == s.secondary }

func (s *testSettings) Generation() uint64 { return s.generation }

func (s *testSettings) Zone(n zone.Name) (Zone, bool) {
	z, ok := s.zones[n]
	return z, ok
}

func (s *testSettings) Enclosing(n zone.Name) (Zone, bool) {
	for ; ; n = n.Parent() {
		if z, ok := s.zones[n]; ok {
			return z, true
		}
		if n == zone.Root {
			return Zone{}, false
		}
	}
}

func testName(t testing.TB, text string) zone.Name {
	t.Helper()
	n, err := zone.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var testSecret = []byte("0123456789abcdef0123456789abcdef")

func testKey(t testing.TB, name string, alg tsig.Algorithm) tsig.Key {
	t.Helper()
	k, err := tsig.NewKey(tsig.Key{Name: testName(t, name), Algorithm: alg, Secret: testSecret, Version: 1, AllowMD5: true})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func acl(t testing.TB, text string) *policy.ACL {
	t.Helper()
	a, err := policy.ParseACL(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// testZone is a zone that key "<who>." may update and transfer, and that everyone may query.
func testZone(t testing.TB, name, who string) Zone {
	t.Helper()
	return Zone{
		ID:          fsm.ZoneOf(testName(t, name)),
		AllowUpdate: acl(t, `key "`+who+`";`), AllowQuery: acl(t, "any;"), AllowTransfer: acl(t, `key "`+who+`";`),
	}
}

func newWorld(t testing.TB) *world {
	w := &world{t: t}
	w.set(func(s *testSettings) {
		ring, err := tsig.NewRing(
			testKey(t, "key.", tsig.HMACSHA256), testKey(t, "other.", tsig.HMACSHA256), testKey(t, "md5.", tsig.HMACMD5),
			testKey(t, "sha1.", tsig.HMACSHA1), testKey(t, "sha224.", tsig.HMACSHA224), testKey(t, "sha384.", tsig.HMACSHA384),
			testKey(t, "sha512.", tsig.HMACSHA512),
		)
		if err != nil {
			t.Fatal(err)
		}
		s.Ring = ring
		z := testZone(t, "example.test.", "key")
		s.zones = map[zone.Name]Zone{z.ID.Name: z}
	})
	return w
}

// set changes the settings, as an entry of the log would.
func (w *world) set(edit func(*testSettings)) {
	next := &testSettings{Ring: tsig.Ring{}, zones: map[zone.Name]Zone{}}
	if old := w.settings.Load(); old != nil {
		for k, v := range old.Ring {
			next.Ring[k] = v
		}
		for k, v := range old.zones {
			next.zones[k] = v
		}
		next.generation = old.generation + 1
	}
	edit(next)
	w.settings.Store(next)
}

// start runs an endpoint until the test ends.
func (w *world) start(edit func(*Config)) *Server {
	w.t.Helper()
	cfg := DefaultConfig()
	cfg.Listen = []netip.AddrPort{namedtest.FreePort(w.t)}
	cfg.Named = netip.MustParseAddrPort("127.0.0.1:1") // nobody
	cfg.Writer, cfg.Reader = w, w
	cfg.Settings = func() Settings { return w.settings.Load() }
	cfg.NotApplied = []error{errTestOverloaded}
	cfg.Registerer = prometheus.NewRegistry()
	cfg.Logger = slog.New(slog.NewTextHandler(testLog{w.t}, nil))
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, time.Second) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Serve: %v", err)
		}
	})
	return s
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	if testing.Verbose() {
		l.t.Logf("%s", b)
	}
	return len(b), nil
}

// logged is a log that a test reads while it is written.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// has reports whether a line has all of some words.
func (l *logged) has(words ...string) bool {
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// updateMsg is an unsigned UPDATE that adds one address.
func updateMsg(t testing.TB, zoneName, owner string, edit ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate(zoneName)
	rr, err := dns.NewRR(owner + " 60 IN A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	m.Insert([]dns.RR{rr})
	return packed(t, m, edit)
}

// packed is a message after its edits.
func packed(t testing.TB, m *dns.Msg, edit []func(*dns.Msg)) []byte {
	t.Helper()
	for _, e := range edit {
		e(m)
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func withEDNS(m *dns.Msg) { m.SetEdns0(1232, false) }

func queryMsg(t testing.TB, name string, qtype uint16, edit ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.RecursionDesired = false
	return packed(t, m, edit)
}

const testTimeout = 10 * time.Second

// udpAsk sends one datagram and waits for one.
func udpAsk(t testing.TB, to netip.AddrPort, msg []byte) []byte {
	t.Helper()
	reply, err := udpTry(to, msg, testTimeout)
	if err != nil {
		t.Fatalf("no answer over UDP: %v", err)
	}
	return reply
}

func udpTry(to netip.AddrPort, msg []byte, timeout time.Duration) ([]byte, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err = c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err = c.Write(msg); err != nil {
		return nil, err
	}
	b := make([]byte, maxMessage)
	n, err := c.Read(b)
	return b[:n], err
}

func tcpDial(t testing.TB, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", to.String(), testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	return c
}

func tcpSend(t testing.TB, c io.Writer, msg []byte) {
	t.Helper()
	if err := xfr.WriteFrame(c, msg); err != nil {
		t.Fatal(err)
	}
}

func tcpRead(t testing.TB, c io.Reader) []byte {
	t.Helper()
	msg, err := xfr.ReadFrame(c, nil)
	if err != nil {
		t.Fatalf("no answer over TCP: %v", err)
	}
	return msg
}

func tcpAsk(t testing.TB, to netip.AddrPort, msg []byte) []byte {
	t.Helper()
	c := tcpDial(t, to)
	defer c.Close()
	tcpSend(t, c, msg)
	return tcpRead(t, c)
}

func rcodeOf(msg []byte) int { return int(msg[3] & 0xf) }

// unpack reads a reply with another implementation.
func unpack(t testing.TB, msg []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("the reply does not parse: %v", err)
	}
	return m
}

// edeOf returns the reply's Extended DNS Error, or -1.
func edeOf(t testing.TB, msg []byte) (code int, text string) {
	t.Helper()
	opt := unpack(t, msg).IsEdns0()
	if opt == nil {
		return -1, ""
	}
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok {
			return int(e.InfoCode), e.ExtraText
		}
	}
	return -1, ""
}

func withID(msg []byte, id uint16) []byte {
	out := append([]byte(nil), msg...)
	binary.BigEndian.PutUint16(out, id)
	return out
}
