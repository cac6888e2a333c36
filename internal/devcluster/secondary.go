package devcluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
)

// proxyHost is not 127.0.0.1: a secondary's named believes a NOTIFY from its proxy's address alone.
const proxyHost = "127.0.0.54"

// secretFile has a secondary's TSIG secret, below the folder of its name.
const secretFile = "tsig.secret"

// secondaryServer is one secondary of the plan.
type secondaryServer struct {
	name   string
	config secondary.Config
	admin  *adminapi.Client
}

// configPath is where the secondary's own process reads its configuration.
func (s secondaryServer) configPath(dir string) string {
	return filepath.Join(dir, s.name, "secondary.json")
}

func secondaryName(i int) string { return "secondary-" + strconv.Itoa(i) }

// resize changes the number of secondaries of a plan, and reports whether anything of it changed. The secrets of those that
// are no longer run are kept: their keys stay in the replicated state.
func (p *plan) resize(n int, listen netip.Addr) (changed bool, err error) {
	if p.Secondaries == n {
		return false, nil
	}
	if err := secondariesFree(p.Base, p.Secondaries, n, listen); err != nil {
		return false, fmt.Errorf("ports of the secondaries, from %d on: %w; stop what uses them, or say --secondaries %d", secondaryPort(p.Base, 0, 0), err, p.Secondaries)
	}
	p.Secondaries = n
	for len(p.SecondarySecrets) < n {
		p.SecondarySecrets = append(p.SecondarySecrets, base64.StdEncoding.EncodeToString(random(secretSize)))
	}
	return true, nil
}

// secondaries derives every secondary's configuration from those of the primaries that it follows. Pure, if AdjustSecondary is.
func (p plan) secondaries(c Config, primaries []member) []secondaryServer {
	var upstreams []secondary.PrimaryConfig
	for _, m := range primaries {
		upstreams = append(upstreams, secondary.PrimaryConfig{Name: m.name, DNS: m.config.DNS.Listen[0], Admin: m.adminURL()})
	}
	var l []secondaryServer
	for i := range p.Secondaries {
		name := secondaryName(i)
		dir := filepath.Join(c.Dir, name)
		sc := secondary.DefaultConfig()
		sc.Name = name
		sc.Dir = filepath.Join(dir, "data")
		sc.DNS.Listen = []string{p.secondaryAddr(i, offsetDNS)}
		sc.Admin.Listen = p.secondaryAddr(i, offsetAdmin)
		sc.Primaries = upstreams
		sc.Key = secondary.KeyConfig{Name: name + ".", Algorithm: keyAlgorithm, SecretFile: filepath.Join(dir, secretFile)}
		sc.Proxy = p.secondaryAddr(i, offsetProxy)
		sc.Named.Path = c.Named
		// Not below NamedDir: what a secondary has on disk is what it serves while no primary can be reached.
		sc.Named.Dir = filepath.Join(dir, "named")
		sc.Named.Listen = p.secondaryAddr(i, offsetNamed)
		sc.Named.ControlPort = secondaryPort(p.Base, i, offsetControl)
		if c.AdjustSecondary != nil {
			c.AdjustSecondary(&sc)
		}
		l = append(l, secondaryServer{name: name, config: sc})
	}
	return l
}

func (p plan) secondaryAddr(i, offset int) string {
	host := "127.0.0.1"
	switch offset {
	case offsetDNS:
		host = p.Listen
	case offsetProxy:
		host = proxyHost
	}
	return net.JoinHostPort(host, strconv.Itoa(secondaryPort(p.Base, i, offset)))
}

// configureSecondaries writes every secondary's configuration and secret.
func (c *Cluster) configureSecondaries() error {
	c.secondaries = c.plan.secondaries(c.cfg, c.members)
	for i := range c.secondaries {
		s := &c.secondaries[i]
		if err := os.MkdirAll(filepath.Join(c.cfg.Dir, s.name), 0o700); err != nil {
			return err
		}
		if err := writeAtomic(filepath.Join(c.cfg.Dir, s.name, secretFile), []byte(c.plan.SecondarySecrets[i]+"\n")); err != nil {
			return err
		}
		if err := s.config.Validate(); err != nil {
			return fmt.Errorf("configuration of %s: %w", s.name, err)
		}
		if err := writeJSON(s.configPath(c.cfg.Dir), s.config); err != nil {
			return err
		}
		var err error
		if s.admin, err = adminapi.NewClient(s.config.Admin.Listen, nil); err != nil {
			return err
		}
	}
	return nil
}

// registerSecondaries makes the primaries know the secondaries that there are, and forget those that there were.
func (c *Cluster) registerSecondaries(ctx context.Context) error {
	for i, secret := range c.plan.SecondarySecrets {
		name := secondaryName(i)
		question := func(ctx context.Context, a *adminapi.Client) error {
			_, err := a.AddKey(ctx, adminapi.AddKey{Name: name + ".", Algorithm: keyAlgorithm, Secret: secret})
			if err := except(err, adminapi.CodeConflict); err != nil {
				return err
			}
			return a.PutSecondary(ctx, adminapi.Secondary{Name: name, Key: name + "."})
		}
		if i >= c.plan.Secondaries {
			question = func(ctx context.Context, a *adminapi.Client) error {
				return except(a.DeleteSecondary(ctx, name), adminapi.CodeNotFound)
			}
		}
		if err := c.ask(ctx, question); err != nil {
			return fmt.Errorf("registering %s: %w", name, err)
		}
	}
	return nil
}

// startSecondaries starts them and waits until they are ready. A cluster that has run before goes on without those that are
// broken or slow.
func (c *Cluster) startSecondaries(ctx context.Context, resumed bool) error {
	for _, s := range c.secondaries {
		if err := c.launch(s.name, c.cfg.SecondaryCommand, s.configPath(c.cfg.Dir)); err != nil {
			return err
		}
	}
	patience := c.cfg.ReadyTimeout
	if resumed {
		patience = min(patience, stragglerGrace)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := make([]error, len(c.secondaries))
	var wg sync.WaitGroup
	for i, s := range c.secondaries {
		wg.Go(func() { errs[i] = c.await(ctx, s.name, c.process(s.name), s.admin.Ready) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		if !resumed {
			return err
		}
		c.log.Warn("not all secondaries are ready", "err", err)
	}
	return nil
}

// startSecondary starts a secondary whose process has died, and returns when it is ready.
func (c *Cluster) startSecondary(ctx context.Context, s secondaryServer) error {
	p, err := c.relaunch(s.name, c.cfg.SecondaryCommand, s.configPath(c.cfg.Dir))
	if err != nil {
		return err
	}
	if err := c.await(ctx, s.name, p, s.admin.Ready); err != nil {
		return err
	}
	return c.refreshInfo()
}
