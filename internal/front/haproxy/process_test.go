package haproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

// TestReloadLosesNothing: primaries come and go while clients connect without a pause, and a connection stays open.
func TestReloadLosesNothing(t *testing.T) {
	r, _ := newRig(t, 2)
	second := r.cfg.Primaries[1]
	r.cfg.Primaries = r.cfg.Primaries[:1]
	r.run()
	long, stop := r.open(), r.load(4)
	pids := map[int]bool{r.p.PID(): true}
	for i := range 3 {
		if i%2 == 0 {
			r.cfg.Primaries = []Primary{r.cfg.Primaries[0], second}
		} else {
			r.cfg.Primaries = r.cfg.Primaries[:1]
		}
		r.send(r.cfg)
		pids[r.expect(Reloaded).PID] = true
	}
	r.eventually("x", "primary-1 127.0.0.1 x") // the one that was added
	connections := stop()
	if len(pids) != 4 {
		t.Errorf("%d processes after 3 reloads: %v", len(pids), pids)
	}
	if answer, err := long.ask("last"); err != nil || answer != "primary-0 127.0.0.1 last" {
		t.Errorf("the connection from before the reloads: %q, %v", answer, err)
	}
	if err := r.p.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	_ = long.Close()
	for r.left < 3 { // the replaced processes have nothing left to do
		r.expect(Left)
	}
	t.Logf("%d connections", connections)
}

// TestTiers: clients go to a primary that is ready; if none is, to one that answers; if none answers, to the front itself.
func TestTiers(t *testing.T) {
	r, fakes := newRig(t, 2)
	servfail, err := net.Listen("unix", ServfailPath(r.cfg.Dir))
	if err != nil {
		t.Fatal(err)
	}
	defer servfail.Close()
	go func() {
		for {
			c, err := servfail.Accept()
			if err != nil {
				return
			}
			if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				_, _ = fmt.Fprintf(c, "front %s", line)
			}
			_ = c.Close()
		}
	}()
	r.cfg.Checks.Every = time.Second
	r.run()
	stay, err := r.dial("")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := stay.ask("x")
	if err != nil {
		t.Fatal(err)
	}
	first, other := fakes[0], fakes[1]
	if strings.HasPrefix(answer, other.name) {
		first, other = other, first
	}

	first.ready.Store(false)
	r.hears("Server "+Backend+"/"+first.name+" is DOWN", "503")
	stay.gone(t) // its client is not left at a primary that can't write
	r.eventually("x", other.name+" 127.0.0.1 x")
	r.cfg.IdleTimeout = time.Minute // another configuration: its process knows what the one before knew
	r.send(r.cfg)
	r.expect(Reloaded)
	for range 20 {
		r.want("", "x", other.name+" 127.0.0.1 x")
	}

	_ = other.dns.Close() // its process died, the other one waits for a quorum
	_ = other.admin.Close()
	r.eventually("x", first.name+" 127.0.0.1 x")
	r.hears("Server " + BackendAlive + "/" + other.name + " is DOWN")
	servers, err := r.p.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	up := map[string]bool{}
	for _, s := range servers {
		if s.Name != "" {
			up[s.Backend+"/"+s.Name] = s.Up()
		} else if s.Backend != Frontend || s.TotalConnections < 3 {
			t.Errorf("the frontend's line: %+v", s)
		}
		if s.Backend == Backend && s.Name == first.name && !strings.Contains(s.Reason, "503") {
			t.Errorf("%s: reason %q does not say 503", s.Name, s.Reason)
		}
	}
	for name, want := range map[string]bool{
		Backend + "/" + first.name: false, Backend + "/" + other.name: false, BackendAlive + "/" + first.name: true,
		BackendAlive + "/" + other.name: false, BackendNone + "/front": true,
	} {
		if got, ok := up[name]; !ok || got != want {
			t.Errorf("%s: up %v, listed %v; want %v", name, got, ok, want)
		}
	}

	_ = first.dns.Close()
	r.eventually("x", "front x")
}

// TestSlowClients: whoever says nothing, or no more, is cut.
func TestSlowClients(t *testing.T) {
	r, _ := newRig(t, 1)
	r.cfg.FirstOctets, r.cfg.IdleTimeout = 50*time.Millisecond, 300*time.Millisecond
	r.run()
	silent, err := r.dial("")
	if err != nil {
		t.Fatal(err)
	}
	silent.gone(t)
	idle, err := r.dial("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := idle.ask("x"); err != nil {
		t.Fatal(err)
	}
	idle.gone(t)
}

