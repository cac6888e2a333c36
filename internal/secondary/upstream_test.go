package secondary

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/secondary/guard"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// fakePrimary is the admin API of a primary as a secondary sees it.
type fakePrimary struct {
	*httptest.Server
	lines   chan adminapi.Changes // what the stream says; closing it ends the stream
	reports chan adminapi.Report

	mu     sync.Mutex
	refuse int // so many reports are refused
}

func newFakePrimary(t *testing.T) *fakePrimary {
	f := &fakePrimary{lines: make(chan adminapi.Changes), reports: make(chan adminapi.Report, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathChanges, func(w http.ResponseWriter, r *http.Request) {
		for {
			select {
			case l, ok := <-f.lines:
				if !ok {
					return
				}
				_ = json.NewEncoder(w).Encode(l)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("POST "+adminapi.PathReport, func(w http.ResponseWriter, r *http.Request) {
		var rep adminapi.Report
		if err := json.NewDecoder(r.Body).Decode(&rep); err != nil {
			t.Error(err)
		}
		f.mu.Lock()
		refused := f.refuse > 0
		f.refuse--
		f.mu.Unlock()
		if refused {
			adminapi.WriteError(w, &adminapi.Error{Code: adminapi.CodeConflict, Message: "again"})
			return
		}
		select {
		case f.reports <- rep:
		default: // the test reads no more of them
		}
		w.WriteHeader(http.StatusNoContent)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

// next is the next report that says something about zones.
func (f *fakePrimary) next(t *testing.T) adminapi.Report {
	t.Helper()
	for {
		select {
		case r := <-f.reports:
			if r.Full || len(r.Zones)+len(r.Gone) > 0 {
				return r
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no report")
		}
	}
}

// follower is a secondary without named and proxy: its streams and reports.
func follower(t *testing.T, primaries ...*fakePrimary) *secondary {
	cfg := validConfig()
	cfg.Dir = t.TempDir()
	cfg.Key.SecretFile = cfg.Dir + "/key"
	if err := os.WriteFile(cfg.Key.SecretFile, []byte("MDEyMzQ1Njc4OWFiY2RlZg=="), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Primaries = nil
	for i, f := range primaries {
		cfg.Primaries = append(cfg.Primaries, PrimaryConfig{Name: fmt.Sprintf("primary-%d", i), DNS: "127.0.0.1:53", Admin: f.URL})
	}
	s, err := newSecondary(cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for _, u := range s.upstreams {
		g.Go(func() error { s.listen(t.Context(), u); return nil })
		g.Go(func() error { s.report(t.Context(), u); return nil })
	}
	t.Cleanup(func() { _ = g.Wait() })
	return s
}

// members makes zones members that are served with a serial.
func (s *secondary) members(serial uint32, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var zones []zone.Name
	for _, n := range names {
		zones = append(zones, zone.MustParseName(n))
	}
	s.t.setMembers(time.Now(), zones)
	for _, z := range zones {
		s.t.serves(time.Now(), z, serial)
		s.dirtyLocked(z)
	}
}

func line(serials ...adminapi.ZoneSerial) adminapi.Changes {
	return adminapi.Changes{Ready: true, UnixMS: time.Now().UnixMilli(), Zones: serials, Complete: true}
}

func TestReportsBeginWithEverything(t *testing.T) {
	f := newFakePrimary(t)
	f.refuse = 1
	s := follower(t, f)
	s.members(3, "x.", "y.")
	f.lines <- line(is("x.", 3))
	r := f.next(t) // the first one was refused, so that this is full again
	if !r.Full || r.Instance == "" || !slices.Contains(r.Zones, is("x.", 3)) || !slices.Contains(r.Zones, is("y.", 3)) {
		t.Errorf("first report %+v", r)
	}
	s.answered(zone.MustParseName("x."), reply{serial: 4, serves: true, known: true})
	if next := f.next(t); next.Full || len(next.Zones) != 1 || next.Zones[0] != is("x.", 4) || next.Instance != r.Instance {
		t.Errorf("second report %+v", next)
	}
	s.answered(zone.MustParseName("y."), reply{known: true})
	if next := f.next(t); !slices.Equal(next.Gone, []string{"y."}) {
		t.Errorf("third report %+v", next)
	}
	// What could not be asked is no news.
	s.answered(zone.MustParseName("x."), reply{})
	s.answered(zone.MustParseName("x."), reply{serial: 5, serves: true, known: true})
	if next := f.next(t); len(next.Gone) != 0 || next.Zones[0] != is("x.", 5) {
		t.Errorf("fourth report %+v", next)
	}
}

func TestLargeReportsAreSplit(t *testing.T) {
	f := newFakePrimary(t)
	s := follower(t, f)
	var names []string
	for i := range 2*adminapi.MaxZonesPerMessage + 10 {
		names = append(names, fmt.Sprintf("z%d.", i))
	}
	s.members(1, names...)
	f.lines <- line()
	seen := map[string]bool{}
	for first := true; len(seen) < len(names); first = false {
		r := f.next(t)
		if r.Full != first || len(r.Zones)+len(r.Gone) > adminapi.MaxZonesPerMessage {
			t.Fatalf("full %v with %d zones", r.Full, len(r.Zones)+len(r.Gone))
		}
		for _, z := range r.Zones {
			seen[z.Zone] = true
		}
	}
}

// TestStreamEnds: a primary that falls silent is not live; transfers from it are broken off, and the next stream starts
// from nothing.
func TestStreamEnds(t *testing.T) {
	f := newFakePrimary(t)
	s := follower(t, f)
	s.members(1, "x.")
	f.lines <- line(is("x.", 2))
	f.next(t)
	best := s.choose(zone.MustParseName("x."))
	if len(best) != 1 || best[0].Gone == nil {
		t.Fatalf("a live primary: %+v", best)
	}
	select {
	case <-best[0].Gone: // no further line comes
	case <-time.After(30 * time.Second):
		t.Fatal("a silent primary stays live")
	}
	if best = s.choose(zone.MustParseName("x.")); best[0].Gone != nil {
		t.Error("it is chosen as a live one")
	}
	if st := s.status(); st.Primaries[0].Live || st.Primaries[0].Reason == "" || st.ZonesBehind != 0 {
		t.Errorf("status %+v", st)
	}
	for again := false; !again; { // the end of the old stream may still take a line
		select {
		case f.lines <- line():
		case r := <-f.reports:
			again = r.Full
		case <-time.After(30 * time.Second):
			t.Fatal("the new stream does not begin with a full report")
		}
	}
}

func TestSkewIsTheMedian(t *testing.T) {
	fs := []*fakePrimary{newFakePrimary(t), newFakePrimary(t), newFakePrimary(t)}
	s := follower(t, fs...)
	for i, f := range fs {
		l := line()
		if i == 0 {
			l.UnixMS += time.Hour.Milliseconds()
		} else {
			l.UnixMS -= (10 * time.Minute).Milliseconds()
		}
		f.lines <- l
		f.next(t)
	}
	st := s.status()
	if skew := time.Duration(st.SkewMS) * time.Millisecond; skew < 10*time.Minute || skew > 11*time.Minute {
		t.Errorf("skew %s, want ten minutes", skew)
	}
	if !slices.ContainsFunc(st.Problems, func(p string) bool { return p == clockProblem }) {
		t.Errorf("problems %q", st.Problems)
	}
}

// TestGuardKnowsWhatNamedHas: when the guard and named have different versions of the catalog for longer than a transfer
// takes, the catalog is read anew.
func TestGuardKnowsWhatNamedHas(t *testing.T) {
	s := follower(t)
	s.guard = guard.New(guard.DefaultConfig(), 5, nil, nil)
	reload := func() bool {
		select {
		case <-s.reload:
			return true
		default:
			return false
		}
	}
	has := func(serial uint32) { s.answered(s.catalog, reply{serial: serial, serves: true, known: true}) }
	has(5)
	has(4) // the guard let 5 pass, named is taking it
	has(4)
	if reload() {
		t.Error("the catalog is read while named takes it")
	}
	has(5)
	s.apart = s.apart.Add(-guardPatience)
	has(5)
	if reload() {
		t.Error("the catalog is read although the guard knows it")
	}
	for _, serial := range []uint32{4, 6} { // named did not take 5, or took 6 while its catalog was read
		has(serial)
		s.apart = s.apart.Add(-guardPatience)
		s.answered(s.catalog, reply{known: true})
		if reload() {
			t.Error("the catalog is read although named has none")
		}
		has(serial)
		if !reload() {
			t.Errorf("named stays at %d, and nobody sees it", serial)
		}
	}
}
