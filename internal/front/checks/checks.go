package checks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
)

// State is what a primary can do. A higher one is better.
type State uint8

// States of a primary.
const (
	Down  State = iota // it does not answer
	Alive              // it answers that it is not ready: asked for a change it says why
	Ready              // it takes changes
)

func (s State) String() string {
	switch s {
	case Ready:
		return "ready"
	case Alive:
		return "alive"
	default:
		return "down"
	}
}

// Target is one primary's admin API.
type Target struct {
	Name  string
	Admin netip.AddrPort
}

// Change is news about one primary. The first answer or failure of a new target is always one.
type Change struct {
	Name   string
	State  State
	Reason string // why it is not ready; "" when it is
	// Late: the answer to the check under way is overdue. The state is still that of the last answers; it is a reason to prefer a node
	// that hears its primaries.
	Late bool
	// Unheard: it has moved, and nobody has been heard at its new address yet. It is Down until then.
	Unheard bool
}

// Config is how primaries are asked. Start from [DefaultConfig].
type Config struct {
	Every   time.Duration // between the beginnings of two checks
	Late    time.Duration // after which an answer is overdue
	Timeout time.Duration // of one check
	Fall    int           // failures in a row that make a primary Down; an answer counts at once
	Rise    int           // good answers in a row that make it Ready

	// Certificate is the front's own, and the CA of the primaries'; it is read again when it changes.
	Certificate *conf.Certificate
	// ServerName is in the certificate of every primary; "" means that each one's has its own name.
	ServerName string

	// OnChange is called in order for each primary, and must not block. Different primaries' calls may come at the same time. There
	// is none for a target after Set has left it out and returned.
	OnChange func(Change)
	// Observe, when not nil, is told the outcome of every check: nil, or why the primary is not ready.
	Observe func(name string, err error)
	Logger  *slog.Logger
}

// DefaultConfig has the times; the rest has no default.
func DefaultConfig() Config {
	return Config{Every: 200 * time.Millisecond, Late: 200 * time.Millisecond, Timeout: 800 * time.Millisecond, Fall: 2, Rise: 1}
}

// Validate reports every mistake at once, each with field, value and remedy.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("checks: "+format, args...)) }
	if c.Every <= 0 {
		bad("Every: %s; give a positive time", c.Every)
	}
	if c.Late <= 0 {
		bad("Late: %s; give a positive time", c.Late)
	}
	if c.Timeout <= 0 {
		bad("Timeout: %s; give a positive time", c.Timeout)
	}
	if c.Fall < 1 {
		bad("Fall: %d; give 1 or more", c.Fall)
	}
	if c.Rise < 1 {
		bad("Rise: %d; give 1 or more", c.Rise)
	}
	if c.Certificate == nil {
		bad("Certificate: nil; the primaries' admin APIs want one")
	}
	if c.OnChange == nil || c.Logger == nil {
		bad("OnChange and Logger: give both")
	}
	return errors.Join(errs...)
}

// Checker checks a list of primaries. Its methods may be called from any goroutine, but not from OnChange.
type Checker struct {
	cfg Config

	mu      sync.Mutex
	ctx     context.Context // nil before Run, done after it
	targets map[string]*target
	wg      sync.WaitGroup
}

// New makes a Checker; Run starts it.
func New(cfg Config) (*Checker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Checker{cfg: cfg, targets: map[string]*target{}}, nil
}

// target is one primary that is checked. Its state belongs to its goroutine.
type target struct {
	Target
	stop  context.CancelFunc // nil before it runs
	ended chan struct{}
	kick  chan struct{}

	known bool // a first result has been reported
	last  Change
	good  int // in a row
	bad   int
}

// Set replaces the list. A primary whose address changes begins anew: it is Down until it has answered. It returns when the checks
// of those that are no longer in the list have ended, which takes no time on the network.
func (c *Checker) Set(list []Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[string]*target{}
	var gone []*target
	for _, t := range list {
		old := c.targets[t.Name]
		if old != nil && old.Target == t {
			next[t.Name] = old
			continue
		}
		next[t.Name] = &target{Target: t, ended: make(chan struct{}), kick: make(chan struct{}, 1)}
	}
	for name, old := range c.targets {
		if next[name] != old {
			gone = append(gone, old)
		}
	}
	for _, old := range gone {
		if old.stop != nil {
			old.stop()
			<-old.ended
			if moved := next[old.Name]; moved != nil && old.last.State != Down {
				c.report(moved, Change{State: Down, Unheard: true, Reason: fmt.Sprintf("it has moved from %s to %s and was not heard there yet", old.Admin, moved.Admin)})
				moved.known = false
			}
		}
	}
	c.targets = next
	if c.ctx != nil {
		c.start()
	}
}

