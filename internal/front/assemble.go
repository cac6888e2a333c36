package front

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/front/backends"
	"github.com/zonekeeper/zonekeeper/internal/front/checks"
	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/relay"
	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

// newSource makes the one source of primaries that the configuration names.
func newSource(cfg Config, set settings, file *configFile, log *slog.Logger) (backends.Source, error) {
	p := cfg.Primaries
	switch {
	case p.DNS.Name != "":
		c := backends.DefaultDNSConfig()
		c.Name, c.Every, c.Logger = p.DNS.Name, time.Duration(p.DNS.Every), log
		return backends.DNS(c), c.Validate()
	case p.EndpointSlices.Service != "":
		c := backends.DefaultSlicesConfig()
		e := p.EndpointSlices
		c.Namespace, c.Service, c.API, c.CAFile, c.TokenFile, c.Logger = e.Namespace, e.Service, e.API, e.CA, e.TokenFile, log
		c, err := c.InCluster(os.Getenv, "")
		if err != nil {
			return nil, err
		}
		return backends.Slices(c), c.Validate()
	}
	if cfg.path != "" {
		return backends.Reread(file.primaries, rereadEvery, log), nil
	}
	return backends.Static(staticList(cfg, set)), nil
}

func staticList(cfg Config, set settings) []backends.Primary {
	list := make([]backends.Primary, 0, len(cfg.Primaries.Static))
	for i, x := range cfg.Primaries.Static {
		list = append(list, backends.Primary{Name: x.Name, Addr: set.primaries[i]})
	}
	return list
}

// newChecker asks primaries whether they are ready.
func (f *front) newChecker() (checker, error) {
	t := f.cfg.Primaries.TLS
	cert, err := conf.LoadCertificate(t.Cert, t.Key, t.CA)
	if err != nil {
		return nil, fmt.Errorf("primaries.tls: %w", err)
	}
	if doubt := certificateDoubt(cert.Get().Leaf); doubt != "" {
		f.log.Warn("the front's certificate", "file", t.Cert, "doubt", doubt)
	}
	c := checks.DefaultConfig()
	c.Every, c.Timeout = time.Duration(f.cfg.Checks.Every), time.Duration(f.cfg.Checks.Timeout)
	c.Fall, c.Rise = f.cfg.Checks.Fall, f.cfg.Checks.Rise
	c.Certificate, c.ServerName, c.Logger = cert, t.ServerName, f.log
	c.OnChange = func(change checks.Change) {
		f.mu.Lock()
		f.m.checked(change)
		f.mu.Unlock()
		signal(f.changed)
	}
	c.Observe = func(name string, err error) {
		result := "ready"
		if err != nil {
			result = "not_ready"
		}
		f.metrics.checks.WithLabelValues(name, result).Inc()
	}
	return checks.New(c)
}

// certificateDoubt is what the primaries may have against a front's certificate; "" for nothing. They accept one without the unit when
// it is of a CA for fronts alone, which can't be seen here.
func certificateDoubt(c *x509.Certificate) string {
	units := c.Subject.OrganizationalUnit
	switch {
	case slices.Contains(units, conf.SecondaryUnit):
		return fmt.Sprintf("its subject has the organizational unit %s, so primaries turn it away from dns.listen_front; have one issued for a front, with %s", conf.SecondaryUnit, conf.FrontUnit)
	case !slices.Contains(units, conf.FrontUnit):
		return fmt.Sprintf("its subject lacks the organizational unit %s: unless its CA signs nothing but fronts (dns.front_tls_client_ca), primaries "+
			"take it for an administrator's, who may do everything; have it issued again with that unit", conf.FrontUnit)
	}
	return ""
}

// newHAProxy makes the process; its configuration comes with the first list of primaries.
func (f *front) newHAProxy() (tcpProxy, error) {
	c := haproxy.DefaultProcessConfig()
	c.Path, c.Dir, c.Logger, c.Observe = f.cfg.HAProxy.Path, f.cfg.Dir, f.log, f.observe
	return haproxy.New(c)
}

// newKeepalived makes the process. Its track file says FAULT until this node has shown that it works.
func (f *front) newKeepalived() (mover, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this program's own path: %w", err)
	}
	c := keepalived.DefaultProcessConfig()
	c.Config = keepalivedConfig(f.cfg, f.set, program)
	c.Path, c.Logger = f.cfg.Keepalived.Path, f.log
	c.Ended = func() {
		f.metrics.restarts.WithLabelValues("keepalived").Inc()
		f.removeLeft("keepalived's end")
	}
	return keepalived.New(c)
}

func keepalivedConfig(cfg Config, set settings, program string) keepalived.Config {
	return keepalived.Config{
		Name: cfg.Name, Dir: cfg.Dir, Interface: cfg.VIP.Interface, VIPs: set.vips, RouterID: cfg.VIP.RouterID,
		NodeAddress: set.node, Peers: set.peers,
		AdvertInterval: time.Duration(cfg.VIP.AdvertInterval), ARPRefresh: time.Duration(cfg.VIP.ARPRefresh),
		Probe: program + " front probe --socket " + SocketPath(cfg.Dir),
	}
}

