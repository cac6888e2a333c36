package fsm

import (
	"bytes"
	"strings"
	"testing"
)

// TestRate: a key's rate is kept through rotations and checkpoints, an entry tells how many updates of each group it had, and a state without rates is written
// as before there were any.
func TestRate(t *testing.T) {
	c, _, v := standard(t)
	m := c.machines[0]
	refuse := func(cmd *PutKeyRate, want string) {
		t.Helper()
		if r := c.apply(cmd).Results[0]; !strings.Contains(r.Err, want) {
			t.Errorf("%+v: %q, want %q", cmd, r.Err, want)
		}
	}
	k := mustName("k.")
	refuse(&PutKeyRate{Key: mustName("none."), Rate: Rate{"a", 1}}, "does not exist")
	refuse(&PutKeyRate{Key: k, Rate: Rate{"a", 0}}, "give both, or neither")
	refuse(&PutKeyRate{Key: k, Rate: Rate{"", 1}}, "give both, or neither")
	refuse(&PutKeyRate{Key: k, Rate: Rate{"a", 1_000_001}}, "at most 1000000")
	refuse(&PutKeyRate{Key: k, Rate: Rate{strings.Repeat("a", 256), 1}}, "256 octets")
	refuse(&PutKeyRate{Key: k, Rate: Rate{"ä", 1}}, "printable")
	refuse(&PutKeyRate{Key: k, Rate: Rate{"a", 1}, Actor: Actor{By: "operator"}}, "managed by nobody")

	wire := func(host string) []byte {
		return updateWire(t, "example.test", "add "+host+".example.test. 60 A 192.0.2.9")
	}
	if eff := c.apply(c.signed("k.", v, wire("a"))); len(eff.Rated) != 0 {
		t.Errorf("without a rate: %+v", eff.Rated)
	}
	c.must(&PutKeyRate{Key: k, Rate: Rate{"tenant a", 100}})
	if got := m.Settings().Key(k).Rate; got != (Rate{"tenant a", 100}) {
		t.Errorf("the settings show %+v", got)
	}
	first := c.signed("k.", v, wire("b"))
	if eff := c.apply(first, c.signed("k.", v, wire("c"))); len(eff.Rated) != 1 || eff.Rated[0] != (RatedUpdates{"tenant a", 2}) {
		t.Errorf("two updates: %+v", eff.Rated)
	}
	if eff := c.apply(first); len(eff.Rated) != 0 || !eff.Results[0].Duplicate {
		t.Errorf("one that was answered: %+v, %+v", eff.Rated, eff.Results)
	}
	c.must(&PutKey{Name: k, Algorithm: "hmac-sha256", Version: 1000, Sealed: []byte("x"), SecretID: [16]byte{77}, Rotate: true})
	var text bytes.Buffer
	if _, err := m.Snapshot().WriteCheckpoint(&text); err != nil {
		t.Fatal(err)
	}
	again, err := Restore(bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Settings().Key(k).Rate; got != (Rate{"tenant a", 100}) || again.Snapshot().Digest() != m.Snapshot().Digest() {
		t.Errorf("restored: %+v", got)
	}
	c.must(&PutKeyRate{Key: k})
	if got := m.Settings().Key(k).Rate; got != (Rate{}) {
		t.Errorf("taken away: %+v", got)
	}
}
