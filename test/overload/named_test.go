package overload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestNamed hurts the named of one primary, whose endpoint the client uses: every write is acknowledged and kept, a read has
// the right answer or none, named is repaired, and metrics tell of it.
func TestNamed(t *testing.T) {
	t.Parallel() // it waits more than it works
	const victim = "primary-1"
	vol := mountVolume(t, 24)
	dir := filepath.Join(vol.dir, "named")
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Adjust = func(p *primary.Config) {
			if p.Name == victim {
				p.Named.Dir = dir
			}
		}
	})
	info := c.Primary(victim)
	ctl := startControl(t, info.DNS, origin, c.Key())
	ctl.written(50, 20*time.Second)

	for _, fault := range []struct {
		name   string
		metric string // rises
		hurt   func(t *testing.T)
		heal   func(t *testing.T)
	}{
		{"named killed", "zonekeeper_named_exits_total", func(*testing.T) { c.SignalNamed(victim, syscall.SIGKILL) }, nil},
		{"named hangs", "zonekeeper_named_hangs_total", func(*testing.T) { c.SignalNamed(victim, syscall.SIGSTOP) }, nil},
		{"files deleted", "zonekeeper_named_exits_total", func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if err := os.RemoveAll(f); err != nil {
					t.Fatal(err)
				}
			}
			c.SignalNamed(victim, syscall.SIGKILL) // files that are open outlive their names
		}, nil},
		{"records changed", `zonekeeper_publish_zone_replacements_total{reason="foreign"}`, func(t *testing.T) {
			intrude(t, dir, info.NamedDNS)
		}, nil},
		{"disk full", "zonekeeper_publish_failures_total", func(*testing.T) { vol.fill(0) }, func(*testing.T) { vol.empty() }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			ctl.t = t
			before := metric(t, c, victim, fault.metric)
			ctl.enter(fault.name)
			fault.hurt(t)
			c.Until(40*time.Second, fault.metric+" rises", func(context.Context) error {
				if now := metric(t, c, victim, fault.metric); now <= before {
					return fmt.Errorf("it is %v", now)
				}
				return nil
			})
			ctl.written(20, 20*time.Second)
			if fault.heal != nil {
				fault.heal(t)
			}
			c.Ready(victim)
			ctl.mu.Lock()
			reads := len(ctl.reads[fault.name])
			ctl.mu.Unlock()
			ctl.await(40*time.Second, "reads are answered again", func() bool { return len(ctl.reads[fault.name]) > reads+20 })
			ctl.unharmed(fault.name, 2*patience)
			c.Verified()
		})
	}
	ctl.t = t
	s, err := c.Admin[victim].Replica(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Named.Restarts < 3 {
		t.Errorf("status tells of %d restarts of named, want at least 3", s.Named.Restarts)
	}
	documented(t, c, victim)
	ctl.check(c.Primary("primary-0").DNS, info.DNS, c.Primary("primary-2").DNS)
}

// intrude changes a zone behind the publisher's back, with the secret that is in named's own files.
func intrude(t *testing.T, dir, addr string) {
	t.Helper()
	var key *tsig.Key
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	clause := regexp.MustCompile(`key "` + regexp.QuoteMeta(strings.TrimSuffix(named.PublishKeyName, ".")) + `\.?" \{ algorithm ([^;]+); secret "([^"]+)"`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if m := clause.FindSubmatch(b); m != nil {
			k := harness.MustKey(t, named.PublishKeyName, strings.Trim(string(m[1]), `"`), string(m[2]))
			key = &k
		}
	}
	if key == nil {
		t.Fatalf("no secret of %s in %v", named.PublishKeyName, files)
	}
	rcode, err := harness.Dial(t, addr, *key).Update(zone.MustParseName(origin), nil, evil("intruder"))
	if err != nil || rcode != 0 {
		t.Fatalf("the intruder's update: rcode %d, %v", rcode, err)
	}
}

var errNoMetric = errors.New("no such metric")

