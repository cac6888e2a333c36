package secondary

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	// vouchEvery is the pause between two rounds over the zones in doubt.
	vouchEvery = 20 * time.Millisecond
	// alonePatience is how long clients wait for a primary to compare with, doubtPatience how long for all zones in doubt. Then
	// what BIND could load is served: most likely it is right, and a secondary that serves is what clients need most.
	alonePatience = 2 * time.Second
	doubtPatience = 30 * time.Second
	// vouchTimeout bounds one comparison: a primary may hang. wrongPause is for the transfer of a zone that was wrong.
	vouchTimeout = 10 * time.Second
	wrongPause   = 300 * time.Millisecond
)

// vouch lets clients reach each incarnation of named once its zones are known to be right.
func (s *secondary) vouch(ctx context.Context) {
	var last uint64
	for ctx.Err() == nil {
		_, changed := s.named.Watch()
		if sess, ok := s.named.Session(); ok && sess.Incarnation() != last {
			last = sess.Incarnation()
			s.tellDamage(sess)
			if !sess.Listening() {
				s.openWhenRight(ctx, sess)
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// tellDamage reports what the incarnation was not given to load.
func (s *secondary) tellDamage(sess *named.Session) {
	zones, others := sess.Damaged(s.zoneNames())
	for _, z := range zones {
		s.metrics.mismatches.Inc()
		s.problem("content "+z.String(), fmt.Sprintf("the files of zone %s were damaged on disk; they were set aside, and the zone is transferred anew", z))
	}
	for _, f := range others {
		s.metrics.mismatches.Inc()
		s.problem("content "+f, fmt.Sprintf("%s was damaged on disk and set aside", f))
	}
}

// openWhenRight compares the zones in doubt, and then lets clients reach named.
func (s *secondary) openWhenRight(ctx context.Context, sess *named.Session) {
	began := time.Now()
	patient, cancel := context.WithDeadline(ctx, began.Add(doubtPatience))
	defer cancel()
	compared := map[zone.Name]bool{}
	for {
		left := s.inDoubt(sess, compared)
		waited := time.Since(began)
		if len(left) > 0 && waited < doubtPatience && !s.alone(waited) {
			if !s.still(ctx, sess, s.compareAll(patient, left, compared)) {
				return
			}
			continue
		}
		err := sess.Open(ctx)
		if err == nil {
			if len(left) > 0 {
				s.log.Warn("zones are served whose files may be damaged: no primary could be asked", "zones", len(left), "first", left[0])
			}
			s.log.Info("named listens for clients", "compared", len(compared), "after", waited)
			s.wake()
			return
		}
		s.log.Warn("clients do not reach named yet", "err", err)
		if !s.still(ctx, sess, time.Second) {
			return
		}
	}
}

// inDoubt lists the zones of doubtful files but those that are known to be right. A file that is nobody's may be that of a
// member, when the catalog is right.
func (s *secondary) inDoubt(sess *named.Session, compared map[zone.Name]bool) []zone.Name {
	zones, others := sess.Doubtful(s.zoneNames())
	if len(others) > 0 && !slices.Contains(zones, s.catalog) {
		zones = append(zones, s.catalog)
	}
	return slices.DeleteFunc(zones, func(z zone.Name) bool { return compared[z] })
}

// comparers is how many zones are compared at a time while clients wait.
const comparers = 4

// compareAll adds the zones that it finds right, and returns when to look at the others again.
func (s *secondary) compareAll(ctx context.Context, zones []zone.Name, compared map[zone.Name]bool) (again time.Duration) {
	found := make([]likeness, len(zones))
	var g errgroup.Group
	g.SetLimit(comparers)
	for i, z := range zones {
		g.Go(func() error {
			cctx, cancel := context.WithTimeout(ctx, vouchTimeout)
			defer cancel()
			found[i] = s.compareZone(cctx, z)
			return nil
		})
	}
	_ = g.Wait() // they return no errors
	again = vouchEvery
	for i, z := range zones {
		switch found[i] {
		case right:
			compared[z] = true
		case wrong:
			again = wrongPause
		case unknown:
		}
	}
	return again
}

// alone reports whether no primary is there to compare with, and none is about to be: each has been tried, or the time for it
// has passed.
func (s *secondary) alone(waited time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	tried := true
	for _, l := range s.t.links {
		if l.live && l.ready {
			return false
		}
		tried = tried && !l.live && l.reason != ""
	}
	return tried || waited > alonePatience
}
