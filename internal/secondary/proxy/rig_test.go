package proxy

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// server is a named of the test's own.
type server struct {
	t    testing.TB
	addr netip.AddrPort
	cmd  *exec.Cmd
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testKey(t testing.TB, secret string) tsig.Key {
	t.Helper()
	k, err := tsig.NewKey(tsig.Key{Name: zone.MustParseName("secondary-0."), Algorithm: tsig.HMACSHA256, Secret: []byte(secret)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// startNamed runs named with these lines after its options, and with these files.
func startNamed(t testing.TB, rel namedtest.Release, k tsig.Key, options, conf string, files map[string]string) *server {
	t.Helper()
	dir := namedtest.Dir(t)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		s := &server{t: t, addr: namedtest.FreePort(t), log: &lockedBuffer{}}
		text := fmt.Sprintf(`key %q { algorithm %s; secret %q; };
controls { };
options {
	directory %q; pid-file none; session-keyfile none; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; notify no; empty-zones-enable no; dnssec-validation no; %s
};
%s`, k.Name.String(), k.Algorithm, base64.StdEncoding.EncodeToString(k.Secret), dir, s.addr.Port(), options, conf)
		if err := os.WriteFile(filepath.Join(dir, "named.conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.cmd = exec.Command(rel.Named, "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
		s.cmd.Stderr = s.log
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.kill()
			if t.Failed() {
				t.Logf("named at %v: %s", s.addr, s.log)
			}
		})
		if s.ready() {
			return s
		}
		s.kill()
	}
	t.Fatal("no port stays free for named")
	return nil
}

func (s *server) ready() bool {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if _, err := s.exchange(new(dns.Msg).SetQuestion("ready.invalid.", dns.TypeSOA), 200*time.Millisecond); err == nil {
			return true
		}
		if strings.Contains(s.log.String(), "address in use") {
			return false
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("named does not start: %s", s.log)
		}
	}
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) kill() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // killed: the error is expected
	}
}

// exchange asks over UDP.
func (s *server) exchange(m *dns.Msg, timeout time.Duration) (*dns.Msg, error) {
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	return s.raw(wire, timeout)
}

func (s *server) raw(wire []byte, timeout time.Duration) (*dns.Msg, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, 65535)
	n, err := c.Read(buf)
	if err != nil {
		return nil, err
	}
	out := new(dns.Msg)
	return out, out.Unpack(buf[:n])
}

// serial of a zone; ok is false when the server does not serve it.
func (s *server) serial(name string) (uint32, bool) {
	r, err := s.exchange(new(dns.Msg).SetQuestion(name, dns.TypeSOA), time.Second)
	if err != nil || r.Rcode != 0 || !r.Authoritative || len(r.Answer) == 0 {
		return 0, false
	}
	soa, ok := r.Answer[0].(*dns.SOA)
	if !ok {
		return 0, false
	}
	return soa.Serial, true
}

// update changes a zone by records in zone-file text; those that begin with "-" are
// removed.
func (s *server) update(k tsig.Key, name string, records ...string) {
	s.t.Helper()
	m := new(dns.Msg).SetUpdate(name)
	for _, text := range records {
		text, remove := strings.CutPrefix(text, "-")
		rr, err := dns.NewRR(text)
		if err != nil {
			s.t.Fatal(err)
		}
		if remove {
			m.Remove([]dns.RR{rr})
		} else {
			m.Insert([]dns.RR{rr})
		}
	}
	wire, err := m.Pack()
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := s.raw(tsig.SignRequest(wire, k, time.Now()), patience)
	if err != nil || r.Rcode != 0 {
		s.t.Fatalf("update: %v, %v", r, err)
	}
}

// notify tells the server that a zone has changed; it comes from its primary's
// address.
func (s *server) notify(name string) {
	s.t.Helper()
	if _, err := s.exchange(new(dns.Msg).SetNotify(name), patience); err != nil {
		s.t.Fatal(err)
	}
}

// until waits for a condition, and returns how long it took.
func until(t testing.TB, what string, cond func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > patience {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(2 * time.Millisecond) // between two looks
	}
	return time.Since(start)
}

// rig is a proxy between real servers.
type rig struct {
	t         *testing.T
	k         tsig.Key
	primaries []*server
	gone      []chan struct{}
	secondary *server
	p         *Proxy

	mu     sync.Mutex
	order  []int
	addrs  []netip.AddrPort
	until  map[string]time.Time // failed primaries come last until then
	failed []error
	done   []Kind
}

const primaryZone = `zone %q { type primary; file "%s.db"; allow-transfer { key "secondary-0."; }; allow-update { key "secondary-0."; }; };
`

