package checks

import (
	"context"
	"crypto/tls"
	"errors"
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
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// patience is for what should take milliseconds, on a machine that has other things to do.
const patience = 30 * time.Second

// primary is an admin API with a settable answer.
type primary struct {
	target Target
	status atomic.Int64
	conns  atomic.Int64
	hang   chan struct{}                 // not nil: answers wait until it is closed
	late   atomic.Pointer[chan struct{}] // the same, for a part of the test
	srv    *http.Server
}

func newPrimary(t *testing.T, ca, clients *harness.Authority, name string, hang chan struct{}) *primary {
	t.Helper()
	_, _, cert := ca.Issue(name)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{target: Target{Name: name, Admin: l.Addr().(*net.TCPAddr).AddrPort()}, hang: hang}
	p.status.Store(http.StatusOK)
	p.srv = &http.Server{
		ReadHeaderTimeout: patience, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				p.conns.Add(1)
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p.hang != nil {
				select {
				case <-p.hang:
				case <-r.Context().Done():
					return
				}
			}
			if late := p.late.Load(); late != nil {
				<-*late
			}
			status := int(p.status.Load())
			if r.URL.Path != "/readyz" {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
			if status != http.StatusOK {
				_, _ = io.WriteString(w, `{"code":"x","message":"no quorum"}`)
			}
		}),
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool}
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.srv.Serve(tls.NewListener(l, config)) })
	t.Cleanup(func() {
		_ = p.srv.Close()
		wg.Wait()
	})
	return p
}

// rig is a Checker whose changes and results are events.
type rig struct {
	t       *testing.T
	c       *Checker
	changes chan Change
	results chan error
}

