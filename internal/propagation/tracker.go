package propagation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Config bounds a Tracker. Start from DefaultConfig.
type Config struct {
	// MaxWaiting updates wait at a time, MaxWaitingPerKey of them signed with one key. Beyond, they do not wait.
	MaxWaiting       int
	MaxWaitingPerKey int
	// MaxZones is how many zones a secondary may report: one that was broken into can't fill the memory.
	MaxZones int
	// Registerer takes the metrics; nil: nobody does.
	Registerer prometheus.Registerer
	// Now is the clock. After calls f once, d later, unless stop is called before.
	Now   func() time.Time
	After func(d time.Duration, f func()) (stop func() bool)
}

// DefaultConfig returns everything but Registerer.
func DefaultConfig() Config {
	return Config{
		MaxWaiting:       512,
		MaxWaitingPerKey: 128,
		MaxZones:         200_000,
		Now:              time.Now,
		After:            func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop },
	}
}

// Validate reports every problem of c at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("propagation: "+format, args...)) }
	if c.MaxWaiting < 1 {
		bad("MaxWaiting is %d; use at least 1", c.MaxWaiting)
	}
	if c.MaxWaitingPerKey < 1 {
		bad("MaxWaitingPerKey is %d; use at least 1", c.MaxWaitingPerKey)
	}
	if c.MaxZones < 1 {
		bad("MaxZones is %d; use at least 1", c.MaxZones)
	}
	if c.Now == nil || c.After == nil {
		bad("Now or After is missing; start from DefaultConfig")
	}
	return errors.Join(errs...)
}

// Serial is a zone's serial. The zone's name is canonical.
type Serial struct {
	Zone   zone.Name
	Serial uint32
}

// Standing is one zone at one secondary.
type Standing struct {
	Secondary string
	Zone      zone.Name
	// Served: the secondary has reported the zone, with Serial.
	Served bool
	Serial uint32
	// Published: the local named serves the zone, with Current.
	Published bool
	Current   uint32
	// Lag is how long the oldest serial after Serial has been published; 0 when Serial is current.
	Lag time.Duration
	// Delay is how long after its publish Serial was seen to be served; nil when that was not watched, because the secondary served
	// it already when it first reported.
	Delay *time.Duration
}

// Tracker is what is known about all zones at all secondaries. Its methods are safe for concurrent use and do not wait.
type Tracker struct {
	cfg     Config
	metrics metrics

	mu          sync.Mutex
	zones       map[zone.Name]*history
	secondaries map[string]*secondary
	waits       waits
}

// secondary is one of ours.
type secondary struct {
	name      string
	instance  string // of the process that reported last
	connected bool
	served    map[zone.Name]served
	behind    map[zone.Name]struct{} // published with a later serial than served, or not served
}

// served is a zone's serial at a secondary.
type served struct {
	serial uint32
	delay  time.Duration // since its publish; negative: not watched
}

// New makes a tracker that knows nothing yet.
func New(cfg Config) (*Tracker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &Tracker{cfg: cfg, zones: map[zone.Name]*history{}, secondaries: map[string]*secondary{}, waits: newWaits()}
	var err error
	if t.metrics, err = newMetrics(cfg.Registerer, t); err != nil {
		return nil, fmt.Errorf("propagation: %w", err)
	}
	return t, nil
}

// Published notes that the local named serves a zone with this serial from now on.
func (t *Tracker) Published(z zone.Name, serial uint32) {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.zones[z]
	if h == nil {
		h = &history{}
		t.zones[z] = h
	}
	if !h.add(serial, now) {
		return
	}
	for _, s := range t.secondaries {
		s.compare(z, h)
	}
}

// Gone forgets a zone: the local named does not serve it now.
func (t *Tracker) Gone(z zone.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.zones, z)
	for _, s := range t.secondaries {
		delete(s.behind, z)
	}
}

// Register says which secondaries there are. What is known of others is forgotten.
func (t *Tracker) Register(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.secondaries {
		if !slices.Contains(names, name) {
			delete(t.secondaries, name)
			t.metrics.forget(name)
		}
	}
	for _, name := range names {
		if t.secondaries[name] == nil {
			s := &secondary{name: name}
			t.secondaries[name] = s
			t.voidLocked(s)
		}
	}
}

// voidLocked forgets what a secondary has reported.
func (t *Tracker) voidLocked(s *secondary) {
	s.served, s.behind = map[zone.Name]served{}, map[zone.Name]struct{}{}
	for z, h := range t.zones {
		s.compare(z, h)
	}
}

// Errors of Report, for errors.Is.
var (
	// ErrUnknown: no such secondary is registered.
	ErrUnknown = errors.New("no secondary of this name is registered")
	// ErrIncomplete: the report is a change of something that was never reported here; the next one must be full.
	ErrIncomplete = errors.New("nothing is known that this report could be a change of: send a full report")
	// ErrTooMany: the secondary has reported more zones than it may.
	ErrTooMany = errors.New("too many zones are reported")
)

