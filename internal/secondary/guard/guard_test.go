package guard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

var (
	catalog = zone.MustParseName("Catalog.invalid.")
	start   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func names(n, from int) []zone.Name {
	var out []zone.Name
	for i := from; i < from+n; i++ {
		out = append(out, zone.MustParseName(fmt.Sprintf("z%03d.test.", i)))
	}
	return out
}

func rr(owner string, t zone.Type, data string) zone.RR {
	return zone.RR{Name: zone.MustParseName(owner + ".catalog.invalid."), Type: t, Class: zone.ClassIN, Data: data}
}

func ptrs(members []zone.Name, label string) []zone.RR {
	var out []zone.RR
	for _, m := range members {
		out = append(out, rr(label+strings.TrimSuffix(m.Canonical().String(), ".test.")+".zones", zone.TypePTR, string(m)))
	}
	return out
}

func version(text string) zone.RR {
	return rr("version", zone.TypeTXT, string([]byte{byte(len(text))})+text)
}

// full is a whole catalog.
func full(serial uint32, members []zone.Name) xfr.Changes {
	return xfr.Changes{Full: true, To: serial, Add: append(ptrs(members, "u"), version("2"))}
}

// diff leads from one serial to the next.
func diff(from, to uint32, del, add []zone.Name) xfr.Changes {
	return xfr.Changes{From: from, To: to, Del: ptrs(del, "u"), Add: ptrs(add, "u")}
}

func TestJudge(t *testing.T) {
	ten := names(10, 0)
	for _, tc := range []struct {
		name      string
		members   []zone.Name
		window    []Removal
		change    xfr.Changes
		confirmed uint32
		at        time.Duration
		hold      string // part of the reason; "" passes
		removed   int
		of        int
		left      int
	}{
		{name: "the first catalog", change: full(8, ten), left: 10},
		{name: "additions", members: ten, change: diff(7, 8, nil, names(90, 10)), of: 10, left: 100},
		{name: "half of them", members: ten, change: diff(7, 8, ten[:5], nil), removed: 5, of: 10, left: 5},
		{name: "more than half", members: ten, change: diff(7, 8, ten[:6], nil), hold: "6 of 10 members gone within 10m", removed: 6, of: 10},
		{name: "more than half, as a whole catalog", members: ten, change: full(8, ten[6:]), hold: "6 of 10", removed: 6, of: 10},
		{name: "half, as a whole catalog", members: ten, change: full(8, ten[5:]), removed: 5, of: 10, left: 5},
		{name: "all of a few", members: ten[:4], change: full(8, nil), removed: 4, of: 4},
		{name: "all of five", members: ten[:5], change: full(8, nil), hold: "5 of 5", removed: 5, of: 5},
		{name: "exchanged", members: ten, change: full(8, names(10, 100)), hold: "10 of 10", removed: 10, of: 10},
		{name: "other labels", members: ten, change: xfr.Changes{From: 7, To: 8, Del: ptrs(ten, "u"), Add: ptrs(ten, "v")}, of: 10, left: 10},
		{name: "other labels, as a whole catalog", members: ten, change: xfr.Changes{Full: true, To: 8, Add: append(ptrs(ten, "v"), version("2"))}, of: 10, left: 10},
		{name: "other case", members: ten, change: full(8, []zone.Name{zone.MustParseName("Z000.TEST.")}), hold: "9 of 10", removed: 9, of: 10},
		{name: "deletions of what is none", members: ten, change: diff(7, 8, names(50, 500), nil), of: 10, left: 10},
		{name: "no version", members: ten, change: xfr.Changes{Full: true, To: 8, Add: ptrs(ten, "u")}, hold: "no version record", of: 10},
		{name: "no version, nothing to lose", change: xfr.Changes{Full: true, To: 8}, hold: "no version record"},
		{name: "version 1", members: ten, change: xfr.Changes{Full: true, To: 8, Add: append(ptrs(ten, "u"), version("1"))}, hold: "no version record", of: 10},
		{name: "version deleted", members: ten, change: xfr.Changes{From: 7, To: 8, Del: []zone.RR{version("2")}}, hold: "no version record", of: 10},
		{name: "version replaced", members: ten, change: xfr.Changes{From: 7, To: 8, Del: []zone.RR{version("2")}, Add: []zone.RR{version("2")}}, of: 10, left: 10},
		{name: "version of something else", members: ten, change: xfr.Changes{From: 7, To: 8, Del: []zone.RR{rr("version.zones", zone.TypeTXT, "\x012")}}, of: 10, left: 10},
		{name: "coo and group properties", members: ten, change: xfr.Changes{From: 7, To: 8, Del: []zone.RR{rr("coo.uz000.zones", zone.TypePTR, "\x05other\x00")}}, of: 10, left: 10},
		{name: "little by little", members: ten[3:], window: []Removal{{At: start, To: 7, N: 3, Base: 10}}, at: time.Minute, change: diff(7, 8, ten[3:6], nil), hold: "6 of 10", removed: 6, of: 10},
		{name: "just little enough", members: ten[3:], window: []Removal{{At: start, To: 7, N: 3, Base: 10}}, at: time.Minute, change: diff(7, 8, ten[3:5], nil), removed: 5, of: 10, left: 5},
		{name: "the window is over", members: ten[3:], window: []Removal{{At: start, To: 7, N: 3, Base: 10}}, at: 10 * time.Minute, change: diff(7, 8, ten[3:7], nil), removed: 4, of: 7, left: 3},
		{name: "part of the window is over", members: ten[4:], window: []Removal{{At: start, To: 6, N: 3, Base: 10}, {At: start.Add(5 * time.Minute), To: 7, N: 1, Base: 7}}, at: 11 * time.Minute, change: diff(7, 8, ten[4:8], nil), hold: "5 of 7", removed: 5, of: 7},
		{name: "additions after removals", members: ten[5:], window: []Removal{{At: start, To: 7, N: 5, Base: 10}}, change: diff(7, 8, nil, names(1, 50)), removed: 5, of: 10, left: 6},
		{name: "from the future", members: ten[3:], window: []Removal{{At: start.Add(24 * time.Hour), To: 7, N: 3, Base: 10}}, change: diff(7, 8, ten[3:6], nil), hold: "6 of 10", removed: 6, of: 10},
		{name: "a removal that was not obeyed", members: ten, window: []Removal{{At: start, To: 8, N: 5, Base: 10}}, change: diff(7, 8, ten[:5], nil), removed: 5, of: 10, left: 5},
		{name: "confirmed", members: ten, change: full(8, nil), confirmed: 8, removed: 10, of: 10},
		{name: "a later one confirmed", members: ten, change: full(8, nil), confirmed: 20, removed: 10, of: 10},
		{name: "an earlier one confirmed", members: ten, change: full(8, nil), confirmed: 7, hold: "10 of 10", removed: 10, of: 10},
		{name: "none confirmed, high serial", members: ten, change: full(4_000_000_000, nil), hold: "10 of 10", removed: 10, of: 10},
		{name: "nothing new", members: ten, change: xfr.Changes{From: 7, To: 7}, of: 10, left: 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := New(DefaultConfig(), 7, tc.members, tc.window)
			before := g.Members()
			now := start.Add(tc.at)
			v, err := g.Judge(catalog, tc.change, tc.confirmed, now)
			if err != nil {
				t.Fatal(err)
			}
			if v.Pass != (tc.hold == "") || !strings.Contains(v.Reason, tc.hold) || v.Serial != tc.change.To || v.Removed != tc.removed || v.Members != tc.of {
				t.Errorf("%+v", v)
			}
			if !v.Pass {
				if !slices.Equal(g.Members(), before) || g.Serial() != 7 {
					t.Error("a hold changed something")
				}
				again, err := g.Judge(catalog, tc.change, tc.confirmed, now)
				if err != nil || again != v {
					t.Errorf("judged again: %+v, %v", again, err)
				}
				if ok, err := g.Judge(catalog, tc.change, tc.change.To, now); err != nil || !ok.Pass || len(g.Window()) != 0 {
					t.Errorf("confirmed: %+v, %v, window %v", ok, err, g.Window())
				}
				return
			}
			if len(g.Members()) != tc.left || g.Serial() != tc.change.To {
				t.Errorf("%d members at serial %d", len(g.Members()), g.Serial())
			}
		})
	}
}

