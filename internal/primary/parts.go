package primary

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/endpoint"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/fsm/seal"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/notify"
	"github.com/zonekeeper/zonekeeper/internal/propagation"
	"github.com/zonekeeper/zonekeeper/internal/publish"
	"github.com/zonekeeper/zonekeeper/internal/replica"
)

// This file turns the primary's configuration into those of its parts.

// checkpointDir is where the replica keeps its checkpoints.
func (p *Primary) checkpointDir() string { return filepath.Join(p.cfg.Dir, "checkpoints") }

func (p *Primary) namedConfig() (named.Config, error) {
	n := p.cfg.Named
	c := named.DefaultConfig()
	path, err := exec.LookPath(n.Path)
	if err != nil {
		return c, fmt.Errorf("named.path: %w; install BIND (apt-get install bind9) or name the program", err)
	}
	if c.Path, err = filepath.Abs(path); err != nil {
		return c, fmt.Errorf("named.path: %w", err)
	}
	if c.Dir, err = filepath.Abs(n.Dir); err != nil {
		return c, fmt.Errorf("named.dir: %w", err)
	}
	listen, err := netip.ParseAddrPort(n.Listen)
	if err != nil {
		return c, fmt.Errorf("named.listen: %w", err)
	}
	c.Listen = []netip.AddrPort{listen}
	c.Control = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n.ControlPort))
	c.Forwarders = []netip.Addr{p.cfg.DNS.ForwardFrom}
	c.Threads = n.Threads
	if os.Geteuid() == 0 && n.User != "" {
		c.User = n.User
	}
	return c, nil
}

// newPublisher makes the publisher and the named that it drives; each needs the other.
func (p *Primary) newPublisher(ctx context.Context, ncfg named.Config, sealer *seal.Sealer) error {
	c := publish.DefaultConfig()
	c.Opener, c.Logger = sealer, p.log
	c.Cutter, c.Observer = p.flush, p.hub
	var err error
	if p.publisher, err = publish.New(c, p.metrics); err != nil {
		return err
	}
	if p.named, err = named.New(ctx, ncfg, p.publisher.Content, p.log); err != nil {
		return fmt.Errorf("named: %w", err)
	}
	return p.named.Register(p.metrics)
}

// newHub makes what secondaries learn of changes from.
func (p *Primary) newHub() error {
	tcfg := propagation.DefaultConfig()
	tcfg.Registerer = p.metrics
	var err error
	if p.tracker, err = propagation.New(tcfg); err != nil {
		return err
	}
	ncfg := notify.DefaultConfig()
	ncfg.Keys, ncfg.Logger, ncfg.Registerer, ncfg.Now = replicatedKeys{p}, p.log, p.metrics, p.clock.Now
	if p.notifier, err = notify.New(ncfg); err != nil {
		return err
	}
	p.hub = newHub(func() *fsm.Machine { return p.replica.Machine() }, p.tracker, p.notifier, p.log)
	p.hub.caughtUp = p.admin.fresh
	return nil
}

func (p *Primary) endpointConfig() (endpoint.Config, error) {
	d := p.cfg.DNS
	c := endpoint.DefaultConfig()
	c.AuditUpdates = d.AuditUpdates
	var err error
	if c.Listen, err = addrPorts(d.Listen); err != nil {
		return c, fmt.Errorf("dns.listen: %w", err)
	}
	if c.ListenTLS, err = addrPorts(d.ListenTLS); err != nil {
		return c, fmt.Errorf("dns.listen_tls: %w", err)
	}
	if c.ListenFront, err = addrPorts(d.ListenFront); err != nil {
		return c, fmt.Errorf("dns.listen_front: %w", err)
	}
	if cert := p.files.tls; cert != nil {
		c.TLS = func() *tls.Config {
			return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert.Get()}}
		}
	}
	if cert := p.files.front; cert != nil {
		c.FrontTLS = func() *tls.Config {
			return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert.Get()}, ClientCAs: cert.Pool(), VerifyConnection: noSecondary}
		}
	}
	c.ProxyFrom, c.ProxyKeys = d.ProxyFrom, p.files.proxyKeys.Keys
	if c.Named, err = netip.ParseAddrPort(p.cfg.Named.Listen); err != nil {
		return c, fmt.Errorf("named.listen: %w", err)
	}
	c.ForwardFrom = d.ForwardFrom
	c.Writer, c.Reader = proposer{p}, p
	c.Answered = func(timeSigned uint64, fudge uint16, fp fsm.Fingerprint) (fsm.Result, bool) {
		return p.replica.Machine().Answered(timeSigned, fudge, fp)
	}
	c.Settings = func() endpoint.Settings { return settingsView{ring{p.keys, p.replica.Settings()}} }
	c.NotApplied = []error{replica.ErrOverloaded, replica.ErrBehind, replica.ErrNotApplied, replica.ErrStopped, replica.ErrNoSpace}
	c.Logger, c.Registerer, c.Now = p.log, p.metrics, p.clock.Now
	return c, nil
}

func addrPorts(list []string) ([]netip.AddrPort, error) {
	out := make([]netip.AddrPort, 0, len(list))
	for _, s := range list {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// gatherer joins our metrics and those of the embedded etcd, which registers with client_golang's default registry. The
// runtime's appear in both; ours win.
func (p *Primary) gatherer() prometheus.Gatherer {
	return prometheus.Gatherers{p.metrics, etcdOnly{prometheus.DefaultGatherer}}
}
