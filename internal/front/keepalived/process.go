package keepalived

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
)

// State is VRRP's.
type State uint8

// States. A keepalived that does not run holds nothing: Fault.
const (
	Fault State = iota
	Backup
	Master
)

// String is the word in logs, status and metrics.
func (s State) String() string {
	switch s {
	case Master:
		return "master"
	case Backup:
		return "backup"
	default:
		return "fault"
	}
}

// ProcessConfig is what a Process needs.
type ProcessConfig struct {
	Config Config
	// Path is the program.
	Path string
	// Ended is called when keepalived has ended other than by our stop, before it is started again. Killed without a chance
	// to clean up it leaves the VIPs on the interface.
	Ended func()
	// RestartMin and RestartMax bound the pause between restarts; the first one is at once.
	RestartMin, RestartMax time.Duration
	// StopTimeout is how long keepalived may take to give the addresses away; it is killed afterwards.
	StopTimeout time.Duration
	Logger      *slog.Logger
}

// DefaultProcessConfig has every value that has a sensible default.
func DefaultProcessConfig() ProcessConfig {
	return ProcessConfig{
		Path: "keepalived", Ended: func() {}, RestartMin: 100 * time.Millisecond, RestartMax: 5 * time.Second, StopTimeout: 3 * time.Second,
	}
}

// Validate names the first thing that is missing.
func (c ProcessConfig) Validate() error {
	switch {
	case c.Path == "":
		return errors.New("keepalived: the path is empty; name the program")
	case c.Logger == nil || c.Ended == nil:
		return errors.New("keepalived: Logger and Ended must be set")
	case c.RestartMin <= 0 || c.RestartMax < c.RestartMin || c.StopTimeout <= 0:
		return fmt.Errorf("keepalived: pauses of %s to %s and a stop within %s; give positive durations in that order", c.RestartMin, c.RestartMax, c.StopTimeout)
	}
	return c.Config.check()
}

// Process is one keepalived and the files through which it is told and heard.
type Process struct {
	cfg    ProcessConfig
	states chan State

	pid      atomic.Int64
	restarts atomic.Uint64

	mu    sync.Mutex // orders writes of the files
	local string

	foreignMu sync.Mutex
	foreign   uint64
	from      []netip.Addr
}

