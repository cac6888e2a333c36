// Package scale measures large zones and many zones: update rate, memory, restart, the cost of one more zone.
package scale

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// sizes are those of the issue for make scale, and small ones that keep the test itself true in make test.
type sizes struct {
	records, zones int
	rounds         int
	round          time.Duration
	strict         bool
}

func chosen() sizes {
	if os.Getenv("ZONEKEEPER_MEASURE") == "Scale" {
		return sizes{records: 1_000_000, zones: 10_000, rounds: 5, round: 4 * time.Second, strict: true}
	}
	return sizes{records: 20_000, zones: 100, rounds: 1, round: time.Second}
}

func TestLargeZone(t *testing.T)        { largeZone(t, chosen()) }
func TestMeasureScaleZone(t *testing.T) { onlyWhenMeasuring(t, largeZone) }
func TestManyZones(t *testing.T)        { manyZones(t, chosen()) }
func TestMeasureScaleMany(t *testing.T) { onlyWhenMeasuring(t, manyZones) }

func onlyWhenMeasuring(t *testing.T, f func(*testing.T, sizes)) {
	s := chosen()
	if !s.strict {
		t.Log("a measurement: run it with make scale")
		return
	}
	f(t, s)
}

// largeZone compares updates of a large zone with those of an empty one, side by side in one cluster.
func largeZone(t *testing.T, s sizes) {
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Zones = []string{"empty.test"} })
	name := c.Names()[0]
	base := namedMemory(t, c, name)

	start := time.Now()
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeZone(w, s.records)) }()
	ctx := context.Background()
	wait := longestWait(t, c, "empty.test.")
	z, err := c.Admin[name].ImportZone(ctx, "large.test.", r, adminapi.ImportOptions{Settings: devcluster.OpenTo(c.Info().Key.Name + ".")})
	longest, n := wait()
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	t.Logf("TABLE import of %d records: %v; the longest of %d updates of another zone took %v meanwhile",
		z.Records, time.Since(start).Round(time.Millisecond), n, longest.Round(time.Millisecond))
	c.Verified()
	t.Logf("TABLE published and verified after %v", time.Since(start).Round(time.Millisecond))

	var empty, large []float64
	for range s.rounds {
		empty = append(empty, rate(t, c, "empty.test.", s.round))
		large = append(large, rate(t, c, "large.test.", s.round))
	}
	slices.Sort(empty)
	slices.Sort(large)
	e, l := empty[len(empty)/2], large[len(large)/2]
	t.Logf("TABLE updates/s, median of %d rounds: empty zone %.0f (%.0f–%.0f), large zone %.0f (%.0f–%.0f), ratio %.2f",
		s.rounds, e, empty[0], empty[len(empty)-1], l, large[0], large[len(large)-1], l/e)
	if s.strict && l < 0.8*e {
		t.Errorf("the large zone takes %.0f updates/s, less than 80 %% of the empty zone's %.0f", l, e)
	}

	for _, n := range c.Names() {
		ours, theirs := memory(t, c.Primary(n).PID), namedMemory(t, c, n)
		zoneOnly := theirs - base
		t.Logf("TABLE %s: our memory %d MiB, named's %d MiB (%d MiB of it for the zone), ratio %.2f",
			n, ours>>20, theirs>>20, zoneOnly>>20, float64(ours)/float64(zoneOnly))
		if s.strict && ours > 3*zoneOnly {
			t.Errorf("%s: our memory is %d MiB, more than 3 times named's %d MiB for the zone", n, ours>>20, zoneOnly>>20)
		}
	}

	victim := c.Follower()
	c.Kill(victim)
	start = time.Now()
	c.Restart(victim)
	took := time.Since(start)
	t.Logf("TABLE cold restart to ready: %v", took.Round(time.Millisecond))
	if took > 60*time.Second {
		t.Errorf("the cold restart took %v, more than 60 s", took)
	}
	c.Verified()
}

