package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/log"
	"github.com/zonekeeper/zonekeeper/internal/primary"
)

// Where the log is: Config.Etcd.
const (
	// EtcdEmbedded: each primary has a member of the log inside.
	EtcdEmbedded = "embedded"
	// EtcdExternal: an etcd cluster of processes of its own has it, or, with Config.EtcdEndpoints, one that runs already.
	EtcdExternal = "external"
)

// etcdKind is what a cluster keeps for its life, as the flags say it.
func (c Config) etcdKind() string {
	switch {
	case c.Etcd != EtcdExternal:
		return "--etcd embedded"
	case len(c.EtcdEndpoints) > 0:
		return "--etcd external --etcd-endpoints"
	}
	return "--etcd external"
}

func (c Config) validateEtcd() error {
	switch c.Etcd {
	case EtcdEmbedded:
		if len(c.EtcdEndpoints) > 0 {
			return errors.New("--etcd-endpoints: the log would be elsewhere; say --etcd external too")
		}
	case EtcdExternal:
		if len(c.EtcdEndpoints) == 0 && len(c.EtcdCommand) == 0 {
			return errors.New("no program for an etcd server")
		}
	default:
		return fmt.Errorf("--etcd %q: use %s or %s", c.Etcd, EtcdEmbedded, EtcdExternal)
	}
	for _, e := range c.EtcdEndpoints {
		if u, err := url.Parse(e); err != nil || u.Scheme != "http" || u.Port() == "" {
			return fmt.Errorf("--etcd-endpoints %q: give client URLs like http://127.0.0.1:2379", e)
		}
	}
	return nil
}

// etcdServer is one server of the external etcd that runs in processes of this cluster.
type etcdServer struct {
	name   string
	config log.MemberConfig
}

func (s etcdServer) configPath(dir string) string { return filepath.Join(dir, s.name, "etcd.json") }

// etcdServers derives them: as many as there are primaries, on the ports that those would use for members of their own. Pure.
func (p plan) etcdServers(c Config) []etcdServer {
	if p.Etcd != (Config{Etcd: EtcdExternal}).etcdKind() {
		return nil
	}
	peers, clients := map[string]string{}, map[string]string{}
	for i := range p.Primaries {
		peers[etcdName(i)] = "http://" + p.addr(i, offsetPeer)
		clients[etcdName(i)] = "http://" + p.addr(i, offsetClient)
	}
	var l []etcdServer
	for i := range p.Primaries {
		ec := log.DefaultMemberConfig()
		ec.Name = etcdName(i)
		ec.DataDir = filepath.Join(c.Dir, ec.Name, "data")
		ec.PeerURL, ec.ClientURL = peers[ec.Name], clients[ec.Name]
		ec.InitialCluster, ec.Peers = peers, clients
		ec.Token, ec.Bootstrap = p.Token, !p.Formed
		l = append(l, etcdServer{name: ec.Name, config: ec})
	}
	return l
}

func etcdName(i int) string { return "etcd-" + strconv.Itoa(i) }

// externalEtcd is how a primary finds a log that is not its own. The prefix lets several clusters share one etcd.
func (p plan) externalEtcd(c Config) primary.EtcdConfig {
	endpoints := slices.Clone(c.EtcdEndpoints)
	for _, s := range p.etcdServers(c) {
		endpoints = append(endpoints, s.config.ClientURL)
	}
	return primary.EtcdConfig{Endpoints: endpoints, Prefix: "/zonekeeper-dev/" + p.Token}
}

// configureEtcd writes every etcd server's configuration file.
func (c *Cluster) configureEtcd() error {
	c.etcd = c.plan.etcdServers(c.cfg)
	for _, s := range c.etcd {
		if err := os.MkdirAll(filepath.Join(c.cfg.Dir, s.name), 0o700); err != nil {
			return err
		}
		if err := writeJSON(s.configPath(c.cfg.Dir), s.config); err != nil {
			return err
		}
	}
	return nil
}

// startEtcd starts the etcd servers and waits until enough of them serve: a primary that finds no log at its start ends.
func (c *Cluster) startEtcd(ctx context.Context) error {
	if len(c.etcd) == 0 {
		return nil
	}
	for _, s := range c.etcd {
		if err := c.launch(s.name, c.cfg.EtcdCommand, s.configPath(c.cfg.Dir)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ReadyTimeout)
	defer cancel()
	for {
		serving, dead, errs := 0, 0, []error(nil)
		for _, s := range c.etcd {
			if err := s.healthy(ctx); err != nil {
				errs = append(errs, err)
			} else {
				serving++
			}
			if p := c.process(s.name); !p.running() {
				dead++
				errs = append(errs, p.failure(s.name))
			}
		}
		need := len(c.etcd)/2 + 1
		if serving >= need {
			return nil
		}
		if len(c.etcd)-dead < need {
			return errors.Join(errs...)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("etcd has no quorum after %s: %w", c.cfg.ReadyTimeout, errors.Join(errs...))
		case <-time.After(pollEvery):
		}
	}
}

// healthy says whether a server answers and has a leader.
func (s etcdServer) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.config.ClientURL+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, logTail))
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", s.name, resp.Status, b)
	}
	return nil
}

// startEtcdServer starts a server whose process has died, and returns when it serves.
func (c *Cluster) startEtcdServer(ctx context.Context, s etcdServer) error {
	p, err := c.relaunch(s.name, c.cfg.EtcdCommand, s.configPath(c.cfg.Dir))
	if err != nil {
		return err
	}
	if err := c.await(ctx, s.name, p, s.healthy); err != nil {
		return err
	}
	return c.refreshInfo()
}
