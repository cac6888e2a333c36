package front

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/backends"
	"github.com/zonekeeper/zonekeeper/internal/front/checks"
	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
)

// three primaries of which nothing is known yet.
func three() []backends.Primary {
	var l []backends.Primary
	for i := range 3 {
		l = append(l, backends.Primary{Name: fmt.Sprintf("primary-%d", i), Addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + i)})})
	}
	return l
}

// sound is a model without faults.
func sound(mode Mode) *model {
	m := newModel(time.Unix(0, 0), mode, nil)
	clear(m.faults)
	m.list(three())
	return m
}

func states(m *model, list ...checks.State) {
	for i, s := range list {
		reason := ""
		if s != checks.Ready {
			reason = "it is " + s.String()
		}
		m.checked(checks.Change{Name: fmt.Sprintf("primary-%d", i), State: s, Reason: reason})
	}
}

// TestModelScoresAndTiers: what primaries are is what the relay asks and what this node is worth.
func TestModelScoresAndTiers(t *testing.T) {
	for name, tc := range map[string]struct {
		states []checks.State
		score  int
		tiers  string
	}{
		"nothing known":  {nil, 0, "1 1 1"},
		"all ready":      {[]checks.State{checks.Ready, checks.Ready, checks.Ready}, 2, "0 0 0"},
		"one ready":      {[]checks.State{checks.Down, checks.Alive, checks.Ready}, 2, "2 1 0"},
		"alive only":     {[]checks.State{checks.Alive, checks.Down, checks.Down}, 1, "1 2 2"},
		"all down":       {[]checks.State{checks.Down, checks.Down, checks.Down}, 0, "2 2 2"},
		"partly unknown": {[]checks.State{checks.Ready}, 2, "0 1 1"},
	} {
		m := sound(ModeVIP)
		states(m, tc.states...)
		if m.rawScore() != tc.score {
			t.Errorf("%s: score %d, want %d", name, m.rawScore(), tc.score)
		}
		var tiers []string
		for i, u := range m.upstreams(53) {
			tiers = append(tiers, fmt.Sprint(u.Tier))
			if u.DNS != netip.AddrPortFrom(three()[i].Addr, 53) || u.Name != three()[i].Name {
				t.Errorf("%s: upstream %+v", name, u)
			}
		}
		if got := strings.Join(tiers, " "); got != tc.tiers {
			t.Errorf("%s: tiers %s, want %s", name, got, tc.tiers)
		}
	}
	for _, x := range sound(ModeVIP).targets(8443) {
		if x.Admin.Port() != 8443 {
			t.Errorf("target %+v", x)
		}
	}
}

// TestModelList: a new list keeps what is known of those that stay, and forgets the others for good.
func TestModelList(t *testing.T) {
	m := sound(ModeVIP)
	states(m, checks.Ready, checks.Ready, checks.Ready)
	m.list(three()[1:])
	m.checked(checks.Change{Name: "primary-0", State: checks.Ready}) // a late word of one that has gone
	m.list(three())
	if got := fmt.Sprint(m.states["primary-0"].State, m.states["primary-1"].State); got != "down ready" {
		t.Errorf("after it came back: %s", got)
	}
}

// TestModelFaults: each part keeps the address away by itself, until it says that it works.
func TestModelFaults(t *testing.T) {
	m := newModel(time.Unix(0, 0), ModeVIP, nil)
	for _, part := range []string{faultHAProxy, faultRelay, faultConflict, faultUnheard} {
		if !strings.Contains(m.local(), part+": ") {
			t.Errorf("at the start %s is no fault: %q", part, m.local())
		}
		if !m.fault(part, "") || m.fault(part, "") {
			t.Errorf("%s: that it works is news once", part)
		}
	}
	if m.local() != "" || m.ready() != "" {
		t.Fatalf("a sound node: %q, %q", m.local(), m.ready())
	}
	for part, ready := range map[string]bool{faultHAProxy: false, faultRelay: false, faultDrain: false, faultConflict: true, faultUnheard: true} {
		if !m.fault(part, "broken") || m.fault(part, "broken") {
			t.Errorf("%s: that it is broken is news once", part)
		}
		if m.local() != part+": broken" {
			t.Errorf("local is %q", m.local())
		}
		if (m.ready() == "") != ready {
			t.Errorf("%s: ready %q", part, m.ready())
		}
		m.fault(part, "")
	}
	if m := newModel(time.Unix(0, 0), ModeService, nil); m.faults[faultConflict] != "" || m.faults[faultUnheard] != "" {
		t.Error("nobody asks who has the address outside mode vip")
	}
}

