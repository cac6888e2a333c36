package overload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestNoSpace fills the log's store to its quota with what no compaction can remove: etcd raises NOSPACE, updates are refused
// with a reason, reads go on. Then the remedy of docs/operations.md is followed, and updates go on: etcd.quota_bytes is
// raised at all primaries, which are restarted one after another.
func TestNoSpace(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Adjust = func(p *primary.Config) { p.Etcd.QuotaBytes = 64 << 20 }
	})
	ctl := startControl(t, c.Info().Endpoint, origin, c.Key())
	ctl.written(100, 20*time.Second)

	ctl.enter("the store fills up")
	var urls []string
	for _, name := range c.Names() {
		urls = append(urls, configuration(t, c, name).Etcd.ClientURL)
	}
	etcd, err := clientv3.New(clientv3.Config{Endpoints: urls, DialTimeout: 5 * time.Second, Context: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	fillStore(t, etcd)

	ctl.enter("NOSPACE")
	c.Until(20*time.Second, "updates are refused with a reason", func(context.Context) error {
		for _, p := range c.Info().Primaries {
			rcode, text := answerTo(t, p.DNS, update(t, c.Key(), "refused"))
			if rcode != dns.RcodeServerFailure || !strings.Contains(text, "raise etcd.quota_bytes") {
				return fmt.Errorf("%s answers %s, %q", p.Name, dns.RcodeToString[rcode], text)
			}
		}
		return nil
	})
	ctl.enter("NOSPACE, known")
	ctl.await(20*time.Second, "reads and refusals", func() bool {
		return len(ctl.reads[ctl.phase]) > 100 && ctl.refused[ctl.phase] > 20
	})
	for _, p := range c.Info().Primaries {
		c.Ready(p.Name)
		resp, err := (harness.Asker{Timeout: 5 * time.Second}).Ask(t.Context(), "udp", p.DNS, "c0."+origin, dns.TypeA)
		if err != nil || len(resp.Answer) != 1 {
			t.Errorf("%s answers no queries: %v", p.Name, err)
		}
	}
	ctl.mu.Lock()
	if n := len(ctl.writes[ctl.phase]); n > 0 {
		t.Errorf("%d updates were acknowledged", n)
	}
	if n := ctl.unread[ctl.phase]; n > 0 {
		t.Errorf("%d reads were not answered", n)
	}
	ctl.mu.Unlock()
	s, err := c.Admin["primary-0"].Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Healthy || !strings.Contains(s.Summary, "quota") {
		t.Errorf("status says: healthy %v, %s", s.Healthy, s.Summary)
	}

	ctl.enter("the remedy")
	for _, name := range c.Names() {
		cfg := configuration(t, c, name)
		cfg.Etcd.QuotaBytes = 256 << 20
		b, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(configPath(c, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		c.Signal(name, syscall.SIGTERM)
		c.Gone(name)
		c.Restart(name)
	}
	ctl.enter("after the remedy")
	ctl.written(200, 60*time.Second)
	c.Until(60*time.Second, "the alarm is lifted", func(ctx context.Context) error {
		alarms, err := etcd.AlarmList(ctx)
		if err == nil && len(alarms.Alarms) > 0 {
			err = fmt.Errorf("alarms: %v", alarms.Alarms)
		}
		return err
	})
	c.Verified()
	c.Until(20*time.Second, "the cluster is healthy", func(ctx context.Context) error {
		s, err := c.Admin["primary-0"].Status(ctx)
		if err == nil && !s.Healthy {
			err = errors.New(s.Summary)
		}
		return err
	})
	ctl.check(c.Primary("primary-0").DNS, c.Primary("primary-1").DNS, c.Primary("primary-2").DNS)
	c.CheckLogs()
}

// fillStore writes keys that are nobody's until etcd takes no more.
func fillStore(t *testing.T, etcd *clientv3.Client) {
	t.Helper()
	junk := strings.Repeat("x", 1<<20)
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := etcd.Put(ctx, fmt.Sprintf("/somebody/else/%d", i), junk)
		cancel()
		switch {
		case errors.Is(err, rpctypes.ErrNoSpace):
			t.Logf("NOSPACE after %d MiB", i)
			return
		case err != nil:
			t.Fatal(err)
		}
	}
	t.Fatal("200 MiB were written, and the quota is 64 MiB")
}

func configPath(c *harness.Cluster, name string) string {
	return filepath.Join(c.Dir(), name, "primary.json")
}

func configuration(t *testing.T, c *harness.Cluster, name string) primary.Config {
	t.Helper()
	cfg, err := primary.LoadConfig(configPath(c, name))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
