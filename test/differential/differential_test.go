package differential_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/differential"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

var (
	seed     = flag.Uint64("differential.seed", 0, "seed of the generator; 0 picks one")
	messages = flag.Int("differential.messages", envInt("DIFFERENTIAL_MESSAGES", 20000), "messages that each test sends")
)

// minHits is how often a run of 20,000 messages hits each row at least.
const minHits = 100

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestNamed compares package update with each release.
func TestNamed(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, release namedtest.Release) {
		opt := update.DefaultOptions()
		opt.CheckSVCB = release.Version != "9.18" // which has no check-svcb
		campaign(t, opt, func(specs []differential.ZoneSpec, zones []*zone.Zone) func() []differential.Target {
			addr := differential.StartNamed(t, release, specs, zones)
			return func() []differential.Target { return []differential.Target{differential.Dial(addr)} }
		})
	})
}

// TestEndpoint compares three primaries, asked in turns, with a named: TSIG, authorisation by addresses, the log, and reads
// behind the barrier from the named of another primary than the one that acknowledged (I3, I5). One of the three drives BIND
// 9.18.
func TestEndpoint(t *testing.T) {
	campaign(t, update.DefaultOptions(), func(specs []differential.ZoneSpec, zones []*zone.Zone) func() []differential.Target {
		addr := differential.StartNamed(t, namedtest.Get(t, "9.20"), specs, zones)
		primaries := startPrimaries(t, specs, zones)
		return func() []differential.Target {
			var servers []differential.Target
			for _, p := range primaries {
				servers = append(servers, differential.Dial(p))
			}
			return []differential.Target{differential.Dial(addr), differential.NewCluster(servers...)}
		}
	})
}

// campaign compares what dial returns, once for each zone, with the model. serve starts the servers.
func campaign(t *testing.T, opt update.Options, serve func([]differential.ZoneSpec, []*zone.Zone) (dial func() []differential.Target)) {
	t.Helper()
	seed := *seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	specs := differential.Specs(2)
	zones := make([]*zone.Zone, len(specs))
	for i, s := range specs {
		zones[i] = differential.Content(s.Origin, uint32(1+i)<<28)
	}
	plan := differential.Plan(specs, *messages, minHits)
	dial := serve(specs, zones)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		report differential.Report
	)
	start := time.Now()
	for i, s := range specs {
		wg.Go(func() {
			targets := dial()
			defer func() {
				for _, c := range targets {
					_ = c.Close() // nothing more is expected of it
				}
			}()
			cfg := plan[i]
			cfg.Seed, cfg.Transfer, cfg.Options, cfg.MaxDifferences = seed+uint64(i), 20, opt, 5
			r, err := differential.Compare(t.Context(), cfg, s, zones[i], targets...)
			mu.Lock()
			defer mu.Unlock()
			report.Merge(r)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Logf("-differential.seed=%d, %s: %s", seed, time.Since(start).Round(time.Second), report.String())
	for _, d := range report.Differences {
		t.Errorf("-differential.seed=%d: %s", seed, d)
	}
	if report.Again > report.Sent/100 {
		t.Errorf("%d of %d updates were answered SERVFAIL at first: the cluster is not healthy", report.Again, report.Sent)
	}
	if *messages < 20000 {
		return
	}
	for _, row := range differential.Rows() {
		if n := report.Coverage[row]; n < minHits {
			t.Errorf("row %q was hit %d times only", row, n)
		}
	}
}

// startPrimaries runs a cluster of three and returns the addresses of its endpoints.
func startPrimaries(t *testing.T, specs []differential.ZoneSpec, zones []*zone.Zone) []netip.AddrPort {
	t.Helper()
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Adjust = func(p *primary.Config) {
			version := "9.20"
			if p.Name == "primary-2" {
				version = "9.18"
			}
			p.Named.Path = namedtest.Get(t, version).Named
		}
	})
	admin := c.Admin[c.Names()[0]]
	known := map[string]bool{}
	for i, s := range specs {
		for _, k := range s.Keys {
			if known[k] {
				continue
			}
			known[k] = true
			secret := base64.StdEncoding.EncodeToString([]byte(differential.Secret))
			if _, err := admin.AddKey(t.Context(), adminapi.AddKey{Name: k, Algorithm: "hmac-sha256", Secret: secret}); err != nil {
				t.Fatal(err)
			}
		}
		var text bytes.Buffer
		if err := zone.WriteFile(&text, zones[i]); err != nil {
			t.Fatal(err)
		}
		settings := adminapi.ZoneSettings{
			UpdatePolicy: s.Policy, AllowUpdate: s.ACL, MaxZoneTTL: s.MaxTTL,
			AllowQuery: "any;", AllowTransfer: fmt.Sprintf("key %q;", differential.KeyMain),
		}
		if _, err := admin.ImportZone(t.Context(), s.Origin.String(), &text, adminapi.ImportOptions{Settings: settings}); err != nil {
			t.Fatal(err)
		}
	}
	var addrs []netip.AddrPort
	for _, name := range c.Names() {
		c.Ready(name)
		addrs = append(addrs, netip.MustParseAddrPort(c.Primary(name).DNS))
	}
	return addrs
}
