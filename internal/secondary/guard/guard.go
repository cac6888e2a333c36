// Package guard decides whether a new version of a catalog zone (RFC 9432) may be
// obeyed: a catalog that suddenly loses most of its members is held until somebody
// confirms it.
//
// It is a pure state machine: no clock, no network. A version that passes is
// committed at once; whoever then learns that the name server did not take it
// makes a new Guard from what the name server has.
package guard

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Config says what counts as a mass removal: more than the greater of MinRemoved
// and MaxFraction of the members within Window. Start from [DefaultConfig].
type Config struct {
	Window      time.Duration // removals within it are added up
	MinRemoved  int           // so many members may always go
	MaxFraction float64       // share of the members at the window's start that may go; 0 to 1
}

// DefaultConfig lets half of the members go within ten minutes, or four.
func DefaultConfig() Config {
	return Config{Window: 10 * time.Minute, MinRemoved: 4, MaxFraction: 0.5}
}

// Validate names every setting that is wrong, and the remedy.
func (c *Config) Validate() error {
	var errs []error
	if c.Window <= 0 {
		errs = append(errs, fmt.Errorf("guard: Window is %v: give a positive time", c.Window))
	}
	if c.MinRemoved < 0 {
		errs = append(errs, fmt.Errorf("guard: MinRemoved is %d: give 0 or more", c.MinRemoved))
	}
	if !(c.MaxFraction >= 0 && c.MaxFraction <= 1) { // also true of no number
		errs = append(errs, fmt.Errorf("guard: MaxFraction is %v: give 0 to 1", c.MaxFraction))
	}
	return errors.Join(errs...)
}

// Removal is a version of the catalog that dropped members. It is kept across
// restarts, so that restarting does not open the window anew.
type Removal struct {
	At   time.Time `json:"at"`
	To   uint32    `json:"to"`   // serial of the catalog without them
	N    int       `json:"n"`    // members that left
	Base int       `json:"base"` // members there were before
}

// Guard is the member set that the name server has been given, and what was
// removed from it lately. It is not safe for concurrent use.
type Guard struct {
	cfg     Config
	serial  uint32
	members map[zone.Name]struct{}
	window  []Removal // oldest first
}

// New returns a guard for a name server that has the catalog's version serial with
// these members; serial 0 is no catalog, and the first one passes. window is what
// [Guard.Window] returned; removals that this version does not have yet are left
// out, because they will be judged again.
func New(cfg Config, serial uint32, members []zone.Name, window []Removal) *Guard {
	g := &Guard{cfg: cfg, serial: serial, members: make(map[zone.Name]struct{}, len(members))}
	for _, m := range members {
		g.members[m.Canonical()] = struct{}{}
	}
	for _, r := range window {
		if serial == 0 || !zone.SerialGT(r.To, serial) {
			g.window = append(g.window, r)
		}
	}
	return g
}

// Serial returns the serial of the version that passed last.
func (g *Guard) Serial() uint32 { return g.serial }

// Members returns the members of the version that passed last, in canonical order.
func (g *Guard) Members() []zone.Name {
	return slices.SortedFunc(maps.Keys(g.members), zone.Name.Compare)
}

// Window returns the removals that still count, oldest first.
func (g *Guard) Window() []Removal { return slices.Clone(g.window) }

// Verdict is the judgement on a version of the catalog.
type Verdict struct {
	Pass    bool
	Reason  string // why not; a sentence without a full stop
	Serial  uint32 // of the version
	Members int    // at the window's start
	Removed int    // how many of them would be gone, those of the window included
}

// errOutOfStep is about differences from another version than the guard knows.
var errOutOfStep = errors.New("guard: differences of another version")