// TestLimits: one address gets so many connections, another one is unharmed, and an exempt one has no limit.
func TestLimits(t *testing.T) {
	r, _ := newRig(t, 1)
	r.cfg.Limits.ConnectionsPerClient = 3
	r.cfg.Limits.Exempt = prefixes("127.0.0.3/32")
	r.run()
	var open []*client
	hold := func(from string, n int) {
		t.Helper()
		for range n {
			c, err := r.dial(from)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.ask("x"); err != nil {
				t.Fatalf("connection from %s below its limit: %v", from, err)
			}
			open = append(open, c)
		}
	}
	hold("127.0.0.2", 3)
	if !r.refused("127.0.0.2") {
		t.Error("a connection above the limit was taken")
	}
	hold("127.0.0.3", 6)
	hold("127.0.0.1", 1)
	for _, c := range open {
		_ = c.Close()
	}

	r.cfg.Limits.ConnectionsPerClient, r.cfg.Limits.ConnectionsPerSecond = 1000, 5
	r.send(r.cfg)
	r.expect(Reloaded)
	refused := 0
	for range 100 { // far above 5 a second, however slow the machine: all within one table
		if r.refused("127.0.0.4") {
			refused++
			break
		}
	}
	if refused == 0 {
		t.Error("100 connections in a row, and none was refused at a limit of 5 a second")
	}
	servers, err := r.p.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(servers, func(s Server) bool { return s.Backend == Frontend }); i < 0 || servers[i].Failed == 0 {
		t.Errorf("nobody is said to have been refused: %+v", servers)
	}
	r.want("127.0.0.5", "x", "primary-0 127.0.0.5 x")
}

// TestLoadBalancer: a PROXY header is obeyed from a load balancer and from nobody else.
func TestLoadBalancer(t *testing.T) {
	r, _ := newRig(t, 1)
	r.cfg.ProxyFrom = prefixes("127.0.0.2/32")
	r.run()
	header := proxyproto.Append(nil, netip.MustParseAddrPort("192.0.2.7:1000"), netip.MustParseAddrPort("192.0.2.100:53"), false, nil, time.Now(), nil)
	if answer, err := r.once("127.0.0.2", string(header)+"x"); answer != "primary-0 192.0.2.7 x" || err != nil {
		t.Errorf("a load balancer's connection: %q, %v", answer, err)
	}
	if answer, err := r.once("127.0.0.1", string(header)+"x"); answer != "primary-0 127.0.0.1" {
		t.Errorf("a stranger's header: %q, %v", answer, err)
	}
	r.want("127.0.0.3", "x", "primary-0 127.0.0.3 x")
	bare, err := r.dial("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := bare.ask("no header"); err == nil {
		t.Errorf("a load balancer's connection without a header: %q", answer)
	}
	_ = bare.Close()
}

// TestLimitsBehindLoadBalancer: the limits are for the address in the header, of IPv6 for its /64.
func TestLimitsBehindLoadBalancer(t *testing.T) {
	r, _ := newRig(t, 1)
	r.cfg.ProxyFrom = prefixes("127.0.0.1/32")
	r.cfg.Limits.ConnectionsPerClient = 2
	r.run()
	for _, tc := range []struct {
		client string
		taken  bool
	}{
		{"192.0.2.7", true}, {"192.0.2.7", true}, {"192.0.2.7", false}, {"192.0.2.8", true},
		{"2001:db8::1", true}, {"2001:db8::2", true}, {"2001:db8::3", false}, {"2001:db8:0:1::1", true},
	} {
		src, dst := netip.AddrPortFrom(netip.MustParseAddr(tc.client), 1000), netip.MustParseAddrPort("192.0.2.100:53")
		if src.Addr().Is6() {
			dst = netip.MustParseAddrPort("[2001:db8::100]:53")
		}
		c, err := r.dial("")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		answer, err := c.ask(string(proxyproto.Append(nil, src, dst, false, nil, time.Now(), nil)) + "x")
		if tc.taken && (err != nil || answer != "primary-0 "+tc.client+" x") || !tc.taken && err == nil {
			t.Errorf("connection of %s, to be taken: %v: %q, %v", tc.client, tc.taken, answer, err)
		}
	}
}

// TestRestart: whoever kills HAProxy gets another one, and the same when it is hung.
func TestRestart(t *testing.T) {
	r, _ := newRig(t, 1)
	r.run()
	for i := range 3 {
		pid := r.p.PID()
		if i < 2 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		} else {
			stop(t, pid)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if err := r.p.Alive(ctx); err == nil {
				t.Error("a stopped process is alive")
			}
			cancel()
			r.p.Restart("test")
		}
		if e := r.expect(Ended); e.PID != pid || e.Err == nil || !strings.Contains(e.Err.Error(), "killed") {
			t.Errorf("%+v", e)
		}
		if e := r.expect(Started); e.PID == pid || e.PID != r.p.PID() {
			t.Errorf("%+v", e)
		}
		r.want("", "x", "primary-0 127.0.0.1 x")
	}
}

