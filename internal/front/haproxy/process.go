package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// ProcessConfig is how HAProxy is run. Start from [DefaultProcessConfig].
type ProcessConfig struct {
	Path string // the program
	Dir  string // the same as Config.Dir; the configuration file is written there as well

	ReloadEvery time.Duration // two replacements are at least so far apart
	MaxOld      int           // replaced processes that may still have connections; with more the next replacement waits
	RestartMin  time.Duration // pause before the second start in a row; the first is at once
	RestartMax  time.Duration // the pause doubles up to here
	StartWithin time.Duration // a process that does not answer by then is killed
	DrainWithin time.Duration // connections that a drain leaves open for so long are cut
	OldWithin   time.Duration // a replaced process is ended after so long; above Config.HardStop, by which it ends itself unless it hangs

	// Observe, when not nil, is told what happens, in order, and must not block.
	Observe func(Event)
	Logger  *slog.Logger
}

// DefaultProcessConfig has every value but Dir and Logger.
func DefaultProcessConfig() ProcessConfig {
	return ProcessConfig{
		Path: "haproxy", ReloadEvery: time.Second, MaxOld: 4, RestartMin: 100 * time.Millisecond, RestartMax: 5 * time.Second,
		StartWithin: 10 * time.Second, DrainWithin: 2 * time.Second, OldWithin: 35 * time.Second,
	}
}

// Validate reports every mistake at once, each with field, value and remedy.
func (c ProcessConfig) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("haproxy: Path: empty; give the program's path, or \"haproxy\""))
	}
	if !filepath.IsAbs(c.Dir) {
		errs = append(errs, fmt.Errorf("haproxy: Dir: %q; give an absolute path", c.Dir))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New("haproxy: Logger: nil; give one"))
	}
	if c.ReloadEvery < 0 || c.RestartMin <= 0 || c.RestartMax < c.RestartMin || c.StartWithin <= 0 || c.DrainWithin < 0 || c.OldWithin <= 0 || c.MaxOld < 1 {
		errs = append(errs, fmt.Errorf("haproxy: ReloadEvery %s, RestartMin %s, RestartMax %s, StartWithin %s, DrainWithin %s, OldWithin %s, MaxOld %d; start from DefaultProcessConfig",
			c.ReloadEvery, c.RestartMin, c.RestartMax, c.StartWithin, c.DrainWithin, c.OldWithin, c.MaxOld))
	}
	return errors.Join(errs...)
}

// Kind is what an Event is about.
type Kind uint8

// What can happen to the process.
const (
	Started  Kind = iota // the first process, or one after an end, serves
	Reloaded             // another process has taken over, with its configuration
	Rejected             // HAProxy did not take a configuration; what ran before still runs. Err says why.
	Ended                // the serving process ended by itself, or one that was to serve did; Err says how. It is started again.
	Left                 // a replaced process has ended
)

// Event is something that happened to process PID.
type Event struct {
	Kind Kind
	PID  int
	Err  error
}

// Process keeps one HAProxy running. Its methods may be used at any time and from any goroutine.
type Process struct {
	cfg     ProcessConfig
	drain   chan chan struct{}
	restart chan string

	mu  sync.Mutex
	pid int
}

// New makes a Process; Run starts it.
func New(cfg ProcessConfig) (*Process, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Process{cfg: cfg, drain: make(chan chan struct{}), restart: make(chan string, 1)}, nil
}

// PID is the process that serves; 0 when there is none.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

func (p *Process) setPID(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
}

// Alive returns nil when the serving process answers on its socket before ctx ends.
func (p *Process) Alive(ctx context.Context) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		want := p.PID()
		if want == 0 {
			return errors.New("haproxy: no process is running")
		}
		pid, err := infoPID(ctx, SocketPath(p.cfg.Dir))
		if err != nil || pid == want {
			return err
		}
		// While a process is replaced both answer for a moment.
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("haproxy: process %d answers on the stats socket, not %d", pid, want)
		}
	}
}