// New writes the files: the configuration, a track file that says FAULT until SetLocal("") is called, one that says score 0,
// and the FIFO.
func New(c ProcessConfig) (*Process, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	text, err := Render(c.Config)
	if err != nil {
		return nil, err
	}
	p := &Process{cfg: c, states: make(chan State)}
	if err := os.MkdirAll(c.Config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("keepalived's directory: %w", err)
	}
	if err := os.WriteFile(p.file(configFile), text, 0o600); err != nil {
		return nil, fmt.Errorf("keepalived's configuration: %w", err)
	}
	if err := errors.Join(p.SetLocal("starting"), p.SetScore(0)); err != nil {
		return nil, err
	}
	// What an earlier process left in it is not to be heard.
	if err := os.Remove(p.file(fifoFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("keepalived's FIFO: %w", err)
	}
	if err := syscall.Mkfifo(p.file(fifoFile), 0o600); err != nil {
		return nil, fmt.Errorf("keepalived's FIFO %s: %w", p.file(fifoFile), err)
	}
	return p, nil
}

func (p *Process) file(name string) string { return filepath.Join(p.cfg.Config.Dir, name) }

// SetLocal says why this node must not hold the addresses; "" when it may.
func (p *Process) SetLocal(reason string) error {
	value := byte('0')
	if reason != "" {
		value = '1'
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.track(localFile, value); err != nil {
		return err
	}
	p.local = reason
	return nil
}

// Local is the last reason that SetLocal was given.
func (p *Process) Local() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.local
}

// SetScore says how many steps of 10 this node's priority is above 100: 2 while a primary is ready, 1 while one answers, else 0.
func (p *Process) SetScore(score int) error {
	if score < 0 || score > 2 {
		return fmt.Errorf("score %d: it is 0, 1 or 2", score)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.track(quorumFile, '0'+byte(score))
}

// SetPeers makes others the peers. keepalived reads its configuration again and stays in its state.
func (p *Process) SetPeers(peers []netip.Addr) error {
	c := p.cfg.Config
	c.Peers = peers
	text, err := Render(c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := conf.Replace(p.file(configFile), text); err != nil {
		return fmt.Errorf("keepalived's configuration: %w", err)
	}
	// One that starts at this moment reads the new file, or dies of the signal and is started again.
	if pid := p.PID(); pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("tell keepalived to read its configuration again: %w", err)
		}
	}
	return nil
}

// track writes a track file in place, in one write: keepalived watches the inode, and must never read half of it.
func (p *Process) track(name string, value byte) error {
	f, err := os.OpenFile(p.file(name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("tell keepalived: %w", err)
	}
	_, err = f.WriteAt([]byte{value, '\n'}, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("tell keepalived through %s: %w", f.Name(), err)
	}
	return nil
}

// State gives each state as keepalived announces it, in order, while Run runs; somebody has to receive. When keepalived ends it is
// Fault.
func (p *Process) State() <-chan State { return p.states }

// PID is keepalived's; 0 while it does not run.
func (p *Process) PID() int { return int(p.pid.Load()) }

// Restarts counts starts after the first.
func (p *Process) Restarts() uint64 { return p.restarts.Load() }

// maxStrangers is how many are known by their addresses.
const maxStrangers = 64

// Strangers counts keepalived's complaints about advertisements of others than its peers, and says whose they were, of the first
// so many.
func (p *Process) Strangers() (packets uint64, from []netip.Addr) {
	p.foreignMu.Lock()
	defer p.foreignMu.Unlock()
	return p.foreign, slices.Clone(p.from)
}

// Run starts keepalived, and again whenever it ends, until ctx is done; then keepalived gives the addresses away and ends
// before Run returns. The goroutine keeps its thread: the kernel tells keepalived (SIGTERM, so that it gives the
// addresses away) when the thread that started it ends, which must happen when this process dies and not before.
func (p *Process) Run(ctx context.Context) error {
	fifo, err := os.OpenFile(p.file(fifoFile), os.O_RDWR, 0) // writing as well: no end of file between two keepaliveds
	if err != nil {
		return fmt.Errorf("keepalived's FIFO: %w", err)
	}
	var heard sync.WaitGroup
	hearing, deaf := context.WithCancel(context.WithoutCancel(ctx))
	heard.Go(func() { p.hear(hearing, fifo) })
	defer func() {
		deaf()
		_ = fifo.Close() // ends the reading; nothing was written
		heard.Wait()
	}()

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := time.Duration(0)
	for ctx.Err() == nil {
		began := time.Now()
		err := p.runOnce(ctx)
		p.pid.Store(0)
		if ctx.Err() != nil {
			return err
		}
		p.cfg.Ended() // first: the addresses may still be here
		p.announce(ctx, Fault)
		// A process that worked for a while and then died is not in a restart loop.
		if time.Since(began) > 2*p.cfg.RestartMax {
			pause = 0
		}
		p.cfg.Logger.Error("keepalived ended; starting it again", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		p.restarts.Add(1)
		pause = min(max(2*pause, p.cfg.RestartMin), p.cfg.RestartMax)
	}
	return nil
}

// runOnce is the life of one keepalived. The error says how it ended; nil when ctx did, and it in order.
func (p *Process) runOnce(ctx context.Context) error {
	// Killed processes leave PID files, and keepalived takes those of a number in use for a daemon that runs.
	_ = os.Remove(p.file(pidFile)) // most often not there
	_ = os.Remove(p.file(vrrpPIDFile))
	//nolint:gosec // the administrator names the program
	cmd := exec.CommandContext(ctx, p.cfg.Path, "-n", "-l", "-P", "-f", p.file(configFile), "-p", p.file(pidFile), "-r", p.file(vrrpPIDFile))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = p.cfg.StopTimeout
	said := &lines{say: p.say}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start keepalived: %w; install it (apt-get install keepalived), or name the program in keepalived.path", err)
	}
	pid := cmd.Process.Pid
	p.pid.Store(int64(pid))
	// Its VRRP process writes to the same place, so this waits for its end too: it gives the addresses away when its parent dies.
	err := cmd.Wait()
	if ctx.Err() != nil || errors.Is(err, exec.ErrWaitDelay) {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // whoever is left of the group hangs
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it ended because it was told to
	}
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("keepalived: %w", err)
}

// say passes a line of keepalived's on. Its complaints about strangers, one a packet, are counted instead.
func (p *Process) say(line string) {
	text := message(line)
	from, ok := stranger(text)
	if !ok {
		p.cfg.Logger.Info("keepalived says", "line", text)
		return
	}
	p.cfg.Logger.Debug("keepalived says", "line", text)
	p.foreignMu.Lock()
	defer p.foreignMu.Unlock()
	p.foreign++
	if from.IsValid() && len(p.from) < maxStrangers && !slices.Contains(p.from, from) {
		p.from = append(p.from, from)
	}
}

// stranger reads a line such as: (vip) unicast source address 192.0.2.66 not a unicast peer
func stranger(text string) (from netip.Addr, ok bool) {
	before, _, ok := strings.Cut(text, " not a unicast peer")
	if !ok {
		return netip.Addr{}, false
	}
	from, _ = netip.ParseAddr(before[strings.LastIndexByte(before, ' ')+1:]) // counted all the same
	return from, true
}

// lines calls say with each whole line that is written to it.
type lines struct {
	say  func(string)
	rest []byte
}

// Write implements io.Writer; one goroutine calls it.
func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		l.say(string(l.rest[:i]))
		l.rest = l.rest[i+1:]
	}
}

// message is a line of keepalived without its time: "Mon Nov 23 13:25:01 2026: (vip) Entering BACKUP STATE".
func message(line string) string {
	const stamp = len("Mon Jan _2 15:04:05 2006")
	if len(line) > stamp+2 && line[stamp:stamp+2] == ": " {
		if _, err := time.Parse(time.ANSIC, line[:stamp]); err == nil {
			return line[stamp+2:]
		}
	}
	return line
}

// hear reads the FIFO until it is closed.
func (p *Process) hear(ctx context.Context, fifo io.Reader) {
	for said := bufio.NewScanner(fifo); said.Scan(); {
		if s, ok := parseState(said.Text()); ok {
			p.announce(ctx, s)
		}
	}
}

func (p *Process) announce(ctx context.Context, s State) {
	select {
	case p.states <- s:
	case <-ctx.Done():
	}
}

// parseState reads a line such as: INSTANCE "vip" MASTER 120
func parseState(line string) (State, bool) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "INSTANCE" || f[1] != `"`+instance+`"` {
		return Fault, false
	}
	switch f[2] {
	case "MASTER":
		return Master, true
	case "BACKUP":
		return Backup, true
	case "FAULT", "STOP", "DELETED":
		return Fault, true
	}
	return Fault, false // MASTER_RX_LOWER_PRI and its like change nothing
}
