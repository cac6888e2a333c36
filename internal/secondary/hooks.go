package secondary

import (
	"errors"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/secondary/guard"
	"github.com/zonekeeper/zonekeeper/internal/secondary/proxy"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// This file is what the proxy asks and tells. It calls from many goroutines, and nothing here waits.

// choose implements proxy.Config.Choose.
func (s *secondary) choose(z zone.Name) []proxy.Primary {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	newest, _ := s.t.newest(z)
	all := make([]candidate, len(s.upstreams))
	for i, u := range s.upstreams {
		l := s.t.link(u.name)
		serial, has := l.serials[z]
		all[i] = candidate{
			name: u.name, addr: u.addr(), live: l.live, gone: u.gone,
			current: l.live && l.ready && has && zone.SerialGE(serial, newest),
			failed:  now.Sub(u.failed) < failedFor,
		}
	}
	return choose(z, all)
}

// failedFor is how long a primary that failed comes last.
const failedFor = 2 * time.Second

// floor implements proxy.Config.Floor.
func (s *secondary) floor(z zone.Name) (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.t.zones[z]; t != nil {
		return t.floor, t.hasFloor
	}
	return 0, false
}

// news implements proxy.Config.News.
func (s *secondary) news(z zone.Name) (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.t.news(z)
}

// screen implements proxy.Config.Screen: what the guard lets pass becomes the set of members.
func (s *secondary) screen(query []byte, msgs [][]byte) error {
	c, err := xfr.Decode(query, msgs)
	if err != nil {
		return err
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	removals := len(s.guard.Window())
	v, err := s.guard.Judge(s.catalog, c, s.confirmed, now)
	switch {
	case err != nil:
		s.counts.Refused++
		signal(s.reload)
		return err
	case !v.Pass:
		s.counts.Refused++
		s.heldLocked(v, now)
		return fmt.Errorf("%w: %s", errHeld, v.Reason)
	}
	if s.hold != nil {
		s.log.Info("the catalog is no longer held", "serial", v.Serial)
		s.hold, s.t.held = nil, false
	}
	if len(s.guard.Window()) != removals {
		signal(s.save)
	}
	s.setMembersLocked(now)
	return nil
}

var errHeld = errors.New("the catalog is held")

func (s *secondary) heldLocked(v guard.Verdict, now time.Time) {
	if s.hold == nil || s.hold.Serial != v.Serial {
		s.log.Error("the catalog is held; its zones stay. If the removal is meant, run: "+confirmCommand(v.Serial), //nolint:sloglint // the command is to be copied
			"reason", v.Reason, "serial", v.Serial, "members", v.Members, "removed", v.Removed)
		since := now
		if s.hold != nil {
			since = s.hold.Since
		}
		s.hold = &adminapi.CatalogHold{Serial: v.Serial, Members: v.Members, Removed: v.Removed, Since: since}
	}
	s.t.held = true
}

func confirmCommand(serial uint32) string {
	return fmt.Sprintf("zonekeeper catalog confirm --serial %d", serial)
}

// setMembersLocked makes the guard's members those that are tracked.
func (s *secondary) setMembersLocked(now time.Time) {
	left, came := s.t.setMembers(now, s.guard.Members())
	for _, z := range left {
		s.dirtyLocked(z)
	}
	for _, z := range came {
		s.pursueLocked(z, 0)
	}
	s.wake()
}

// transferred implements proxy.Config.Done.
func (s *secondary) transferred(z zone.Name, to uint32, how proxy.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch how {
	case proxy.Incremental:
		s.counts.IXFR++
	case proxy.Full:
		s.counts.AXFR++
	case proxy.UpToDate:
		s.counts.UpToDate++
	}
	s.pursueLocked(z, to)
}

// failed implements proxy.Config.Failed.
func (s *secondary) failed(primary string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Failovers++
	for _, u := range s.upstreams {
		if u.name == primary && !proxy.OfZone(err) {
			u.failed = time.Now()
			signal(u.resolve)
		}
	}
	var answer *proxy.AnswerError
	switch {
	case errors.As(err, &answer) && answer.TSIG != 0, errors.Is(err, proxy.ErrBehind):
		s.problemLocked(primary, fmt.Sprintf("%s: %v", primary, err))
	default:
		s.log.Debug("a primary failed", "primary", primary, "err", err)
	}
}
