package differential_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/differential"
)

var (
	seed     = flag.Uint64("differential.seed", 0, "seed of the generator; 0 picks one")
	messages = flag.Int("differential.messages", envInt("DIFFERENTIAL_MESSAGES", 20000), "messages to send to each named")
)

// minHits is how often a run of 20,000 messages hits each row at least.
const minHits = 100

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func TestNamed(t *testing.T) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	namedtest.Each(t, func(t *testing.T, release namedtest.Release) {
		opt := update.DefaultOptions()
		opt.CheckSVCB = release.Version != "9.18" // which has no check-svcb
		report := run(t, release, s, opt)
		t.Logf("named %s, seed %d: %s", release.Version, s, report.String())
		for _, d := range report.Differences {
			t.Errorf("-differential.seed=%d: %s", s, d)
		}
		if *messages >= 20000 {
			for _, row := range differential.Rows() {
				if n := report.Coverage[row]; n < minHits {
					t.Errorf("row %q was hit %d times only", row, n)
				}
			}
		}
	})
}

func run(t *testing.T, release namedtest.Release, seed uint64, opt update.Options) differential.Report {
	specs := differential.Specs(2)
	zones := make([]*zone.Zone, len(specs))
	for i, s := range specs {
		zones[i] = differential.Content(s.Origin, uint32(1+i)<<28)
	}
	plan := differential.Plan(specs, *messages, minHits)
	addr := differential.StartNamed(t, release, specs, zones)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total differential.Report
	)
	for i, s := range specs {
		wg.Go(func() {
			c := differential.Dial(addr)
			defer c.Close()
			cfg := plan[i]
			cfg.Seed, cfg.Transfer, cfg.Options, cfg.MaxDifferences = seed+uint64(i), 20, opt, 5
			report, err := differential.Compare(t.Context(), cfg, s, zones[i], c)
			mu.Lock()
			defer mu.Unlock()
			total.Merge(report)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return total
}
