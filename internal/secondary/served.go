package secondary

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/secondary/guard"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	askers     = 4 // streams on which the own named is asked
	askTimeout = time.Second
	// roundRate bounds the questions of the rounds over all zones, a second; with few zones a round takes roundLongest.
	roundRate    = 500
	roundLongest = time.Second
	// After a transfer the zone is asked about at 1, 2, 4 … ms.
	firstPursuit = time.Millisecond
	lastPursuit  = 512 * time.Millisecond
)

// pursuit asks about a zone again and again until it is served.
type pursuit struct {
	want  uint32
	any   bool // whatever it serves
	wait  time.Duration
	timer *time.Timer
}

// pursueLocked asks about a zone soon, and until it has the serial; 0: any.
func (s *secondary) pursueLocked(z zone.Name, want uint32) {
	p := s.pursued[z]
	if p == nil {
		p = &pursuit{}
		s.pursued[z] = p
		p.timer = time.AfterFunc(firstPursuit, func() { s.ask(z) })
	} else {
		p.timer.Reset(firstPursuit)
	}
	p.want, p.any, p.wait = want, want == 0, firstPursuit
}

// ask queues a question. With the queue full the rounds will come to it.
func (s *secondary) ask(z zone.Name) {
	select {
	case s.asks <- z:
	default:
		s.mu.Lock()
		s.continueLocked(z)
		s.mu.Unlock()
	}
}

// continueLocked asks a pursued zone again, later each time.
func (s *secondary) continueLocked(z zone.Name) {
	p := s.pursued[z]
	if p == nil {
		return
	}
	if p.wait *= 2; p.wait > lastPursuit {
		delete(s.pursued, z)
		return
	}
	p.timer.Reset(p.wait)
}

// serveAsks runs the streams on which the own named is asked.
func (s *secondary) serveAsks(ctx context.Context, g *errgroup.Group) {
	for range askers {
		g.Go(func() error {
			var st *named.Stream
			var of uint64 // incarnation of st
			for {
				select {
				case <-ctx.Done():
					if st != nil {
						st.Close()
					}
					return nil
				case z := <-s.asks:
					sess, ok := s.named.Session()
					if !ok {
						continue // the next incarnation is asked about everything
					}
					if st == nil || of != sess.Incarnation() {
						if st != nil {
							st.Close()
						}
						st, of = sess.NewStream(), sess.Incarnation()
					}
					s.answered(z, s.soa(ctx, st, z))
				}
			}
		})
	}
}

// reply is what the own named says of a zone.
type reply struct {
	serial uint32
	serves bool
	known  bool // false: it could not be asked
}

func (s *secondary) soa(ctx context.Context, st *named.Stream, z zone.Name) reply {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	rr, err := st.SOA(ctx, z)
	if err == nil {
		return reply{serial: zone.SOASerial(rr.Data), serves: true, known: true}
	}
	// Whatever it answers but an authoritative SOA: the zone is not served.
	var rcode *named.RCodeError
	return reply{known: errors.As(err, &rcode) || errors.Is(err, named.ErrNoSOA)}
}

// answered notes an answer, and whoever waits for it.
func (s *secondary) answered(z zone.Name, r reply) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	switch {
	case r.serves:
		changed = s.t.serves(now, z, r.serial)
	case r.known:
		changed = s.t.servesNot(now, z)
	}
	if changed {
		s.dirtyLocked(z)
		s.wake()
	}
	if z == s.catalog && r.serves {
		s.checkGuardLocked(r.serial, now)
	}
	if p := s.pursued[z]; p != nil {
		if r.serves && (p.any || zone.SerialGE(r.serial, p.want)) {
			p.timer.Stop()
			delete(s.pursued, z)
		} else {
			s.continueLocked(z)
		}
	}
}

// guardPatience is how long the guard may know another version of the catalog than the one that named has. While named takes
// what the guard let pass it does.
const guardPatience = 2 * time.Second

// checkGuardLocked has the catalog read anew when the guard knows another version than named. named may have been ended
// before it had taken what passed, or may have taken something while its catalog was read; without this, until the next
// change of the catalog the wrong zones would be followed.
func (s *secondary) checkGuardLocked(has uint32, now time.Time) {
	switch {
	case has == s.guard.Serial():
		s.apart = time.Time{}
	case s.apart.IsZero():
		s.apart = now
	case now.Sub(s.apart) >= guardPatience:
		s.apart = now
		signal(s.reload)
	}
}

// rounds asks about every zone in turn.
func (s *secondary) rounds(ctx context.Context) {
	var left []zone.Name
	var every time.Duration
	for {
		if len(left) == 0 {
			left = s.zoneNames() // the catalog at least
			every = max(time.Second/roundRate, roundLongest/time.Duration(len(left)))
		}
		if !pause(ctx, every) {
			return
		}
		select {
		case s.asks <- left[0]:
		default: // it is busy enough
		}
		left = left[1:]
	}
}