// newRig starts primaries with the zones, and the proxy.
func newRig(t *testing.T, rel namedtest.Release, primaries int, zones map[string]string, adjust func(*rig, *Config)) *rig {
	t.Helper()
	g := &rig{t: t, k: testKey(t, "0123456789abcdef0123456789abcdef"), until: map[string]time.Time{}}
	var conf strings.Builder
	files := map[string]string{}
	for name, text := range zones {
		fmt.Fprintf(&conf, primaryZone, name, name)
		files[name+".db"] = text
	}
	for i := range primaries {
		s := startNamed(t, rel, g.k, "", conf.String(), files)
		g.primaries = append(g.primaries, s)
		g.addrs = append(g.addrs, s.addr)
		g.gone = append(g.gone, make(chan struct{}))
		g.order = append(g.order, i)
	}
	cfg := DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Choose = g.choose
	cfg.Floor = func(z zone.Name) (uint32, bool) { return g.secondary.serial(z.String()) }
	cfg.Failed = func(name string, err error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.failed = append(g.failed, err)
		g.until[name] = time.Now().Add(2 * time.Second)
	}
	cfg.Done = func(_ zone.Name, _ uint32, how Kind) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.done = append(g.done, how)
	}
	if adjust != nil {
		adjust(g, &cfg)
	}
	var err error
	if g.p, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *rig) choose(zone.Name) []Primary {
	g.mu.Lock()
	defer g.mu.Unlock()
	var good, last []Primary
	for _, i := range g.order {
		pr := Primary{Name: fmt.Sprint(i), Addr: g.addrs[i], Gone: g.gone[i]}
		if time.Now().Before(g.until[pr.Name]) {
			last = append(last, pr)
		} else {
			good = append(good, pr)
		}
	}
	return append(good, last...)
}

// first puts a primary first and forgets what failed.
func (g *rig) first(i int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.order = append([]int{i}, slices.DeleteFunc(g.order, func(j int) bool { return i == j })...)
	g.until, g.failed, g.done = map[string]time.Time{}, nil, nil
}

func (g *rig) takeDone() []Kind {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.done
	g.done = nil
	return d
}

// hasFailed reports whether some failure was of this kind.
func (g *rig) hasFailed(kind error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.failed, func(err error) bool { return errors.Is(err, kind) })
}

// run starts the secondary and runs the proxy during body; afterwards nothing of it
// may be left.
func (g *rig) run(rel namedtest.Release, k tsig.Key, conf string, body func()) {
	g.t.Helper()
	g.runWith(rel, k, "", conf, body)
}

func (g *rig) runWith(rel namedtest.Release, k tsig.Key, options, conf string, body func()) {
	g.t.Helper()
	options += " serial-query-rate 10000; transfers-in 32; transfers-per-ns 32; min-refresh-time 1; min-retry-time 1; try-tcp-refresh no;"
	proxy := strings.NewReplacer("PROXY", fmt.Sprintf(`127.0.0.1 port %d key "secondary-0."`, g.p.Addr().Port()))
	g.secondary = startNamed(g.t, rel, k, proxy.Replace(options), proxy.Replace(conf), nil)
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.p.Run(ctx) }()
	body()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			g.t.Error(err)
		}
	case <-time.After(patience):
		g.t.Fatal("Run does not end")
	}
	until(g.t, "goroutines of the proxy end", func() bool { return runtime.NumGoroutine() <= before })
	for _, a := range g.addrs {
		until(g.t, fmt.Sprintf("connections to %v end", a), func() bool { return connections(g.t, a) == 0 })
	}
}

// connections counts this process's established connections to an address.
func connections(t testing.TB, to netip.AddrPort) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	a := to.Addr().As4()
	remote := fmt.Sprintf("%02X%02X%02X%02X:%04X", a[3], a[2], a[1], a[0], to.Port())
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 9 && f[2] == remote && f[3] == "01" && f[9] != "0" {
			n++
		}
	}
	return n
}

// withHosts is smallZone with records: BIND answers an IXFR request with the whole
// zone when that is shorter (max-ixfr-ratio).
func withHosts(n int) string {
	var b strings.Builder
	b.WriteString(smallZone)
	for i := range n {
		fmt.Fprintf(&b, "host-%d A 10.%d.%d.%d\n", i, i>>16, i>>8&255, i&255)
	}
	return b.String()
}

const smallZone = "$TTL 60\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n"

const secondaryZone = `zone "example.test" { type secondary; primaries { PROXY; }; file "example.test.db"; };`
