package secondary

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const catalogName = "catalog.invalid."

// world is a tracker with a clock of its own.
type world struct {
	*tracker
	t   *testing.T
	now time.Time
}

func newWorld(t *testing.T, members ...string) *world {
	w := &world{t: t, now: time.Unix(1000, 0), tracker: newTracker(zone.MustParseName(catalogName), []string{"a", "b", "c"})}
	var names []zone.Name
	for _, m := range members {
		names = append(names, zone.MustParseName(m))
	}
	w.setMembers(w.now, names)
	return w
}

func (w *world) says(primary string, serials ...adminapi.ZoneSerial) {
	if !w.link(primary).live {
		w.connect(primary)
	}
	w.announce(w.now, primary, adminapi.Changes{Ready: true, Zones: serials, Complete: true})
}

func is(z string, serial uint32) adminapi.ZoneSerial {
	return adminapi.ZoneSerial{Zone: z, Serial: serial}
}

func (w *world) serving(z string, serial uint32) { w.serves(w.now, zone.MustParseName(z), serial) }

// run lets time pass and returns what named is told, with the milliseconds from now.
func (w *world) run(d time.Duration) (told []string) {
	began, end := w.now, w.now.Add(d)
	for {
		orders, wake := w.next(w.now)
		for _, o := range orders {
			what := fmt.Sprint(o.serial)
			switch {
			case o.retransfer:
				what = "retransfer"
			case o.compare:
				what = "compare"
			}
			told = append(told, fmt.Sprintf("%d %s %s", w.now.Sub(began).Milliseconds(), o.zone, what))
		}
		if wake.IsZero() || wake.After(end) {
			w.now = end
			return told
		}
		if len(orders) == 0 && !wake.After(w.now) {
			w.t.Fatal("it asks to be woken now, and has nothing to say")
		}
		w.now = wake
	}
}

