package endpoint

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// TestQuotaOfPrimaries: primaries that see each other's updates a little later let through together what one alone would, wherever clients go.
func TestQuotaOfPrimaries(t *testing.T) {
	const perSecond, seconds = 100, 20
	for name, share := range map[string][3]int{"one takes all": {900, 0, 0}, "evenly": {300, 300, 300}, "unevenly": {700, 150, 50}} {
		var all [3]quotas
		for i := range all {
			all[i].groups = map[string]*bucket{}
		}
		now, taken := time.Unix(1000, 0), 0
		const step, delay = 10 * time.Millisecond, 3 // steps until an update is seen in the log
		seen := make([][3]int, seconds*100+delay+1)
		for s := range seconds * 100 {
			for i := range all {
				for j, n := range seen[s] {
					if i != j && n > 0 {
						all[i].charge("a", n, now)
					}
				}
			}
			for i, each := range share {
				for range each / 100 {
					if all[i].take("a", perSecond, now) {
						taken++
						seen[s+delay][i]++
					}
				}
			}
			now = now.Add(step)
		}
		// A second's worth at each at the beginning, and what was on its way.
		if want := perSecond * seconds; taken < want*95/100 || taken > want*105/100+3*perSecond {
			t.Errorf("%s: %d updates in %d s, want about %d", name, taken, seconds, want)
		}
	}
}

// TestBucket: a changed bound counts at once, a debt has an end, and a clock that goes back harms nothing.
func TestBucket(t *testing.T) {
	q := quotas{groups: map[string]*bucket{}}
	now := time.Unix(1000, 0)
	count := func(perSecond int) (n int) {
		for q.take("a", perSecond, now) {
			n++
		}
		return n
	}
	if n := count(10); n != 10 {
		t.Errorf("at first %d", n)
	}
	if n := count(20); n != 0 {
		t.Errorf("a greater bound fills the bucket by %d", n)
	}
	now = now.Add(time.Second)
	if n := count(20); n != 20 {
		t.Errorf("after a second %d", n)
	}
	q.charge("a", 1000, now)
	q.charge("unknown", 1, now)
	now = now.Add(2 * time.Second)
	if n := count(20); n != 20 {
		t.Errorf("two seconds after a flood elsewhere %d", n)
	}
	now = now.Add(-time.Hour)
	if n := count(20); n != 0 {
		t.Errorf("an hour back %d", n)
	}
	now = now.Add(time.Second / 2)
	if n := count(20); n != 10 {
		t.Errorf("half a second on %d", n)
	}
	if n := count(5); n != 0 {
		t.Errorf("with a smaller bound %d", n)
	}
}

// TestQuota: what is beyond the bound gets a signed SERVFAIL that says so and is not proposed; others are not held up, and one that was carried out
// before gets that answer.
func TestQuota(t *testing.T) {
	w := newWorld(t)
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	k, other := testKey(t, "key.", tsig.HMACSHA256), testKey(t, "other.", tsig.HMACSHA256)
	w.set(func(s *testSettings) {
		z := testZone(t, "example.test.", "key")
		z.AllowUpdate = acl(t, `key "key"; key "other";`)
		s.zones[z.ID.Name] = z
		s.rates = map[zone.Name]int{k.Name.Canonical(): 3}
	})
	var again atomic.Bool
	s := w.start(func(c *Config) {
		c.Now = func() time.Time { return time.Unix(0, clock.Load()) }
		c.Answered = func(uint64, uint16, fsm.Fingerprint) (fsm.Result, bool) { return fsm.Result{RCode: 8}, again.Load() }
	})
	c := tcpDial(t, s.Addrs()[0])
	ask := func(key tsig.Key, host string) (rcode int, text string) {
		t.Helper()
		tcpSend(t, c, tsig.SignRequest(updateMsg(t, "example.test.", host+".example.test.", withEDNS), key, time.Now()))
		reply := tcpRead(t, c)
		_, text = edeOf(t, reply)
		return rcodeOf(reply), text
	}
	for i := range 3 {
		if rcode, text := ask(k, fmt.Sprint("a", i)); rcode != 0 {
			t.Errorf("update %d: RCODE %d %s", i, rcode, text)
		}
	}
	rcode, text := ask(k, "b")
	if rcode != 2 || !strings.Contains(text, `quota of "key.": more than 3 updates a second with its keys, the update was not applied: retry later`) {
		t.Errorf("the fourth: RCODE %d %q", rcode, text)
	}
	if n := len(w.updates()); n != 3 {
		t.Errorf("%d updates were proposed", n)
	}
	if rcode, text := ask(other, "c"); rcode != 0 {
		t.Errorf("another key: RCODE %d %s", rcode, text)
	}
	again.Store(true)
	if rcode, _ := ask(k, "d"); rcode != 8 {
		t.Errorf("one that was carried out before: RCODE %d", rcode)
	}
	again.Store(false)
	clock.Add(int64(time.Second))
	s.Charge("key.", 2)
	if rcode, text := ask(k, "e"); rcode != 0 {
		t.Errorf("a second later, with two taken elsewhere: RCODE %d %s", rcode, text)
	}
	if rcode, _ := ask(k, "f"); rcode != 2 {
		t.Errorf("the next: RCODE %d", rcode)
	}
}
