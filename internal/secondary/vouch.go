package secondary

import (
	"context"
	"fmt"
	"time"

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
	all := s.zoneNames()
	left, others := sess.Doubtful(all)
	if len(others) > 0 {
		left = all // whose they are is not known
	}
	doubtful := len(left)
	for {
		var every time.Duration
		left, every = s.compareAll(ctx, left)
		waited := time.Since(began)
		alone := s.alone(waited)
		if len(left) > 0 && !alone && waited < doubtPatience {
			if !s.still(ctx, sess, every) {
				return
			}
			continue
		}
		err := sess.Open(ctx)
		if err == nil {
			break
		}
		s.log.Warn("clients do not reach named yet", "err", err)
		if !s.still(ctx, sess, time.Second) {
			return
		}
	}
	if len(left) > 0 {
		s.log.Warn("zones are served whose files may be damaged: no primary could be asked", "zones", len(left), "first", left[0])
	}
	s.log.Info("named listens for clients", "compared", doubtful-len(left), "after", time.Since(began))
	s.wake()
}

// compareAll returns the zones that are not known to be right, and when to look at them again.
func (s *secondary) compareAll(ctx context.Context, zones []zone.Name) (left []zone.Name, again time.Duration) {
	again = vouchEvery
	for _, z := range zones {
		if !s.isMember(z) {
			continue
		}
		cctx, cancel := context.WithTimeout(ctx, vouchTimeout)
		like := s.compareZone(cctx, z)
		cancel()
		if like == wrong {
			again = wrongPause
		}
		if like != right {
			left = append(left, z)
		}
	}
	return left, again
}

func (s *secondary) isMember(z zone.Name) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.t.zones[z] != nil
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
