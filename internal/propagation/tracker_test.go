package propagation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// rig is a tracker with a clock and timers of its own.
type rig struct {
	*Tracker
	t   *testing.T
	reg *prometheus.Registry

	mu     sync.Mutex
	now    time.Time
	timers []*timer
}

type timer struct {
	at   time.Time
	f    func()
	over bool
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, reg: prometheus.NewRegistry(), now: time.Unix(1_700_000_000, 0)}
	cfg := DefaultConfig()
	cfg.Registerer = r.reg
	cfg.Now = func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}
	cfg.After = func(d time.Duration, f func()) func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		x := &timer{at: r.now.Add(d), f: f}
		r.timers = append(r.timers, x)
		return func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			was := x.over
			x.over = true
			return !was
		}
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.Tracker, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

// pass moves the clock and runs the timers that end.
func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	r.now = r.now.Add(d)
	var due []*timer
	for _, x := range r.timers {
		if !x.over && !x.at.After(r.now) {
			x.over = true
			due = append(due, x)
		}
	}
	r.mu.Unlock()
	for _, x := range due {
		x.f()
	}
}

func (r *rig) report(who string, full bool, zones ...any) {
	r.t.Helper()
	var served []Serial
	for i := 0; i < len(zones); i += 2 {
		served = append(served, Serial{zone.MustParseName(zones[i].(string)), uint32(zones[i+1].(int))})
	}
	if err := r.Report(who, who+"-1", full, served, nil); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) waits(want string) {
	r.t.Helper()
	r.metric("zonekeeper_propagation_waits_total", want)
}

// metric compares all values of a metric, in the order of their labels.
func (r *rig) metric(name, want string) {
	r.t.Helper()
	var parts []string
	for _, m := range r.gather(name) {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetValue())
		}
		parts = append(parts, fmt.Sprintf("%s %v", strings.Join(labels, " "), m.GetGauge().GetValue()+m.GetCounter().GetValue()))
	}
	got := strings.Join(parts, ", ")
	if got != want {
		r.t.Errorf("%s: %s, want %s", name, got, want)
	}
}

func (r *rig) gather(name string) []*dto.Metric {
	r.t.Helper()
	all, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()
		}
	}
	return nil
}

var example, other = zone.MustParseName("example.test"), zone.MustParseName("other.test")

// answer is what a done function was called with: "" when it was not.
type answer struct{ calls []int }

func (a *answer) done(n int) { a.calls = append(a.calls, n) }

func (a *answer) is(t *testing.T, what string, want ...int) {
	t.Helper()
	if !slices.Equal(a.calls, want) {
		t.Errorf("%s: done called with %v, want %v", what, a.calls, want)
	}
}

func TestStanding(t *testing.T) {
	r := newRig(t, nil)
	r.Register([]string{"s0", "s1"})
	r.Published(example, 7)
	r.pass(time.Second)
	r.Published(example, 8)
	r.pass(time.Second)
	r.report("s0", true, "example.test", 7)

	of := r.Of(example)
	want := []Standing{
		{Secondary: "s0", Zone: example, Served: true, Serial: 7, Published: true, Current: 8, Lag: time.Second},
		{Secondary: "s1", Zone: example, Published: true, Current: 8, Lag: 2 * time.Second},
	}
	if !slices.Equal(of, want) {
		t.Errorf("Of: %+v", of)
	}
	if n, lag := r.Lag("s0"); n != 1 || lag != time.Second {
		t.Errorf("s0 is %d zones and %s behind", n, lag)
	}
	r.Published(other, 1)
	r.pass(time.Second)
	if b := r.Behind("s0", 1); len(b) != 1 || b[0].Zone != example || b[0].Lag != 2*time.Second {
		t.Errorf("Behind: %+v", b)
	}
	r.report("s0", false, "example.test", 9, "other.test", 1) // another primary has published 9 already
	if n, lag := r.Lag("s0"); n != 0 || lag != 0 {
		t.Errorf("s0 serves everything, but is %d zones and %s behind", n, lag)
	}
	// A zone that the local named loads anew is not judged meanwhile.
	r.Gone(example)
	if n, _ := r.Lag("s1"); n != 1 {
		t.Errorf("s1 is %d zones behind, want 1", n)
	}
	if of := r.Of(example); of[0].Published || of[0].Lag != 0 || of[0].Serial != 9 {
		t.Errorf("Of a zone that is not served here: %+v", of[0])
	}
	// One that is replaced by another may begin with any serial.
	r.Published(example, 3)
	if n, _ := r.Lag("s0"); n != 0 {
		t.Error("a serial that is lower is not one to wait for")
	}
	if err := r.Report("s0", "s0-1", false, nil, []zone.Name{example}); err != nil {
		t.Error(err)
	}
	if n, _ := r.Lag("s0"); n != 1 {
		t.Error("a zone that the secondary does not serve any more is not behind")
	}
}

