package front

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// The targets of make front, on a machine that does nothing else.
const (
	targetMax   = 3 * time.Second
	targetShare = 0.8
	targetAdded = 5 * time.Millisecond
)

// measuring says whether make front runs: it takes half an hour of a quiet machine.
func measuring(t *testing.T) bool {
	t.Helper()
	if os.Getenv("ZONEKEEPER_MEASURE") == "Front" {
		return true
	}
	t.Log("a measurement: run it with make front")
	return false
}

// times is how often something is measured: n, or what ZONEKEEPER_REPEATS says, to try things out.
func times(n int) int {
	if _, err := fmt.Sscan(os.Getenv("ZONEKEEPER_REPEATS"), &n); err != nil {
		return n
	}
	return n
}

// row prints a line that a script can pick out of a test's output.
func row(what, which, result string) { fmt.Printf("TABLE %-9s %-34s %s\n", what, which, result) }

// TestMeasureFrontFaults: every fault 20 times. The gap is the longest time in which no client of a transport had a write
// acknowledged; what one client waited for one answer, repeats included, stands beside it.
func TestMeasureFrontFaults(t *testing.T) {
	if !measuring(t) {
		return
	}
	s := newSite(t)
	s.startFronts(nil)
	st := s.startStream("udp", "tcp")
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			for network, l := range s.measure(t, st, f, times(20)) {
				row("gap "+network, f.name, l.String())
				if p50 := l.Gaps().P50(); f.p50 > 0 && p50 >= f.p50 {
					t.Errorf("%s: median gap %v, the target is %v", network, p50, f.p50)
				}
				if longest := l.Gaps().Max(); longest >= targetMax {
					t.Errorf("%s: longest gap %v, the target is %v", network, longest, targetMax)
				}
			}
		})
	}
	row("writes", "all faults", st.check(t))
}

// TestMeasureFrontTwoHolders: the nodes don't hear each other for 5 s, 20 times; everybody's writes go on, and mean one thing.
func TestMeasureFrontTwoHolders(t *testing.T) {
	if !measuring(t) {
		return
	}
	s := newSite(t)
	s.startFronts(nil)
	all := map[string]harness.Outages{}
	for range times(20) {
		for network, o := range twoHolders(t, s, 5*time.Second) {
			all[network] = append(all[network], o)
		}
	}
	for network, l := range all {
		row("gap "+network, "fronts don't hear each other", l.String())
		if p50 := l.Gaps().P50(); p50 >= time.Second {
			t.Errorf("fronts that don't hear each other, %s: median gap %v, the target is %v", network, p50, time.Second)
		}
	}
}

// TestMeasureFrontDrain: 20 planned moves.
func TestMeasureFrontDrain(t *testing.T) {
	if !measuring(t) {
		return
	}
	s := newSite(t)
	s.startFronts(nil)
	row("drain", "stop, command and SIGUSR1", drain(t, s, times(20)))
}

// TestMeasureFrontInvariants is the rest of the short form, longer.
func TestMeasureFrontInvariants(t *testing.T) {
	if !measuring(t) {
		return
	}
	s := newSite(t)
	s.startFronts(nil)
	for _, p := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"OnlyHolderReceives", func(t *testing.T) { onlyHolderReceives(t, s, 1000) }},
		{"ClientAddress", func(t *testing.T) { clientAddress(t, s) }},
		{"ForgedHeaders", func(t *testing.T) { forgedHeaders(t, s) }},
		{"KeyRotation", func(t *testing.T) { keyRotation(t, s) }},
		{"ForeignVRRP", func(t *testing.T) { foreignVRRP(t, s, 20*time.Second) }},
		{"Announcements", func(t *testing.T) { announcements(t, s) }},
		{"NoPreemption", func(t *testing.T) { noPreemption(t, s) }},
		{"PeersChange", func(t *testing.T) { peersChange(t, s) }},
		{"ForeignOwner", func(t *testing.T) { foreignOwner(t, s) }},
		{"Mistakes", func(t *testing.T) { mistakes(t, s) }},
		{"BadReload", func(t *testing.T) { badReload(t, s) }},
		{"BackendsChange", func(t *testing.T) { backendsChange(t, s) }},
		{"Modes", func(t *testing.T) { modes(t, s) }},
		{"Limits", func(t *testing.T) { limits(t, s, 50_000) }},
		{"Descriptors", func(t *testing.T) { descriptors(t, s, 10_000, 100) }},
		{"AllPrimariesDown", func(t *testing.T) { allPrimariesDown(t, s, 10*time.Second) }},
	} {
		began := time.Now()
		s.part(t, p.name, p.run)
		row("invariant", p.name, fmt.Sprintf("%4.0f s", time.Since(began).Seconds()))
	}
}

