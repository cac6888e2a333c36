package secondary

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/secondary/guard"
	"github.com/zonekeeper/zonekeeper/internal/secondary/proxy"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// ErrConfig marks errors that a person has to mend: the configuration, or a data directory that is in use.
var ErrConfig = errors.New("configuration")

// secondary is one running secondary. See Run.
type secondary struct {
	cfg      Config
	version  string
	instance string // random, new with each process
	log      *slog.Logger
	catalog  zone.Name

	registry  *prometheus.Registry
	metrics   *metrics
	named     *named.Server
	proxy     *proxy.Proxy
	upstreams []*upstream

	asks    chan zone.Name // zones to ask the own named about
	changed chan struct{}  // something may be due
	reload  chan struct{}  // the guard no longer knows what the own named has
	save    chan struct{}  // state.json is out of date
	started atomic.Bool    // named and proxy are made
	ring    ring           // what named signs its questions with

	mu        sync.Mutex
	t         *tracker
	guard     *guard.Guard
	apart     time.Time // since when the guard knows another version of the catalog than named has; zero: the same
	confirmed uint32    // serial of the catalog up to which removals are confirmed
	hold      *adminapi.CatalogHold
	pursued   map[zone.Name]*pursuit
	problems  problems
	counts    adminapi.TransferCounts
	recent    adminapi.SecondaryStatus
	recentAt  time.Time
}

// Run runs a secondary until ctx ends, which stops it in order and is no error, or until it can't go on. An error that
// wraps ErrConfig is the operator's to mend.
func Run(ctx context.Context, cfg Config, version string, log *slog.Logger) error {
	lock, err := conf.LockDir(cfg.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer func() { _ = lock.Close() }() // releases the lock; the process ends anyway
	s, err := newSecondary(cfg, version, log)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return s.run(ctx)
}

func newSecondary(cfg Config, version string, log *slog.Logger) (*secondary, error) {
	catalog, err := zone.ParseName(cfg.Catalog)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	if _, err := cfg.Key.load(); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	s := &secondary{
		cfg: cfg, version: version, instance: hex.EncodeToString(id), log: log, catalog: catalog.Canonical(),
		registry: adminapi.NewRegistry(version), asks: make(chan zone.Name, 1024), changed: make(chan struct{}, 1), reload: make(chan struct{}, 1),
		save: make(chan struct{}, 1), pursued: map[zone.Name]*pursuit{},
	}
	var names []string
	for _, p := range cfg.Primaries {
		names = append(names, p.Name)
	}
	s.t = newTracker(s.catalog, names)
	st, err := readState(s.statePath())
	if err != nil {
		log.Warn("the age of the data is not known", "err", err)
	}
	s.t.asOf = st.AsOf
	s.guard = guard.New(guard.DefaultConfig(), 0, nil, st.Removals)
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, err
	}
	if err := s.newUpstreams(); err != nil {
		return nil, err
	}
	return s, nil
}

// assemble makes the proxy, whose port named's configuration has, and named.
func (s *secondary) assemble(ctx context.Context) error {
	listen, err := netip.ParseAddrPort(s.cfg.Proxy)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	c := proxy.DefaultConfig()
	c.Listen, c.Choose, c.Floor = listen, s.choose, s.floor
	c.News, c.Keys = s.news, &s.ring
	c.Screen, c.Catalog = s.screen, s.catalog
	c.Done, c.Failed = s.transferred, s.failed
	c.Logger, c.Registerer = s.log, s.registry
	if s.proxy, err = proxy.New(c); err != nil {
		return err
	}
	ncfg, err := s.namedConfig(s.proxy.Addr())
	if err == nil {
		s.named, err = named.New(ctx, ncfg, s.content, s.log)
	}
	if err == nil {
		err = s.named.Register(s.registry)
	}
	if err != nil {
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		return errors.Join(err, s.proxy.Run(stopped)) // closes its sockets
	}
	s.started.Store(true)
	return nil
}

