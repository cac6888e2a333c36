package secondary

import (
	"context"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	// reportEvery is how often a primary gets the status when nothing changes.
	reportEvery   = time.Second
	reportTimeout = 2 * time.Second
	// reportGap is the pause after a report: what is served changes with every update, and a request for each would cost more
	// than the transfer that it tells of.
	reportGap = 20 * time.Millisecond
)

// dirtyLocked has every connected primary told of a zone.
func (s *secondary) dirtyLocked(z zone.Name) {
	for _, u := range s.upstreams {
		if u.gone != nil {
			u.dirty[z] = struct{}{}
			signal(u.work)
		}
	}
}

// reportAllLocked has one primary told everything.
func (s *secondary) reportAllLocked(u *upstream) {
	u.full = true
	for z := range s.t.zones {
		u.dirty[z] = struct{}{}
	}
	signal(u.work)
}

// report tells one primary what is served. One request is under way; what changes meanwhile goes with the next one.
func (s *secondary) report(ctx context.Context, u *upstream) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.work:
		case <-t.C:
		}
		r, ok := s.takeReport(u)
		if !ok {
			continue
		}
		rctx, cancel := context.WithTimeout(ctx, reportTimeout)
		err := u.client.Report(rctx, s.cfg.Name, r)
		cancel()
		s.reported(u, err)
		if err != nil && ctx.Err() == nil {
			s.log.Debug("report", "primary", u.name, "err", err)
			pause(ctx, redial)
			continue
		}
		pause(ctx, reportGap)
	}
}

// takeReport is what the primary does not know yet; false without a stream from it.
func (s *secondary) takeReport(u *upstream) (r adminapi.Report, ok bool) {
	status := s.recentStatus()
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.gone == nil {
		return r, false
	}
	r = adminapi.Report{Instance: s.instance, Full: u.full, Status: status}
	u.full = false
	for n := range u.dirty {
		if len(r.Zones)+len(r.Gone) == adminapi.MaxZonesPerMessage {
			break
		}
		delete(u.dirty, n)
		if z := s.t.zones[n]; z != nil && z.serves {
			r.Zones = append(r.Zones, adminapi.ZoneSerial{Zone: n.String(), Serial: z.served})
		} else {
			r.Gone = append(r.Gone, n.String())
		}
	}
	return r, true
}

// reported: what a failed report said is told again, with everything else.
func (s *secondary) reported(u *upstream, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case u.gone == nil:
	case err != nil:
		s.reportAllLocked(u)
	case len(u.dirty) > 0:
		signal(u.work)
	}
}
