package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/front/backends"
	"github.com/zonekeeper/zonekeeper/internal/front/checks"
	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/relay"
	"github.com/zonekeeper/zonekeeper/internal/front/vip"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

// ErrConfig marks errors that a person has to mend: the configuration, or a directory that is in use.
var ErrConfig = errors.New("configuration")

// What a front needs of its parts. They are those of the packages of these names: checks, relay, haproxy, keepalived.
type (
	checker interface {
		Run(ctx context.Context) error
		Set(list []checks.Target)
	}
	udpRelay interface {
		Run(ctx context.Context) error
		Set(list []relay.Upstream)
		Probe(ctx context.Context) error
	}
	tcpProxy interface {
		Run(ctx context.Context, configs <-chan []byte) error
		Alive(ctx context.Context) error
		Stat(ctx context.Context) ([]haproxy.Server, error)
		Drain(ctx context.Context) error
		Restart(reason string)
		PID() int
	}
	mover interface {
		Run(ctx context.Context) error
		State() <-chan keepalived.State
		SetLocal(reason string) error
		SetScore(score int) error
		PID() int
		Restarts() uint64
		Strangers() (packets uint64, from []netip.Addr)
		SetPeers(peers []netip.Addr) error
	}
)

// front is one running front node. See Run.
type front struct {
	cfg     Config
	set     settings
	version string
	log     *slog.Logger

	registry   *prometheus.Registry
	metrics    *metrics
	file       *configFile
	source     backends.Source
	checker    checker
	relay      udpRelay
	haproxy    tcpProxy
	keepalived mover     // nil outside mode vip
	announcer  announcer // nil where nobody is told
	servfail   *servfail
	identity   identity
	keys       *proxyproto.KeyFile // of PROXY headers over UDP; nil without

	configs chan []byte        // HAProxy's newest configuration
	changed chan struct{}      // the model has
	news    chan struct{}      // for the announcer: the model may have
	kick    chan struct{}      // HAProxy has news: look at it now
	pings   chan chan struct{} // closed by steer, to show that it works
	drained chan struct{}      // closed when a drain is done
	ends    atomic.Uint64      // of HAProxy, unwanted

	mu        sync.Mutex
	m         *model
	strangers strangers
}

