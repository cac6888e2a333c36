package primary

import (
	"errors"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/propagation"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// TestGuarantee: what an update waits for, and with what it is answered.
func TestGuarantee(t *testing.T) {
	r := newHubRig(t)
	r.apply(&fsm.PutKey{Name: zone.MustParseName("k."), Algorithm: "hmac-sha256", Version: 3, Sealed: []byte("x"), SecretID: [16]byte{3}},
		&fsm.PutKey{Name: zone.MustParseName("s2."), Algorithm: "hmac-sha256", Version: 4, Sealed: []byte("x"), SecretID: [16]byte{4}},
		&fsm.PutSecondary{Name: "s2", Key: zone.MustParseName("s2.")},
		&fsm.PutKeyGuarantee{Key: zone.MustParseName("k."), Guarantee: fsm.Guarantee{Secondaries: 2, LimitMS: 1}})
	r.add("plain.test", fsm.ZoneSettings{})
	r.add("one.test", fsm.ZoneSettings{Guarantee: fsm.Guarantee{Secondaries: 1}})
	r.add("short.test", fsm.ZoneSettings{Guarantee: fsm.Guarantee{Secondaries: 1, LimitMS: 1}})
	r.add("hidden.test", fsm.ZoneSettings{AllowQuery: "none;", Guarantee: fsm.Guarantee{Secondaries: 1}})
	r.tracker.Register([]string{"s0", "s2"})
	served := func(z string, serial uint32) {
		t.Helper()
		if err := r.tracker.Report("s0", "x", true, []propagation.Serial{{Zone: zone.MustParseName(z), Serial: serial}}, nil); err != nil {
			t.Fatal(err)
		}
	}

	type answer struct {
		res fsm.Result
		err error
	}
	failed := errors.New("failed")
	for _, c := range []struct {
		what      string
		zone, key string
		res       fsm.Result
		err       error
		report    string // zone that a secondary serves with serial 5 after the result
		waits     bool   // no answer before that
		text      string
	}{
		{what: "no guarantee", zone: "plain.test", res: fsm.Result{Serial: 5}},
		{what: "unknown zone", zone: "none.test", key: "k.", res: fsm.Result{RCode: 9}},
		{what: "the zone's, kept", zone: "one.test", res: fsm.Result{Serial: 5}, report: "one.test", waits: true},
		{what: "served already, as a duplicate or a no-op is", zone: "one.test", res: fsm.Result{Serial: 5, Duplicate: true}},
		{what: "the zone's, not kept", zone: "short.test", res: fsm.Result{Serial: 5}, text: "durable; served by 0 of 1 secondaries"},
		{what: "the key's, where the zone's is weaker", zone: "one.test", key: "k.", res: fsm.Result{Serial: 5}, text: "durable; served by 1 of 2 secondaries"},
		{what: "the key's alone", zone: "plain.test", key: "k.", res: fsm.Result{Serial: 5}, text: "durable; served by 0 of 2 secondaries"},
		{what: "refused", zone: "one.test", res: fsm.Result{RCode: 5, EDE: 18, Text: "no"}, text: "no"},
		{what: "revoked", zone: "one.test", res: fsm.Result{TSIGError: 17}},
		{what: "expired", zone: "one.test", res: fsm.Result{Expired: true}},
		{what: "in doubt", zone: "one.test", err: failed},
		{what: "a zone that no secondary serves", zone: "hidden.test", res: fsm.Result{Serial: 5},
			text: "durable; secondaries do not serve this zone, whose allow-query does not admit everyone"},
	} {
		got := make(chan answer, 2)
		u := &fsm.Update{Wire: named.AppendUpdate(nil, 1, zone.MustParseName(c.zone), nil, nil)}
		if c.key != "" {
			u.KeyName = zone.MustParseName(c.key)
		}
		done := withGuarantee(u, r.m.Settings(), r.tracker, func(res fsm.Result, err error) { got <- answer{res, err} })
		u.Wire, u.KeyName = nil, "" // it belongs to the replica
		done(c.res, c.err)
		if c.waits && len(got) != 0 {
			t.Errorf("%s: answered before a secondary serves it", c.what)
		}
		if c.report != "" {
			served(c.report, 4)
			if c.waits && len(got) != 0 {
				t.Errorf("%s: answered when a secondary serves an older serial", c.what)
			}
			served(c.report, 5)
		}
		want := answer{c.res, c.err}
		if c.text != "" {
			want.res.Text = c.text
		}
		select {
		case a := <-got:
			if a != want {
				t.Errorf("%s: answered %+v, want %+v", c.what, a, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no answer", c.what)
		}
	}
	// Without a secondary of ours there is nobody to wait for.
	m := fsm.New()
	calls := 0
	withGuarantee(&fsm.Update{}, m.Settings(), r.tracker, func(fsm.Result, error) { calls++ })(fsm.Result{}, nil)
	if calls != 1 {
		t.Errorf("done was called %d times", calls)
	}
}