// start starts what does not run; with the mutex.
func (c *Checker) start() {
	for _, t := range c.targets {
		if t.stop == nil {
			ctx, stop := context.WithCancel(c.ctx)
			t.stop = stop
			c.wg.Go(func() { c.watch(ctx, t) })
		}
	}
}

// Now makes the next check of a primary follow at once: somebody has seen it fail.
func (c *Checker) Now(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.targets[name]; t != nil {
		select {
		case t.kick <- struct{}{}:
		default: // it follows at once anyway
		}
	}
}

// Run checks until ctx is done, and returns nil when no check is under way. It is called once.
func (c *Checker) Run(ctx context.Context) error {
	c.mu.Lock()
	c.ctx = ctx
	c.start()
	c.mu.Unlock()
	<-ctx.Done()
	// Set waits for goroutines, and none of them takes the mutex. A target that Set starts from here on ends at once.
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wg.Wait()
	return nil
}

// watch checks one primary until ctx is done.
func (c *Checker) watch(ctx context.Context, t *target) {
	defer close(t.ended)
	client := c.client(t)
	defer client.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-t.kick:
		}
		timer.Reset(c.cfg.Every)
		state, err := c.await(t, func() (State, error) { return c.check(ctx, client, t) })
		if ctx.Err() != nil {
			return // the error is ours
		}
		if c.cfg.Observe != nil {
			c.cfg.Observe(t.Name, err)
		}
		c.judge(t, state, err)
		if state == Down {
			// A connection that swallowed a question would swallow the next.
			client.CloseIdleConnections()
		}
	}
}

// await waits for the end of a check, and says so when that is overdue.
func (c *Checker) await(t *target, check func() (State, error)) (state State, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		state, err = check()
	}()
	overdue := time.NewTimer(c.cfg.Late)
	defer overdue.Stop()
	select {
	case <-done:
	case <-overdue.C:
		if t.known && t.last.State != Down && !t.last.Late {
			t.last.Late = true
			c.cfg.OnChange(t.last)
		}
		<-done
	}
	return state, err
}

// judge counts one result.
func (c *Checker) judge(t *target, state State, err error) {
	switch state {
	case Ready:
		t.good, t.bad = t.good+1, 0
		if t.good >= c.cfg.Rise || !t.known {
			c.report(t, Change{State: Ready})
		}
	case Alive:
		t.good, t.bad = 0, 0
		c.report(t, Change{State: Alive, Reason: err.Error()})
	case Down:
		t.good, t.bad = 0, t.bad+1
		if t.bad >= c.cfg.Fall || !t.known {
			c.report(t, Change{State: Down, Reason: err.Error()})
		}
	}
}

func (c *Checker) report(t *target, change Change) {
	change.Name = t.Name
	same := t.known && t.last.State == change.State
	switch {
	case same && !t.last.Late:
		return
	case same: // it was late, and nothing else
	case change.State == Ready:
		c.cfg.Logger.Info("a primary is ready", "primary", t.Name, "addr", t.Admin)
	default:
		c.cfg.Logger.Warn("a primary is not ready", "primary", t.Name, "addr", t.Admin, "state", change.State, "reason", change.Reason)
	}
	t.known, t.last = true, change
	c.cfg.OnChange(change)
}

// client makes an HTTP client with one connection, which is opened with the certificate of that moment.
func (c *Checker) client(t *target) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1, DisableCompression: true,
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			// The check's own time does not end it: Transport goes on with a connection for whoever asks next.
			ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
			defer cancel()
			config := c.cfg.Certificate.Client()
			config.ServerName = c.cfg.ServerName
			if config.ServerName == "" {
				config.ServerName = t.Name
			}
			d := tls.Dialer{Config: config}
			return d.DialContext(ctx, network, addr)
		},
	}}
}

// maxAnswer bounds what is read of an answer, and maxReason what is kept.
const (
	maxAnswer = 64 << 10
	maxReason = 500
)

// check asks once. The error says why the state is not Ready.
func (c *Checker) check(ctx context.Context, client *http.Client, t *target) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+t.Admin.String()+"/readyz", http.NoBody)
	if err != nil {
		return Down, fmt.Errorf("checks: %s: %w", t.Name, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return Down, fmt.Errorf("checks: %s: %w", t.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // to the end, so that the connection can be kept
	if err != nil {
		return Down, fmt.Errorf("checks: %s: the answer broke off: %w", t.Name, err)
	}
	if resp.StatusCode == http.StatusOK {
		return Ready, nil
	}
	var said struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(body, &said); err != nil || said.Message == "" {
		said.Message = "no reason given"
	}
	return Alive, fmt.Errorf("checks: %s answers %s: %.*s", t.Name, resp.Status, maxReason, said.Message)
}
