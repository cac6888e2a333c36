package failover

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// reign is who led the log, and how many leaders each member has seen.
type reign struct {
	leader string
	seen   map[string]string
}

func (r reign) String() string { return fmt.Sprintf("%s leads, changes seen: %v", r.leader, r.seen) }

// now asks every member. No election took place between two equal reigns: each election gives a member that stayed a
// change to see, even if the same leader wins.
func now(t *testing.T, c *harness.Cluster) reign {
	t.Helper()
	r := reign{leader: c.Leader(), seen: map[string]string{}}
	for _, name := range c.Names() {
		c.Until(20*time.Second, "metrics of "+name, func(ctx context.Context) error {
			text, err := c.Admin[name].Metrics(ctx)
			if err != nil {
				return err
			}
			for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
				if v, ok := strings.CutPrefix(sc.Text(), "etcd_server_leader_changes_seen_total "); ok {
					r.seen[name] = v
					return nil
				}
			}
			return fmt.Errorf("no leader_changes_seen_total among %d octets", len(text))
		})
	}
	return r
}

// enthrone makes a primary the leader: it restarts the leader in order until that one is elected.
func enthrone(t *testing.T, c *harness.Cluster, name string) {
	t.Helper()
	for range 20 {
		leader := c.Leader()
		if leader == name {
			return
		}
		c.Signal(leader, syscall.SIGTERM)
		c.Gone(leader)
		c.Restart(leader)
	}
	t.Fatalf("%s was not elected in 20 elections", name)
}
