package front

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	ossignal "os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guarded is set in a process 1 that runs a guard; its value is the interface and a shell's script instead of a front.
const guarded = "ZONEKEEPER_TEST_GUARD"

// guardMain is process 1 of a test.
func guardMain() int {
	iface, script, _ := strings.Cut(os.Getenv(guarded), "\n")
	ctx, stop := ossignal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if os.Getpid() != 1 {
		return 3
	}
	g := &guard{
		argv: []string{"/bin/sh", "-c", script}, iface: iface, grace: 200 * time.Millisecond, log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		set: settings{vips: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, 100}), 32)}},
	}
	if err := g.run(ctx); err != nil {
		_, _ = os.Stderr.WriteString("ended: " + err.Error() + "\n")
		return 1
	}
	return 0
}

// TestGuard: process 1 removes what a killed front has left, and keepalived too; it passes signals on, and says how the front ended.
func TestGuard(t *testing.T) {
	iface := device(t, "guard0")
	for name, tc := range map[string]struct {
		script string
		signal syscall.Signal // sent when the script says so
		code   int
		want   string
	}{
		"killed with its address":  {"ip addr add 192.0.2.100/32 dev guard0; kill -9 $$", 0, 1, "signal: killed"},
		"one that hangs is killed": {"ip addr add 192.0.2.100/32 dev guard0; (trap '' TERM; while :; do sleep 100; done) & kill -9 $$", 0, 1, "are killed"},
		"a mistake":                {"exit 2", 0, 1, "configuration"},
		"an end":                   {"exit 7", 0, 1, "exit status 7"},
		"stopped":                  {"trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done", syscall.SIGTERM, 0, ""},
		"drained":                  {"trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done", syscall.SIGUSR1, 1, "exit status 5"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), guarded+"="+iface+"\n"+tc.script)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
			var said strings.Builder
			cmd.Stderr = &said
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if tc.signal != 0 {
				if _, err := out.Read(make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Process.Signal(tc.signal); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait() // its exit code says more
			if cmd.ProcessState.ExitCode() != tc.code || !strings.Contains(said.String(), tc.want) {
				t.Errorf("%v: %s; want %d and %q", cmd.ProcessState, &said, tc.code, tc.want)
			}
			if left := shell(t, "ip -o addr show dev "+iface); strings.Contains(left, "192.0.2.100/") {
				t.Errorf("the address is left: %s", left)
			}
		})
	}
}
