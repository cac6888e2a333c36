package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/backends"
	"github.com/zonekeeper/zonekeeper/internal/front/checks"
	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/relay"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// parts are the parts of a front, that only note what they are told.
type parts struct {
	mu     sync.Mutex
	said   []string
	broken error // what keepalived's files say when they are written
	drain  func()
	states chan keepalived.State
}

func (p *parts) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, fmt.Sprintf(format, args...))
}

// heard gives what was noted since the last call.
func (p *parts) heard() string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.Join(p.said, "\n")
	p.said = nil
	return s
}

func (p *parts) breaks(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = err
}

type fakeChecker struct{ *parts }

func (fakeChecker) Run(context.Context) error  { return nil }
func (p fakeChecker) Set(list []checks.Target) { p.note("check %d", len(list)) }

type fakeMover struct{ *parts }

func (fakeMover) Run(context.Context) error         { return nil }
func (p fakeMover) State() <-chan keepalived.State  { return p.states }
func (fakeMover) PID() int                          { return 1 }
func (fakeMover) Restarts() uint64                  { return 0 }
func (fakeMover) Strangers() (uint64, []netip.Addr) { return 0, nil }
func (p fakeMover) SetPeers(l []netip.Addr) error   { return p.tell("peers %v", l) }
func (p fakeMover) SetLocal(reason string) error    { return p.tell("local %q", reason) }
func (p fakeMover) SetScore(score int) error        { return p.tell("score %d", score) }
func (p *parts) tell(format string, value any) error {
	p.mu.Lock()
	err := p.broken
	p.mu.Unlock()
	if err == nil {
		p.note(format, value)
	}
	return err
}

type fakeRelay struct{ *parts }

func (fakeRelay) Run(context.Context) error   { return nil }
func (fakeRelay) Probe(context.Context) error { return nil }
func (p fakeRelay) Set(list []relay.Upstream) {
	var tiers []string
	for _, u := range list {
		tiers = append(tiers, fmt.Sprint(u.Tier))
	}
	p.note("relay %s", strings.Join(tiers, " "))
}

type fakeHAProxy struct{ *parts }

func (fakeHAProxy) Run(context.Context, <-chan []byte) error       { return nil }
func (fakeHAProxy) Alive(context.Context) error                    { return nil }
func (fakeHAProxy) Stat(context.Context) ([]haproxy.Server, error) { return nil, errors.New("none") }
func (fakeHAProxy) Restart(string)                                 {}
func (fakeHAProxy) PID() int                                       { return 2 }
func (p fakeHAProxy) Drain(context.Context) error                  { p.note("drain"); p.drain(); return nil }

// testConfig is a node of mode vip on the loopback interface, with certificates.
func testConfig(t *testing.T) (Config, *harness.Authority) {
	t.Helper()
	a := harness.NewAuthority(t, "ours")
	c := DefaultConfig()
	c.Name, c.Dir = "node-a", t.TempDir()
	c.VIP.Addresses = []string{"192.0.2.100/32", "2001:db8::100/128"}
	c.VIP.Interface, c.VIP.NodeAddress, c.VIP.Peers = "lo", "192.0.2.11", []string{"192.0.2.12"}
	for _, p := range three() {
		c.Primaries.Static = append(c.Primaries.Static, PrimaryConfig{Name: p.Name, Address: p.Addr.String()})
	}
	c.Primaries.TLS.Cert, c.Primaries.TLS.Key, _ = a.Issue("front")
	c.Primaries.TLS.CA, c.Primaries.TLS.ServerName = a.CA, "primary"
	c.Primaries.ProxyKeyFile = write(t, t.TempDir()+"/key", strings.Repeat("QUJD", 8)+"\n")
	return c, a
}