// removeLeft takes addresses away that should not be here any more.
func (f *front) removeLeft(after string) {
	if f.keepalived == nil {
		return
	}
	held, err := vip.Held(f.cfg.VIP.Interface, f.set.vips)
	if err == nil && len(held) > 0 {
		f.log.Warn("addresses were left behind; they are removed", "after", after, "addresses", held)
		err = vip.Remove(f.cfg.VIP.Interface, f.set.vips)
	}
	if err != nil {
		f.log.Error("addresses may have been left behind", "after", after, "err", err)
	}
}

// bindRelay opens the clients' UDP sockets.
func (f *front) bindRelay() error {
	var err error
	if f.keys, err = openKeys(f.cfg.Primaries.ProxyKeyFile, f.log); err != nil {
		return err
	}
	c := relay.DefaultConfig()
	c.Listen, c.Sockets, c.Keys = f.set.listen, f.set.sockets, f.keys.Keys
	c.Freebind, c.PacketInfo = f.cfg.Mode == ModeVIP, f.cfg.Mode != ModeVIP
	c.ProxyFrom = f.set.proxyFrom
	c.Retry.After, c.Retry.Max, c.Retry.Budget = time.Duration(f.cfg.Retry.After), f.cfg.Retry.Max, f.cfg.Retry.Budget
	c.Limits.PerSecond, c.Limits.Burst = float64(f.cfg.Limits.DatagramsPerSecond), f.cfg.Limits.Burst
	c.Limits.Pending, c.Limits.Exempt = f.cfg.Limits.Pending, f.set.exempt
	c.Drain, c.Answer, c.Logger, c.Registerer = time.Duration(f.cfg.DrainTimeout), Unreachable, f.log, f.registry
	f.relay, err = relay.New(c)
	return err
}

// haproxyConfig is what HAProxy's configuration is rendered from.
func haproxyConfig(cfg Config, set settings, id haproxy.Identity, primaries []backends.Primary) haproxy.Config {
	c := haproxy.DefaultConfig()
	c.Dir, c.Listen, c.Transparent, c.ProxyFrom = cfg.Dir, set.listen, cfg.Mode == ModeVIP, set.proxyFrom
	for _, p := range primaries {
		c.Primaries = append(c.Primaries, haproxy.Primary{
			Name:  p.Name,
			DNS:   netip.AddrPortFrom(p.Addr, uint16(cfg.Primaries.Ports.Front)), //nolint:gosec // validated
			Admin: uint16(cfg.Primaries.Ports.Admin),                             //nolint:gosec // validated
		})
	}
	c.Identity, c.ServerName, c.Metrics = id, cfg.Primaries.TLS.ServerName, set.stats
	c.Checks = haproxy.Checks{
		Every: time.Duration(cfg.Checks.Every), Timeout: time.Duration(cfg.Checks.Timeout), Fall: cfg.Checks.Fall, Rise: cfg.Checks.Rise,
	}
	l := cfg.Limits
	c.Limits = haproxy.Limits{
		Connections: l.Connections, ConnectionsPerClient: l.ConnectionsPerAddress, ConnectionsPerSecond: l.ConnectionsPerSecond, Exempt: set.exempt,
	}
	return c
}

// identity is the front's certificate as HAProxy reads it, made anew when the files change.
type identity struct {
	dir   string
	files [3]string // certificate, key, CA
	stamp [3]time.Time
	haproxy.Identity
}

func newIdentity(cfg Config) (identity, error) {
	t := cfg.Primaries.TLS
	i := identity{dir: cfg.Dir, files: [3]string{t.Cert, t.Key, t.CA}}
	if _, err := i.refresh(); err != nil {
		return i, fmt.Errorf("primaries.tls: %w", err)
	}
	return i, nil
}

// refresh reports whether there is another certificate. An error, such as half a replacement, leaves what was there.
func (i *identity) refresh() (bool, error) {
	var stamp [3]time.Time
	for n, file := range i.files {
		st, err := os.Stat(file)
		if err != nil {
			return false, fmt.Errorf("%w; name a PEM file that this program may read", err)
		}
		stamp[n] = st.ModTime()
	}
	if stamp == i.stamp {
		return false, nil
	}
	id, err := haproxy.Install(i.dir, i.files[0], i.files[1], i.files[2])
	if err != nil {
		return false, err
	}
	changed := id != i.Identity
	i.Identity, i.stamp = id, stamp
	return changed, nil
}

// writeBackends keeps a list for the next start, at once or not at all.
func writeBackends(path string, list []backends.Primary) error {
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readBackends reads such a list; an empty one is an error.
func readBackends(path string) ([]backends.Primary, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []backends.Primary
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(list) == 0 {
		return nil, errors.New(filepath.Base(path) + " is empty")
	}
	return list, nil
}
