package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster/relay"
)

const (
	// pollEvery paces waiting for readiness and watching process ids.
	pollEvery = 100 * time.Millisecond
	// askTimeout bounds one question to one primary.
	askTimeout = time.Second
	// stragglerGrace is how long a cluster with a quorum waits for the rest.
	stragglerGrace = 10 * time.Second
)

// Cluster is a running local cluster. Its methods are safe for concurrent use.
type Cluster struct {
	cfg         Config
	log         *slog.Logger
	plan        plan
	members     []member
	secondaries []secondaryServer
	etcd        []etcdServer // none when the log is embedded, or somebody else's
	admin       map[string]*adminapi.Client
	lock        *os.File
	spawner     *spawner
	relay       *relay.Relay
	control     *control
	stop        context.CancelFunc
	wg          sync.WaitGroup

	mu        sync.Mutex
	processes map[string]*process
	zones     []string
	info      Info
	closing   bool
}

// Start starts or resumes the cluster of cfg.Dir and returns when it takes writes
// and its key and zones exist. The context bounds the start only; Close ends the
// cluster.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir, cfg.Named = dir, Program(cfg.Named)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--dir: %w; choose another", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg: cfg, log: cfg.Logger, lock: lock, spawner: newSpawner(),
		processes: map[string]*process{}, admin: map[string]*adminapi.Client{},
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// start: plan, etcd, primaries, relay, quorum, content, secondaries, dev.json, in this order.
func (c *Cluster) start(ctx context.Context) error {
	// What an earlier, killed run left must not be taken for this one.
	if err := os.Remove(filepath.Join(c.cfg.Dir, InfoFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	if c.plan, err = loadPlan(c.cfg); err != nil {
		return err
	}
	if c.plan.Formed && c.cfg.Port != 0 && c.cfg.Port != c.plan.Base {
		// Addresses are part of the log's membership.
		c.log.Warn("the cluster keeps the ports it was made with", "port", c.plan.Base, "asked", c.cfg.Port)
	}
	if err := c.configure(); err != nil {
		return err
	}
	if err := c.startEtcd(ctx); err != nil {
		return err
	}
	for _, m := range c.members {
		if err := c.launch(m.name, c.cfg.Command, m.configPath(c.cfg.Dir)); err != nil {
			return err
		}
	}
	if err := c.startRelay(); err != nil {
		return err
	}
	if err := c.awaitQuorum(ctx); err != nil {
		return err
	}
	resumed := c.plan.Formed
	if !resumed {
		c.plan.Formed = true
		if err := writeJSON(filepath.Join(c.cfg.Dir, planFile), c.plan); err != nil {
			return err
		}
		if err := c.configure(); err != nil {
			return err
		}
	}
	if err := c.ensureContent(ctx); err != nil {
		return err
	}
	// After the content: their keys are known, and what they are to serve is there.
	if err := c.startSecondaries(ctx, resumed); err != nil {
		return err
	}
	if c.control, err = serveControl(c); err != nil {
		return err
	}
	if err := c.refreshInfo(); err != nil {
		return err
	}
	wctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.wg.Go(func() { c.watch(wctx) })
	return nil
}

// configure writes the configuration file of every process.
func (c *Cluster) configure() error {
	if err := c.configureEtcd(); err != nil {
		return err
	}
	c.members = c.plan.members(c.cfg)
	for _, m := range c.members {
		if err := os.MkdirAll(filepath.Join(c.cfg.Dir, m.name), 0o700); err != nil {
			return err
		}
		if err := m.config.Validate(); err != nil {
			return fmt.Errorf("configuration of %s: %w", m.name, err)
		}
		if err := writeJSON(m.configPath(c.cfg.Dir), m.config); err != nil {
			return err
		}
		hc := c.cfg.AdminClient
		if hc == nil {
			hc = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
		}
		client, err := adminapi.NewClient(m.adminURL(), hc)
		if err != nil {
			return err
		}
		c.admin[m.name] = client
	}
	return c.configureSecondaries()
}

func (c *Cluster) launch(name string, command []string, config string) error {
	p, err := startProcess(c.spawner, command, c.cfg.Dir, name, config)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes[name] = p
	return nil
}

func (c *Cluster) startRelay() error {
	rc := relay.DefaultConfig()
	rc.Listen = c.plan.relay()
	rc.Logger = c.log
	for _, m := range c.members {
		rc.Backends = append(rc.Backends, relay.Backend{Name: m.name, DNS: m.dns(), Check: c.admin[m.name].Ready})
	}
	r, err := relay.Start(rc)
	if err != nil {
		return err
	}
	c.relay = r
	return nil
}

// awaitQuorum waits until every primary is ready. A cluster that has run before
// goes on without a minority that is broken or slow: that is what it is for.
func (c *Cluster) awaitQuorum(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ReadyTimeout)
	defer cancel()
	quorumSince := time.Time{}
	for {
		need := len(c.members)
		if c.plan.Formed {
			need = max(c.runningCount(), len(c.members)/2+1) // nobody waits for the dead
		}
		ready, errs := c.readiness(ctx)
		if c.plan.Formed && ready > len(c.members)/2 && quorumSince.IsZero() {
			quorumSince = time.Now()
		}
		if !quorumSince.IsZero() && time.Since(quorumSince) > stragglerGrace {
			need = len(c.members)/2 + 1
		}
		if ready >= need {
			for _, err := range errs {
				c.log.Warn("not all primaries are ready", "err", err)
			}
			return nil
		}
		if err := c.hopeless(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not ready after %s: %w", c.cfg.ReadyTimeout, errors.Join(errs...))
		case <-time.After(pollEvery):
		}
	}
}

// readiness counts the ready primaries and says why the others are not.
func (c *Cluster) readiness(ctx context.Context) (ready int, errs []error) {
	for _, m := range c.members {
		actx, cancel := context.WithTimeout(ctx, askTimeout)
		err := c.admin[m.name].Ready(actx)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w (log: %s)", m.name, err, filepath.Join(c.cfg.Dir, m.name, "log")))
			continue
		}
		ready++
	}
	return ready, errs
}

