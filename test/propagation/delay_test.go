package propagation

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// measuring says whether make propagation runs: it wants a quiet machine, and root.
func measuring(t *testing.T) bool {
	t.Helper()
	if os.Getenv("ZONEKEEPER_MEASURE") == "Propagation" {
		return true
	}
	t.Log("a measurement: run it with make propagation")
	return false
}

// row prints a line that a script can pick out of a test's output.
func row(what, who, result string) { fmt.Printf("TABLE %-28s %-22s %s\n", what, who, result) }

// ours is the name of the rig that is no plain BIND.
const ours = "zonekeeper"

// rig is what is measured: somewhere to write, and somewhere to look.
type rig struct {
	name    string
	write   string
	key     tsig.Key
	servers []server
}

// cluster starts one with two secondaries.
func cluster(t *testing.T, zones []zone.Name, adjust func(*devcluster.Config)) (*harness.Cluster, rig) {
	t.Helper()
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Secondaries = 2
		cfg.Zones = nil
		for _, z := range zones {
			cfg.Zones = append(cfg.Zones, z.String())
		}
		if adjust != nil {
			adjust(cfg)
		}
	})
	r := rig{name: ours, write: c.Info().Endpoint, key: c.Key()}
	for _, s := range c.Info().Secondaries {
		r.servers = append(r.servers, server{s.Name, s.DNS})
	}
	r.serving(t, zones)
	return c, r
}

func plainRig(t *testing.T, name string, zones []zone.Name, options string) rig {
	t.Helper()
	p := startPlain(t, zones, 2, options)
	r := rig{name: name, write: p.primary.String(), key: p.key, servers: p.secondaries}
	r.serving(t, zones)
	return r
}

// serving waits until every server shows what the primary has.
func (r rig) serving(t *testing.T, zones []zone.Name) {
	t.Helper()
	for _, s := range r.servers {
		for _, z := range zones {
			err := harness.Retry(time.Minute, func(ctx context.Context) error {
				want, err := harness.Serial(ctx, r.write, z.String())
				if err != nil {
					return err
				}
				got, err := harness.Serial(ctx, s.addr, z.String())
				if err == nil && got != want {
					err = fmt.Errorf("serial %d, the primary has %d", got, want)
				}
				return err
			})
			if err != nil {
				t.Fatalf("%s at %s: %v", z, s.name, err)
			}
		}
	}
}

// sizes of a measurement of delays.
type sizes struct {
	zones, rate  int
	steady, full time.Duration
	clients      int // of each zone at the full rate
}

// delay measures one rig at a steady rate and at the full one.
func delay(t *testing.T, r rig, zones []zone.Name, s sizes) (steady, full spread) {
	t.Helper()
	w := watch(t, r.servers, zones, closely)
	l := start(t, w, loading{addr: r.write, key: r.key, zones: zones, clients: 1, rate: s.rate})
	<-time.After(s.steady)
	rate := l.end(r)
	if _, err := w.drained(time.Minute); err != nil {
		t.Error(err)
	}
	steady = w.delays(time.Time{})
	row(fmt.Sprintf("delay, %.0f updates/s", rate), r.name, steady.String())
	w.close()

	w = watch(t, r.servers, zones, roughly)
	l = start(t, w, loading{addr: r.write, key: r.key, zones: zones, clients: s.clients})
	<-time.After(s.full)
	rate = l.end(r)
	drain, err := w.drained(2 * time.Minute)
	if err != nil {
		t.Error(err)
	}
	full = w.delays(time.Time{})
	row(fmt.Sprintf("delay, full: %.0f updates/s", rate), r.name, fmt.Sprintf("%v, drained %v after the last", full, drain.Round(time.Millisecond)))
	if err := w.monotonic(); err != nil {
		t.Error(err)
	}
	w.close()
	return steady, full
}

// end stops the load. Ours answers every update; plain BIND drops datagrams when it has too many.
func (s *load) end(r rig) (rate float64) {
	s.t.Helper()
	if r.name == ours {
		rate = s.done()
		s.check(r.write)
		return rate
	}
	rate, failed := s.stop()
	if len(failed) > 0 {
		row("updates without an answer", r.name, fmt.Sprint(len(failed)))
	}
	return rate
}

// TestDelay is the short form: only the order of magnitude is asserted, the machine may be loaded.
func TestDelay(t *testing.T) {
	s := sizes{zones: 10, rate: 50, steady: 3 * time.Second, full: 2 * time.Second, clients: 2}
	zones := zoneNames(s.zones, "delay.test.")
	c, r := cluster(t, zones, nil)
	steady, full := delay(t, r, zones, s)
	if p50 := steady.at(.5); p50 > time.Second {
		t.Errorf("half of the updates take more than %v to be visible", p50)
	}
	if longest := full.at(1); longest > 10*time.Second {
		t.Errorf("an update took %v to be visible", longest)
	}
	c.Verified()
	c.CheckLogs()
}

// TestMeasurePropagationDelay: from the acknowledgement to what every secondary shows, beside plain BIND.
func TestMeasurePropagationDelay(t *testing.T) {
	if !measuring(t) {
		return
	}
	s := sizes{zones: 50, rate: 100, steady: 30 * time.Second, full: 20 * time.Second, clients: 4}
	zones := zoneNames(s.zones, "delay.test.")
	t.Run("zonekeeper", func(t *testing.T) {
		c, r := cluster(t, zones, nil)
		steady, full := delay(t, r, zones, s)
		if p50, p99 := steady.at(.5), steady.at(.99); p50 > 50*time.Millisecond || p99 > 250*time.Millisecond {
			t.Errorf("p50 %v, p99 %v; the targets are 50 ms and 250 ms", p50, p99)
		}
		if longest := full.at(1); longest > time.Second {
			t.Errorf("at the full rate a change took %v to be visible, the target is 1 s", longest)
		}
		c.Verified()
	})
	t.Run("plain, default timers", func(t *testing.T) { delay(t, plainRig(t, "BIND, default timers", zones, ""), zones, s) })
	t.Run("plain, tuned timers", func(t *testing.T) { delay(t, plainRig(t, "BIND, tuned timers", zones, tuned), zones, s) })
}