func TestModelMoves(t *testing.T) {
	m := newModel(time.Unix(0, 0), ModeVIP, nil)
	for i, s := range []keepalived.State{keepalived.Fault, keepalived.Backup, keepalived.Backup, keepalived.Master} {
		m.moved(s, time.Unix(int64(i), 0))
	}
	if m.vip != keepalived.Master || m.vipSince != time.Unix(3, 0) {
		t.Errorf("%v since %v", m.vip, m.vipSince)
	}
	m.moved(keepalived.Master, time.Unix(9, 0))
	if m.vipSince != time.Unix(3, 0) {
		t.Errorf("the same state began again at %v", m.vipSince)
	}
}

// TestSilence: a process that is gone counts at once; one that is silent the second time; and one that stays so is killed again and again.
func TestSilence(t *testing.T) {
	bad := errors.New("no answer")
	var s silence
	for i, step := range []struct {
		err              error
		runs             bool
		certain, restart bool
	}{
		{nil, true, true, false},
		{bad, true, false, false},
		{nil, true, true, false}, // one is forgiven
		{bad, false, true, false},
		{bad, true, false, false},
		{bad, true, true, false},
		{bad, true, true, false},
		{bad, true, true, false},
		{bad, true, true, true},
		{bad, true, true, false},
		{bad, true, true, false},
		{bad, true, true, false},
		{bad, true, true, false},
		{bad, true, true, true},
		{nil, true, true, false},
	} {
		if certain, restart := s.heard(step.err, step.runs); certain != step.certain || restart != step.restart {
			t.Errorf("step %d: certain %t, restart %t", i, certain, restart)
		}
	}
}

// TestStatusSummary: the first sentence says what is wrong, the worst first.
func TestStatusSummary(t *testing.T) {
	servers := []haproxy.Server{
		{Backend: haproxy.BackendAlive, Name: "primary-1", Status: "UP"},
		{Backend: haproxy.Backend, Name: "primary-1", Status: "DOWN", Reason: "L7STS 503"},
	}
	for name, tc := range map[string]struct {
		edit    func(*model)
		healthy bool
		want    string
	}{
		"ready":        {func(m *model) { states(m, checks.Ready, checks.Down, checks.Alive) }, true, "this node works; 1 of 3 primaries are ready"},
		"none ready":   {func(m *model) { states(m, checks.Alive, checks.Down) }, false, "no primary is ready: primary-0: it is alive; primary-1: it is down; primary-2: it has not been asked yet"},
		"none known":   {func(m *model) { m.list(nil) }, false, "no primary is known yet"},
		"fault":        {func(m *model) { states(m, checks.Ready); m.fault(faultRelay, "silent") }, false, "relay: silent"},
		"faults, both": {func(m *model) { m.fault(faultRelay, "silent"); m.fault(faultConflict, "x has it") }, false, "conflict: x has it; relay: silent"},
	} {
		m := sound(ModeVIP)
		tc.edit(m)
		s := m.status(servers)
		if s.Healthy != tc.healthy || s.Summary != tc.want {
			t.Errorf("%s: healthy %t: %q, want %q", name, s.Healthy, s.Summary, tc.want)
		}
		if len(s.Faults) != len(m.faults) || len(s.Primaries) != len(m.primaries) {
			t.Errorf("%s: %+v", name, s)
		}
		for _, p := range s.Primaries {
			if (p.Name == "primary-1") != (p.HAProxy == "DOWN" && p.HAProxyReason == "L7STS 503") {
				t.Errorf("%s: HAProxy's view of %+v", name, p)
			}
		}
	}
}

// TestModelYields: a holder that hears no primary any more lets go once, for a moment; nobody else does.
func TestModelYields(t *testing.T) {
	m := sound(ModeVIP)
	now := time.Unix(1000, 0)
	tell := func(what string, after time.Duration, score int, want time.Duration) {
		t.Helper()
		now = now.Add(after)
		reason, left := m.yields(now, score)
		m.score = score
		if left != want || (reason != "") != (want > 0) {
			t.Errorf("%s: %q for %v, want %v", what, reason, left, want)
		}
	}
	tell("a backup rises", 0, 2, 0)
	tell("a backup falls", time.Second, 0, 0)
	m.moved(keepalived.Master, now)
	tell("it became the holder without a primary", time.Second, 0, 0)
	tell("the holder rises", time.Second, 2, 0)
	tell("a primary answers that it is not ready", time.Second, 1, 0)
	tell("the holder falls", time.Second, 0, yieldFor)
	m.moved(keepalived.Fault, now)
	tell("it has let go", 100*time.Millisecond, 0, yieldFor-100*time.Millisecond)
	tell("it may hold them again", yieldFor, 0, 0)
	m.moved(keepalived.Master, now)
	tell("it has to, because nobody else did", time.Second, 0, 0)
	tell("the holder rises again", time.Second, 2, 0)
	tell("and falls too soon", time.Second, 0, 0)
	tell("it rises once more", time.Second, 2, 0)
	tell("and falls much later", yieldEvery, 0, yieldFor)
	tell("a primary came back meanwhile", 10*time.Millisecond, 1, 0)
}