// faked is a front whose parts are fakes.
func faked(t *testing.T, cfg Config) (*front, *parts) {
	t.Helper()
	set, err := cfg.settings()
	if err != nil {
		t.Fatal(err)
	}
	f, err := blank(cfg, set, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if f.identity, err = newIdentity(cfg); err != nil {
		t.Fatal(err)
	}
	f.source = backends.Static(three())
	p := &parts{drain: func() {}, states: make(chan keepalived.State)}
	f.checker, f.relay, f.haproxy = fakeChecker{p}, fakeRelay{p}, fakeHAProxy{p}
	if cfg.Mode == ModeVIP {
		f.keepalived = fakeMover{p}
	}
	return f, p
}

func (f *front) whole(parts ...string) {
	for _, part := range parts {
		f.fault(part, nil)
	}
}

// TestSteer: every part hears what concerns it, once, and in the order in which it matters.
func TestSteer(t *testing.T) {
	cfg, ca := testConfig(t)
	synctest.Test(t, func(t *testing.T) {
		f, p := faked(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.steer(ctx) }()
		expect := func(when, want string) {
			t.Helper()
			if got := p.heard(); got != want {
				t.Fatalf("%s: heard\n%s\nwant\n%s", when, got, want)
			}
		}
		config := func() []byte {
			synctest.Wait()
			select {
			case c := <-f.configs:
				return c
			default:
				return nil
			}
		}
		starting := "it has not started yet"
		expect("at the start", fmt.Sprintf("local %q\nscore 0", "conflict: the network has not been asked yet who uses the addresses; haproxy: "+starting+"; relay: "+starting+
			"; unheard: the network has not been asked yet who uses the addresses"))

		f.listed(three(), true)
		expect("with a list", "relay 1 1 1\ncheck 3")
		first := config()
		if !bytes.Contains(first, []byte("server primary-2 198.51.100.12:854")) {
			t.Fatalf("HAProxy's configuration:\n%s", first)
		}
		f.listed(three(), true)
		expect("with the same list", "")

		f.whole(faultHAProxy, faultRelay)
		p.heard()
		f.whole(faultConflict, faultUnheard)
		expect("when it is whole", `local ""`)

		check := func(name string, s checks.State) {
			f.mu.Lock()
			f.m.checked(checks.Change{Name: name, State: s})
			f.mu.Unlock()
			signal(f.changed)
		}
		check("primary-1", checks.Ready)
		expect("with a primary", "relay 1 0 1") // the score waits: others have found it as well
		time.Sleep(2 * time.Second)
		expect("with a primary for some time", "score 2")

		f.fault(faultRelay, errors.New("silent"))
		expect("broken", `local "relay: silent"`)
		p.breaks(errors.New("disk full"))
		f.fault(faultRelay, nil)
		expect("keepalived can't be told", "")
		p.breaks(nil)
		time.Sleep(time.Second)
		expect("keepalived can be told again", "local \"\"\nscore 2")

		// Another certificate is another configuration; half of one is none.
		write(t, cfg.Primaries.TLS.Key, "half")
		time.Sleep(2 * certificateEvery)
		if c := config(); c != nil {
			t.Fatalf("half a certificate: %s", c)
		}
		ca.Issue("front")
		time.Sleep(2 * certificateEvery)
		if c := config(); c == nil || bytes.Equal(c, first) {
			t.Fatalf("another certificate: %s", c)
		}

		f.listed(three()[:1], true)
		expect("with a shorter list", "score 0\nrelay 1\ncheck 1")
		if err := f.ping(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := f.ping(t.Context()); err == nil {
			t.Error("steering has ended and still answers")
		}
	})
}

// TestSavedBackends: the list of an earlier start serves until there is one, and never replaces a fresh one.
func TestSavedBackends(t *testing.T) {
	cfg, _ := testConfig(t)
	synctest.Test(t, func(t *testing.T) {
		earlier, _ := faked(t, cfg)
		earlier.listed(three()[:2], true)
		f, p := faked(t, cfg)
		late := &lateSource{give: make(chan []backends.Primary)}
		f.source = late
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- f.steer(ctx) }()
		go func() { done <- f.find(ctx) }()
		p.heard()
		time.Sleep(firstList - time.Second)
		if got := p.heard(); got != "" {
			t.Errorf("before its time: %s", got)
		}
		time.Sleep(2 * time.Second)
		if got := p.heard(); got != "relay 1 1\ncheck 2" {
			t.Errorf("the saved list: %s", got)
		}
		late.give <- three()
		if got := p.heard(); got != "relay 1 1 1\ncheck 3" {
			t.Errorf("the fresh list: %s", got)
		}
		f.listed(three()[:1], false)
		if got := p.heard(); got != "" {
			t.Errorf("a saved list after a fresh one: %s", got)
		}
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
		if l, err := readBackends(f.backendsPath()); err != nil || !slices.Equal(l, three()) {
			t.Errorf("kept: %v, %v", l, err)
		}
		for text, want := range map[string]string{"[]": "is empty", "{": "backends.json"} {
			write(t, f.backendsPath(), text)
			if _, err := readBackends(f.backendsPath()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", text, err)
			}
		}
	})
}

// lateSource has no list until it is given one.
type lateSource struct{ give chan []backends.Primary }

func (s *lateSource) Run(ctx context.Context, set func([]backends.Primary)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-s.give:
			set(l)
		}
	}
}

func (s *lateSource) Stale() (time.Time, error) { return time.Unix(0, 0), errors.New("silent") }

// TestDrain: connections end before the address moves; a load balancer learns it before they do.
func TestDrain(t *testing.T) {
	for _, mode := range []Mode{ModeVIP, ModeService} {
		t.Run(string(mode), func(t *testing.T) {
			cfg, _ := testConfig(t)
			cfg.Mode = mode
			synctest.Test(t, func(t *testing.T) {
				f, p := faked(t, cfg)
				f.whole(faultHAProxy, faultRelay, faultConflict, faultUnheard)
				f.mu.Lock()
				f.m.moved(keepalived.Master, time.Now())
				f.mu.Unlock()
				release := make(chan struct{})
				p.drain = func() { <-release }
				done := make(chan struct{})
				for range 2 { // the second waits for the first
					go func() { f.drain(); done <- struct{}{} }()
				}
				fault := func() string {
					synctest.Wait()
					f.mu.Lock()
					defer f.mu.Unlock()
					return f.m.faults[faultDrain]
				}
				if (fault() == "") != (mode == ModeVIP) {
					t.Errorf("while connections end: drain is %q", fault())
				}
				close(release)
				if fault() == "" {
					t.Error("connections have ended, and the address stays")
				}
				if mode == ModeVIP {
					select {
					case <-done:
						t.Error("it is drained and still master")
					default:
					}
					f.mu.Lock()
					f.m.moved(keepalived.Fault, time.Now())
					f.mu.Unlock()
				}
				<-done
				<-done
				if got := p.heard(); got != "drain" {
					t.Errorf("heard %s", got)
				}
			})
		})
	}
}