func TestReportsOfInstances(t *testing.T) {
	r := newRig(t, nil)
	if err := r.Report("s0", "a", true, nil, nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("of an unknown secondary: %v", err)
	}
	r.Register([]string{"s0"})
	if err := r.Report("s0", "a", false, nil, nil); !errors.Is(err, ErrIncomplete) {
		t.Errorf("of an instance that has not begun with a full report: %v", err)
	}
	if r.Connected("s0") {
		t.Error("connected without a report")
	}
	if err := r.Report("s0", "a", true, []Serial{{example, 1}, {other, 1}}, nil); err != nil || !r.Connected("s0") {
		t.Error(err)
	}
	if err := r.Report("s0", "b", false, nil, nil); !errors.Is(err, ErrIncomplete) {
		t.Errorf("of another instance: %v", err)
	}
	if err := r.Report("s0", "b", true, []Serial{{other, 2}}, nil); err != nil {
		t.Error(err)
	}
	if of := r.Of(example); of[0].Served {
		t.Error("a full report does not void the one before")
	}
	few := newRig(t, func(c *Config) { c.MaxZones = 2 })
	few.Register([]string{"s0"})
	few.report("s0", true, "a.test", 1, "b.test", 1)
	few.report("s0", false, "a.test", 2, "b.test", 2)
	if err := few.Report("s0", "s0-1", false, []Serial{{example, 1}}, nil); !errors.Is(err, ErrTooMany) {
		t.Errorf("a third zone of two: %v", err)
	}
	few.report("s0", true, "example.test", 1, "b.test", 1)
	r.Register(nil)
	if len(r.Of(example)) != 0 {
		t.Error("a secondary that is not registered any more is known")
	}
}

func TestAwait(t *testing.T) {
	r := newRig(t, nil)
	r.Register([]string{"s0", "s1", "s2"})
	for _, s := range []string{"s0", "s1", "s2"} {
		r.report(s, true, "example.test", 5)
	}
	var a, b, c, d answer
	r.Await(example, 5, "", 3, time.Second, a.done)
	a.is(t, "all serve it", 3)

	r.Await(example, 6, "", 2, time.Second, b.done)
	r.report("s0", false, "example.test", 6)
	r.report("s0", false, "example.test", 7) // counts once
	b.is(t, "one serves it")
	r.report("s1", false, "other.test", 9)
	b.is(t, "another zone")
	r.report("s1", false, "example.test", 8)
	b.is(t, "two serve it", 2)
	r.pass(2 * time.Second)
	b.is(t, "after the limit", 2)

	r.Await(example, 9, "", 2, time.Second, c.done)
	r.report("s0", false, "example.test", 9)
	r.pass(time.Second)
	c.is(t, "the limit", 1)
	r.report("s1", false, "example.test", 9)
	c.is(t, "too late", 1)

	// A lost one does not count until it reports again, and then with what it served all the time.
	r.report("s2", false, "example.test", 12)
	r.Lost("s2")
	r.Await(example, 10, "", 1, time.Second, d.done)
	d.is(t, "a lost secondary")
	r.report("s2", false)
	d.is(t, "it reports again", 1)
	r.waits("limit 1, served 3, skipped 0")
}

// I8: what exceeds the limits is answered at once.
func TestAwaitIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxWaiting, c.MaxWaitingPerKey = 3, 2 })
	r.Register([]string{"s0"})
	key := zone.MustParseName("key.test")
	var a, b, c, d, e answer
	r.Await(example, 1, key, 1, time.Second, a.done)
	r.Await(other, 1, key, 1, time.Second, b.done)
	r.Await(other, 1, key, 1, time.Second, c.done)
	c.is(t, "a third of one key", 0)
	r.Await(other, 1, "", 1, time.Second, d.done)
	r.Await(other, 1, zone.MustParseName("another.test"), 1, time.Second, e.done)
	e.is(t, "a fourth of all", 0)
	r.waits("limit 0, served 0, skipped 2")
	r.report("s0", true, "example.test", 1)
	a.is(t, "served", 1)
	var f answer
	r.Await(other, 1, key, 1, time.Second, f.done)
	f.is(t, "a place is free again")
	r.pass(time.Second)
	for _, x := range []*answer{&b, &d, &f} {
		x.is(t, "the limit", 0)
	}
	r.waits("limit 3, served 1, skipped 2")
	if len(r.Tracker.waits.byKey) != 0 || len(r.Tracker.waits.byZone) != 0 || r.Tracker.waits.n != 0 {
		t.Errorf("something is left of waits that have ended: %+v", r.Tracker.waits)
	}
}

