package named

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lastLines is how much of named's log is kept to explain an unwanted end.
const lastLines = 12

// child is one named process.
type child struct {
	cmd    *exec.Cmd
	exited chan error    // receives once
	ended  chan struct{} // closed then
	logs   *logBridge
	start  string // the start log's path: what named wrote before it read its configuration
}

func startChild(cfg Config, own owner, log *slog.Logger) (*child, error) {
	c := &child{exited: make(chan error, 1), ended: make(chan struct{}), logs: &logBridge{log: log, secondary: cfg.Secondary, done: make(chan struct{})}, start: filepath.Join(cfg.Dir, startLogFile)}
	args := []string{"-f", "-c", filepath.Join(cfg.Dir, confFile), "-L", c.start}
	if cfg.Threads > 0 {
		args = append(args, "-n", strconv.Itoa(cfg.Threads))
	}
	c.cmd = exec.Command(cfg.Path, args...) //nolint:noctx // ended by stop and kill, in order
	c.cmd.Dir = cfg.Dir
	c.cmd.SysProcAttr = &syscall.SysProcAttr{
		// Its own process group: an interrupt typed at a terminal stops us, and we stop named in order.
		Setpgid:   true,
		Pdeathsig: syscall.SIGKILL,
	}
	if own.uid != 0 {
		// named's own -u would clear Pdeathsig: the kernel forgets it when a process changes its user.
		c.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(own.uid), Gid: uint32(own.gid)}
		if slices.ContainsFunc(slices.Concat(cfg.Listen, cfg.ListenProxy), func(a netip.AddrPort) bool { return a.Port() < 1024 }) {
			c.cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE}
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start named: %w", err)
	}
	c.cmd.Stderr = w
	err = c.cmd.Start()
	_ = w.Close() // the child holds the other copy
	if err != nil {
		_ = r.Close() // nothing was written
		return nil, fmt.Errorf("start %s: %w", cfg.Path, err)
	}
	go c.logs.copy(r)
	go func() {
		err := c.cmd.Wait()
		<-c.logs.done // so that the last words are known
		if err == nil {
			err = errors.New("exit status 0")
		}
		c.exited <- err
		close(c.ended)
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// kill ends the process and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // fails only when it has ended
	<-c.ended
}

// stop asks the process to end, and kills it when it does not. It reports whether the process ended by itself and in order.
func (c *child) stop(within time.Duration) (inOrder bool) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-c.ended:
		return c.cmd.ProcessState.Success()
	case <-t.C:
		c.kill()
		return false
	}
}

// describe adds named's last words to the reason of its end.
func (c *child) describe(reason error) error {
	words := c.logs.last()
	if len(words) == 0 {
		// It ended before it read its logging configuration.
		if b, err := os.ReadFile(c.start); err == nil {
			for line := range strings.SplitSeq(string(b), "\n") {
				if line != "" && !strings.Contains(line, ": info: ") && !strings.Contains(line, ": notice: ") {
					words = append(words, line)
				}
			}
			words = words[max(0, len(words)-lastLines):]
		}
	}
	if len(words) == 0 {
		var fs unix.Statfs_t
		if err := unix.Statfs(c.cmd.Dir, &fs); err == nil {
			return fmt.Errorf("named (process %d): %w; it wrote nothing, %d octets are free in %s", c.pid(), reason, fs.Bavail*uint64(fs.Bsize), c.cmd.Dir) //nolint:gosec // positive
		}
	}
	return fmt.Errorf("named (process %d): %w; its last lines: %s", c.pid(), reason, strings.Join(words, " | "))
}

// logBridge turns named's lines into log records and remembers the last ones.
type logBridge struct {
	log       *slog.Logger
	secondary *SecondaryConf // nil at a hidden primary
	done      chan struct{}

	mu    sync.Mutex
	lines []string
}

func (b *logBridge) copy(r io.ReadCloser) {
	defer close(b.done)
	defer r.Close()
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4096), 1<<20)
	var transfers transferLog
	for lines.Scan() {
		text := lines.Text()
		category, level, msg := parseLogLine(text)
		x, seen := b.sighted(category, msg)
		flooded := category == categoryTransfers || category == categoryNotify || category == categorySecurity
		if flooded {
			switch {
			case seen:
				level = slog.LevelWarn
			case category != categoryTransfers:
				level = slog.LevelDebug
			}
			var dropped int
			if level, dropped = transfers.judge(level, msg, time.Now()); dropped > 0 {
				b.log.Warn("named had more to say about transfers, NOTIFYs and signatures", "lines", dropped)
			}
		}
		if !flooded || level > slog.LevelDebug {
			b.remember(text)
		}
		if seen {
			x.Shown = level > slog.LevelDebug
			b.secondary.Saw(x)
		}
		b.log.Log(context.Background(), level, msg, "category", category) //nolint:sloglint // the message is named's
	}
}

// sighted says what a secondary's named has seen.
func (b *logBridge) sighted(category, msg string) (x Sighting, seen bool) {
	if b.secondary == nil || b.secondary.Saw == nil {
		return x, false
	}
	return sighted(category, msg, b.secondary.Proxy.Addr())
}

func (b *logBridge) remember(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, text)
	if len(b.lines) > lastLines {
		b.lines = append(b.lines[:0], b.lines[1:]...)
	}
}

func (b *logBridge) last() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.lines...)
}

// parseLogLine splits "category: severity: text". named's info is one line per zone and transfer: debug to us.
func parseLogLine(line string) (category string, level slog.Level, msg string) {
	category, rest, ok := strings.Cut(line, ": ")
	severity, msg, ok2 := strings.Cut(rest, ": ")
	if !ok || !ok2 {
		return "", slog.LevelInfo, line
	}
	switch {
	case strings.HasPrefix(msg, "invalid command from ") && strings.HasSuffix(msg, ": timed out"), // our control connection was idle for a minute
		strings.HasSuffix(msg, "not removed: file not found"),             // a zone that was deleted before it had a journal
		strings.HasPrefix(msg, "automatic interface scanning terminated"): // 9.18, whenever it stops or reads its configuration
		return category, slog.LevelDebug, msg
	}
	switch severity {
	case "debug", "info", "notice":
		level = slog.LevelDebug
	case "warning":
		level = slog.LevelWarn
	case "error", "critical":
		level = slog.LevelError
	default:
		return "", slog.LevelInfo, line
	}
	return category, level, msg
}
