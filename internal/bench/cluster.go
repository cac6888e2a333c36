package bench

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// lagEvery paces looking at how far each named is behind. The question is cheap,
// unlike a scrape of all metrics, which would show in the figures.
const lagEvery = 100 * time.Millisecond

// cluster is the program itself: each primary's log on disk, its named on a tmpfs.
type cluster struct {
	cfg  Config
	dir  string
	mem  string
	c    *devcluster.Cluster
	info devcluster.Info
	tsig tsig.Key

	watch  sync.WaitGroup
	cancel context.CancelFunc
	mu     sync.Mutex
	maxLag time.Duration
}

func newCluster(cfg Config) (*cluster, error) {
	for _, parent := range []string{cfg.Dir, cfg.Memory} {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(cfg.Dir, TargetCluster+"-")
	if err != nil {
		return nil, err
	}
	mem, err := os.MkdirTemp(cfg.Memory, TargetCluster+"-")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &cluster{cfg: cfg, dir: dir, mem: mem}, nil
}

func (t *cluster) start(ctx context.Context, zones []string) error {
	dc := devcluster.DefaultConfig()
	dc.Dir, dc.NamedDir = t.dir, t.mem
	dc.Port = 0
	dc.Primaries = t.cfg.Primaries
	dc.Zones = zones
	dc.Named = t.cfg.Named
	dc.Logger = t.cfg.Logger
	if len(t.cfg.Command) > 0 {
		dc.Command = t.cfg.Command
	}
	c, err := devcluster.Start(ctx, dc)
	if err != nil {
		return err
	}
	t.c, t.info = c, c.Info()
	secret, err := base64.StdEncoding.DecodeString(t.info.Key.Secret)
	if err != nil {
		return fmt.Errorf("the cluster's key: %w", err)
	}
	owner, err := zone.ParseName(t.info.Key.Name)
	if err != nil {
		return err
	}
	if t.tsig, err = tsig.NewKey(tsig.Key{Name: owner, Algorithm: tsig.HMACSHA256, Secret: secret}); err != nil {
		return err
	}
	if _, err := t.settled(ctx); err != nil {
		return err
	}
	var primaries []*adminapi.Client
	for _, p := range t.info.Primaries {
		a, err := adminapi.NewClient(p.Admin, nil)
		if err != nil {
			return err
		}
		primaries = append(primaries, a)
	}
	wctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	t.watch.Go(func() { t.watchLag(wctx, primaries) })
	return nil
}

func (t *cluster) addrs() []netip.AddrPort {
	var l []netip.AddrPort
	for _, p := range t.info.Primaries {
		l = append(l, netip.MustParseAddrPort(p.DNS))
	}
	return l
}

func (t *cluster) key() tsig.Key { return t.tsig }

func (t *cluster) copies() []copyAt {
	var l []copyAt
	for _, p := range t.info.Primaries {
		l = append(l, copyAt{p.Name + "'s named", netip.MustParseAddrPort(p.NamedDNS)})
	}
	return l
}

func (t *cluster) processes() map[string][]int {
	m := map[string][]int{}
	for _, p := range t.c.Info().Primaries {
		m["primary"] = append(m["primary"], p.PID)
		m["named"] = append(m["named"], p.NamedPID)
	}
	return m
}

// settled waits until all replicas have applied the same and every named serves it.
func (t *cluster) settled(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	a, err := adminapi.NewClient(t.info.Primaries[0].Admin, nil)
	if err != nil {
		return 0, err
	}
	for {
		s, err := a.Status(ctx)
		if err != nil {
			return 0, err
		}
		why := behind(s)
		if why == "" {
			return time.Since(start), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("the copies are still not equal after %s: %s", startTimeout, why)
		case <-time.After(pollEvery):
		}
	}
}

// behind says what differs between replicas, "" when nothing does.
func behind(s *adminapi.Status) string {
	serials := map[string]uint32{}
	for _, r := range s.Replicas {
		if !r.Reachable || !r.Ready {
			return r.Name + " is not ready: " + r.Reason
		}
		for _, z := range r.Zones {
			if z.PublishedSerial != z.Serial {
				return fmt.Sprintf("%s's named has serial %d of %s instead of %d", r.Name, z.PublishedSerial, z.Name, z.Serial)
			}
			if first, ok := serials[z.Name]; ok && first != z.Serial {
				return fmt.Sprintf("%s has serial %d of %s instead of %d", r.Name, z.Serial, z.Name, first)
			}
			serials[z.Name] = z.Serial
		}
	}
	return ""
}

// watchLag keeps the greatest lag that any primary reports.
func (t *cluster) watchLag(ctx context.Context, primaries []*adminapi.Client) {
	tick := time.NewTicker(lagEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, a := range primaries {
			r, err := a.Replica(ctx)
			if err != nil {
				continue // a primary that is too busy for this shows in the rate
			}
			t.mu.Lock()
			t.maxLag = max(t.maxLag, time.Duration(r.PublishLagMS)*time.Millisecond)
			t.mu.Unlock()
		}
	}
}

// takeLag returns the greatest lag since it was last asked.
func (t *cluster) takeLag() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.maxLag
	t.maxLag = 0
	return l
}

func (t *cluster) stop() error {
	if t.cancel != nil {
		t.cancel()
	}
	t.watch.Wait()
	var err error
	if t.c != nil {
		err = t.c.Close()
	}
	if err != nil {
		// The logs say why; keep them.
		return fmt.Errorf("%w; the logs are in %s", err, filepath.Join(t.dir, "primary-*", "log"))
	}
	return errors.Join(os.RemoveAll(t.dir), os.RemoveAll(t.mem))
}
