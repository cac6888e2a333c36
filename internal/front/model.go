package front

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/backends"
	"github.com/zonekeeper/zonekeeper/internal/front/checks"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/relay"
)

// What can be wrong with this node. Each is a reason for FAULT of its own: the address leaves while any is there.
const (
	faultHAProxy  = "haproxy"
	faultRelay    = "relay"
	faultConflict = "conflict"
	faultDrain    = "drain"
	faultUnheard  = "unheard"
)

// silentFault is how many questions in a row make a HAProxy that runs a fault, and silentRestart how many make it be killed and
// started anew. One may be lost while a process is replaced.
const silentFault, silentRestart = 2, 5

// silence is how many questions in a row a running HAProxy has left unanswered.
type silence int

// heard takes the outcome of a question. It reports whether that outcome counts, and whether HAProxy has to be killed.
func (s *silence) heard(err error, runs bool) (certain, restart bool) {
	if err == nil || !runs {
		*s = 0
		return true, false
	}
	*s++
	return *s >= silentFault, *s%silentRestart == 0
}

// model is what the front knows of its node and of the primaries. It decides, and does nothing; front.mu guards it.
type model struct {
	primaries []backends.Primary
	listed    bool // a list has come
	states    map[string]checks.Change
	faults    map[string]string // reason by what is wrong

	peers      []netip.Addr // the other front nodes
	vip        keepalived.State
	vipSince   time.Time
	score      int       // as keepalived was told it
	yielded    time.Time // the last time it did so; see yields
	yieldUntil time.Time
	draining   bool
}

// notAsked is the first reason of faultConflict and faultUnheard: unlike the others' it ends with an answer, which may be another reason.
const notAsked = "the network has not been asked yet who uses the addresses"

// newModel begins with faults: a part that has not said that it works may not.
func newModel(now time.Time, mode Mode, peers []netip.Addr) *model {
	m := &model{
		states: map[string]checks.Change{}, faults: map[string]string{faultHAProxy: "it has not started yet", faultRelay: "it has not started yet"},
		vipSince: now, peers: peers,
	}
	if mode == ModeVIP {
		m.faults[faultConflict] = notAsked
		m.faults[faultUnheard] = notAsked
	}
	return m
}

// list takes a new list of primaries; what is known of those that stay is kept.
func (m *model) list(primaries []backends.Primary) {
	m.primaries, m.listed = slices.Clone(primaries), true
	maps.DeleteFunc(m.states, func(name string, _ checks.Change) bool { return !m.knows(name) })
}

func (m *model) knows(name string) bool {
	return slices.ContainsFunc(m.primaries, func(p backends.Primary) bool { return p.Name == name })
}

// checked takes news about a primary; a late one, of a primary that has gone, is dropped.
func (m *model) checked(c checks.Change) {
	if m.knows(c.Name) {
		m.states[c.Name] = c
	}
}

// fault notes what is wrong with a part, "" when nothing is; it reports whether that is news.
func (m *model) fault(part, reason string) bool {
	if m.faults[part] == reason {
		return false
	}
	m.faults[part] = reason
	if reason == "" {
		delete(m.faults, part)
	}
	return true
}

// moved takes keepalived's new state.
func (m *model) moved(s keepalived.State, now time.Time) {
	if s != m.vip {
		m.vip, m.vipSince = s, now
	}
}

// local is why this node must not hold the addresses; "" when it may.
func (m *model) local() string {
	var all []string
	for _, part := range slices.Sorted(maps.Keys(m.faults)) {
		all = append(all, part+": "+m.faults[part])
	}
	return strings.Join(all, "; ")
}

// rawScore is the score of this moment, before damping. A primary that is late counts for nothing: to wait until its check has failed
// would keep the addresses at a node that is cut off for longer than clients wait.
func (m *model) rawScore() int {
	states := make(map[string]checks.State, len(m.states))
	for name, c := range m.states {
		if !c.Late {
			states[name] = c.State
		}
	}
	return checks.Score(states)
}

// yieldFor is how long a holder that hears no primary leaves the addresses to others: they take them as soon as they hear of it.
// yieldEvery is how soon it may do that again: primaries that answer late, then in time, then late, must not keep them moving.
const (
	yieldFor   = 300 * time.Millisecond
	yieldEvery = 10 * time.Second
)

// yields says why this node lets go of the addresses for a moment, and for how long; "" when it does not. Told of a lower priority the
// others would wait for three more advertisements before one of them takes the addresses. It is for a moment only, and once: where no
// node hears a primary, one of them has to have the addresses. score is the new one, before it is noted.
func (m *model) yields(now time.Time, score int) (reason string, left time.Duration) {
	switch {
	case score > 0:
		m.yieldUntil = time.Time{}
	case m.score > 0 && m.vip == keepalived.Master && now.Sub(m.yielded) >= yieldEvery:
		m.yielded, m.yieldUntil = now, now.Add(yieldFor)
	}
	if left = m.yieldUntil.Sub(now); left <= 0 {
		return "", 0
	}
	return "no primary answers here; another node may have the addresses", left
}

// upstreams are the relay's. A primary of which nothing is known yet is asked when none is known to be ready: at the start, and when
// all have moved, that is better than to tell clients that there is none.
func (m *model) upstreams(port uint16) []relay.Upstream {
	out := make([]relay.Upstream, 0, len(m.primaries))
	for _, p := range m.primaries {
		u := relay.Upstream{Name: p.Name, DNS: netip.AddrPortFrom(p.Addr, port), Tier: 2}
		c, known := m.states[p.Name]
		switch {
		case c.State == checks.Ready:
			u.Tier = 0
		case c.State == checks.Alive || !known || c.Unheard:
			u.Tier = 1
		}
		out = append(out, u)
	}
	return out
}

// targets are the checker's.
func (m *model) targets(port uint16) []checks.Target {
	out := make([]checks.Target, 0, len(m.primaries))
	for _, p := range m.primaries {
		out = append(out, checks.Target{Name: p.Name, Admin: netip.AddrPortFrom(p.Addr, port)})
	}
	return out
}

// ready is why this node does not serve clients as well as it could; "" when relay and HAProxy work. Not to hold the
// addresses is no reason, nor is a lack of primaries: then it is this node that answers SERVFAIL.
func (m *model) ready() string {
	var all []string
	for _, part := range []string{faultHAProxy, faultRelay, faultDrain} {
		if r := m.faults[part]; r != "" {
			all = append(all, part+": "+r)
		}
	}
	return strings.Join(all, "; ")
}