// Run runs a front node until ctx ends, which drains and stops it in order and is no error, or until it can't go on. An error that
// wraps ErrConfig is the operator's to mend. As process 1 of a container it runs this program again as a child: see guard.
func Run(ctx context.Context, cfg Config, version string, log *slog.Logger) error {
	if os.Getpid() == 1 {
		g, err := newGuard(cfg, log)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		return g.run(ctx)
	}
	lock, err := conf.LockDir(cfg.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer func() { _ = lock.Close() }() // releases the lock; the process ends anyway
	f, err := newFront(cfg, version, log)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return f.run(ctx)
}

// newFront makes every part; sockets of clients are bound, nothing runs yet.
func newFront(cfg Config, version string, log *slog.Logger) (*front, error) {
	set, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	if cfg.Mode == ModeVIP {
		// Before anything can fail, binds or starts: what a killed process left must not make two holders.
		if err := vip.Remove(cfg.VIP.Interface, set.vips); err != nil {
			return nil, fmt.Errorf("vip.interface: %w", err)
		}
	}
	f, err := blank(cfg, set, version, log)
	if err != nil {
		return nil, err
	}
	if f.source, err = newSource(cfg, set, f.file, log); err != nil {
		return nil, err
	}
	if f.identity, err = newIdentity(cfg); err != nil {
		return nil, err
	}
	if f.checker, err = f.newChecker(); err != nil {
		return nil, err
	}
	if f.haproxy, err = f.newHAProxy(); err != nil {
		return nil, err
	}
	if cfg.Mode == ModeVIP {
		if f.keepalived, err = f.newKeepalived(); err != nil {
			return nil, err
		}
	}
	if f.announcer, err = newAnnouncer(cfg, log); err != nil {
		return nil, err
	}
	return f, nil
}

// blank is a front without its parts.
func blank(cfg Config, set settings, version string, log *slog.Logger) (f *front, err error) {
	f = &front{
		cfg: cfg, set: set, version: version, log: log, registry: adminapi.NewRegistry(version),
		configs: make(chan []byte, 1), changed: make(chan struct{}, 1), news: make(chan struct{}, 1), kick: make(chan struct{}, 1), pings: make(chan chan struct{}),
		drained: make(chan struct{}), m: newModel(time.Now(), cfg.Mode, set.peers), file: newConfigFile(cfg, set, log),
	}
	f.metrics, err = newMetrics(f)
	return f, err
}

// run is the start order, the life, and the stop order of a front node.
func (f *front) run(ctx context.Context) error {
	r := newRunner(ctx)
	defer f.drainOnSignal(r.stopping)()

	// 1. Who asks why this node does not serve gets an answer from the first moment.
	closeAdmin, err := f.serveAdmin()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer closeAdmin()

	// 2. The last resort of HAProxy, and the relay's sockets: a client's datagram is answered from here on.
	if f.servfail, err = listenServfail(haproxy.ServfailPath(f.cfg.Dir), f.log); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := f.bindRelay(); err != nil {
		_ = f.servfail.l.Close() // nobody has connected
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	last := r.start("the SERVFAIL socket", f.servfail.run)
	keeping := r.start("the PROXY keys", func(ctx context.Context) error {
		f.keys.Watch(ctx)
		<-ctx.Done() // without a file there is nothing to watch
		return nil
	})
	udp := r.start("the relay", f.relay.Run)

	// 3. The primaries, what to do about them, and HAProxy, which starts with the first list.
	steering := r.start("steering", f.steer)
	finding := r.start("finding the primaries", f.find)
	checking := r.start("the checks", f.checker.Run)
	tcp := r.start("HAProxy", func(ctx context.Context) error { return f.haproxy.Run(ctx, f.configs) })
	watching := r.start("watching", f.watch)
	var announcing *part
	if f.announcer != nil {
		announcing = r.start("announcing", func(ctx context.Context) error { return f.announcer.Run(ctx, f.news, f.announcement) })
	}

	// 4. The address, last: after the network has said that nobody else has it.
	var moving *part
	if f.keepalived != nil {
		moving = r.start("keepalived", f.move)
	}

	<-r.stopping.Done()
	f.log.Info("stopping", "planned", ctx.Err() != nil)
	if ctx.Err() != nil {
		f.drain()
	}
	r.stop(moving) // keepalived gives the addresses away
	f.removeLeft("the stop")
	r.stop(announcing)
	r.stop(watching) // what it would see from here on is our doing
	r.stop(udp)
	r.stop(tcp)
	for _, p := range []*part{checking, finding, steering, keeping, last} {
		r.stop(p)
	}
	return r.err()
}

// find follows the list of primaries. What was known last is used when the first list does not come in time.
func (f *front) find(ctx context.Context) error {
	late := time.AfterFunc(firstList, func() {
		f.mu.Lock()
		known := f.m.listed
		f.mu.Unlock()
		if known {
			return
		}
		saved, err := readBackends(f.backendsPath())
		if err != nil {
			f.log.Error("there is no list of primaries yet, and no earlier one", "after", firstList, "err", err)
			return
		}
		f.log.Warn("there is no list of primaries yet; the last one is used", "after", firstList, "primaries", len(saved))
		f.listed(saved, false)
	})
	defer late.Stop()
	return f.source.Run(ctx, func(list []backends.Primary) { f.listed(list, true) })
}

// firstList is how long a start waits for a list of primaries before it takes the last one.
const firstList = 5 * time.Second

// listed takes a list; a saved one counts only until there is another.
func (f *front) listed(list []backends.Primary, fresh bool) {
	f.mu.Lock()
	if !fresh && f.m.listed {
		f.mu.Unlock()
		return
	}
	f.m.list(list)
	f.mu.Unlock()
	if fresh {
		f.log.Info("the primaries", "primaries", names(list))
		if err := writeBackends(f.backendsPath(), list); err != nil {
			f.log.Warn("the list of primaries was not kept for the next start", "err", err)
		}
	}
	signal(f.changed)
}

func (f *front) backendsPath() string { return filepath.Join(f.cfg.Dir, "backends.json") }

func names(list []backends.Primary) (out []string) {
	for _, p := range list {
		out = append(out, p.Name)
	}
	return out
}

// signal leaves a note in a channel that holds one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is one
	}
}

// openKeys reads the keys of PROXY headers; nil without a file.
func openKeys(file string, log *slog.Logger) (*proxyproto.KeyFile, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // a nil one has no keys
	}
	keys, err := proxyproto.OpenKeys(file, log)
	if err != nil {
		return nil, fmt.Errorf("primaries.proxy_key_file: %w", err)
	}
	return keys, nil
}

// runner runs the parts of a node, each with a stop of its own. One that ends unasked stops the node.
type runner struct {
	stopping context.Context
	cancel   context.CancelFunc

	mu   sync.Mutex
	errs []error
}

// part is one that runs.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func newRunner(ctx context.Context) *runner {
	r := &runner{}
	r.stopping, r.cancel = context.WithCancel(ctx)
	return r
}

func (r *runner) start(name string, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.stopping))
	p := &part{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		err := run(ctx)
		if ctx.Err() == nil && err == nil {
			err = errors.New("ended unasked")
		}
		if err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
			r.mu.Lock()
			r.errs = append(r.errs, fmt.Errorf("%s: %w", name, err))
			r.mu.Unlock()
			r.cancel()
		}
	}()
	return p
}

// stop ends a part and waits for it; nil is none.
func (r *runner) stop(p *part) {
	if p != nil {
		p.cancel()
		<-p.done
	}
}

func (r *runner) err() error {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.errs...)
}
