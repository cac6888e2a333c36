package secondary

import (
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// When named is told of a change, and told again.
const (
	// gapZone is the time between two NOTIFYs of a zone whose first one named has not acted on yet; gapCatalog is that of
	// the catalog, always: each of its versions costs named a walk over all members.
	gapZone    = 20 * time.Millisecond
	gapCatalog = 250 * time.Millisecond
	// firstRepeat and longestRepeat are the pauses between NOTIFYs of one serial; they double.
	firstRepeat   = 300 * time.Millisecond
	longestRepeat = 5 * time.Second
	// A member that named does not serve yet is being transferred by it. It is told all the same, for when that has failed:
	// the catalog may be ahead of the zone at the primary, and named would try again after 15 s. With no progress at any
	// member for unservedLimit the zone is transferred anew.
	unservedPause   = 500 * time.Millisecond
	unservedLimit   = 5 * time.Second
	longestUnserved = time.Minute
	// A zone that is served with a serial that no live primary announced, and that is not older, has it from a primary that
	// died, and the others announce it in a moment; or from a damaged file, and would never be told of anything again. So after
	// aheadLimit it is compared.
	aheadLimit   = 5 * time.Second
	longestAhead = time.Minute
	// notifyRate bounds NOTIFYs of all zones together, a second.
	notifyRate = 2000
	// maxAnnounced bounds the serials of a zone whose time is remembered while it is behind.
	maxAnnounced = 64
)

// tracker knows what the primaries announced and what the own named serves, and decides what named is told. It knows no
// time of its own, and is not safe for concurrent use.
type tracker struct {
	catalog zone.Name
	links   []*link // as configured
	zones   map[zone.Name]*tracked
	queue   queue
	held    bool // the newest catalog waits for a confirmation: that it is behind is no lag

	progress time.Time // a member was served for the first time
	asOf     time.Time // what is served is no older than this; zero: never known

	budget   float64 // NOTIFYs that may be sent
	budgeted time.Time
}

// link is a primary as its stream describes it.
type link struct {
	name     string
	live     bool
	ready    bool
	reason   string
	complete bool
	serials  map[zone.Name]uint32
}

// tracked is the catalog or a member of it.
type tracked struct {
	name   zone.Name
	served uint32 // answered by the own named
	serves bool
	// floor is the newest serial that it ever served, so that nothing older is offered to it.
	floor    uint32
	hasFloor bool
	// unheard is a serial that is served and that the primaries have never had; it is no floor.
	unheard    uint32
	hasUnheard bool

	newest    uint32 // announced by live primaries
	announced bool
	waiting   []announcement // serials newer than served, oldest first
	wanted    time.Time      // since when it is announced and not served at all

	told    uint32 // serial of the last NOTIFY
	toldAt  time.Time
	tries   int // NOTIFYs of told; of a zone that is not served, all of them
	again   int // retransfers of a zone that is not served
	againAt time.Time

	ahead    time.Time // since when what is served is announced by nobody, and not older; zero: it is not so
	compares int       // how often it was compared since

	due   time.Time
	index int // in the queue, from 1; 0: not in it
}

type announcement struct {
	serial uint32
	at     time.Time
}

// order is what named is to be told of a zone.
type order struct {
	zone       zone.Name
	serial     uint32
	retransfer bool // drop the copy and transfer the zone whole, instead of a NOTIFY
	compare    bool // compare the copy with the primaries', instead of a NOTIFY
}

func newTracker(catalog zone.Name, primaries []string) *tracker {
	t := &tracker{catalog: catalog, zones: map[zone.Name]*tracked{catalog: {name: catalog}}}
	for _, p := range primaries {
		t.links = append(t.links, &link{name: p, serials: map[zone.Name]uint32{}})
	}
	return t
}

func (t *tracker) link(name string) *link {
	i := slices.IndexFunc(t.links, func(l *link) bool { return l.name == name })
	return t.links[i]
}

// setMembers replaces the members and returns those that left and those that came.
func (t *tracker) setMembers(now time.Time, members []zone.Name) (left, came []zone.Name) {
	keep := make(map[zone.Name]struct{}, len(members)+1)
	keep[t.catalog] = struct{}{}
	for _, m := range members {
		keep[m] = struct{}{}
		if t.zones[m] == nil {
			t.zones[m] = &tracked{name: m}
			came = append(came, m)
			t.review(now, t.zones[m])
		}
	}
	for name, z := range t.zones {
		if _, ok := keep[name]; !ok {
			t.queue.remove(z)
			delete(t.zones, name)
			left = append(left, name)
		}
	}
	return left, came
}

// connect begins a stream of a primary: it will name every zone again.
func (t *tracker) connect(name string) {
	l := t.link(name)
	l.live, l.complete, l.serials = true, false, map[zone.Name]uint32{}
}

// disconnect ends it.
func (t *tracker) disconnect(now time.Time, name, reason string) {
	l := t.link(name)
	lived := l.live
	l.live, l.ready, l.reason = false, false, reason
	if !lived {
		return // another attempt to reach it
	}
	for _, z := range t.zones {
		t.review(now, z)
	}
}

// announce takes one line of a primary's stream.
func (t *tracker) announce(now time.Time, name string, c adminapi.Changes) {
	l := t.link(name)
	l.ready, l.reason, l.complete = c.Ready, c.Reason, l.complete || c.Complete
	for _, s := range c.Zones {
		n, err := zone.ParseName(s.Zone)
		if err != nil {
			continue // no zone of ours
		}
		n = n.Canonical()
		l.serials[n] = s.Serial
		t.touch(now, n)
	}
	for _, g := range c.Gone {
		if n, err := zone.ParseName(g); err == nil {
			delete(l.serials, n.Canonical())
			t.touch(now, n.Canonical())
		}
	}
}

func (t *tracker) touch(now time.Time, n zone.Name) {
	if z := t.zones[n]; z != nil {
		t.review(now, z)
	}
}

// review finds the newest serial of a zone and when named is to be told of it.
func (t *tracker) review(now time.Time, z *tracked) {
	newest, announced := t.newest(z.name)
	if announced && (!z.announced || newest != z.newest) {
		if !z.serves || zone.SerialGT(newest, z.served) {
			z.note(announcement{newest, now})
		}
		if z.serves {
			z.tries = 0
		}
	}
	z.newest, z.announced = newest, announced
	switch {
	case !announced || z.serves:
		z.wanted = time.Time{}
	case z.wanted.IsZero():
		z.wanted = now
	}
	switch {
	case !announced || !z.serves || newest == z.served || zone.SerialGT(newest, z.served):
		z.ahead, z.compares = time.Time{}, 0
	case z.ahead.IsZero():
		z.ahead = now
	}
	t.schedule(now, z)
}

// note remembers when a serial was announced. When there are many, the last one stands for those after it: it looks older
// than it is, never newer.
func (z *tracked) note(a announcement) {
	if n := len(z.waiting); n > 0 && !zone.SerialGT(a.serial, z.waiting[n-1].serial) {
		return
	}
	if n := len(z.waiting); n == maxAnnounced {
		z.waiting[n-1].serial = a.serial
		return
	}
	z.waiting = append(z.waiting, a)
}

// newest is the newest serial of a zone that a live primary announced.
func (t *tracker) newest(n zone.Name) (serial uint32, ok bool) {
	return t.newestAt(n, func(*link) bool { return true })
}

// newestAt is the newest one that was announced by those live primaries which may say so.
func (t *tracker) newestAt(n zone.Name, may func(*link) bool) (serial uint32, ok bool) {
	for _, l := range t.links {
		s, has := l.serials[n]
		if l.live && may(l) && has && (!ok || zone.SerialGT(s, serial)) {
			serial, ok = s, true
		}
	}
	return serial, ok
}

// news is the newest serial of a zone that a primary announced which can answer for it, when what is served is older.
func (t *tracker) news(n zone.Name) (serial uint32, ok bool) {
	z := t.zones[n]
	if z == nil || !z.serves {
		return 0, false
	}
	serial, ok = t.newestAt(n, func(l *link) bool { return l.ready })
	if !ok || !zone.SerialGT(serial, z.served) {
		return 0, false
	}
	return serial, true
}

// serves takes the own named's answer and reports whether it is news.
func (t *tracker) serves(now time.Time, n zone.Name, serial uint32) (changed bool) {
	z := t.zones[n]
	if z == nil {
		return false
	}
	changed = !z.serves || z.served != serial
	if !z.serves {
		t.progress = now
	}
	if changed {
		z.tries = 0
	}
	z.served, z.serves, z.again = serial, true, 0
	if z.hasUnheard && serial != z.unheard {
		z.hasUnheard = false
	}
	if !z.hasUnheard && (!z.hasFloor || zone.SerialGT(serial, z.floor)) {
		z.floor, z.hasFloor = serial, true
	}
	z.waiting = slices.DeleteFunc(z.waiting, func(a announcement) bool { return !zone.SerialGT(a.serial, serial) })
	t.review(now, z)
	return changed
}

// neverWas notes that the primaries never had the serial that is served: whatever they have may replace it.
func (t *tracker) neverWas(n zone.Name, serial uint32) {
	if z := t.zones[n]; z != nil && z.serves && z.served == serial {
		z.unheard, z.hasUnheard, z.hasFloor = serial, true, false
	}
}

// servesNot: the own named does not answer for the zone.
func (t *tracker) servesNot(now time.Time, n zone.Name) (changed bool) {
	z := t.zones[n]
	if z == nil || !z.serves {
		return false
	}
	z.serves, z.tries = false, 0
	t.review(now, z)
	return true
}

// behind reports whether a live primary announced more than is served.
func (z *tracked) behind() bool {
	return z.announced && (!z.serves || zone.SerialGT(z.newest, z.served))
}

func (t *tracker) schedule(now time.Time, z *tracked) {
	if !z.behind() && z.ahead.IsZero() {
		t.queue.remove(z)
		return
	}
	t.queue.set(z, t.due(now, z))
}

// due is when named is told of a zone that is behind, or one that is ahead is compared.
func (t *tracker) due(now time.Time, z *tracked) time.Time {
	if !z.ahead.IsZero() {
		var after time.Duration
		for i := range z.compares + 1 {
			after += doubled(aheadLimit, i, longestAhead)
		}
		return z.ahead.Add(after)
	}
	if !z.serves && z.name != t.catalog {
		from := z.wanted
		if z.toldAt.After(from) {
			from = z.toldAt
		}
		return from.Add(doubled(unservedPause, z.tries, longestRepeat))
	}
	gap := gapZone
	if z.name == t.catalog {
		gap = gapCatalog
	}
	reached := z.serves && !zone.SerialGT(z.told, z.served)
	switch {
	case z.toldAt.IsZero():
		return now
	case z.told == z.newest && !reached:
		return z.toldAt.Add(doubled(firstRepeat, z.tries-1, longestRepeat))
	case reached && z.name != t.catalog:
		return now
	}
	return z.toldAt.Add(gap)
}

func doubled(d time.Duration, times int, most time.Duration) time.Duration {
	for range times {
		if d *= 2; d >= most {
			return most
		}
	}
	return d
}

// next returns what named is to be told now, and when to ask again; the zero time: when something has changed.
func (t *tracker) next(now time.Time) (orders []order, wake time.Time) {
	t.budget = min(notifyRate/10, t.budget+notifyRate*now.Sub(t.budgeted).Seconds())
	t.budgeted = now
	for {
		z := t.queue.first()
		switch {
		case z == nil:
			return orders, time.Time{}
		case z.due.After(now):
			return orders, z.due
		case t.budget < 1:
			return orders, now.Add(time.Second / notifyRate * 10)
		}
		t.budget--
		if !z.ahead.IsZero() {
			z.compares++
			t.queue.set(z, t.due(now, z))
			orders = append(orders, order{zone: z.name, compare: true})
			continue
		}
		o := order{zone: z.name, serial: z.newest}
		if !z.serves && z.name != t.catalog && t.stuck(now, z) {
			o.retransfer = true
			z.again, z.againAt = z.again+1, now
		}
		z.tries++
		z.told, z.toldAt = z.newest, now
		t.queue.set(z, t.due(now, z))
		orders = append(orders, o)
	}
}

// stuck reports whether a member that is not served should be transferred anew.
func (t *tracker) stuck(now time.Time, z *tracked) bool {
	limit := doubled(unservedLimit, z.again, longestUnserved)
	return now.Sub(z.wanted) >= limit && now.Sub(t.progress) >= unservedLimit && now.Sub(z.againAt) >= limit
}

// hurry makes a zone due now, when there is a reason to believe that the next NOTIFY succeeds.
func (t *tracker) hurry(now time.Time, n zone.Name) {
	if z := t.zones[n]; z != nil {
		z.tries, z.toldAt = 0, time.Time{}
		t.schedule(now, z)
	}
}

// lag is how far what is served is behind what live primaries announced.
type lag struct {
	zones     int // members
	behind    int
	notServed int
	oldest    time.Duration
	live      bool // some primary is, and has named all its zones
}

func (t *tracker) lag(now time.Time) lag {
	g := lag{zones: len(t.zones) - 1}
	for _, l := range t.links {
		g.live = g.live || l.live && l.complete
	}
	for _, z := range t.zones {
		isCatalog := z.name == t.catalog
		if !z.serves && !isCatalog {
			g.notServed++
		}
		if !z.behind() || isCatalog && t.held {
			continue
		}
		g.behind++
		if len(z.waiting) > 0 {
			g.oldest = max(g.oldest, now.Sub(z.waiting[0].at))
		}
	}
	if g.live {
		if at := now.Add(-g.oldest); at.After(t.asOf) {
			t.asOf = at
		}
	}
	return g
}

// linkBehind counts the zones of a primary that are older than another live one announced.
func (t *tracker) linkBehind(l *link) (n int) {
	for _, z := range t.zones {
		if s, has := l.serials[z.name]; z.announced && l.live && (!has || zone.SerialGT(z.newest, s)) {
			n++
		}
	}
	return n
}
