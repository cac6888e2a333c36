package overload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestPublishLag stops named processes under load (C9). One of three: its primary leaves service, and nobody else notices.
// Two of three: updates are refused, with the reason, before anything piles up. When they go on, updates do, and nothing
// that was acknowledged is lost.
func TestPublishLag(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Start(t, nil)
	const fine = "primary-0"
	ctl := startControl(t, c.Primary(fine).DNS, origin, c.Key())
	load := startLoad(t, c, 12)
	ctl.written(100, 30*time.Second)

	ctl.enter("one named stopped")
	c.SignalNamed("primary-1", syscall.SIGSTOP)
	c.Until(20*time.Second, "primary-1 leaves service", func(ctx context.Context) error {
		if err := c.Admin["primary-1"].Ready(ctx); err == nil || !strings.Contains(err.Error(), "is behind by") {
			return fmt.Errorf("ready: %w", err)
		}
		return nil
	})
	ctl.written(100, 20*time.Second)
	for _, name := range c.Names() {
		if n := metric(t, c, name, "zonekeeper_replica_lag_refusals_total"); n != 0 {
			t.Errorf("%s refused %v updates because of one slow named", name, n)
		}
	}
	if lag := metric(t, c, fine, "zonekeeper_publish_quorum_lag_seconds"); lag > 1 {
		t.Errorf("the quorum's lag is %v s", lag)
	}
	c.ContinueNamed("primary-1")
	c.Ready("primary-1")
	ctl.unharmed("one named stopped", patience)

	ctl.enter("two named stopped")
	rss := usageOf(t, c.Primary(fine).PID).rss
	c.SignalNamed("primary-1", syscall.SIGSTOP)
	c.SignalNamed("primary-2", syscall.SIGSTOP)
	ctl.await(20*time.Second, "refusals", func() bool { return ctl.refused["two named stopped"] > 0 })
	for _, name := range c.Names() {
		c.Until(5*time.Second, name+" refuses", func(context.Context) error {
			rcode, text := answerTo(t, c.Primary(name).DNS, update(t, c.Key(), "refused-"+name))
			if rcode != dns.RcodeServerFailure || !strings.Contains(text, "publishing is too far behind") {
				return fmt.Errorf("rcode %d, %q", rcode, text)
			}
			return nil
		})
	}
	ready := c.Admin[fine].Ready(t.Context())
	if ready != nil {
		t.Errorf("%s, whose named is well: %v", fine, ready)
	}
	if s, err := c.Admin[fine].Replica(t.Context()); err != nil || !strings.Contains(s.NoWrites, "too far behind") {
		t.Errorf("status says %q, %v", s.NoWrites, err)
	}
	for _, name := range c.Names() {
		waiting := metric(t, c, name, "zonekeeper_publish_queued_bytes")
		t.Logf("%s: %v octets of steps wait, quorum's lag %v s, %v refused", name, waiting,
			metric(t, c, name, "zonekeeper_publish_quorum_lag_seconds"), metric(t, c, name, "zonekeeper_replica_lag_refusals_total"))
		if waiting > 8<<20 {
			t.Errorf("%s: %v octets of publish steps wait", name, waiting)
		}
	}
	if now := usageOf(t, c.Primary(fine).PID).rss; now > rss+128<<20 {
		t.Errorf("%s has grown from %d to %d MiB", fine, rss>>20, now>>20)
	}

	ctl.enter("they go on")
	c.ContinueNamed("primary-1")
	c.ContinueNamed("primary-2")
	ctl.written(200, 30*time.Second)
	load.stop(t)
	for _, name := range c.Names() {
		c.Ready(name)
	}
	c.Verified()
	ctl.check(c.Primary("primary-0").DNS, c.Primary("primary-1").DNS, c.Primary("primary-2").DNS)
}

// load are clients that write as fast as they are answered. SERVFAIL is an answer.
type load struct {
	cancel context.CancelFunc
	ended  chan error
	n      int
}

func startLoad(t *testing.T, c *harness.Cluster, clients int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l := &load{cancel: cancel, ended: make(chan error, clients), n: clients}
	name := zone.MustParseName(origin)
	for i := range clients {
		client := harness.Dial(t, c.Info().Primaries[i%len(c.Info().Primaries)].DNS, c.Key())
		go func() {
			for k := 0; ctx.Err() == nil; k++ {
				rcode, err := client.Update(name, nil, []zone.RR{harness.A(name, fmt.Sprintf("l%d-%d", i, k%500), 60, addressOf(k))})
				if err == nil && rcode != 0 && rcode != uint16(dns.RcodeServerFailure) {
					l.ended <- fmt.Errorf("an update was answered %s", dns.RcodeToString[int(rcode)])
					return
				}
			}
			l.ended <- nil
		}()
	}
	return l
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	var errs []error
	for range l.n {
		errs = append(errs, <-l.ended)
	}
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}