// Report notes what a secondary serves now. full: what it has reported before is void; else list and gone are changes since
// its last report, and they must come from the same instance.
func (t *Tracker) Report(name, instance string, full bool, list []Serial, gone []zone.Name) error {
	now := t.cfg.Now()
	t.mu.Lock()
	s := t.secondaries[name]
	switch {
	case s == nil:
		t.mu.Unlock()
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	case !full && s.instance != instance:
		t.mu.Unlock()
		return ErrIncomplete
	case len(list) > t.cfg.MaxZones || !full && len(s.served)+len(list) > t.cfg.MaxZones && s.added(list) > t.cfg.MaxZones:
		t.mu.Unlock()
		return fmt.Errorf("%w: more than %d by %s", ErrTooMany, t.cfg.MaxZones, name)
	}
	if full {
		t.voidLocked(s)
	}
	var enough []*wait
	if !s.connected {
		// Updates that came while it was lost do not count it yet.
		for z := range t.waits.byZone {
			if x, ok := s.served[z]; ok {
				enough = t.waits.served(Serial{z, x.serial}, name, enough)
			}
		}
	}
	s.instance, s.connected = instance, true
	for _, x := range list {
		old, known := s.served[x.Zone]
		if known && old.serial == x.Serial {
			continue
		}
		is := served{serial: x.Serial, delay: -1}
		h := t.zones[x.Zone]
		if known && h != nil { // else it may have served it for long
			for _, at := range h.between(old.serial, x.Serial) {
				is.delay = now.Sub(at)
				t.metrics.delay.WithLabelValues(name).Observe(is.delay.Seconds())
			}
		}
		s.served[x.Zone] = is
		if h != nil {
			s.compare(x.Zone, h)
		}
		enough = t.waits.served(x, name, enough)
	}
	for _, z := range gone {
		delete(s.served, z)
		if h := t.zones[z]; h != nil {
			s.compare(z, h)
		}
	}
	t.mu.Unlock()
	for _, x := range enough {
		t.metrics.served.Inc()
		x.done(len(x.by))
	}
	return nil
}

// added is how many zones are served with those of a report.
func (s *secondary) added(list []Serial) int {
	n := len(s.served)
	for _, x := range list {
		if _, known := s.served[x.Zone]; !known {
			n++
		}
	}
	return n
}

// Lost notes that a secondary is no longer heard: it does not count until it reports again.
func (t *Tracker) Lost(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.secondaries[name]; s != nil {
		s.connected = false
	}
}

// Connected says whether a secondary has reported and is not lost.
func (t *Tracker) Connected(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.secondaries[name]
	return s != nil && s.connected
}

// Of returns a zone at each registered secondary, by name.
func (t *Tracker) Of(z zone.Name) []Standing {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Standing, 0, len(t.secondaries))
	for _, s := range t.secondaries {
		out = append(out, s.standing(z, t.zones[z], now))
	}
	slices.SortFunc(out, func(a, b Standing) int { return strings.Compare(a.Secondary, b.Secondary) })
	return out
}

// Behind returns the zones that lag most at a secondary, at most that many.
func (t *Tracker) Behind(name string, most int) []Standing {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.secondaries[name]
	if s == nil {
		return nil
	}
	return s.worst(t.zones, now, most)
}

// worst lists the zones that are behind, those that have waited longest first.
func (s *secondary) worst(zones map[zone.Name]*history, now time.Time, most int) []Standing {
	out := make([]Standing, 0, len(s.behind))
	for z := range s.behind {
		out = append(out, s.standing(z, zones[z], now))
	}
	slices.SortFunc(out, func(a, b Standing) int { return cmp.Or(cmp.Compare(b.Lag, a.Lag), a.Zone.Compare(b.Zone)) })
	return out[:min(len(out), most)]
}

// Lag returns how many zones are behind at a secondary, and for how long the one that has waited longest.
func (t *Tracker) Lag(name string) (zones int, oldest time.Duration) {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.secondaries[name]
	if s == nil {
		return 0, 0
	}
	return s.lag(t.zones, now)
}

func (s *secondary) lag(zones map[zone.Name]*history, now time.Time) (n int, oldest time.Duration) {
	for z := range s.behind {
		oldest = max(oldest, s.standing(z, zones[z], now).Lag)
	}
	return len(s.behind), oldest
}

// compare puts the zone among those that are behind, or takes it out.
func (s *secondary) compare(z zone.Name, h *history) {
	if x, ok := s.served[z]; ok && !zone.SerialGT(h.current(), x.serial) {
		delete(s.behind, z)
		return
	}
	s.behind[z] = struct{}{}
}

func (s *secondary) standing(z zone.Name, h *history, now time.Time) Standing {
	out := Standing{Secondary: s.name, Zone: z}
	x, ok := s.served[z]
	if out.Serial, out.Served = x.serial, ok; ok && x.delay >= 0 {
		out.Delay = &x.delay
	}
	if h == nil {
		return out
	}
	out.Published, out.Current = true, h.current()
	if _, behind := s.behind[z]; behind {
		out.Lag = now.Sub(h.since(out.Serial, out.Served))
	}
	return out
}
