package haproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/porttest"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// patience is for what should take milliseconds, on a machine that has other things to do.
const patience = 30 * time.Second

// fake is a primary as HAProxy sees it: a port with PROXY header and mutual TLS that answers each line with its name, the client's
// address and the line, and an admin port that says whether it is ready.
type fake struct {
	name    string
	dns     net.Listener
	admin   *http.Server
	target  Primary
	ready   atomic.Bool
	conns   atomic.Int64 // clients' connections that it ever had
	resumed atomic.Int64 // of them, with the keys of an earlier one
	stall   atomic.Bool  // the next connection gets no TLS handshake
	shown   atomic.Value // serial number of the front's certificate in the last connection
}

func newFake(t testing.TB, ca *harness.Authority, name string) *fake {
	t.Helper()
	certFile, keyFile, _ := ca.IssueFor(name, "", name, "primary")
	cert, err := conf.LoadCertificate(certFile, keyFile, ca.CA)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{name: name}
	f.ready.Store(true)
	if f.dns, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.admin = &http.Server{ReadHeaderTimeout: patience, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || !f.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	config := cert.Mutual() // each port has its own tickets, as a primary's have
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.admin.Serve(tls.NewListener(admin, cert.Mutual())) })
	wg.Go(func() {
		for {
			c, err := f.dns.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(c, config) })
		}
	})
	t.Cleanup(func() {
		_ = f.admin.Close()
		_ = f.dns.Close()
		wg.Wait()
	})
	port := func(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }
	f.target = Primary{Name: name, DNS: port(f.dns), Admin: port(admin).Port()}
	return f
}

func (f *fake) serve(c net.Conn, config *tls.Config) {
	defer c.Close()
	r := bufio.NewReader(c)
	head, err := proxyproto.Read(r, nil, time.Now())
	if err != nil {
		return
	}
	if f.stall.CompareAndSwap(true, false) {
		_, _ = io.Copy(io.Discard, r) // until the other side has enough
		return
	}
	s := tls.Server(begun{c, r}, config)
	lines := bufio.NewReader(s)
	for first := true; ; first = false {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if first {
			f.conns.Add(1)
			if s.ConnectionState().DidResume {
				f.resumed.Add(1)
			}
			f.shown.Store(s.ConnectionState().PeerCertificates[0].SerialNumber.String())
		}
		if _, err := fmt.Fprintf(s, "%s %s %s", f.name, head.Client.Addr(), line); err != nil {
			return
		}
	}
}

// begun is a connection whose first octets are in r.
type begun struct {
	net.Conn
	r *bufio.Reader
}

func (b begun) Read(p []byte) (int, error) { return b.r.Read(p) }

// rig is a directory, fakes, and an HAProxy in front of them.
type rig struct {
	t       testing.TB
	cfg     Config
	pcfg    ProcessConfig
	ca      *harness.Authority
	p       *Process
	configs chan []byte
	events  chan Event
	adjust  func([]byte) []byte // what render makes, before it is sent; nil: nothing
	left    int                 // events of kind Left so far
	said    chan string         // HAProxy's lines above debug
}

func newRig(t testing.TB, fakes int) (*rig, []*fake) {
	t.Helper()
	dir := t.TempDir()
	if len(SocketPath(dir)) > maxSocketPath {
		t.Fatalf("set TMPDIR to a shorter path: %s", dir)
	}
	r := &rig{t: t, ca: harness.NewAuthority(t, "primaries"), configs: make(chan []byte), events: make(chan Event, 1000), said: make(chan string, 1000)}
	cert, key, _ := r.ca.Issue("front")
	r.cfg = DefaultConfig()
	r.cfg.Dir, r.cfg.Transparent, r.cfg.Metrics = dir, false, netip.AddrPort{}
	r.cfg.Limits.ConnectionsPerClient, r.cfg.Limits.ConnectionsPerSecond = 10000, 10000
	// A busy machine is no fault. HAProxy's time for a TLS handshake is the least of ConnectTimeout and Checks.Every.
	r.cfg.Checks = Checks{Every: patience, Timeout: patience, Fall: 1, Rise: 1}
	r.cfg.ConnectTimeout = patience
	var err error
	if r.cfg.Identity, err = Install(dir, cert, key, r.ca.CA); err != nil {
		t.Fatal(err)
	}
	r.cfg.Listen = []netip.AddrPort{porttest.Addr(t)}
	var list []*fake
	for i := range fakes {
		f := newFake(t, r.ca, fmt.Sprintf("primary-%d", i))
		list = append(list, f)
		r.cfg.Primaries = append(r.cfg.Primaries, f.target)
	}
	r.pcfg = DefaultProcessConfig()
	r.pcfg.Dir, r.pcfg.ReloadEvery, r.pcfg.StartWithin = dir, 0, patience
	r.pcfg.Observe = func(e Event) { r.events <- e }
	r.pcfg.Logger = slog.New(heard{r.said})
	return r, list
}

