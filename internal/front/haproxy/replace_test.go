package haproxy

import (
	"bytes"
	"context"

	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// load connects to HAProxy from several clients until stop is called, and fails the test for a connection without the right answer.
func (r *rig) load(clients int) (stop func() (connections int64)) {
	var done atomic.Bool
	var asked atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := 0; !done.Load(); n++ {
				line := fmt.Sprintf("%d-%d", i, n)
				if answer, err := r.once("", line); err != nil || !strings.HasSuffix(answer, " "+line) {
					r.t.Errorf("connection %s: %q, %v", line, answer, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	return func() int64 {
		done.Store(true)
		wg.Wait()
		return asked.Load()
	}
}

// open makes a connection and uses it once.
func (r *rig) open() *client {
	r.t.Helper()
	c, err := r.dial("")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := c.ask("open"); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// another sends a configuration that differs in nothing that matters.
func (r *rig) another() {
	r.t.Helper()
	r.cfg.ServerTimeout += time.Second
	r.send(r.cfg)
}

// TestReaddress: a primary that has moved is asked where it is now, although its name is the same, and nobody notices.
func TestReaddress(t *testing.T) {
	r, fakes := newRig(t, 2)
	r.cfg.Primaries = r.cfg.Primaries[:1]
	r.cfg.ServerName = "primary"
	r.run()
	stop := r.load(2)
	for _, at := range []int{1, 0, 1} {
		r.cfg.Primaries = []Primary{{"primary-0", fakes[at].target.DNS, fakes[at].target.Admin}}
		r.send(r.cfg)
		r.expect(Reloaded)
		r.want("", "where", fakes[at].name+" 127.0.0.1 where")
	}
	t.Logf("%d connections", stop())
}

// TestCertificate: another certificate is shown to the primaries from now on, and no connection fails for it.
func TestCertificate(t *testing.T) {
	r, fakes := newRig(t, 1)
	r.run()
	before, stop := r.open(), r.load(2)
	old := fakes[0].shown.Load()
	cert, key, _ := r.ca.Issue("front") // over the files of before
	var err error
	if r.cfg.Identity, err = Install(r.cfg.Dir, cert, key, r.ca.CA); err != nil {
		t.Fatal(err)
	}
	r.send(r.cfg)
	r.expect(Reloaded)
	t.Logf("%d connections", stop())
	r.want("", "x", "primary-0 127.0.0.1 x")
	if now := fakes[0].shown.Load(); now == old {
		t.Errorf("the certificate with the serial number %v is still shown", now)
	}
	if answer, err := before.ask("x"); err != nil || answer != "primary-0 127.0.0.1 x" {
		t.Errorf("a connection of before: %q, %v", answer, err)
	}
	_ = before.Close()
}

// TestSlowHandshake: one connection to a primary that takes too long is tried again, and harms no other one.
func TestSlowHandshake(t *testing.T) {
	r, fakes := newRig(t, 1)
	r.cfg.ConnectTimeout, r.cfg.Checks.Fall = 500*time.Millisecond, 2
	r.run()
	other := r.open()
	fakes[0].stall.Store(true)
	r.want("", "x", "primary-0 127.0.0.1 x")
	if fakes[0].stall.Load() {
		t.Error("no connection was slow")
	}
	if answer, err := other.ask("y"); err != nil || answer != "primary-0 127.0.0.1 y" {
		t.Errorf("another connection: %q, %v", answer, err)
	}
}

// TestPace: many configurations in a row cost few processes, and the newest is what counts.
func TestPace(t *testing.T) {
	r, _ := newRig(t, 1)
	r.pcfg.ReloadEvery = 300 * time.Millisecond
	r.run()
	begun := []time.Duration{started(t, r.p.PID())}
	const changes = 10
	for range changes {
		r.another()
	}
	newest, err := Render(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	for {
		e := r.expect(Reloaded)
		at := started(t, e.PID)
		if gap := at - begun[len(begun)-1]; gap < r.pcfg.ReloadEvery-tick {
			t.Errorf("a process %s after the one before, want at least %s", gap, r.pcfg.ReloadEvery)
		}
		begun = append(begun, at)
		conf, err := os.ReadFile(filepath.Join(r.cfg.Dir, "haproxy.cfg"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(conf, newest) {
			break
		}
	}
	t.Logf("%d processes for %d changes", len(begun)-1, changes)
}

// tick is the unit of the kernel's start times (USER_HZ is 100 everywhere).
const tick = 10 * time.Millisecond

// started says when a process was started, since the machine was.
func started(t *testing.T, pid int) time.Duration { return ticks(t, pid, 22) }

// ticks adds some fields of /proc/PID/stat, numbered as in proc(5), which are times.
func ticks(t testing.TB, pid int, fields ...int) (sum time.Duration) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // field 2 is a name, which may have spaces
	for _, f := range fields {
		n, err := strconv.ParseInt(strings.Fields(rest)[f-3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n) * tick
	}
	return sum
}

// TestOldOnes: a replaced process may finish what it has for a while. There are never more of them than allowed.
func TestOldOnes(t *testing.T) {
	t.Run("by itself", func(t *testing.T) {
		r, _ := newRig(t, 1)
		r.cfg.HardStop = time.Second
		r.run()
		c := r.open()
		r.another()
		r.expect(Reloaded)
		r.expect(Left)
		c.gone(t)
		r.want("", "x", "primary-0 127.0.0.1 x")
	})
	t.Run("hung", func(t *testing.T) {
		r, _ := newRig(t, 1)
		r.pcfg.OldWithin = 300 * time.Millisecond
		r.run()
		pid := r.p.PID()
		c := r.open()
		r.another()
		// It is told to end by its successor, and before it can it hangs.
		r.expect(Reloaded)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		if e := r.expect(Left); e.PID != pid {
			t.Errorf("process %d left, not %d", e.PID, pid)
		}
		c.gone(t)
		r.want("", "x", "primary-0 127.0.0.1 x")
	})
	t.Run("too many", func(t *testing.T) {
		r, _ := newRig(t, 1)
		r.pcfg.MaxOld = 2
		r.run()
		var held []*client
		for range r.pcfg.MaxOld {
			held = append(held, r.open())
			r.another()
			r.expect(Reloaded)
		}
		pid := r.p.PID()
		r.another()
		r.want("", "x", "primary-0 127.0.0.1 x")
		if now := r.p.PID(); now != pid {
			t.Errorf("process %d was replaced by %d", pid, now)
		}
		_ = held[0].Close()
		if r.expect(Reloaded); r.left < 1 {
			t.Error("replaced when none of before had left")
		}
		_ = held[1].Close()
	})
}

// TestNothingLeaks: after many connections and many reloads there is one process, and it has as many descriptors as at the start; so
// has the program that runs it. ZONEKEEPER_REPEATS says how many reloads, each with a hundred connections; the default is short.
func TestNothingLeaks(t *testing.T) {
	reloads := 5
	if n, err := strconv.Atoi(os.Getenv("ZONEKEEPER_REPEATS")); err == nil {
		reloads = n
	}
	const each, clients = 100, 10
	r, _ := newRig(t, 1)
	r.run()
	burst := func() {
		t.Helper()
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				for range each / clients {
					r.want("", "x", "primary-0 127.0.0.1 x")
				}
			})
		}
		wg.Wait()
	}
	burst()
	r.another()
	r.expect(Reloaded)
	for r.left < 1 {
		r.expect(Left)
	}
	ours, its := descriptors(t, os.Getpid()), descriptors(t, r.p.PID())
	// Meanwhile HAProxy is alive at every moment.
	watched := make(chan error, 1)
	var enough atomic.Bool
	go func() {
		for !enough.Load() {
			if err := r.p.Alive(context.Background()); err != nil {
				watched <- err
				return
			}
		}
		watched <- nil
	}()
	for range reloads {
		burst()
		r.another()
		r.expect(Reloaded)
	}
	enough.Store(true)
	if err := <-watched; err != nil {
		t.Errorf("between two processes: %v", err)
	}
	for r.left < 1+reloads {
		r.expect(Left)
	}
	// Connections that both sides have closed may take a moment to be forgotten.
	var oursNow, itsNow int
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if oursNow, itsNow = descriptors(t, os.Getpid()), descriptors(t, r.p.PID()); oursNow <= ours && itsNow <= its {
			break
		}
		if err := r.p.Alive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d connections, %d reloads: descriptors of HAProxy %d, then %d; of its owner %d, then %d", (1+reloads)*each, 1+reloads, its, itsNow, ours, oursNow)
	if oursNow > ours || itsNow > its {
		t.Error("there are more than at the start")
	}
	var names []string
	files, err := os.ReadDir(r.cfg.Dir)
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{"front.pem", "haproxy.cfg", "haproxy.sock", "haproxy.state", "primaries.pem"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("files %q, %v; want %q", names, err, want)
	}
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