func (w *world) expect(what string, got []string, want ...string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

func TestNotifyIsRepeatedUntilServed(t *testing.T) {
	w := newWorld(t, "x.")
	w.serving("x.", 1)
	w.says("a", is("x.", 1))
	w.expect("current", w.run(time.Minute))
	w.says("a", is("x.", 2))
	w.expect("behind", w.run(12*time.Second), "0 x. 2", "300 x. 2", "900 x. 2", "2100 x. 2", "4500 x. 2", "9300 x. 2")
	if g := w.lag(w.now); g.behind != 1 || g.oldest != 12*time.Second {
		t.Errorf("lag %+v", g)
	}
	w.serving("x.", 2)
	w.expect("served", w.run(time.Minute))
	if g := w.lag(w.now); g.behind != 0 || g.oldest != 0 {
		t.Errorf("lag %+v", g)
	}
}

func TestChangesAreCoalesced(t *testing.T) {
	w := newWorld(t, "x.")
	w.serving("x.", 1)
	w.says("a", is("x.", 2))
	w.expect("the first at once", w.run(time.Millisecond), "0 x. 2")
	for s := uint32(3); s <= 7; s++ {
		w.says("a", is("x.", s))
	}
	w.expect("the newest after a moment", w.run(100*time.Millisecond), "19 x. 7")
	w.serving("x.", 7)
	w.says("a", is("x.", 8))
	w.expect("at once when the last one is served", w.run(0), "0 x. 8")
	w.says("a", is("x.", 9))
	w.serving("x.", 8)
	w.expect("again", w.run(0), "0 x. 9")
}

func TestCatalogIsToldOfLessOften(t *testing.T) {
	w := newWorld(t)
	w.serving(catalogName, 1)
	var told []string
	for s := uint32(2); s < 12; s++ {
		w.says("a", is(catalogName, s))
		told = append(told, w.run(0)...)
		w.serving(catalogName, s)
		told = append(told, w.run(50*time.Millisecond)...)
	}
	if len(told) > 3 {
		t.Errorf("told %d times within half a second: %q", len(told), told)
	}
}

func TestNewestOfLivePrimaries(t *testing.T) {
	w := newWorld(t, "x.")
	w.serving("x.", 5)
	w.says("a", is("x.", 5))
	w.says("b", is("x.", 6))
	w.expect("b is ahead", w.run(0), "0 x. 6")
	if n := w.linkBehind(w.link("a")); n != 1 {
		t.Errorf("a is behind with %d zones", n)
	}
	w.disconnect(w.now, "b", "dead")
	w.expect("nobody who lives has more", w.run(time.Minute))
	w.disconnect(w.now, "a", "dead")
	if g := w.lag(w.now); g.live || g.behind != 0 {
		t.Errorf("lag without primaries: %+v", g)
	}
}

func TestSerialsGoRound(t *testing.T) {
	w := newWorld(t, "x.")
	w.serving("x.", 1<<32-2)
	w.says("a", is("x.", 1<<32-1))
	w.says("b", is("x.", 3))
	w.expect("past zero", w.run(0), "0 x. 3")
	w.serving("x.", 3)
	if z := w.zones[zone.MustParseName("x.")]; z.floor != 3 || z.behind() {
		t.Errorf("%+v", z)
	}
}

func TestFloorOutlivesService(t *testing.T) {
	w := newWorld(t, "x.")
	w.serving("x.", 9)
	w.servesNot(w.now, zone.MustParseName("x."))
	w.serving("x.", 7) // an older file
	if z := w.zones[zone.MustParseName("x.")]; z.floor != 9 {
		t.Errorf("floor %d, want 9", z.floor)
	}
}

// TestMemberThatIsNotServed: named transfers a new member by itself; it is reminded, then told to start over, less and
// less often, and not while others make progress.
// TestSerialThatNobodyHas: a zone whose serial is wrong on disk is told of by nobody. It is compared, and when the primaries
// never had the serial, it is no floor.
func TestSerialThatNobodyHas(t *testing.T) {
	x := zone.MustParseName("x.")
	for _, wrong := range []uint32{7 + 1<<30, 7 + 1<<31} {
		w := newWorld(t, "x.")
		w.serving("x.", wrong)
		w.expect("nobody is live", w.run(time.Minute))
		w.says("a", is("x.", 7))
		w.expect("later and later", w.run(time.Minute), "5000 x. compare", "15000 x. compare", "35000 x. compare")
		w.neverWas(x, wrong+1) // not what is served now
		if !w.zones[x].hasFloor {
			t.Error("the floor is gone")
		}
		w.neverWas(x, wrong)
		w.serving("x.", wrong) // until the transfer is done
		if w.zones[x].hasFloor {
			t.Error("it is a floor")
		}
		w.serving("x.", 7)
		if z := w.zones[x]; !z.hasFloor || z.floor != 7 {
			t.Errorf("floor %d, %v", z.floor, z.hasFloor)
		}
		w.expect("right", w.run(time.Minute))
		w.says("a", is("x.", 8))
		w.expect("followed again", w.run(0), "0 x. 8")
		// What came from a primary that died is announced by the others soon.
		w.serving("x.", 9)
		w.expect("a moment", w.run(time.Second))
		w.says("b", is("x.", 9))
		w.expect("caught up", w.run(time.Minute))
	}
}

func TestMemberThatIsNotServed(t *testing.T) {
	w := newWorld(t, "x.", "y.")
	w.says("a", is("x.", 1), is("y.", 1))
	w.expect("left alone at first", w.run(400*time.Millisecond))
	w.serving("y.", 1)
	w.expect("told, then transferred anew", w.run(40*time.Second), "100 x. 1", "1100 x. 1", "3100 x. 1", "7100 x. retransfer",
		"12100 x. 1", "17100 x. retransfer", "22100 x. 1", "27100 x. 1", "32100 x. 1", "37100 x. retransfer")
	if g := w.lag(w.now); g.notServed != 1 || g.zones != 2 {
		t.Errorf("lag %+v", g)
	}
}

func TestRateIsBounded(t *testing.T) {
	const zones = 5000
	var names []string
	var news []adminapi.ZoneSerial
	for i := range zones {
		names = append(names, fmt.Sprintf("z%d.", i))
		news = append(news, is(names[i], 2))
	}
	w := newWorld(t, names...)
	for _, n := range names {
		w.serving(n, 1)
	}
	w.says("a", news...)
	if n := len(w.run(time.Second)); n < notifyRate || n > notifyRate*12/10 {
		t.Errorf("%d NOTIFYs in the first second, want about %d", n, notifyRate)
	}
}

func TestHeldCatalogIsNoLag(t *testing.T) {
	w := newWorld(t, "x.")
	w.serving(catalogName, 1)
	w.serving("x.", 1)
	w.says("a", is(catalogName, 2), is("x.", 1))
	w.held = true
	w.run(time.Minute)
	if g := w.lag(w.now); g.behind != 0 || !w.asOf.Equal(w.now) {
		t.Errorf("lag %+v as of %s", g, w.asOf)
	}
	w.hurry(w.now, zone.MustParseName(catalogName))
	w.expect("confirmed", w.run(0), "0 catalog.invalid. 2")
}

func TestMembersComeAndGo(t *testing.T) {
	w := newWorld(t, "x.", "y.")
	w.serving("x.", 1)
	w.says("a", is("x.", 2), is("y.", 1))
	left, came := w.setMembers(w.now, []zone.Name{zone.MustParseName("y."), zone.MustParseName("z.")})
	if len(left) != 1 || left[0] != zone.MustParseName("x.") || len(came) != 1 {
		t.Errorf("left %v, came %v", left, came)
	}
	for _, told := range w.run(10 * time.Second) {
		if told[len(told)-4:] == "x. 2" {
			t.Errorf("told of a zone that is gone: %s", told)
		}
	}
}

func TestDataAge(t *testing.T) {
	w := newWorld(t, "x.")
	w.serving("x.", 1)
	w.serving(catalogName, 1)
	w.says("a", is("x.", 1), is(catalogName, 1))
	w.now = w.now.Add(time.Minute)
	w.lag(w.now)
	current := w.asOf
	if !current.Equal(w.now) {
		t.Errorf("as of %s at %s", current, w.now)
	}
	w.says("a", is("x.", 2))
	w.now = w.now.Add(time.Minute)
	if w.lag(w.now); !w.asOf.Equal(current) {
		t.Errorf("behind: as of %s, want the moment of the announcement %s", w.asOf, current)
	}
	w.disconnect(w.now, "a", "dead")
	w.serving("x.", 2)
	w.now = w.now.Add(time.Hour)
	if w.lag(w.now); !w.asOf.Equal(current) {
		t.Errorf("without a primary: as of %s", w.asOf)
	}
}

func TestChoose(t *testing.T) {
	gone := make(chan struct{})
	all := []candidate{
		{name: "failed", live: true, current: true, failed: true, gone: gone},
		{name: "dead", addr: netip.MustParseAddrPort("192.0.2.1:53")},
		{name: "behind", live: true, gone: gone},
		{name: "a", live: true, current: true, gone: gone},
		{name: "b", live: true, current: true, gone: gone},
		{name: "c", live: true, current: true, gone: gone},
	}
	first := map[string]int{}
	for i := range 3000 {
		z := zone.MustParseName(fmt.Sprintf("z%d.", i))
		got := choose(z, all)
		if got[3].Name != "behind" || got[4].Name != "dead" || got[5].Name != "failed" {
			t.Fatalf("%s: order %v", z, got)
		}
		if got[4].Gone != nil || got[0].Gone == nil {
			t.Fatal("Gone belongs to live ones")
		}
		first[got[0].Name]++
		slices.Reverse(all)
		if again := choose(z, all); again[0].Name != got[0].Name {
			t.Fatalf("%s: the order of the configuration decides", z)
		}
	}
	for _, n := range []string{"a", "b", "c"} {
		if first[n] < 800 || first[n] > 1200 {
			t.Errorf("%s is first for %d of 3000 zones", n, first[n])
		}
	}
}

// TestNews: a newer serial is news when a primary says so that is ready, and only of a zone that is served.
func TestNews(t *testing.T) {
	w := newWorld(t, "a.test.", "b.test.")
	origin := zone.MustParseName("a.test.")
	expect := func(what string, want uint32) {
		t.Helper()
		if got, ok := w.news(origin); ok != (want != 0) || got != want {
			t.Errorf("%s: %d, %v; want %d", what, got, ok, want)
		}
	}
	w.says("a", is("a.test.", 7))
	expect("not served", 0)
	w.serving("a.test.", 7)
	expect("the same", 0)
	w.says("b", is("a.test.", 9))
	w.says("a", is("a.test.", 8))
	expect("newer at two", 9)
	w.announce(w.now, "b", adminapi.Changes{Ready: false, Reason: "no quorum"})
	expect("the newest at one that is not ready", 8)
	w.disconnect(w.now, "a", "gone")
	expect("at one that is not ready only", 0)
	w.says("c", is("a.test.", 6))
	expect("older", 0)
	if _, ok := w.news(zone.MustParseName("other.test.")); ok {
		t.Error("news of a zone that is no member")
	}
}