// sample reads one sample of a scrape; the name may have labels, as it is written there. Without, it is the sum over all.
func sample(scrape, name string) (sum float64, err error) {
	err = errNoMetric
	for line := range strings.Lines(scrape) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		f := strings.Fields(line)
		v, perr := strconv.ParseFloat(f[len(f)-1], 64)
		if perr != nil {
			return 0, fmt.Errorf("%s: %w", line, perr)
		}
		sum, err = sum+v, nil
	}
	return sum, err
}

// metric asks a primary for one; 0 when nothing has been counted yet.
func metric(t *testing.T, c *harness.Cluster, primary, name string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b, err := c.Admin[primary].Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := sample(string(b), name)
	if err != nil && !errors.Is(err, errNoMetric) {
		t.Fatal(err)
	}
	return v
}

// documented checks that a running primary shows what an operator needs: rates, response codes, latencies of each stage,
// queues, the lag of log, apply and publish, etcd's own metrics, digests, restarts.
func documented(t *testing.T, c *harness.Cluster, primary string) {
	t.Helper()
	b, err := c.Admin[primary].Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	scrape := string(b)
	for name, least := range map[string]float64{
		`zonekeeper_endpoint_requests_total{opcode="update",rcode="NOERROR",transport="udp"}`: 100,
		`zonekeeper_endpoint_requests_total{opcode="query",rcode="NOERROR",transport="udp"}`:  100,
		`zonekeeper_endpoint_stage_seconds_count{stage="total"}`:                              100,
		`zonekeeper_endpoint_stage_seconds_count{stage="queue"}`:                              100,
		`zonekeeper_endpoint_stage_seconds_count{stage="commit"}`:                             100,
		`zonekeeper_endpoint_stage_seconds_count{stage="barrier"}`:                            100,
		`zonekeeper_endpoint_stage_seconds_count{stage="forward"}`:                            100,
		`zonekeeper_endpoint_updates_queued`:                                                  0,
		`zonekeeper_replica_queued_requests`:                                                  0,
		`zonekeeper_replica_serving`:                                                          1,
		`zonekeeper_log_append_duration_seconds_count`:                                        100,
		`zonekeeper_log_batch_size_count`:                                                     100,
		`zonekeeper_log_settles_total`:                                                        1,
		`zonekeeper_log_end_index`:                                                            100,
		`zonekeeper_apply_index`:                                                              100,
		`zonekeeper_apply_lag`:                                                                0,
		`zonekeeper_apply_entries_total`:                                                      100,
		`zonekeeper_apply_duration_seconds_count`:                                             10,
		`zonekeeper_apply_panics_total`:                                                       0,
		`zonekeeper_replica_digest_mismatches_total`:                                          0,
		`zonekeeper_checkpoint_failures_total`:                                                0,
		`zonekeeper_primary_disk_free_bytes`:                                                  1 << 20,
		`zonekeeper_publish_lag_seconds`:                                                      0,
		`zonekeeper_publish_queued_steps`:                                                     0,
		`zonekeeper_publish_update_duration_seconds_count`:                                    10,
		`zonekeeper_named_exits_total`:                                                        3,
		`zonekeeper_named_hangs_total`:                                                        1,
		`zonekeeper_named_up`:                                                                 1,
		`etcd_server_has_leader`:                                                              1,
		`etcd_disk_wal_fsync_duration_seconds_count`:                                          100,
		`etcd_server_proposals_committed_total`:                                               100,
		`go_goroutines`:                                                                       1,
		`process_resident_memory_bytes`:                                                       1 << 20,
	} {
		v, err := sample(scrape, name)
		if err != nil || v < least {
			t.Errorf("%s is %v (%v), want at least %v", name, v, err, least)
		}
	}
	for _, name := range []string{"zonekeeper_apply_panics_total", "zonekeeper_replica_digest_mismatches_total"} {
		if v, err := sample(scrape, name); err != nil || v != 0 {
			t.Errorf("%s is %v (%v), want 0", name, v, err)
		}
	}
}