// TestMeasureFrontThroughput: the endpoints by themselves, through the front, and through dnsdist, with the same signed updates from
// the same clients; interleaved, so that what the machine does meanwhile hurts all alike.
func TestMeasureFrontThroughput(t *testing.T) {
	if !measuring(t) {
		return
	}
	s := newSite(t)
	s.startFronts(func(_ string, c object) {
		client := s.Host("client")
		c["limits"].(object)["exempt"] = []any{client.V4.String() + "/32"}
	})
	direct := way{"endpoint", nil, func() []int { return nil }}
	for _, p := range primaryNames() {
		direct.addrs = append(direct.addrs, addrPort(s.Host(p).V4, portDNS))
	}
	front := way{"front", []string{vip4 + ":53"}, func() []int {
		n := s.nodes[s.holder()]
		return append(n.processes("haproxy"), n.proc.PID())
	}}
	ways := []way{direct, front, s.dnsdist("balancer", portDNS, false), s.dnsdist(spareName, 5300, true)}

	const clients = 64
	length := 5 * time.Second
	for _, network := range []string{"udp", "tcp-kept"} {
		full, half := map[string][]cell{}, map[string][]cell{}
		for range times(5) {
			for _, w := range ways {
				full[w.name] = append(full[w.name], s.drive(network, w, clients, 0, length))
			}
		}
		rate := median(full[direct.name], func(c cell) float64 { return c.rate })
		for range times(5) {
			for _, w := range ways {
				half[w.name] = append(half[w.name], s.drive(network, w, clients, rate/2, length))
			}
		}
		p99 := func(c cell) float64 { return float64(c.quantile(0.99)) / float64(time.Millisecond) }
		p50 := func(c cell) float64 { return float64(c.quantile(0.5)) / float64(time.Millisecond) }
		share := map[string]float64{}
		for _, w := range ways {
			f, h := full[w.name], half[w.name]
			share[w.name] = median(f, func(c cell) float64 { return c.rate }) / rate
			row("rate", network+" "+w.name, fmt.Sprintf("%6.0f/s (%3.0f %%)  p50 %5.1f p99 %5.1f ms; at half load p50 %5.1f p99 %5.1f ms; µs of CPU a request: clients %3.0f, front %3.0f, primaries %4.0f",
				median(f, func(c cell) float64 { return c.rate }), 100*share[w.name], median(f, p50), median(f, p99), median(h, p50), median(h, p99),
				median(f, func(c cell) float64 { return c.cpu["clients"] }), median(f, func(c cell) float64 { return c.cpu["front"] }),
				median(f, func(c cell) float64 { return c.cpu["primaries"] })))
			for _, c := range append(f, h...) {
				report(t, network+" through "+w.name+": an update failed", c.failed)
			}
		}
		if share["front"] < targetShare {
			t.Errorf("%s: the front passes %.0f %% of what the endpoints take, the target is %.0f %%", network, 100*share["front"], 100*targetShare)
		}
		if added := median(half["front"], p99) - median(half[direct.name], p99); added >= float64(targetAdded/time.Millisecond) {
			t.Errorf("%s: the front adds %.1f ms to the p99 at half load, the target is below %v", network, added, targetAdded)
		}
	}
}

func median(cells []cell, of func(cell) float64) float64 {
	var all []float64
	for _, c := range cells {
		all = append(all, of(c))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
