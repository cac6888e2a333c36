package devcluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// logTail is how much of a dead process's log an error quotes.
const logTail = 1500

// spawner starts child processes that the kernel kills when this process dies.
//
// Linux sends the parent-death signal when the THREAD that started the child ends,
// so one goroutine keeps one thread for as long as there may be children.
type spawner struct {
	requests chan spawn
}

type spawn struct {
	cmd  *exec.Cmd
	done chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawn)}
	go func() {
		runtime.LockOSThread()
		for r := range s.requests {
			r.done <- r.cmd.Start()
		}
		// Returning with the thread locked ends it; every child is dead by now.
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	// A group of its own: Ctrl-C reaches the foreground process only, which then
	// stops the others in order. SIGKILL, because a child that outlives its cluster
	// keeps its ports; the log is made for losing processes this way.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r := spawn{cmd: cmd, done: make(chan error, 1)}
	s.requests <- r
	return <-r.done
}

func (s *spawner) close() { close(s.requests) }

// process is one run of a program of the cluster.
type process struct {
	pid     int
	exited  chan struct{} // closed when it has been reaped
	err     error         // why, valid after exited
	logPath string
}

// startProcess runs a program with its configuration. Its output goes to a file beside its data.
func startProcess(sp *spawner, command []string, dir, name, config string) (*process, error) {
	home := filepath.Join(dir, name)
	logPath := filepath.Join(home, "log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := append(append([]string(nil), command[1:]...), "--config", config)
	cmd := exec.Command(command[0], args...) //nolint:noctx // it is stopped by signals, in order, not by a context
	cmd.Dir = home
	cmd.Stdout, cmd.Stderr = log, log
	if err := sp.start(cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &process{pid: cmd.Process.Pid, exited: make(chan struct{}), logPath: logPath}
	go func() {
		p.err = cmd.Wait()
		// What the process left behind in its group (its named) goes with it.
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		close(p.exited)
	}()
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// failure describes an exit with the end of the log.
func (p *process) failure(name string) error {
	reason := "exited"
	if p.err != nil {
		reason = p.err.Error()
	}
	return fmt.Errorf("%s: %s; the end of %s:\n%s", name, reason, p.logPath, tail(p.logPath))
}

// stop asks, then kills the whole group.
func (p *process) stop(timeout time.Duration) error {
	// A stopped process (SIGSTOP) can't act on SIGTERM.
	_ = syscall.Kill(p.pid, syscall.SIGTERM)
	_ = syscall.Kill(-p.pid, syscall.SIGCONT)
	select {
	case <-p.exited:
		return nil
	case <-time.After(timeout):
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.exited
	return fmt.Errorf("process %d did not stop within %s and was killed", p.pid, timeout)
}

func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > logTail {
		_, _ = f.Seek(-logTail, io.SeekEnd)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b))
}

// namedOf finds the named that a primary runs: its child of that name. 0 when there is none.
func namedOf(pid int) int {
	// One file per thread: a child belongs to the thread that started it.
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // the thread ended meanwhile
		}
		for _, f := range strings.Fields(string(b)) {
			comm, err := os.ReadFile("/proc/" + f + "/comm")
			if err != nil || strings.TrimSpace(string(comm)) != "named" {
				continue
			}
			if child, err := strconv.Atoi(f); err == nil {
				return child
			}
		}
	}
	return 0
}

// lockDir keeps a second cluster off the same directory for as long as the file is open.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: another `zonekeeper dev` runs this cluster; stop it or choose another --dir", dir)
		}
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return f, nil
}
