package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

// patience is for what takes a second on a quiet machine.
const patience = time.Minute

// life is a whole node with real programs, whose primaries do not answer.
type life struct {
	t      *testing.T
	cfg    Config
	vips   []netip.Prefix
	cancel context.CancelFunc
	ended  chan error
	http   *http.Client
}

func startLife(t *testing.T, iface string) *life {
	t.Helper()
	cfg, _ := testConfig(t)
	cfg.Dir = shortDir(t)
	cfg.VIP.Interface, cfg.VIP.AdvertInterval, cfg.Limits.Connections = iface, conf.Duration(100*time.Millisecond), 100
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	set, err := cfg.settings()
	if err != nil {
		t.Fatal(err)
	}
	l := &life{t: t, cfg: cfg, vips: set.vips, ended: make(chan error, 1)}
	l.http = &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", SocketPath(cfg.Dir))
	}}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l.cancel = cancel
	go func() { l.ended <- Run(ctx, cfg, "test", quiet(t)) }()
	t.Cleanup(func() { l.stop() })
	return l
}

// shortDir is one in which sockets have short names.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "zkf-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (l *life) stop() {
	l.t.Helper()
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.cancel = nil
	if err := <-l.ended; err != nil {
		l.t.Error(err)
	}
}

// ask sends a request to the front's socket.
func (l *life) ask(method, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://front"+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

func (l *life) status() (s adminapi.FrontStatus, err error) {
	_, b, err := l.ask(http.MethodGet, adminapi.PathFront)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// until waits for a status.
func (l *life) until(what string, good func(adminapi.FrontStatus) bool) adminapi.FrontStatus {
	l.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	var s adminapi.FrontStatus
	var err error
	for late := time.After(patience); ; {
		if s, err = l.status(); err == nil && good(s) {
			return s
		}
		select {
		case err := <-l.ended:
			l.cancel = nil
			l.t.Fatalf("%s: the front ended: %v", what, err)
		case <-late:
			l.t.Fatalf("%s: %v, %+v", what, err, s)
		case <-look.C:
		}
	}
}

func (l *life) held() int {
	l.t.Helper()
	held, err := vip.Held(l.cfg.VIP.Interface, l.vips)
	if err != nil {
		l.t.Fatal(err)
	}
	return len(held)
}

func isMaster(s adminapi.FrontStatus) bool { return s.VIP.State == "master" && len(s.VIP.Held) == 2 }

func hasFault(part string) func(adminapi.FrontStatus) bool {
	return func(s adminapi.FrontStatus) bool {
		return slices.ContainsFunc(s.Faults, func(f adminapi.FrontFault) bool { return f.Part == part })
	}
}

// claimant answers ARP for an address at the other end of the wire, as somebody's host would.
type claimant struct {
	fd   int
	done chan struct{}
}

func claim(t *testing.T, iface string, addr netip.Addr) *claimant {
	t.Helper()
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	const arp = unix.ETH_P_ARP<<8&0xff00 | unix.ETH_P_ARP>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, arp)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: arp, Ifindex: dev.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		t.Fatal(err)
	}
	c := &claimant{fd: fd, done: make(chan struct{})}
	mac := []byte{2, 0xaa, 0xbb, 0xcc, 0xdd, 0xee}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for b := make([]byte, 100); ; {
			select {
			case <-c.done:
				return
			default:
			}
			n, _, err := unix.Recvfrom(fd, b, 0)
			if err != nil || n < 42 || b[21] != 1 || !slices.Equal(b[38:42], addr.AsSlice()) {
				continue // a timeout, or nothing that asks for the address
			}
			reply := slices.Concat(b[6:12], mac, b[12:20], []byte{0, 2}, mac, addr.AsSlice(), b[22:32])
			if err := unix.Sendto(fd, reply, 0, &unix.SockaddrLinklayer{Ifindex: dev.Index}); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { c.leave(); <-ended; _ = unix.Close(fd) })
	return c
}

func (c *claimant) leave() {
	select {
	case <-c.done:
	default:
		close(c.done)
	}
}