// Stat asks the serving process for the state of every server, and of the clients' frontend.
func (p *Process) Stat(ctx context.Context) ([]Server, error) {
	text, err := ask(ctx, SocketPath(p.cfg.Dir), "show stat")
	if err != nil {
		return nil, err
	}
	return parseStat(text)
}

// Drain closes clients' connections between their messages as far as a TCP proxy can: from now on one that is idle for a second is
// closed, those of before are cut after Config.DrainWithin at the latest, and new ones are still taken. It returns when the
// connections of before have ended. Configurations that come later are changed in the same way: a drain lasts until Run ends.
func (p *Process) Drain(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case p.drain <- done:
	case <-ctx.Done():
		return fmt.Errorf("haproxy: drain: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("haproxy: drain: %w", ctx.Err())
	}
}

// Restart kills the serving process, so that a fresh one takes its place: for one that is hung. reason goes into the log.
func (p *Process) Restart(reason string) {
	select {
	case p.restart <- reason:
	default: // one is under way
	}
}

// ending is a child that ended, and how: never nil.
type ending struct {
	child *child
	err   error
}

// errDone is the end of a process that was told to stop.
var errDone = errors.New("exit status 0")

// retired is what a replaced process gets when it has not gone by itself: a signal, and when.
type retired struct {
	at   time.Time
	next syscall.Signal
}

// keeper is the state of Run: one goroutine owns it.
type keeper struct {
	*Process
	running context.Context // of Run

	wanted   []byte    // the newest configuration; nil: none yet
	good     []byte    // the newest that has served
	refused  []byte    // what HAProxy did not take although there is a good one,
	retry    time.Time // and when it is shown that again: a file may have been missing for the moment
	current  *child    // serves, or will
	before   *child    // has served, and still does until current says that it has taken over
	handed   bool      // before has ended because it heard of that first
	old      map[*child]retired
	draining bool
	drained  []chan struct{} // whom to tell when nothing of before the drain is left
	undone   map[*child]bool // the children of before the drain

	loaded  time.Time     // the last replacement
	pause   time.Duration // before the next start
	notYet  time.Time     // no start before
	began   time.Time     // of the current child
	ended   chan ending
	serving chan *child
}

// Run starts HAProxy with the first configuration that comes, replaces it for each other one, at most once in
// Config.ReloadEvery (the newest counts), and starts it again when it ends. It returns nil when ctx is done and no process is
// left; configs may be closed before.
//
// The goroutine keeps its thread: the kernel kills HAProxy when the thread that started it ends (PR_SET_PDEATHSIG), which is the
// point, but must not happen because the Go runtime retired an idle thread.
func (p *Process) Run(ctx context.Context, configs <-chan []byte) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	k := &keeper{Process: p, running: ctx, old: map[*child]retired{}, undone: map[*child]bool{}, ended: make(chan ending), serving: make(chan *child)}
	defer p.setPID(0)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if next := k.step(time.Now()); next > 0 {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			k.stop()
			return nil
		case conf, ok := <-configs:
			if !ok {
				configs = nil
				continue
			}
			k.wanted = conf
		case e := <-k.ended:
			k.onEnd(e)
		case c := <-k.serving:
			k.onServing(c)
		case reason := <-p.restart:
			if k.current != nil {
				p.cfg.Logger.Warn("HAProxy is killed", "pid", k.current.pid(), "reason", reason)
				k.current.signal(syscall.SIGKILL)
			}
		case done := <-p.drain:
			k.onDrain(done)
		case <-timer.C:
		}
	}
}

func (k *keeper) tell(e Event) {
	if k.cfg.Observe != nil {
		k.cfg.Observe(e)
	}
}

