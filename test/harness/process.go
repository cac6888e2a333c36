package harness

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that a test runs. It ends with the test, and when the test is killed.
type Process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// stopPatience is how long a program may take for an orderly end.
const stopPatience = 8 * time.Second

// starter is the thread that starts programs: the kernel kills them when it ends, so it never does.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// StartProcess runs cmd in a process group of its own. What it writes is in the file log, whose end is shown if the test fails.
func StartProcess(t testing.TB, cmd *exec.Cmd, log string) *Process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	starter() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		t.Fatalf("start %v: %v", cmd.Args, err)
	}
	p := &Process{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() { defer close(p.ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", log, p.Tail(60))
		}
	})
	return p
}

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process alone.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.Alive(); err != nil {
		return err
	}
	if err := syscall.Kill(p.PID(), sig); err != nil {
		return fmt.Errorf("signal %v to %v: %w", sig, p.cmd.Args, err)
	}
	return nil
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stop ends the program and what it started, if they run.
func (p *Process) Stop() {
	if p.Alive() == nil {
		_ = syscall.Kill(p.PID(), syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(stopPatience):
		}
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.ended
}

// Tail gives the last lines of what the program wrote.
func (p *Process) Tail(lines int) string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Alive fails once the program has ended.
func (p *Process) Alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%v ended (%v):\n%s", p.cmd.Args, p.cmd.ProcessState, p.Tail(20))
	default:
		return nil
	}
}