func newRig(t *testing.T, ca *harness.Authority, adjust func(*Config)) *rig {
	t.Helper()
	certFile, keyFile, _ := ca.Issue("front")
	cert, err := conf.LoadCertificate(certFile, keyFile, ca.CA)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, changes: make(chan Change, 1000), results: make(chan error, 1000)}
	cfg := DefaultConfig()
	cfg.Every, cfg.Late, cfg.Timeout = time.Millisecond, patience, patience
	cfg.Certificate, cfg.ServerName = cert, "127.0.0.1"
	cfg.OnChange = func(c Change) { r.changes <- c }
	cfg.Observe = func(_ string, err error) {
		select {
		case r.results <- err:
		default:
		}
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	if adjust != nil {
		adjust(&cfg)
	}
	if r.c, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func (r *rig) expect(name string, s State, reason string) {
	r.t.Helper()
	select {
	case c := <-r.changes:
		if c.Name != name || c.State != s || !strings.Contains(c.Reason, reason) {
			r.t.Fatalf("%+v, want %s %s with %q", c, name, s, reason)
		}
	case <-time.After(patience):
		r.t.Fatalf("no change; want %s %s", name, s)
	}
}

func (r *rig) result() error {
	r.t.Helper()
	select {
	case err := <-r.results:
		return err
	case <-time.After(patience):
		r.t.Fatal("no check within the patience of this test")
		return nil
	}
}

// TestStates: ready, not ready, ready, gone; all on one connection for as long as there is one.
func TestStates(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	p := newPrimary(t, ca, ca, "primary-0", nil)
	r := newRig(t, ca, nil)
	r.c.Set([]Target{p.target})
	r.expect("primary-0", Ready, "")
	p.status.Store(http.StatusServiceUnavailable)
	r.expect("primary-0", Alive, "no quorum")
	p.status.Store(http.StatusOK)
	r.expect("primary-0", Ready, "")
	p.status.Store(http.StatusForbidden) // it answers: better asked than nobody
	r.expect("primary-0", Alive, "403")
	p.status.Store(http.StatusOK)
	r.expect("primary-0", Ready, "")
	if n := p.conns.Load(); n != 1 {
		t.Errorf("%d connections, want one that is kept", n)
	}
	_ = p.srv.Close()
	r.expect("primary-0", Down, "primary-0")
}

// TestRise: so many good answers in a row are needed, except at first.
func TestRise(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	p := newPrimary(t, ca, ca, "primary-0", nil)
	r := newRig(t, ca, func(c *Config) { c.Rise, c.Every = 3, time.Hour })
	r.c.Set([]Target{p.target})
	r.expect("primary-0", Ready, "")
	p.status.Store(http.StatusServiceUnavailable)
	r.c.Now("primary-0")
	r.expect("primary-0", Alive, "")
	p.status.Store(http.StatusOK)
	for len(r.results) > 0 {
		<-r.results
	}
	for range 2 {
		r.c.Now("primary-0")
		if err := r.result(); err != nil {
			t.Fatal(err)
		}
		if len(r.changes) > 0 {
			t.Fatalf("%+v after fewer than 3 good answers", <-r.changes)
		}
	}
	r.c.Now("primary-0")
	r.expect("primary-0", Ready, "")
}

// TestSilence: a primary that takes the question and does not answer is down; when it does again it is asked on a new connection.
func TestSilence(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	hang := make(chan struct{})
	p := newPrimary(t, ca, ca, "primary-0", hang)
	r := newRig(t, ca, func(c *Config) { c.Timeout, c.Fall = 100*time.Millisecond, 3 })
	r.c.Set([]Target{p.target})
	r.expect("primary-0", Down, "deadline")
	if err := r.result(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the check's error: %v", err)
	}
	close(hang)
	r.expect("primary-0", Ready, "")
	if n := p.conns.Load(); n < 2 {
		t.Errorf("%d connections", n)
	}
}

// TestDeaf: a primary whose machine takes connections and says nothing costs the timeout, each time, and is found when it is back.
func TestDeaf(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	p := newPrimary(t, ca, ca, "primary-0", nil)
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	r := newRig(t, ca, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	r.c.Set([]Target{{"primary-0", deaf.Addr().(*net.TCPAddr).AddrPort()}})
	r.expect("primary-0", Down, "deadline")
	var held []net.Conn // never answered; a check that waits for an old connection would not be here
	for range 3 {
		c, err := deaf.Accept()
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		begun := time.Now()
		if err := r.result(); err == nil || time.Since(begun) > patience {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	}
	for _, c := range held {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("a connection of a check that is over was not closed: %v", err)
		}
		_ = c.Close()
	}
	r.c.Set([]Target{p.target})
	r.expect("primary-0", Ready, "")
}

// TestFall: one failure between good answers changes nothing.
func TestFall(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	r := newRig(t, ca, nil)
	tg := &target{Target: Target{Name: "x"}}
	for _, s := range []State{Ready, Down, Ready, Down, Down, Down, Alive, Down, Down} {
		r.c.judge(tg, s, errors.New("some reason"))
	}
	for _, want := range []State{Ready, Down, Alive, Down} {
		r.expect("x", want, "")
	}
	if len(r.changes) > 0 {
		t.Errorf("more: %+v", <-r.changes)
	}
}

// TestStranger: whoever has a certificate of another CA is not the primary, and neither is one of another name.
func TestStranger(t *testing.T) {
	ca, foreign := harness.NewAuthority(t, "ca"), harness.NewAuthority(t, "foreign")
	p := newPrimary(t, foreign, ca, "primary-0", nil)
	r := newRig(t, ca, nil)
	r.c.Set([]Target{p.target})
	r.expect("primary-0", Down, "certificate")
	named := newPrimary(t, ca, ca, "primary-1", nil)
	r = newRig(t, ca, func(c *Config) { c.ServerName = "" })
	r.c.Set([]Target{named.target})
	r.expect("primary-1", Down, "primary-1")
}

// TestMoved: at a new address a primary begins anew; one that is left out is not asked and not spoken of any more.
func TestMoved(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	here, there := newPrimary(t, ca, ca, "here", nil), newPrimary(t, ca, ca, "there", nil)
	r := newRig(t, ca, nil)
	r.c.Set([]Target{{"primary-0", here.target.Admin}, {"primary-1", there.target.Admin}})
	seen := map[string]bool{}
	for range 2 {
		c := <-r.changes
		seen[c.Name] = c.State == Ready
	}
	if !seen["primary-0"] || !seen["primary-1"] {
		t.Fatalf("%v", seen)
	}
	r.c.Set([]Target{{"primary-0", there.target.Admin}})
	r.expect("primary-0", Down, "has moved from")
	r.expect("primary-0", Ready, "")
	here.status.Store(http.StatusServiceUnavailable)
	r.c.Set(nil)
	for len(r.changes) > 0 {
		t.Errorf("%+v", <-r.changes)
	}
	there.status.Store(http.StatusServiceUnavailable)
	r.c.Set([]Target{{"primary-2", netip.AddrPortFrom(there.target.Admin.Addr(), there.target.Admin.Port())}})
	r.expect("primary-2", Alive, "") // and nothing of the others before
}

// TestSetBeforeAndAfterRun: a list may be there before Run, and after Run nothing is started.
func TestSetBeforeAndAfterRun(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	p := newPrimary(t, ca, ca, "primary-0", nil)
	r := newRig(t, ca, nil)
	cfg := r.c.cfg
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Set([]Target{{"early", p.target.Admin}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	r.expect("early", Ready, "")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.Set([]Target{{"late", p.target.Admin}})
	c.Set(nil)
	for len(r.changes) > 0 {
		t.Errorf("%+v", <-r.changes)
	}
}

func TestValidate(t *testing.T) {
	_, err := New(Config{})
	for _, field := range []string{"Every", "Timeout", "Fall", "Rise", "Certificate", "OnChange"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}

// TestLate: an answer that is overdue is told of before the check fails, and that it came after all.
func TestLate(t *testing.T) {
	ca := harness.NewAuthority(t, "ca")
	r := newRig(t, ca, func(c *Config) { c.Late = 20 * time.Millisecond })
	p := newPrimary(t, ca, ca, "primary-0", nil)
	r.c.Set([]Target{p.target})
	// Without our doing answers may be late as well.
	until := func(late bool) {
		t.Helper()
		for {
			select {
			case c := <-r.changes:
				if c.State != Ready {
					t.Fatalf("%+v, want it to be ready", c)
				}
				if c.Late == late {
					return
				}
			case <-time.After(patience):
				t.Fatalf("no change; want late: %v", late)
			}
		}
	}
	until(false)
	held := make(chan struct{})
	p.late.Store(&held)
	until(true)
	p.late.Store(nil)
	close(held)
	until(false)
}