func TestOutOfStep(t *testing.T) {
	g := New(DefaultConfig(), 7, names(3, 0), nil)
	if _, err := g.Judge(catalog, diff(6, 8, nil, names(1, 9)), 0, start); err == nil || !strings.Contains(err.Error(), "from serial 6, the guard knows 7") {
		t.Errorf("differences from another serial: %v", err)
	}
}

// TestWindowSurvives: what was saved comes back through a guard that does not know
// the catalog yet.
func TestWindowSurvives(t *testing.T) {
	saved := []Removal{{At: start, To: 7, N: 3, Base: 10}, {At: start, To: 8, N: 2, Base: 7}}
	g := New(DefaultConfig(), 0, nil, saved)
	if !slices.Equal(g.Window(), saved) {
		t.Errorf("without a catalog: %v", g.Window())
	}
	if g = New(DefaultConfig(), 7, names(7, 0), g.Window()); !slices.Equal(g.Window(), saved[:1]) {
		t.Errorf("with the catalog before the last removal: %v", g.Window())
	}
}

func TestValidate(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c = Config{MinRemoved: -1, MaxFraction: 1.5}
	for _, want := range []string{"Window", "MinRemoved", "MaxFraction"} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// TestJudgeRandom: whatever is removed in whatever steps and across restarts, no
// window of ten minutes loses more than it may; the guard's members are always
// those of the version that passed last.
func TestJudgeRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	cfg := DefaultConfig()
	for range 50 {
		members := map[zone.Name]bool{}
		for _, m := range names(5+rng.IntN(60), 0) {
			members[m] = true
		}
		set := func() []zone.Name {
			var out []zone.Name
			for m := range members {
				out = append(out, m)
			}
			slices.SortFunc(out, zone.Name.Compare)
			return out
		}
		g := New(cfg, 1, set(), nil)
		type loss struct {
			at      time.Time
			n, base int
		}
		var losses []loss
		now := start
		for range 60 {
			now = now.Add(time.Duration(rng.IntN(240)) * time.Second)
			if rng.IntN(5) == 0 {
				g = New(cfg, g.Serial(), g.Members(), g.Window())
			}
			all := set()
			var del []zone.Name
			for _, m := range all {
				if rng.IntN(6) == 0 {
					del = append(del, m)
				}
			}
			add := names(rng.IntN(4), 100+rng.IntN(100))
			add = slices.DeleteFunc(add, func(m zone.Name) bool { return members[m] })
			c := diff(g.Serial(), g.Serial()+1, del, add)
			if rng.IntN(3) == 0 {
				rest := slices.DeleteFunc(slices.Clone(all), func(m zone.Name) bool { return slices.Contains(del, m) })
				c = full(g.Serial()+1, append(rest, add...))
			}
			v, err := g.Judge(catalog, c, 0, now)
			if err != nil {
				t.Fatal(err)
			}
			if v.Pass {
				base := len(members)
				for _, m := range del {
					delete(members, m)
				}
				for _, m := range add {
					members[m] = true
				}
				if len(del) > 0 {
					losses = append(losses, loss{now, len(del), base})
				}
			}
			if !slices.Equal(g.Members(), set()) {
				t.Fatalf("members %v, want %v", g.Members(), set())
			}
			sum, first := 0, -1
			for i, l := range losses {
				if now.Sub(l.at) < cfg.Window {
					if first < 0 {
						first = i
					}
					sum += l.n
				}
			}
			if first >= 0 && float64(sum) > max(float64(cfg.MinRemoved), cfg.MaxFraction*float64(losses[first].base)) {
				t.Fatalf("%d of %d gone within %v", sum, losses[first].base, cfg.Window)
			}
		}
	}
}