// TestLife: a node removes what was left of it, takes no address that somebody else has, answers when no primary does, gives the
// address away when it is drained, and leaves nothing behind.
func TestLife(t *testing.T) {
	iface := device(t, "life0")
	shell(t, "ip addr add 192.0.2.100/32 dev life0; ip addr add 2001:db8::100/128 dev life0 nodad")
	four := netip.MustParseAddr("192.0.2.100")
	other := claim(t, "life0p", four)
	l := startLife(t, iface)

	s := l.until("somebody else has the address", func(s adminapi.FrontStatus) bool {
		return len(s.Faults) == 1 && hasFault(faultConflict)(s) && strings.Contains(s.Summary, "02:aa:bb:cc:dd:ee")
	})
	if l.held() != 0 || s.Healthy {
		t.Errorf("%d addresses are here: %+v", l.held(), s)
	}
	other.leave()
	s = l.until("nobody else has the address", isMaster)
	if s.Healthy || s.Score != 0 || !strings.Contains(s.Summary, "no primary is ready: primary-0: ") || len(s.Primaries) != 3 || len(s.Children) != 2 {
		t.Errorf("%+v", s)
	}
	for _, c := range s.Children {
		if c.PID == 0 || c.Restarts != 0 {
			t.Errorf("%+v", c)
		}
	}

	m := new(dns.Msg)
	m.SetUpdate("example.test.")
	m.SetEdns0(1232, false)
	for _, network := range []string{"udp", "tcp"} {
		for _, a := range l.vips {
			c := dns.Client{Net: network, Timeout: 3 * time.Second}
			var reply *dns.Msg
			var err error
			for range 5 { // a datagram may be lost, and is sent again, as clients do
				if reply, _, err = c.ExchangeContext(t.Context(), m, netip.AddrPortFrom(a.Addr(), 53).String()); err == nil {
					break
				}
				t.Logf("%s %s: %v", network, a, err)
			}
			if err != nil {
				t.Errorf("%s %s: %v", network, a, err)
			} else if reply.Rcode != dns.RcodeServerFailure || reply.IsEdns0() == nil {
				t.Errorf("%s %s: %v", network, a, reply)
			}
		}
	}
	_, text, err := l.ask(http.MethodGet, adminapi.PathMetrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`zonekeeper_front_vip_state{state="master"} 1`, `zonekeeper_front_vip_held{address="192.0.2.100"} 1`, "zonekeeper_front_vip_conflict 0",
		`zonekeeper_front_primary_state{primary="primary-1",state="down"} 1`, "zonekeeper_front_backends 3", "zonekeeper_front_backends_stale 0",
		`zonekeeper_front_local_fault{reason="relay"} 0`, `zonekeeper_front_vip_transitions_total{to="master"}`, "zonekeeper_relay_datagrams_total",
		"zonekeeper_front_score 0", "zonekeeper_front_checks_total", "zonekeeper_build_info",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	for _, path := range []string{adminapi.PathLive, adminapi.PathReady} {
		if code, b, err := l.ask(http.MethodGet, path); code != http.StatusOK {
			t.Errorf("%s: %d %s %v", path, code, b, err)
		}
	}

	// HAProxy is killed: at once another node would have the address, and it is back when HAProxy is.
	pid := s.Children[0].PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s = l.until("HAProxy is back", func(s adminapi.FrontStatus) bool {
		return isMaster(s) && s.Children[0].Restarts == 1 && s.Children[0].PID > 0
	})
	if s.Children[0].PID == pid {
		t.Errorf("%+v", s.Children)
	}

	other = claim(t, "life0p", four)
	l.until("somebody takes the address", func(s adminapi.FrontStatus) bool {
		return hasFault(faultConflict)(s) && s.VIP.State == "fault" && len(s.VIP.Held) == 0
	})
	other.leave()
	l.until("nobody else has the address again", isMaster)

	if code, b, err := l.ask(http.MethodPost, adminapi.PathFrontDrain); code != http.StatusOK || !strings.Contains(string(b), "drained") {
		t.Errorf("drain: %d %s %v", code, b, err)
	}
	if l.held() != 0 {
		t.Error("a drained node has the address")
	}
	if code, b, _ := l.ask(http.MethodGet, adminapi.PathReady); code != http.StatusServiceUnavailable {
		t.Errorf("drained and ready: %d %s", code, b)
	}
	var d net.Dialer
	if _, err := d.DialContext(t.Context(), "tcp", l.cfg.Admin.Listen); err != nil {
		t.Error(err)
	}
	resp, err := http.Post("http://"+l.cfg.Admin.Listen+adminapi.PathFrontDrain, "", nil) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("whoever reaches the loopback address may drain: %s", resp.Status)
	}
	l.stop()
	for what, out := range map[string]string{
		"addresses": shell(t, "ip -o addr show dev life0 | grep -E '192.0.2.100|2001:db8::100' || :"),
		"a filter":  shell(t, "nft list tables"),
		"sockets":   shell(t, "ss -Hlnut 'sport = :53'"),
	} {
		if strings.TrimSpace(out) != "" {
			t.Errorf("left behind: %s: %s", what, out)
		}
	}
}

// TestStopIsADrain: the address is gone when Run returns, whether it was asked to drain or not.
func TestStopIsADrain(t *testing.T) {
	l := startLife(t, device(t, "stop0"))
	l.until("it has the address", isMaster)
	l.stop()
	if l.held() != 0 {
		t.Error("the address is left")
	}
}

// TestRunRefuses: what a person has to mend is ErrConfig, and removes what was left even so.
func TestRunRefuses(t *testing.T) {
	iface := device(t, "refuse0")
	for name, tc := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"no interface":   {func(c *Config) { c.VIP.Interface = "nowhere0" }, `"nowhere0"`},
		"no certificate": {func(c *Config) { c.Primaries.TLS.Cert += "x" }, "primaries.tls"},
		"no key":         {func(c *Config) { c.Primaries.ProxyKeyFile += "x" }, "primaries.proxy_key_file"},
		"no directory":   {func(c *Config) { c.Dir = "/proc/nowhere" }, "/proc/nowhere"},
		"admin in use":   {func(c *Config) { c.Admin.Listen = inUse(t) }, "admin.listen"},
		"in use": {func(c *Config) {
			lock, err := conf.LockDir(c.Dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = lock.Close() })
		}, "in use by another process"},
	} {
		cfg, _ := testConfig(t)
		cfg.Dir, cfg.VIP.Interface = shortDir(t), iface
		tc.edit(&cfg)
		shell(t, "ip addr add 192.0.2.100/32 dev refuse0 2>/dev/null || :")
		err := Run(t.Context(), cfg, "test", quiet(t))
		if !errors.Is(err, ErrConfig) || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%s: got %v, want a mistake in the configuration with %q", name, err, tc.want)
		}
		left := strings.Contains(shell(t, "ip -o addr show dev refuse0"), "192.0.2.100/")
		if (name == "no certificate" || name == "no key" || name == "admin in use") && left {
			t.Errorf("%s: the address is left", name)
		}
	}
}

func inUse(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