// step does what is due, and says after which time it has to be called again; 0: when something has happened.
func (k *keeper) step(now time.Time) (again time.Duration) {
	wait := func(until time.Time) bool {
		left := until.Sub(now)
		if left > 0 && (again == 0 || left < again) {
			again = left
		}
		return left > 0
	}
	for c, r := range k.old {
		if wait(r.at) {
			continue
		}
		c.signal(r.next)
		k.old[c] = retired{now.Add(time.Second), syscall.SIGKILL}
		wait(k.old[c].at)
	}
	conf := k.target()
	if k.current == nil && k.good != nil && bytes.Equal(conf, k.refused) && now.Before(k.retry) {
		conf = k.good // what ran has ended, and what should run is no configuration
	}
	switch {
	case k.current != nil && !k.current.serving:
		if !wait(k.began.Add(k.cfg.StartWithin)) {
			k.current.signal(syscall.SIGKILL)
		}
		return again
	case conf == nil, k.current != nil && bytes.Equal(conf, k.current.config), bytes.Equal(conf, k.refused) && wait(k.retry):
		return again
	case wait(k.notYet), k.current != nil && wait(k.loaded.Add(k.cfg.ReloadEvery)):
		return again
	case k.current != nil && len(k.old) >= k.cfg.MaxOld && !k.draining:
		return again // until one of them has ended
	}
	k.start(now, conf)
	if k.running.Err() != nil {
		return again
	}
	return k.step(time.Now())
}

// target is the configuration that should run.
func (k *keeper) target() []byte {
	conf := k.wanted
	if !k.draining || conf == nil {
		return conf
	}
	d, err := draining(conf)
	if err != nil {
		k.cfg.Logger.Error("this node is drained with its usual timeouts", "err", err)
		return conf
	}
	return d
}

// start checks a configuration and starts a process with it. What HAProxy does not take stays beside the good file, for people to look at.
func (k *keeper) start(now time.Time, conf []byte) {
	file := filepath.Join(k.cfg.Dir, "haproxy.cfg")
	err := replaceFile(file+".check", conf)
	if err == nil {
		ctx, cancel := context.WithTimeout(k.running, k.cfg.StartWithin)
		err = Check(ctx, k.cfg.Path, file+".check")
		cancel()
	}
	if k.running.Err() != nil {
		return
	}
	if err == nil {
		err = os.Rename(file+".check", file)
	}
	if err != nil {
		if k.good == nil || bytes.Equal(conf, k.good) {
			k.delay(now) // there is nothing better: perhaps a file is only missing for the moment
		} else {
			k.refused, k.retry = conf, now.Add(k.cfg.RestartMax)
		}
		k.cfg.Logger.Error("HAProxy does not take the configuration; what ran before goes on", "err", err)
		k.tell(Event{Kind: Rejected, Err: err})
		return
	}
	if bytes.Equal(conf, k.refused) {
		k.refused = nil
	}
	k.saveState(conf)
	now = time.Now() // the check took some of it
	c, err := start(k.cfg, file, conf, k.current, func(c *child, err error) { k.ended <- ending{c, err} })
	if err != nil {
		k.delay(now)
		k.cfg.Logger.Error("HAProxy was not started", "err", err)
		k.tell(Event{Kind: Ended, Err: err})
		return
	}
	k.loaded, k.began = now, now
	k.before, k.current = k.current, c
	if k.before == nil {
		k.setPID(c.pid())
	}
	go k.await(c)
}

// saveState writes what the serving process knows of the primaries for its successor. Without a serving process the file says
// nothing: what was known before an unwanted end may have been its reason.
func (k *keeper) saveState(conf []byte) {
	state := noState
	if k.current != nil {
		ctx, cancel := context.WithTimeout(k.running, time.Second)
		defer cancel()
		text, err := ask(ctx, SocketPath(k.cfg.Dir), "show servers state")
		if err == nil {
			state = stateFor(text, conf)
		} else {
			k.cfg.Logger.Warn("the next HAProxy takes all primaries for ready until its first checks", "err", err)
		}
	}
	if err := replaceFile(StatePath(k.cfg.Dir), []byte(state)); err != nil {
		k.cfg.Logger.Warn("the next HAProxy may have wrong states of primaries until its first checks", "err", err)
	}
}

// await asks the socket until the child is who answers there.
func (k *keeper) await(c *child) {
	ctx, cancel := context.WithTimeout(k.running, k.cfg.StartWithin)
	defer cancel()
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	for {
		if pid, err := infoPID(ctx, SocketPath(k.cfg.Dir)); err == nil && pid == c.pid() {
			break
		}
		select {
		case <-ctx.Done():
			return // Run kills it
		case <-retry.C:
		}
	}
	select {
	case k.serving <- c:
	case <-ctx.Done():
	}
}