func (s *secondary) namedConfig(from netip.AddrPort) (named.Config, error) {
	n := s.cfg.Named
	c := named.DefaultConfig()
	path, err := exec.LookPath(n.Path)
	if err != nil {
		return c, fmt.Errorf("named.path: %w; install BIND (apt-get install bind9) or name the program", err)
	}
	if c.Path, err = filepath.Abs(path); err != nil {
		return c, fmt.Errorf("named.path: %w", err)
	}
	if c.Dir, err = filepath.Abs(s.cfg.namedDir()); err != nil {
		return c, fmt.Errorf("named.dir: %w", err)
	}
	c.Listen = nil
	for _, a := range append([]string{n.Listen}, s.cfg.DNS.Listen...) {
		ap, err := netip.ParseAddrPort(a)
		if err != nil {
			return c, fmt.Errorf("dns.listen: %w", err)
		}
		c.Listen = append(c.Listen, ap)
	}
	for _, a := range s.cfg.DNS.ListenProxy {
		ap, err := netip.ParseAddrPort(a)
		if err != nil {
			return c, fmt.Errorf("dns.listen_proxy: %w", err)
		}
		c.ListenProxy = append(c.ListenProxy, ap)
	}
	c.ProxyFrom = s.cfg.DNS.ProxyFrom
	c.Control = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n.ControlPort)) //nolint:gosec // validated
	c.Threads, c.TCPClients = n.Threads, 1000
	if os.Geteuid() == 0 && n.User != "" {
		c.User = n.User
	}
	key, err := zone.ParseName(s.cfg.Key.Name)
	if err != nil {
		return c, fmt.Errorf("key.name: %w", err)
	}
	c.Secondary = &named.SecondaryConf{
		Proxy: from, Key: key, Catalog: s.catalog,
		RateLimit: s.cfg.DNS.ClientAddresses == addressesPreserved, Saw: s.saw,
	}
	for _, k := range s.cfg.DNS.TransferKeys {
		name, err := zone.ParseName(k.Name)
		if err != nil {
			return c, fmt.Errorf("dns.transfer_keys: %w", err)
		}
		c.Secondary.AllowTransfer += named.KeyACL(name)
	}
	return c, nil
}

// run is the start order, the life, and the stop order of a secondary.
func (s *secondary) run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(context.WithoutCancel(ctx))
	stopping, stop := context.WithCancel(gctx)
	defer stop()
	defer context.AfterFunc(ctx, stop)()

	// 1. The admin API: from the first moment somebody may ask why this secondary is not ready.
	srv, err := s.serveAdmin()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer s.closeAdmin(srv)

	// 2. The proxy's port. Questions wait there until it runs, so named never meets a closed port.
	if err := s.assemble(stopping); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	proxyCtx, stopProxy := context.WithCancel(gctx)
	defer stopProxy()

	// 3. named, which serves what is on disk. It is the last to stop.
	namedCtx, stopNamed := context.WithCancel(gctx)
	defer stopNamed()
	g.Go(func() error { return s.named.Run(namedCtx) })
	s.serveAsks(stopping, g)
	known := make(chan struct{})
	g.Go(func() error {
		s.follow(stopping, known)
		return nil
	})

	// 4. What it has from disk: nothing older is offered to it.
	select {
	case <-known:
	case <-stopping.Done():
	}
	g.Go(func() error { return s.proxy.Run(proxyCtx) })

	// 5. The primaries.
	for _, u := range s.upstreams {
		g.Go(func() error {
			u.resolveAddresses(stopping)
			return nil
		})
		g.Go(func() error {
			s.listen(stopping, u)
			return nil
		})
		g.Go(func() error {
			s.report(stopping, u)
			return nil
		})
	}
	for _, loop := range []func(context.Context){s.drive, s.rounds, s.vouch, s.compare, s.keepState, s.watchKeys} {
		g.Go(func() error {
			loop(stopping)
			return nil
		})
	}

	<-stopping.Done()
	s.log.Info("stopping", "planned", ctx.Err() != nil)
	stopProxy()
	stopNamed()
	err = g.Wait()
	if saveErr := s.saveState(); saveErr != nil {
		s.log.Warn("the age of the data was not kept", "err", saveErr)
	}
	return err
}

// wake makes drive look again.
func (s *secondary) wake() { signal(s.changed) }

// signal leaves a note in a channel that holds one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is one
	}
}

// pause waits, and reports whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