func (c *Cluster) runningCount() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if c.processes[m.name].running() {
			n++
		}
	}
	return n
}

// process gives the newest process of a name.
func (c *Cluster) process(name string) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.processes[name]
}

// hopeless reports the dead when too few processes are left.
func (c *Cluster) hopeless() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, m := range c.members {
		if p := c.processes[m.name]; !p.running() {
			errs = append(errs, p.failure(m.name))
		}
	}
	need := len(c.members)
	if c.plan.Formed {
		need = len(c.members)/2 + 1
	}
	if len(c.members)-len(errs) < need {
		return errors.Join(errs...)
	}
	return nil
}

// watch keeps dev.json current: process ids change when processes die and start.
func (c *Cluster) watch(ctx context.Context) {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := c.refreshInfo(); err != nil {
			c.log.Error("the description of the cluster is stale", "file", InfoFile, "err", err)
		}
	}
}

// refreshInfo writes dev.json when it differs from what was written.
func (c *Cluster) refreshInfo() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.describe()
	if reflect.DeepEqual(i, c.info) {
		return nil
	}
	if err := writeJSON(filepath.Join(c.cfg.Dir, InfoFile), i); err != nil {
		return err
	}
	c.info = i
	return nil
}

// describe is what dev.json is to say now. The caller holds c.mu.
func (c *Cluster) describe() Info {
	i := Info{
		Endpoint:    c.plan.relay().String(),
		Key:         KeyInfo{Name: strings.TrimSuffix(keyName, "."), Algorithm: keyAlgorithm, Secret: c.plan.Secret},
		Zones:       c.zones,
		Secondaries: []SecondaryInfo{},
	}
	for _, m := range c.members {
		pi := PrimaryInfo{Name: m.name, DNS: m.config.DNS.Listen[0], NamedDNS: m.config.Named.Listen, Admin: m.adminURL()}
		if p := c.processes[m.name]; p != nil && p.running() {
			pi.PID, pi.NamedPID = p.pid, namedOf(p.pid)
		}
		i.Primaries = append(i.Primaries, pi)
	}
	for _, s := range c.secondaries {
		si := SecondaryInfo{Name: s.name, DNS: s.config.DNS.Listen[0], Admin: "http://" + s.config.Admin.Listen}
		if p := c.processes[s.name]; p != nil && p.running() {
			si.PID, si.NamedPID = p.pid, namedOf(p.pid)
		}
		i.Secondaries = append(i.Secondaries, si)
	}
	for _, e := range c.etcd {
		ei := EtcdInfo{Name: e.name, Client: e.config.ClientURL}
		if p := c.processes[e.name]; p != nil && p.running() {
			ei.PID = p.pid
		}
		i.Etcd = append(i.Etcd, ei)
	}
	return i
}

