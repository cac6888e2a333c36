package secondary

import (
	"context"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	// comparePause is the pause between two zones; compareShare makes it longer for large ones: comparing takes a
	// twentieth of one processor at most.
	comparePause   = 100 * time.Millisecond
	compareShare   = 20
	compareTimeout = time.Minute
)

// compare compares what the own named serves with the replicated state, zone after zone (D7). A zone that differs is
// transferred anew: the files of named have no checksum.
func (s *secondary) compare(ctx context.Context) {
	for {
		if !pause(ctx, comparePause) {
			return
		}
		for _, z := range s.zoneNames() {
			began := time.Now()
			_ = s.compareZone(ctx, z) // what is not known now, another round tells
			if !pause(ctx, max(comparePause, compareShare*time.Since(began))) {
				return
			}
		}
	}
}

// likeness is what a comparison of a zone has found.
type likeness uint8

const (
	unknown likeness = iota // it could not be compared
	right
	wrong
)

func (s *secondary) compareZone(ctx context.Context, z zone.Name) likeness {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	u, serves := s.comparable(z)
	sess, ok := s.named.Session()
	if u == nil || !ok || !serves {
		return unknown
	}
	st := sess.NewStream()
	defer st.Close()
	soa, sum, records, err := st.Digest(ctx, z)
	if err != nil {
		s.log.Debug("compare", "zone", z, "err", err)
		return unknown
	}
	serial := zone.SOASerial(soa.Data)
	should, err := u.client.Digest(ctx, z.String(), serial)
	if adminapi.IsCode(err, adminapi.CodeConflict) {
		// Nothing that the primaries will ever have is newer than this, so it would be served until it expires.
		s.mu.Lock()
		s.t.neverWas(z, serial)
		s.mu.Unlock()
		s.differs(ctx, sess, z, fmt.Sprintf("zone %s had serial %d, which the primaries never had, and was transferred anew", z, serial),
			"serial", serial, "primary", u.name, "err", err)
		return wrong
	}
	if err != nil {
		// It may be too old to be remembered; the next round finds a newer one.
		s.log.Debug("compare", "zone", z, "serial", serial, "primary", u.name, "err", err)
		return unknown
	}
	if should.Digest == sum.String() {
		return right
	}
	s.differs(ctx, sess, z, fmt.Sprintf("zone %s differed from the primaries' at serial %d and was transferred anew", z, serial),
		"serial", serial, "primary", u.name, "records", records, "digest", sum, "right_records", should.Records, "right_digest", should.Digest)
	return wrong
}

// differs has a zone transferred anew whose copy is not right.
func (s *secondary) differs(ctx context.Context, sess *named.Session, z zone.Name, text string, attrs ...any) {
	s.metrics.mismatches.Inc()
	s.log.With(attrs...).Error("a zone differs from the primaries'; it is transferred anew", "zone", z)
	s.problem("content "+z.String(), text)
	if err := sess.Retransfer(ctx, z); err != nil {
		s.log.Warn("retransfer", "zone", z, "err", err)
	}
}

// comparable is the best live primary for the zone, nil when there is none.
func (s *secondary) comparable(z zone.Name) (best *upstream, serves bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.t.zones[z]
	if t == nil {
		return nil, false
	}
	for _, u := range s.upstreams {
		l := s.t.link(u.name)
		serial, has := l.serials[z]
		if l.live && l.ready && has && (best == nil || zone.SerialGT(serial, s.t.link(best.name).serials[z])) {
			best = u
		}
	}
	return best, t.serves
}

// copyOf is the zone as the own named has it, for who compares from outside.
func (s *secondary) copyOf(ctx context.Context, z zone.Name) adminapi.VerifyCopy {
	out := adminapi.VerifyCopy{Server: s.cfg.Name}
	sess, ok := s.session()
	if !ok {
		out.Error = "its named is not running"
		return out
	}
	st := sess.NewStream()
	defer st.Close()
	soa, sum, records, err := st.Digest(ctx, z)
	if err != nil {
		out.Error = fmt.Sprintf("transfer from named: %v", err)
		return out
	}
	out.Serial, out.Records, out.Digest = zone.SOASerial(soa.Data), records, sum.String()
	return out
}