// Judge judges the transfer c of the catalog zone. What passes is committed; what
// is held changes nothing and may be judged again. confirmed is the serial that was
// confirmed, 0 when none was: versions up to it pass whatever they remove, and what
// they remove does not count afterwards.
//
// An error means that the differences are not from the version that the guard
// knows: make a new Guard from what the name server has.
func (g *Guard) Judge(catalog zone.Name, c xfr.Changes, confirmed uint32, now time.Time) (Verdict, error) {
	if !c.Full {
		if c.From != g.serial {
			return Verdict{}, fmt.Errorf("%w: they lead from serial %d, the guard knows %d: load the catalog anew", errOutOfStep, c.From, g.serial)
		}
		if c.From == c.To {
			return Verdict{Pass: true, Serial: c.To, Members: len(g.members)}, nil
		}
	}
	del, add, version := read(catalog, c)
	gone := g.gone(del, add, c.Full)

	g.expire(now)
	v := Verdict{Serial: c.To, Members: len(g.members), Removed: len(gone)}
	if len(g.window) > 0 {
		v.Members = g.window[0].Base
	}
	for _, r := range g.window {
		v.Removed += r.N
	}
	isConfirmed := confirmed != 0 && zone.SerialGE(confirmed, c.To)
	switch limit := max(float64(g.cfg.MinRemoved), g.cfg.MaxFraction*float64(v.Members)); {
	case isConfirmed:
		g.window = nil
	case !version:
		v.Reason = fmt.Sprintf("serial %d of the catalog has no version record that says \"2\" (RFC 9432 section 4.2.1)", c.To)
		return v, nil
	case len(gone) > 0 && float64(v.Removed) > limit:
		v.Reason = fmt.Sprintf("serial %d of the catalog would make %d of %d members gone within %v", c.To, v.Removed, v.Members, g.cfg.Window)
		return v, nil
	case len(gone) > 0:
		g.window = append(g.window, Removal{At: now, To: c.To, N: len(gone), Base: len(g.members)})
	}
	v.Pass = true
	g.serial = c.To
	if c.Full {
		clear(g.members)
	}
	for _, m := range gone {
		delete(g.members, m)
	}
	for m := range add {
		g.members[m] = struct{}{}
	}
	return v, nil
}

// gone returns the members that would leave.
func (g *Guard) gone(del, add map[zone.Name]struct{}, full bool) []zone.Name {
	if full {
		del = g.members
	}
	var out []zone.Name
	for m := range del {
		_, had := g.members[m]
		_, again := add[m] // under another label
		if had && !again {
			out = append(out, m)
		}
	}
	return out
}

// expire forgets removals that no longer count. One from the future, by a clock
// that was wrong, counts until the clock has passed it.
func (g *Guard) expire(now time.Time) {
	g.window = slices.DeleteFunc(g.window, func(r Removal) bool { return now.Sub(r.At) >= g.cfg.Window })
}

// read finds the members and the version in a transfer of the catalog. version is
// false when the catalog has none afterwards, or one that is not "2".
func read(catalog zone.Name, c xfr.Changes) (del, add map[zone.Name]struct{}, version bool) {
	del, add = map[zone.Name]struct{}{}, map[zone.Name]struct{}{}
	version = !c.Full
	at := below(catalog, "version")
	for _, rr := range c.Del {
		if rr.Type == zone.TypePTR && isMember(rr.Name, catalog) {
			del[zone.Name(rr.Data).Canonical()] = struct{}{}
		}
		if rr.Type == zone.TypeTXT && rr.Name.Equal(at) {
			version = false
		}
	}
	for _, rr := range c.Add {
		if rr.Type == zone.TypePTR && isMember(rr.Name, catalog) {
			add[zone.Name(rr.Data).Canonical()] = struct{}{}
		}
		if rr.Type == zone.TypeTXT && rr.Name.Equal(at) {
			version = rr.Data == "\x012"
		}
	}
	return del, add, version
}

// isMember reports whether owner is <unique>.zones.<catalog> (RFC 9432 section 4.1).
func isMember(owner, catalog zone.Name) bool {
	return owner.Parent().Equal(below(catalog, "zones"))
}

func below(catalog zone.Name, label string) zone.Name {
	return zone.Name(string([]byte{byte(len(label))}) + strings.ToLower(label) + string(catalog))
}
