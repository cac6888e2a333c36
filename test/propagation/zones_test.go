package propagation

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestZones is the short form.
func TestZones(t *testing.T) { manyZones(t, 100, 10*time.Second) }

// TestMeasurePropagationZones: very many zones come by the catalog.
func TestMeasurePropagationZones(t *testing.T) {
	if measuring(t) {
		manyZones(t, 10_000, 2*time.Second)
	}
}

// manyZones makes n zones and says when all secondaries serve them, what memory that takes, how long a secondary with an empty
// disk needs for all of them, and how long one zone more, which must be served everywhere within limit.
func manyZones(t *testing.T, n int, limit time.Duration) {
	c, r := cluster(t, nil, nil)
	admin, ctx := c.Admin[c.Names()[0]], t.Context()
	what := fmt.Sprintf("zones, %d by the catalog", n)
	add := func(name string) {
		t.Helper()
		if _, err := admin.AddZone(ctx, adminapi.AddZone{Name: name, Settings: devcluster.OpenTo(r.key.Name.String())}); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for _, z := range zoneNames(n, "many.test.") {
		add(z.String())
	}
	added := time.Since(began)
	served(t, c, n)
	row(what, "all secondaries", fmt.Sprintf("created in %v, all served %v after the last", added.Round(time.Second/10), (time.Since(began)-added).Round(time.Millisecond)))

	began = time.Now()
	add("one-more.test.")
	for _, s := range r.servers {
		err := harness.Retry(time.Minute, func(ctx context.Context) error {
			_, err := harness.Serial(ctx, s.addr, "one-more.test.")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	row(what, "one zone more", fmt.Sprintf("served everywhere %v after the request to create it", took.Round(time.Millisecond)))
	if took > limit {
		t.Errorf("one zone more is served everywhere after %v, the target is %v", took, limit)
	}

	victim := c.SecondaryNames()[0]
	c.Kill(victim)
	c.EmptyDisk(victim)
	began = time.Now()
	c.Until(15*time.Minute, "start "+victim, func(ctx context.Context) error { return c.StartProcess(ctx, victim) })
	served(t, c, n+1)
	row(what, "from an empty disk", fmt.Sprintf("ready and all served after %v", time.Since(began).Round(time.Millisecond)))
	for _, s := range c.Info().Secondaries {
		row(what, s.Name, fmt.Sprintf("memory: process %d MiB, named %d MiB", memory(t, s.PID)>>20, memory(t, c.Own(s.Name).Named.PID)>>20))
	}
	c.CheckLogs()
}

// served waits until every secondary serves all of n zones.
func served(t *testing.T, c *harness.Cluster, n int) {
	t.Helper()
	for _, s := range c.SecondaryNames() {
		c.Until(15*time.Minute, fmt.Sprintf("%s serves %d zones", s, n), func(ctx context.Context) error {
			st, err := c.Admin[s].Own(ctx)
			if err != nil {
				return err
			}
			if !st.Ready || st.Zones != n || st.ZonesNotServed+st.ZonesBehind > 0 {
				return fmt.Errorf("ready %v (%s), %d zones, %d behind, %d not served", st.Ready, st.Reason, st.Zones, st.ZonesBehind, st.ZonesNotServed)
			}
			return nil
		})
	}
}

// memory is a process's resident memory in octets.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}
