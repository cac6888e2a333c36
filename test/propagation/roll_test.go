package propagation

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// TestRoll is the short form.
func TestRoll(t *testing.T) { roll(t, 10, 1) }

// TestMeasurePropagationRoll: the primaries are restarted in turn under load. A secondary that was current goes on with IXFR.
func TestMeasurePropagationRoll(t *testing.T) {
	if measuring(t) {
		roll(t, 50, 3)
	}
}

func roll(t *testing.T, n, rounds int) {
	zones := zoneNames(n, "roll.test.")
	c, r := cluster(t, zones, nil)
	w := watch(t, r.servers, zones, roughly)
	before := map[string]adminapi.TransferCounts{}
	for _, s := range c.SecondaryNames() {
		before[s] = c.Own(s).Transfers
	}
	began := time.Now()
	l := start(t, w, loading{addr: r.write, key: r.key, zones: zones, clients: 1, rate: 50, repeat: 250 * time.Millisecond})
	for range rounds {
		for _, p := range c.Names() {
			c.Signal(p, syscall.SIGTERM)
			c.Gone(p)
			c.Restart(p)
		}
	}
	rate := l.done()
	if _, err := w.drained(30 * time.Second); err != nil {
		t.Error(err)
	}
	l.check(r.write)
	if err := w.monotonic(); err != nil {
		t.Error(err)
	}
	row(fmt.Sprintf("roll, %d restarts", rounds*len(c.Names())), "zonekeeper", fmt.Sprintf("%v; %.0f updates/s in %v", w.delays(time.Time{}), rate, time.Since(began).Round(time.Second)))
	for _, s := range c.SecondaryNames() {
		now, was := c.Own(s).Transfers, before[s]
		row("roll, transfers", s, fmt.Sprintf("IXFR %d, AXFR %d, up to date %d, failovers %d", now.IXFR-was.IXFR, now.AXFR-was.AXFR, now.UpToDate-was.UpToDate, now.Failovers-was.Failovers))
		if now.AXFR != was.AXFR {
			t.Errorf("%s transferred %d zones as a whole, it was current", s, now.AXFR-was.AXFR)
		}
		if now.IXFR == was.IXFR {
			t.Errorf("%s counts no IXFR", s)
		}
	}
	c.Verified()
	c.CheckLogs()
}