// run starts HAProxy and waits until it serves.
func (r *rig) run() {
	r.t.Helper()
	var err error
	if r.p, err = New(r.pcfg); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.p.Run(ctx, r.configs) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.send(r.cfg)
	r.expect(Started)
}

func (r *rig) send(c Config) {
	r.t.Helper()
	conf, err := Render(c)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.adjust != nil {
		conf = r.adjust(conf)
	}
	r.configs <- conf
}

// expect waits for an event; others than Left, which are counted, must not come before it.
func (r *rig) expect(kind Kind) Event {
	r.t.Helper()
	for {
		select {
		case e := <-r.events:
			if e.Kind == Left {
				r.left++
			}
			if e.Kind == kind {
				return e
			}
			if e.Kind != Left {
				r.t.Fatalf("event %+v, want kind %d", e, kind)
			}
		case <-time.After(patience):
			r.t.Fatalf("no event of kind %d", kind)
		}
	}
}

// hears waits until HAProxy has said a line that has all of words.
func (r *rig) hears(words ...string) {
	r.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case line := <-r.said:
			missing := false
			for _, w := range words {
				missing = missing || !strings.Contains(line, w)
			}
			if !missing {
				return
			}
		case <-deadline:
			r.t.Fatalf("HAProxy did not say %q", words)
		}
	}
}

// dial connects to HAProxy from an address of 127/8; "" is the usual one.
func (r *rig) dial(from string) (*client, error) {
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", r.cfg.Listen[0].String())
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return &client{Conn: c, r: bufio.NewReader(c)}, nil
}

type client struct {
	net.Conn
	r *bufio.Reader
}

// ask sends a line and returns the answer, which is "" when the connection was closed instead.
func (c *client) ask(line string) (string, error) {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	answer, err := c.r.ReadString('\n')
	return strings.TrimSpace(answer), err
}

// gone waits until the other side has closed the connection.
func (c *client) gone(t *testing.T) {
	t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		t.Errorf("octet %q where the connection should be closed", b)
	} else if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		t.Errorf("the connection was not closed: %v", err)
	}
	_ = c.Close()
}

// refused reports whether a connection from an address was not taken, which may be seen when it is made or when it is used.
func (r *rig) refused(from string) bool {
	r.t.Helper()
	answer, err := r.once(from, "x")
	if isTimeout(err) {
		r.t.Errorf("a connection from %s is neither used nor closed", from)
	}
	return err != nil && answer == ""
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// once is one connection with one line.
func (r *rig) once(from, line string) (string, error) {
	c, err := r.dial(from)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ask(line)
}

func (r *rig) want(from, line, answer string) {
	r.t.Helper()
	if got, err := r.once(from, line); got != answer || err != nil {
		r.t.Errorf("%q from %q: %q, %v; want %q", line, from, got, err, answer)
	}
}

// eventually asks again until the answer comes.
func (r *rig) eventually(line, answer string) {
	r.t.Helper()
	var got string
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if got, err = r.once("", line); got == answer && err == nil {
			return
		}
	}
	r.t.Fatalf("%q: still %q, %v; want %q", line, got, err, answer)
}

// heard is a slog handler that passes messages on.
type heard struct{ said chan string }

func (heard) Enabled(_ context.Context, l slog.Level) bool { return l > slog.LevelDebug }
func (h heard) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.said <- r.Message:
	default:
	}
	return nil
}
func (h heard) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h heard) WithGroup(string) slog.Handler      { return h }
