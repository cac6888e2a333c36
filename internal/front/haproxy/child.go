package haproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// lastLines is how many lines of a process are kept to explain an unwanted end.
const lastLines = 8

// child is one haproxy process.
type child struct {
	cmd     *exec.Cmd
	config  []byte
	words   *lines
	serving bool // it has answered on the socket: it has the listening sockets, and its predecessor was told to stop
}

// Check asks the program whether it would start with the configuration in file. The error carries its lines.
func Check(ctx context.Context, path, file string) error {
	out, err := exec.CommandContext(ctx, path, "-c", "-f", file).CombinedOutput()
	if err == nil {
		return nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("haproxy: %w; install HAProxy 2.6 or later, or say where it is", err)
	}
	var said []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.Contains(line, "[ALERT]") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		said = append(said, strings.TrimSpace(string(out)))
	}
	return fmt.Errorf("haproxy: %s -c -f %s: %w: %s", path, file, err, strings.Join(said, " | "))
}

// start runs the program on file. With a predecessor it gets that one's listening sockets, and tells it to stop when it has them.
// The calling goroutine must keep its thread for as long as the child may live: the kernel kills the child with that thread.
// ended is called once, from a goroutine of its own.
func start(cfg ProcessConfig, file string, config []byte, predecessor *child, ended func(*child, error)) (*child, error) {
	c := &child{config: config, words: &lines{log: cfg.Logger}}
	// -db: in the foreground, one process.
	args := []string{"-db", "-f", file}
	if predecessor != nil {
		args = append(args, "-x", SocketPath(cfg.Dir), "-sf", strconv.Itoa(predecessor.pid()))
	}
	c.cmd = exec.Command(cfg.Path, args...) //nolint:noctx // ended by Process.Run, in order
	c.cmd.SysProcAttr = &syscall.SysProcAttr{
		// Its own process group: an interrupt typed at a terminal stops the front, and the front stops HAProxy in order.
		Setpgid:   true,
		Pdeathsig: syscall.SIGKILL,
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("haproxy: start: %w", err)
	}
	c.cmd.Stdout, c.cmd.Stderr = w, w
	err = c.cmd.Start()
	_ = w.Close() // the child holds the other copy
	if err != nil {
		_ = r.Close() // nothing was written
		return nil, fmt.Errorf("haproxy: start %s: %w", cfg.Path, err)
	}
	go func() {
		c.words.copy(r) // ends when the process has
		err := c.cmd.Wait()
		if err == nil {
			err = errDone
		}
		if last := c.words.last(); last != "" {
			err = fmt.Errorf("%w; its last lines: %s", err, last)
		}
		ended(c, fmt.Errorf("haproxy (process %d): %w", c.pid(), err))
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// signal fails only when the process has ended, which Process.Run hears by another way.
func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// lines turns what the process writes into log records and remembers the last of it.
type lines struct {
	log *slog.Logger

	mu   sync.Mutex
	kept []string
}

func (l *lines) copy(r io.ReadCloser) {
	defer r.Close()
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 4096), 1<<20)
	for scan.Scan() {
		level, text := parseLine(scan.Text())
		if level > slog.LevelDebug {
			l.keep(text)
		}
		l.log.Log(context.Background(), level, text) //nolint:sloglint // the message is HAProxy's
	}
}

func (l *lines) keep(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, text)
	if len(l.kept) > lastLines {
		l.kept = append(l.kept[:0], l.kept[1:]...)
	}
}

func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.kept, " | ")
}

// parseLine finds the level of a line: "<5>text" of the log (RFC 5424 severities), "[ALERT]    (pid) : text" of the program itself.
func parseLine(line string) (slog.Level, string) {
	if len(line) > 3 && line[0] == '<' && line[2] == '>' {
		switch line[1] {
		case '0', '1', '2', '3', '4':
			return slog.LevelWarn, line[3:] // "Server … is DOWN" is an alert (1) to HAProxy
		case '5':
			return slog.LevelInfo, line[3:]
		default:
			return slog.LevelDebug, line[3:]
		}
	}
	switch {
	case strings.HasPrefix(line, "[ALERT]"):
		return slog.LevelError, line
	case strings.HasPrefix(line, "[WARNING]"):
		return slog.LevelWarn, line
	default:
		return slog.LevelDebug, line
	}
}