// longestWait has one client update a zone until the function that it returns is called, which gives the time of the longest
// update and their number.
func longestWait(t *testing.T, c *harness.Cluster, name string) func() (time.Duration, int) {
	t.Helper()
	origin := zone.MustParseName(name)
	cl := harness.Dial(t, c.Primary(c.Names()[1]).DNS, c.Key())
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var longest time.Duration
	n := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ; ctx.Err() == nil; n++ {
			at := time.Now()
			rcode, err := cl.Update(origin, nil, []zone.RR{harness.A(origin, fmt.Sprintf("w%d", n), 60, [4]byte{192, 0, 2, 1})})
			longest = max(longest, time.Since(at))
			if err != nil || rcode != 0 {
				t.Errorf("update of %s: rcode %d, %v", name, rcode, err)
				return
			}
		}
	}()
	return func() (time.Duration, int) {
		cancel()
		<-ended
		return longest, n
	}
}

// writeZone writes a zone of n address records as text.
func writeZone(w io.Writer, n int) error {
	b := bufio.NewWriterSize(w, 1<<16)
	fmt.Fprintf(b, "$TTL 300\n@ SOA ns hostmaster 1000 3600 600 1209600 300\n@ NS ns\nns A 127.0.0.1\n")
	for i := range n {
		fmt.Fprintf(b, "host-%d A 10.%d.%d.%d\n", i, i>>16&255, i>>8&255, i&255)
	}
	return b.Flush()
}

// rate runs closed-loop clients against a zone and returns acknowledged updates a second.
func rate(t *testing.T, c *harness.Cluster, name string, d time.Duration) float64 {
	t.Helper()
	const clients = 64
	origin := zone.MustParseName(name)
	var wg sync.WaitGroup
	counts := make([]int, clients)
	run := time.Now().UnixNano()
	end := time.Now().Add(d)
	for i := range clients {
		cl := harness.Dial(t, c.Info().Primaries[i%len(c.Info().Primaries)].DNS, c.Key())
		wg.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				rcode, err := cl.Update(origin, nil, []zone.RR{harness.A(origin, fmt.Sprintf("r%d-%d-%d", run, i, n), 60, [4]byte{192, 0, 2, 1})})
				if err != nil || rcode != 0 {
					t.Errorf("update of %s: rcode %d, %v", name, rcode, err)
					return
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / d.Seconds()
}

// manyZones adds zones one after another and compares the cost of the last ones with that of the first.
func manyZones(t *testing.T, s sizes) {
	c := harness.Start(t, nil)
	ctx := context.Background()
	var took []time.Duration
	start := time.Now()
	for i := range s.zones {
		at := time.Now()
		add := adminapi.AddZone{Name: fmt.Sprintf("z%05d.many.test.", i), Settings: devcluster.OpenTo(c.Info().Key.Name + ".")}
		if _, err := c.Admin[c.Names()[i%3]].AddZone(ctx, add); err != nil {
			t.Fatalf("zone %d: %v", i, err)
		}
		took = append(took, time.Since(at))
		if s.strict && i%1000 == 999 {
			t.Logf("%d zones after %v", i+1, time.Since(start).Round(time.Second))
		}
	}
	n := max(s.zones/10, 1)
	first, last := median(took[:n]), median(took[len(took)-n:])
	t.Logf("TABLE adding a zone: the first %d %v each, the last %d %v each, ratio %.2f", n, first, n, last, float64(last)/float64(first))
	if s.strict && last > 2*first {
		t.Errorf("adding zone %d takes %v, the first took %v", s.zones, last, first)
	}
	c.Until(5*time.Minute, "every named serves every zone", func(ctx context.Context) error {
		for _, name := range c.Names() {
			r, err := c.Admin[name].Replica(ctx)
			if err != nil {
				return err
			}
			for _, z := range r.Zones {
				if z.State != "serving" {
					return fmt.Errorf("%s: %s is %s", name, z.Name, z.State)
				}
			}
		}
		return nil
	})
	t.Logf("TABLE %d zones served by every named after %v", s.zones, time.Since(start).Round(time.Second))
	victim := c.Follower()
	c.Kill(victim)
	at := time.Now()
	c.Restart(victim)
	t.Logf("TABLE cold restart to ready with %d zones: %v", s.zones, time.Since(at).Round(time.Millisecond))
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func namedMemory(t *testing.T, c *harness.Cluster, name string) int64 {
	t.Helper()
	r, err := c.Admin[name].Replica(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return memory(t, r.Named.PID)
}

// memory is a process's resident memory in octets, without the pages of files that it has mapped (etcd maps its store).
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("process %d has no RssAnon", pid)
	return 0
}
