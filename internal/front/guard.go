package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	ossignal "os/signal"
	"syscall"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

// guard is process 1 of a container. It runs the front as its child, because what kills a front and its keepalived together would
// otherwise leave the addresses on the node's interface until the container is back; it passes signals on, and reaps, which is a
// process 1's duty.
type guard struct {
	argv  []string // the front
	iface string   // of the addresses; "" outside mode vip
	set   settings
	grace time.Duration // for those that the front leaves behind, before they are killed
	log   *slog.Logger
}

// guardGrace is longer than keepalived takes to give the addresses away when the front has gone.
const guardGrace = 3 * time.Second

func newGuard(cfg Config, log *slog.Logger) (*guard, error) {
	set, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	g := &guard{argv: append([]string{"/proc/self/exe"}, os.Args[1:]...), set: set, grace: guardGrace, log: log}
	if cfg.Mode == ModeVIP {
		g.iface = cfg.VIP.Interface
	}
	return g, nil
}

// ended is a process that was reaped.
type ended struct {
	pid    int
	status syscall.WaitStatus
}

// run returns when the front has ended and nothing of it is left. When ctx ends the front is asked to.
func (g *guard) run(ctx context.Context) error {
	passed := make(chan os.Signal, 8)
	ossignal.Notify(passed, syscall.SIGUSR1)
	defer ossignal.Stop(passed)
	// A group of its own: what is typed at a terminal comes through us, once.
	child, err := os.StartProcess(g.argv[0], g.argv, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return fmt.Errorf("start the front as a child of process 1: %w", err)
	}
	pid := child.Pid
	_ = child.Release() // it is reaped with all others
	reaped := make(chan ended)
	go reap(reaped)
	stop := ctx.Done()
	for {
		select {
		case <-stop:
			stop = nil
			_ = syscall.Kill(pid, syscall.SIGTERM) // it may just have ended, which is heard below
		case s := <-passed:
			if s, ok := s.(syscall.Signal); ok {
				_ = syscall.Kill(pid, s) // as above
			}
		case e := <-reaped:
			if e.pid == pid {
				return g.after(e.status, reaped)
			}
		}
	}
}

// after clears up behind a front that has ended.
func (g *guard) after(status syscall.WaitStatus, reaped <-chan ended) error {
	late := time.NewTimer(g.grace)
	defer late.Stop()
	for left := true; left; {
		select {
		case _, left = <-reaped:
		case <-late.C:
			g.log.Warn("processes that the front has left are killed")
			_ = syscall.Kill(-1, syscall.SIGKILL) // all but process 1, which this is
		}
	}
	var errs []error
	switch {
	case status.Signaled():
		errs = append(errs, fmt.Errorf("the front was ended by a signal: %s", status.Signal()))
	case status.ExitStatus() == 2:
		errs = append(errs, fmt.Errorf("%w: the front has said above what is wrong", ErrConfig))
	case status.ExitStatus() != 0:
		errs = append(errs, fmt.Errorf("the front ended: exit status %d", status.ExitStatus()))
	}
	if g.iface != "" {
		held, err := vip.Held(g.iface, g.set.vips)
		if err == nil && len(held) > 0 {
			g.log.Warn("addresses were left behind; they are removed", "after", "the front's end", "addresses", held)
			err = vip.Remove(g.iface, g.set.vips)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("addresses may have been left behind: %w", err))
		}
	}
	return errors.Join(errs...)
}

// reap waits for every child, those too that were left to process 1, and closes the channel when there is none.
func reap(to chan<- ended) {
	defer close(to)
	for {
		var e ended
		pid, err := syscall.Wait4(-1, &e.status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return // ECHILD
		}
		e.pid = pid
		to <- e
	}
}
