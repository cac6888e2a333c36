package keepalived_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
)

func TestMessage(t *testing.T) {
	for line, want := range map[string]string{
		"Mon Nov 23 13:25:01 2026: (vip) Entering BACKUP STATE": "(vip) Entering BACKUP STATE",
		"Mon Nov  3 13:25:01 2026: Stopped":                     "Stopped",
		"no time: here":                                         "no time: here",
		"":                                                      "",
	} {
		if got := keepalived.Message(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestParseState(t *testing.T) {
	for line, want := range map[string]string{
		`INSTANCE "vip" MASTER 120`:              "master",
		`INSTANCE "vip" BACKUP 100`:              "backup",
		`INSTANCE "vip" FAULT 100`:               "fault",
		`INSTANCE "vip" STOP 100`:                "fault",
		`INSTANCE "vip" MASTER_RX_LOWER_PRI 120`: "",
		`INSTANCE "other" MASTER 120`:            "",
		`GROUP "vip" MASTER 120`:                 "",
		`INSTANCE "vip"`:                         "",
		"":                                       "",
	} {
		got := ""
		if s, ok := keepalived.ParseState(line); ok {
			got = s.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestStrangers: keepalived complains of each packet; what is left of that is a number, and addresses.
func TestStrangers(t *testing.T) {
	var said bytes.Buffer
	c := settings(t, t.TempDir(), "eth0")
	c.Logger = slog.New(slog.NewTextHandler(&said, nil))
	p, err := keepalived.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"(vip) unicast source address 192.0.2.66 not a unicast peer",
		"Mon Nov 23 13:25:01 2026: (vip) unicast source address 192.0.2.66 not a unicast peer",
		"(vip) unicast source address 2001:db8::66 not a unicast peer",
		"something not a unicast peer",
		"(vip) Entering BACKUP STATE",
	} {
		p.Say(line)
	}
	n, from := p.Strangers()
	if n != 4 || fmt.Sprint(from) != "[192.0.2.66 2001:db8::66]" {
		t.Errorf("%d packets from %v", n, from)
	}
	if text := said.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "BACKUP") {
		t.Errorf("logged: %s", text)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*keepalived.ProcessConfig)
		want string
	}{
		"no program":  {func(c *keepalived.ProcessConfig) { c.Path = "" }, "path"},
		"no logger":   {func(c *keepalived.ProcessConfig) { c.Logger = nil }, "Logger"},
		"no pause":    {func(c *keepalived.ProcessConfig) { c.RestartMin = 0 }, "pauses"},
		"no instance": {func(c *keepalived.ProcessConfig) { c.Config.Interface = "" }, "interface"},
	} {
		c := settings(t, t.TempDir(), "eth0")
		tc.edit(&c)
		if _, err := keepalived.New(c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

func settings(t *testing.T, dir, iface string) keepalived.ProcessConfig {
	t.Helper()
	c := keepalived.DefaultProcessConfig()
	c.Config = base(t, dir, iface)
	c.Config.Probe, c.Config.AdvertInterval = "", 100*time.Millisecond
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	return c
}

// node is a keepalived that runs, on an interface with the node's address.
type node struct {
	t     *testing.T
	p     *keepalived.Process
	iface string
	ended chan bool // whether the VIP was there when Ended was called
	stop  func()
}

func start(t *testing.T, iface string) *node {
	t.Helper()
	n := &node{t: t, iface: device(t, iface), ended: make(chan bool, 16)}
	run(t, "ip addr add 192.0.2.11/24 dev "+iface)
	c := settings(t, t.TempDir(), iface)
	c.Ended = func() {
		n.ended <- n.holds()
		run(t, "ip addr flush dev "+iface+" to 192.0.2.100; ip addr flush dev "+iface+" to 2001:db8::100")
	}
	var err error
	if n.p, err = keepalived.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.p.Run(ctx) }()
	n.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { n.stop() })
	return n
}

// until receives states until the wanted one.
func (n *node) until(want keepalived.State) {
	n.t.Helper()
	for {
		select {
		case s := <-n.p.State():
			if s == want {
				return
			}
		case <-time.After(time.Minute):
			n.t.Fatalf("never %s", want)
		}
	}
}

func (n *node) holds() bool { return holds(n.t, n.iface) }

func holds(t *testing.T, name string) bool {
	t.Helper()
	iface, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	list, err := iface.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if strings.HasPrefix(a.String(), "192.0.2.100/") {
			return true
		}
	}
	return false
}

func (n *node) local(reason string) {
	n.t.Helper()
	if err := n.p.SetLocal(reason); err != nil {
		n.t.Fatal(err)
	}
}

// TestLife: nothing is held before the front says that it works; a local failure gives the address away; a stop does too.
func TestLife(t *testing.T) {
	n := start(t, "life")
	n.until(keepalived.Fault)
	n.local("")
	n.until(keepalived.Master)
	if err := n.p.SetScore(2); err != nil {
		t.Fatal(err)
	}
	if err := n.p.SetScore(3); err == nil {
		t.Error("score 3 was taken")
	}
	n.local("haproxy does not run")
	n.until(keepalived.Fault)
	if n.p.Local() != "haproxy does not run" {
		t.Errorf("the reason is %q", n.p.Local())
	}
	n.local("")
	n.until(keepalived.Master)
	n.stop()
	n.stop = func() {}
	if n.holds() {
		t.Error("the address is still here after the stop")
	}
	if len(n.ended) != 0 || n.p.Restarts() != 0 || n.p.PID() != 0 {
		t.Errorf("%d unplanned ends, %d restarts, PID %d", len(n.ended), n.p.Restarts(), n.p.PID())
	}
}

// TestKilled: a keepalived that is killed is started again. Killed together with its child it leaves the address, which
// Ended is told of in time.
func TestKilled(t *testing.T) {
	n := start(t, "killed")
	n.local("")
	for _, tc := range []struct {
		name  string
		kill  func(pid int) error
		leave bool
	}{
		{"parent", func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }, false},
		{"both", func(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }, true},
	} {
		n.until(keepalived.Master)
		// The address follows the announcement.
		for !n.holds() {
			if t.Context().Err() != nil {
				t.Fatal("master without the address")
			}
		}
		if err := tc.kill(n.p.PID()); err != nil {
			t.Fatal(err)
		}
		n.until(keepalived.Fault)
		if left := <-n.ended; left != tc.leave {
			t.Errorf("%s: the address was left: %t, want %t", tc.name, left, tc.leave)
		}
	}
	n.until(keepalived.Master)
	if n.p.Restarts() != 2 {
		t.Errorf("%d restarts", n.p.Restarts())
	}
}

// orphan is set in the process that TestParentKilled starts.
const orphan = "ZONEKEEPER_TEST_ORPHAN"

// TestParentKilled: when the front is killed keepalived gives the address away.
func TestParentKilled(t *testing.T) {
	if name := os.Getenv(orphan); name != "" {
		n := start(t, name)
		n.local("")
		n.until(keepalived.Master)
		fmt.Println("PID", n.p.PID())
		select {} // until it is killed
	}
	const iface = "orphan"
	t.Cleanup(func() { run(t, "ip link del "+iface) })
	cmd := exec.Command(os.Args[0], "-test.run=^TestParentKilled$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), orphan+"="+iface)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for pid == 0 {
		var word string
		if _, err := fmt.Fscan(out, &word); err != nil {
			t.Fatal(err)
		}
		if word == "PID" {
			if _, err := fmt.Fscan(out, &pid); err != nil {
				t.Fatal(err)
			}
		}
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(poll, 60_000); err == nil && n == 1 {
			break
		} else if err != unix.EINTR {
			t.Fatalf("keepalived %d lives on: %v", pid, err)
		}
	}
	if holds(t, iface) {
		t.Error("the address is still here")
	}
}