// stop stops a process, and returns when no thread of it runs.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(patience); ; {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("threads of process %d: %v, %v", pid, threads, err)
		}
		running := slices.ContainsFunc(threads, func(file string) bool {
			b, err := os.ReadFile(file)
			return err != nil || !strings.Contains(string(b), ") T ")
		})
		if !running {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("process %d does not stop", pid)
		}
	}
}

// TestRejected: a configuration that HAProxy does not take is never started; what ran before goes on, even after kill -9, and the next good
// one is taken.
func TestRejected(t *testing.T) {
	r, _ := newRig(t, 1)
	r.pcfg.RestartMax = patience // it is not shown again meanwhile
	r.run()
	pid := r.p.PID()
	good, err := Render(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.configs <- append(append([]byte(nil), good...), "frontend more\n    mode udp\n"...)
	if e := r.expect(Rejected); e.Err == nil || !strings.Contains(e.Err.Error(), "unknown proxy mode 'udp'") {
		t.Errorf("the reason is not HAProxy's line: %v", e.Err)
	}
	r.want("", "x", "primary-0 127.0.0.1 x")
	if r.p.PID() != pid {
		t.Errorf("process %d became %d", pid, r.p.PID())
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.expect(Ended)
	r.expect(Started) // with what it took before
	r.want("", "x", "primary-0 127.0.0.1 x")
	r.cfg.IdleTimeout = time.Minute
	r.send(r.cfg)
	r.expect(Reloaded)
	r.want("", "x", "primary-0 127.0.0.1 x")
}

// TestReplacementFails: a new process that can't take over leaves the old one in service.
func TestReplacementFails(t *testing.T) {
	r, _ := newRig(t, 1)
	r.run()
	pid := r.p.PID()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	next := r.cfg
	next.Listen = append([]netip.AddrPort{taken.Addr().(*net.TCPAddr).AddrPort()}, next.Listen...)
	r.send(next)
	if e := r.expect(Ended); e.PID == pid {
		t.Errorf("the old process ended: %v", e.Err)
	}
	r.want("", "x", "primary-0 127.0.0.1 x")
	_ = taken.Close()
	for r.p.PID() == pid { // it tries again; how often it fails before is a matter of time
		select {
		case e := <-r.events:
			if e.Kind != Ended && e.Kind != Reloaded && e.Kind != Left {
				t.Fatalf("%+v", e)
			}
		case <-time.After(patience):
			t.Fatal("the new configuration never came into use")
		}
	}
	r.want("", "x", "primary-0 127.0.0.1 x")
}

// TestDrain: connections end when they are idle, those of before in any case, and new ones are still taken.
func TestDrain(t *testing.T) {
	r, _ := newRig(t, 1)
	r.pcfg.DrainWithin = 100 * time.Millisecond
	r.run()
	before, err := r.dial("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.ask("x"); err != nil {
		t.Fatal(err)
	}
	if err := r.p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	before.gone(t)
	after, err := r.dial("")
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := after.ask("x"); err != nil || answer != "primary-0 127.0.0.1 x" {
		t.Errorf("a connection while draining: %q, %v", answer, err)
	}
	after.gone(t) // idle
	if err := r.p.Drain(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
	r.expect(Reloaded)
}

// TestDiesWithItsStarter: after kill -9 of the process that started it HAProxy is gone as well.
func TestDiesWithItsStarter(t *testing.T) {
	const variable = "ZONEKEEPER_TEST_HAPROXY_DIR"
	if dir := os.Getenv(variable); dir != "" {
		starter(t, dir)
		return
	}
	r, _ := newRig(t, 1)
	conf, err := Render(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiesWithItsStarter$")
	cmd.Env = append(os.Environ(), variable+"="+r.cfg.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = in.Write(conf)
	_ = in.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	}
	if n != 1 || err != nil {
		t.Errorf("process %d is still there: %v", pid, err)
	}
	_ = cmd.Wait()
}

// starter runs HAProxy in dir with the configuration on standard input, says its process, and waits to be killed.
func starter(t *testing.T, dir string) {
	cfg := DefaultProcessConfig()
	cfg.Dir, cfg.Logger = dir, slog.New(slog.DiscardHandler)
	cfg.Observe = func(e Event) { fmt.Println(e.PID) }
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := io.ReadAll(os.Stdin)
	if err != nil {
		t.Fatal(err)
	}
	configs := make(chan []byte, 1)
	configs <- conf
	_ = p.Run(context.Background(), configs)
}
