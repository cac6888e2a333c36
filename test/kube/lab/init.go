package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// startPatience is how long a part of the cluster may take until it answers. Two cores start everything at once.
const startPatience = 2 * time.Minute

// firstProcess is what the first process of a process number space has to do beside its own work: reap what others leave behind. So it
// can't use os/exec's way of waiting.
type firstProcess struct {
	logs, suffix string
	ended        chan error // a daemon ended

	mu      sync.Mutex
	waiting map[int]func(unix.WaitStatus)
}

func newInit(logs, suffix string) (*firstProcess, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("lab: this is the first process of a node; use up")
	}
	f := &firstProcess{logs: logs, suffix: suffix, ended: make(chan error, 16), waiting: map[int]func(unix.WaitStatus){}}
	go f.reap()
	return f, nil
}

func (f *firstProcess) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			<-time.After(20 * time.Millisecond) // nobody is there yet
			continue
		case err != nil:
			f.ended <- fmt.Errorf("lab: wait: %w", err)
			return
		}
		f.mu.Lock() // start holds it until it has said what to do at the end
		done := f.waiting[pid]
		delete(f.waiting, pid)
		f.mu.Unlock()
		if done != nil {
			done(status)
		}
	}
}

// start runs a program whose output is appended to a file.
func (f *firstProcess) start(log, program string, args []string, done func(unix.WaitStatus)) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("lab: %w; run scripts/install-deps.sh e2e", err)
	}
	out, err := os.OpenFile(filepath.Join(f.logs, log+"-"+f.suffix+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{Files: []*os.File{null, out, out}})
	if err != nil {
		return fmt.Errorf("lab: start %s: %w", program, err)
	}
	f.waiting[p.Pid] = done
	return p.Release()
}

// daemon runs a program without which the others are nothing worth.
func (f *firstProcess) daemon(name, program string, args ...string) error {
	return f.start(name, program, args, func(s unix.WaitStatus) {
		f.ended <- fmt.Errorf("lab: %s of %s ended with %d, signal %d; see %s", name, f.suffix, s.ExitStatus(), s.Signal(), f.logs)
	})
}

// run runs a program to its end.
func (f *firstProcess) run(program string, args ...string) error {
	ended := make(chan unix.WaitStatus, 1)
	if err := f.start("commands", program, args, func(s unix.WaitStatus) { ended <- s }); err != nil {
		return err
	}
	select {
	case s := <-ended:
		if s.ExitStatus() != 0 {
			return fmt.Errorf("lab: %s %s failed; see %s/commands-%s.log", program, strings.Join(args, " "), f.logs, f.suffix)
		}
		return nil
	case err := <-f.ended:
		return err
	}
}

// until repeats a command that fails until what it asks is there.
func (f *firstProcess) until(what, program string, args ...string) error {
	for end := time.Now().Add(startPatience); ; {
		err := f.run(program, args...)
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("lab: waited %v until %s: %w", startPatience, what, err)
		}
		select {
		case err := <-f.ended:
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// wait is until a daemon ends, which is the end of the node.
func (f *firstProcess) wait() error { return <-f.ended }