// Info is what dev.json says now.
func (c *Cluster) Info() Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info
}

// Dir is the cluster's directory.
func (c *Cluster) Dir() string { return c.cfg.Dir }

// StartProcess starts a primary, a secondary or an etcd server whose process has died, and returns when it is ready.
func (c *Cluster) StartProcess(ctx context.Context, name string) error {
	var names []string
	for _, m := range c.members {
		if m.name == name {
			return c.startPrimary(ctx, m)
		}
		names = append(names, m.name)
	}
	for _, s := range c.secondaries {
		if s.name == name {
			return c.startSecondary(ctx, s)
		}
		names = append(names, s.name)
	}
	for _, s := range c.etcd {
		if s.name == name {
			return c.startEtcdServer(ctx, s)
		}
		names = append(names, s.name)
	}
	return fmt.Errorf("no process is called %q; they are %s", name, strings.Join(names, ", "))
}

func (c *Cluster) startPrimary(ctx context.Context, m member) error {
	p, err := c.relaunch(m.name, c.cfg.Command, m.configPath(c.cfg.Dir))
	if err != nil {
		return err
	}
	if err := c.await(ctx, m.name, p, c.admin[m.name].Ready); err != nil {
		return err
	}
	c.relay.CheckNow(m.name)
	return c.refreshInfo()
}

// await waits until a process that was just started is ready.
func (c *Cluster) await(ctx context.Context, name string, p *process, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ReadyTimeout)
	defer cancel()
	for {
		actx, acancel := context.WithTimeout(ctx, askTimeout)
		err := ready(actx)
		acancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.failure(name)
		case <-ctx.Done():
			return fmt.Errorf("%s was started and is not ready after %s: %w; see %s", name, c.cfg.ReadyTimeout, err, p.logPath)
		case <-time.After(pollEvery):
		}
	}
}

// relaunch starts a process unless it runs.
func (c *Cluster) relaunch(name string, command []string, config string) (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil, errors.New("the cluster is stopping")
	}
	if old := c.processes[name]; old != nil && old.running() {
		return nil, fmt.Errorf("%s is running (process %d); stop it first: kill %d", name, old.pid, old.pid)
	}
	p, err := startProcess(c.spawner, command, c.cfg.Dir, name, config)
	if err != nil {
		return nil, err
	}
	c.processes[name] = p
	return p, nil
}

// Close stops everything: clients first, then the secondaries, then all primaries at once,
// in order each by itself, then etcd, which they need until their end. The state stays in the directory.
func (c *Cluster) Close() error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return nil
	}
	c.closing = true
	c.mu.Unlock() // no process is started from here on

	var errs []error
	if c.stop != nil {
		c.stop()
	}
	c.wg.Wait()
	if c.control != nil {
		errs = append(errs, c.control.close())
	}
	if c.relay != nil {
		errs = append(errs, c.relay.Close())
	}
	var primaries, secondaries, servers []string
	for _, m := range c.members {
		primaries = append(primaries, m.name)
	}
	for _, s := range c.secondaries {
		secondaries = append(secondaries, s.name)
	}
	for _, e := range c.etcd {
		servers = append(servers, e.name)
	}
	errs = append(errs, c.stopAll(secondaries), c.stopAll(primaries), c.stopAll(servers))
	if err := os.Remove(filepath.Join(c.cfg.Dir, InfoFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	c.spawner.close()
	return errors.Join(append(errs, c.lock.Close())...)
}

// stopAll stops processes at the same time.
func (c *Cluster) stopAll(names []string) error {
	var wg sync.WaitGroup
	errs := make([]error, len(names))
	for i, name := range names {
		p := c.process(name)
		if p == nil {
			continue // it was never started
		}
		wg.Go(func() {
			if err := p.stop(c.cfg.StopTimeout); err != nil {
				errs[i] = fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
