package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestClockJumps defends C7 with real processes: the clock of one machine (its primary and its named) is set while clients
// write to all, and send what was answered again. Nobody gets a wrong answer, the primary leaves service and says why, the
// others go on as if nothing were, and with the right time it is back.
func TestClockJumps(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Zones = []string{"example.test", "second.test"} })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	l := startLoad(t, c, seed)
	n := &nemesis{t: t, c: c, load: l, rnd: rand.New(rand.NewPCG(seed, 1<<32))}
	clocks := map[string][]*harness.Clock{}
	for _, who := range []func() string{c.Leader, c.Follower} {
		victim := who()
		p := c.Primary(victim)
		if clocks[victim] == nil {
			clocks[victim] = []*harness.Clock{harness.TakeClock(t, p.PID), harness.TakeClock(t, p.NamedPID)}
		}
		shift := func(by time.Duration) {
			for _, k := range clocks[victim] {
				k.Shift(by)
			}
		}
		for _, by := range []time.Duration{10 * time.Second, -10 * time.Second, time.Hour} {
			n.suffer(fault{fmt.Sprintf("the clock of %s jumps by %s", victim, by), func(n *nemesis) {
				before := l.done.Load()
				shift(by)
				c.Until(10*time.Second, victim+" leaves service", func(ctx context.Context) error {
					err := c.Admin[victim].Ready(ctx)
					switch {
					case err == nil:
						return errors.New("it is ready")
					case !strings.Contains(err.Error(), "its clock is "+by.String()+" off") || !strings.Contains(err.Error(), "mend its time synchronisation"):
						return fmt.Errorf("its reason is %w", err)
					}
					return nil
				})
				n.lasts()
				for _, other := range c.Names() {
					if other != victim {
						c.Ready(other)
					}
				}
				if done := l.done.Load() - before; done < clients {
					t.Errorf("%d updates were acknowledged meanwhile", done)
				}
				shift(0)
			}})
		}
		if now := c.Primary(victim); now != p {
			t.Errorf("%s was %+v and is %+v: a process ended", victim, p, now)
		}
	}
	l.stop()
	l.check(t)
}