// Whatever happens, done is called exactly once, with the truth.
func TestAwaitOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	cfg := DefaultConfig()
	tr, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"s0", "s1", "s2"}
	tr.Register(names)
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			for i := range 200 {
				if err := tr.Report(name, name, i == 0, []Serial{{example, uint32(i)}}, nil); err != nil {
					t.Error(err)
				}
				if i%50 == 49 {
					tr.Lost(name)
				}
				runtime.Gosched()
			}
		})
	}
	const n = 400
	calls := make(chan int, 10*n)
	for i := range n {
		k, limit := 1+rng.IntN(3), time.Duration(rng.IntN(2000))*time.Microsecond
		wg.Go(func() { tr.Await(example, uint32(i/2), "", k, limit, func(served int) { calls <- served }) })
	}
	wg.Wait()
	for range n {
		if served := <-calls; served > len(names) {
			t.Errorf("served by %d of %d", served, len(names))
		}
	}
	select {
	case <-calls:
		t.Error("done was called more often than there were waits")
	default:
	}
}

// The lag is never understated, however many serials there are and however long it lasts.
func TestThinning(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Microsecond, time.Millisecond, time.Minute} {
		var h history
		const first = uint32(4_294_967_000) // the number space wraps underway
		begin := time.Unix(0, 0)
		published := func(i int) time.Time { return begin.Add(time.Duration(i) * every) }
		worst := 0.0
		for i := range 10_000 {
			if !h.add(first+uint32(i), published(i)) {
				t.Fatalf("serial %d is not new", i)
			}
			if len(h.steps) > maxSteps {
				t.Fatalf("%d steps are kept", len(h.steps))
			}
			if i%499 != 0 {
				continue
			}
			for served := -1; served < i; served += 1 + i/50 {
				lag := published(i).Sub(published(served + 1))
				got := published(i).Sub(h.since(first+uint32(served), true))
				if got < lag {
					t.Fatalf("of %d, %d is served: the lag is %s, not %s", i, served, lag, got)
				}
				if lag > 0 {
					worst = max(worst, float64(got)/float64(lag)-1)
				}
			}
		}
		if worst > 1./3 {
			t.Errorf("every %s: a lag is overstated by %.2f of it", every, worst)
		}
		t.Logf("every %s: at most %.2f", every, worst)
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t, nil)
	r.Register([]string{"s0", "s1"})
	r.Published(example, 1)
	r.Published(other, 1)
	r.report("s0", true, "example.test", 1)
	r.pass(3 * time.Second)
	r.Published(example, 2)
	r.pass(20 * time.Millisecond)
	r.Published(example, 3)
	r.pass(20 * time.Millisecond)
	r.report("s0", false, "example.test", 3)
	r.Lost("s1")
	r.metric("zonekeeper_propagation_connected", "s0 1, s1 0")
	r.metric("zonekeeper_propagation_lag_seconds", "s0 3.04, s1 3.04")
	r.metric("zonekeeper_propagation_zones_behind", "s0 1, s1 2")
	r.metric("zonekeeper_propagation_serial", "s0 example.test. 3")
	if h := r.gather("zonekeeper_propagation_delay_seconds")[0].GetHistogram(); h.GetSampleCount() != 2 || h.GetSampleSum() < 0.059 || h.GetSampleSum() > 0.061 {
		t.Errorf("delays: %v; want one of 40 ms and one of 20 ms", h)
	}
	// The newest change's delay stands beside the zone; of what was served already at the first report there is none.
	for _, x := range r.Of(example) {
		if want := x.Secondary == "s0"; (x.Delay != nil) != want || want && *x.Delay != 20*time.Millisecond {
			t.Errorf("%s: delay %v", x.Secondary, x.Delay)
		}
	}
	r.report("s0", true, "example.test", 3)
	if x := r.Of(example)[0]; x.Delay != nil {
		t.Errorf("after a full report the delay is %v; nothing was watched", *x.Delay)
	}
	// With many zones only those that are behind have a metric each.
	for i := range maxSerialMetrics + 1 {
		z := zone.MustParseName(fmt.Sprintf("z%d.test", i))
		r.Published(z, 5)
		if err := r.Report("s0", "s0-1", false, []Serial{{z, uint32(5 - i%2)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.gather("zonekeeper_propagation_serial")); n != maxSerialMetrics/2 {
		t.Errorf("%d serials have a metric, want %d", n, maxSerialMetrics/2)
	}
}

func TestConfigValidate(t *testing.T) {
	_, err := New(Config{})
	for _, want := range []string{"MaxWaiting", "MaxWaitingPerKey", "MaxZones", "Now or After"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}
