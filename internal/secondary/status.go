package secondary

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/named"
)

// session is the conversation with the running named.
func (s *secondary) session() (*named.Session, bool) {
	if !s.started.Load() {
		return nil, false
	}
	return s.named.Session()
}

// listens reports whether clients reach named.
func (s *secondary) listens() bool {
	sess, ok := s.session()
	return ok && sess.Listening()
}

func (s *secondary) namedState() named.State {
	if !s.started.Load() {
		return named.State{}
	}
	st, _ := s.named.Watch()
	return st
}

var errNotReady = errors.New("not ready")

// notReady says why this secondary should get no queries, nil when it should. What it serves without any live primary is
// what a secondary is for, however old it is.
func (s *secondary) notReady() error {
	st := s.namedState()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notReadyLocked(st, s.t.lag(time.Now()))
}

func (s *secondary) notReadyLocked(st named.State, g lag) error {
	switch {
	case st.Phase != named.Running:
		return fmt.Errorf("%w: named is %s: %s", errNotReady, st.Phase, st.LastExit)
	case !s.listens():
		return fmt.Errorf("%w: zones whose files may be damaged are being compared with the primaries', named does not listen for clients yet", errNotReady)
	case !s.t.zones[s.catalog].serves:
		return fmt.Errorf("%w: the catalog zone %s is not loaded yet: is the key registered with the primaries, and a primary reachable?", errNotReady, s.catalog)
	case g.notServed > 0:
		return fmt.Errorf("%w: %d of %d zones of the catalog are not served yet", errNotReady, g.notServed, g.zones)
	case g.live && g.oldest > time.Duration(s.cfg.MaxLag):
		return fmt.Errorf("%w: %d zones are behind, the oldest change by %s", errNotReady, g.behind, g.oldest.Round(time.Millisecond))
	}
	return nil
}

// statusEvery is how long a status may be told again: making one looks at every zone.
const statusEvery = 100 * time.Millisecond

// recentStatus is a status that may be a moment old.
func (s *secondary) recentStatus() adminapi.SecondaryStatus {
	s.mu.Lock()
	recent, at := s.recent, s.recentAt
	s.mu.Unlock()
	if time.Since(at) < statusEvery {
		return recent
	}
	return s.status()
}

// status is this secondary as it sees itself.
func (s *secondary) status() adminapi.SecondaryStatus {
	st := s.namedState()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.t.lag(now)
	out := adminapi.SecondaryStatus{
		Name: s.cfg.Name, Version: s.version, PID: os.Getpid(), Admin: cmp.Or(s.cfg.Admin.Advertise, s.cfg.Admin.Listen),
		DNS: slices.Concat(s.cfg.DNS.Listen, s.cfg.DNS.ListenProxy),
		Named: adminapi.NamedStatus{
			Running: st.Phase == named.Running, PID: st.PID, Restarts: int(st.Exits), LastError: st.LastExit, //nolint:gosec // a count
		},
		Zones: g.zones, ZonesBehind: g.behind, ZonesNotServed: g.notServed, LagMS: g.oldest.Milliseconds(),
		AsOf: s.t.asOf, SkewMS: s.skewLocked().Milliseconds(), Transfers: s.counts,
		Primaries: s.linksLocked(), Problems: s.problems.list(now),
	}
	if s.started.Load() {
		out.Named.Version = s.named.Build().String()
	}
	if err := s.notReadyLocked(st, g); err != nil {
		out.Reason = err.Error()
	}
	out.Ready = out.Reason == ""
	if h := s.hold; h != nil {
		held := *h
		out.Held = &held
		out.Problems = append(out.Problems, fmt.Sprintf("serial %d of the catalog would remove %d of %d zones and is held; if that is meant: %s",
			h.Serial, h.Removed, h.Members, confirmCommand(h.Serial)))
	}
	if !g.live {
		text := "no primary is live"
		if !s.t.asOf.IsZero() {
			text += ": stale since " + s.t.asOf.UTC().Format(time.RFC3339)
		}
		out.Problems = append(out.Problems, text)
	}
	s.recent, s.recentAt = out, now
	return out
}

func (s *secondary) linksLocked() []adminapi.PrimaryLink {
	out := make([]adminapi.PrimaryLink, len(s.upstreams))
	for i, u := range s.upstreams {
		l := s.t.link(u.name)
		out[i] = adminapi.PrimaryLink{Name: u.name, DNS: u.dns, Live: l.live, Ready: l.ready, Reason: l.reason, ZonesBehind: s.t.linkBehind(l)}
	}
	return out
}