// delay puts the next start off: not at all the first time, then doubling.
func (k *keeper) delay(now time.Time) {
	k.notYet = now.Add(k.pause)
	k.pause = min(max(2*k.pause, k.cfg.RestartMin), k.cfg.RestartMax)
}

func (k *keeper) onServing(c *child) {
	if c != k.current || c.serving {
		return
	}
	c.serving, k.good = true, c.config
	k.setPID(c.pid())
	kind := Started
	if k.handed {
		kind, k.handed = Reloaded, false
	}
	if k.before != nil {
		kind = Reloaded
		within := k.cfg.OldWithin
		if k.undone[k.before] {
			within = k.cfg.DrainWithin
		}
		k.old[k.before] = retired{time.Now().Add(within), syscall.SIGTERM}
		k.before = nil
	}
	k.cfg.Logger.Info("HAProxy is running", "pid", c.pid(), "reload", kind == Reloaded, "old", len(k.old))
	k.tell(Event{Kind: kind, PID: c.pid()})
	k.tellDrained()
}

func (k *keeper) onEnd(e ending) {
	now := time.Now()
	delete(k.undone, e.child)
	switch {
	case e.child == k.current && k.before != nil:
		// It did not take over, so its predecessor was not told to stop and still serves.
		k.current, k.before = k.before, nil
		k.delay(now)
		k.loaded = now
		k.fail(e, "a new HAProxy did not take over; the old one goes on")
	case e.child == k.current:
		k.handed = false
		if now.Sub(k.began) > 2*k.cfg.RestartMax {
			k.pause = 0 // it served for a while: this is no loop of restarts
		}
		k.current = nil
		k.setPID(0)
		k.delay(now)
		k.fail(e, "HAProxy ended; it is started again")
	case e.child == k.before && errors.Is(e.err, errDone):
		k.before, k.handed = nil, true
		k.tell(Event{Kind: Left, PID: e.child.pid(), Err: e.err})
	case e.child == k.before:
		// The new one is on its way, and is all there is.
		k.before = nil
		k.fail(e, "HAProxy ended while it was replaced")
	default:
		delete(k.old, e.child)
		k.tell(Event{Kind: Left, PID: e.child.pid(), Err: e.err})
	}
	k.tellDrained()
}

func (k *keeper) fail(e ending, what string) {
	k.cfg.Logger.Error(what, "err", e.err) //nolint:sloglint // one of three constants
	k.tell(Event{Kind: Ended, PID: e.child.pid(), Err: e.err})
}

func (k *keeper) onDrain(done chan struct{}) {
	k.drained = append(k.drained, done)
	if !k.draining {
		k.draining = true
		k.loaded, k.notYet = time.Time{}, time.Time{} // not paced: somebody waits
		cut := retired{time.Now().Add(k.cfg.DrainWithin), syscall.SIGTERM}
		for c := range k.old {
			k.undone[c], k.old[c] = true, cut
		}
		for _, c := range []*child{k.current, k.before} {
			if c != nil {
				k.undone[c] = true
			}
		}
	}
	k.tellDrained()
}

// tellDrained answers those who wait for a drain when every process of before it has ended.
func (k *keeper) tellDrained() {
	if !k.draining || len(k.undone) > 0 {
		return
	}
	for _, done := range k.drained {
		close(done)
	}
	k.drained = nil
}

// stop ends every process, and returns when there is none.
func (k *keeper) stop() {
	left := map[*child]bool{}
	for c := range k.old {
		left[c] = true
	}
	for _, c := range []*child{k.current, k.before} {
		if c != nil {
			left[c] = true
		}
	}
	for c := range left {
		c.signal(syscall.SIGTERM)
	}
	kill := time.NewTimer(2 * time.Second)
	defer kill.Stop()
	for len(left) > 0 {
		select {
		case e := <-k.ended:
			delete(left, e.child)
		case <-kill.C:
			for c := range left {
				c.signal(syscall.SIGKILL)
			}
		}
	}
}