func (s *secondary) zoneNames() []zone.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]zone.Name, 0, len(s.t.zones))
	for n := range s.t.zones {
		out = append(out, n)
	}
	return out
}

// follow reads what each incarnation of named has; known is closed when that is known of the first one.
func (s *secondary) follow(ctx context.Context, known chan<- struct{}) {
	var last uint64
	for ctx.Err() == nil {
		_, changed := s.named.Watch()
		sess, ok := s.named.Session()
		switch {
		case !ok:
			s.down()
		case sess.Incarnation() != last:
			s.load(ctx, sess)
			if last == 0 {
				close(known)
			}
			last = sess.Incarnation()
			continue
		}
		select {
		case <-changed:
		case <-s.reload:
			// Without an answer nothing is forgotten: the guard compares with what it knows, and this is tried again.
			if ok && !s.readCatalog(ctx, sess) && s.lacksCatalog(ctx, sess) {
				s.forgetCatalog()
			}
		case <-ctx.Done():
		}
	}
}

// down: nothing is served.
func (s *secondary) down() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.t.zones {
		if s.t.servesNot(now, n) {
			s.dirtyLocked(n)
		}
	}
	s.wake()
}

const (
	loadEvery = 20 * time.Millisecond
	// loadPatience is how long a named that has a catalog on disk may take to load it, and membersPatience how long no further
	// member may appear, before one goes on without: they are offered what primaries have, as always.
	loadPatience    = 30 * time.Second
	membersPatience = 500 * time.Millisecond
)

// load waits until named has loaded what is on disk, and asks for all serials.
func (s *secondary) load(ctx context.Context, sess *named.Session) {
	_, err := os.Stat(s.named.Config().CatalogFile())
	onDisk := err == nil
	found := s.readCatalog(ctx, sess)
	for until := time.Now().Add(loadPatience); onDisk && !found && time.Now().Before(until) && s.still(ctx, sess, loadEvery); {
		found = s.readCatalog(ctx, sess)
	}
	if !found {
		s.forgetCatalog()
	}
	st := sess.NewStream()
	defer st.Close()
	missing := s.zoneNames()
	for until := time.Now().Add(membersPatience); onDisk && len(missing) > 0; {
		var next []zone.Name
		for _, z := range missing {
			if ctx.Err() != nil {
				return
			}
			r := s.soa(ctx, st, z)
			s.answered(z, r)
			if !r.serves {
				next = append(next, z)
			}
		}
		if len(next) < len(missing) {
			until = time.Now().Add(membersPatience)
		}
		if missing = next; time.Now().After(until) || !s.still(ctx, sess, loadEvery) {
			break
		}
	}
	s.log.Info("named serves what is on disk", "zones", len(s.zoneNames())-1, "not_served", len(missing), "catalog", onDisk)
}

// still waits a moment and reports whether the incarnation lasts.
func (s *secondary) still(ctx context.Context, sess *named.Session, d time.Duration) bool {
	select {
	case <-sess.Gone():
		return false
	default:
		return pause(ctx, d)
	}
}

// readCatalog makes the guard know the catalog that named has. It reports false when named has none.
func (s *secondary) readCatalog(ctx context.Context, sess *named.Session) bool {
	ctx, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	st := sess.NewStream()
	defer st.Close()
	c := xfr.Changes{Full: true}
	err := st.Transfer(ctx, s.catalog, func(rr zone.RR) error {
		if rr.Type == zone.TypeSOA {
			c.To = zone.SOASerial(rr.Data)
		}
		c.Add = append(c.Add, rr)
		return nil
	})
	if err != nil {
		s.log.Debug("named has no catalog", "err", err)
		return false
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := guard.New(guard.DefaultConfig(), 0, nil, nil)
	// Confirmed: what named has is what it has.
	if _, err := g.Judge(s.catalog, c, c.To, now); err != nil {
		s.log.Error("the catalog of the own named can't be read", "err", err)
		return false
	}
	s.guard = guard.New(guard.DefaultConfig(), g.Serial(), g.Members(), s.guard.Window())
	s.setMembersLocked(now)
	return true
}

// lacksCatalog: named runs, and says that it does not have the catalog.
func (s *secondary) lacksCatalog(ctx context.Context, sess *named.Session) bool {
	st := sess.NewStream()
	defer st.Close()
	r := s.soa(ctx, st, s.catalog)
	return r.known && !r.serves
}

// forgetCatalog: named has none, so whatever comes next has nothing to be compared with.
func (s *secondary) forgetCatalog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guard = guard.New(guard.DefaultConfig(), 0, nil, s.guard.Window())
}
