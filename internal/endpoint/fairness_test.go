package endpoint

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// holder is a log that answers when it is told to.
type holder struct {
	mu   sync.Mutex
	held []heldUpdate
}

type heldUpdate struct {
	key  zone.Name
	done func(fsm.Result, error)
}

func (h *holder) write(u *fsm.Update, done func(fsm.Result, error)) {
	h.mu.Lock()
	h.held = append(h.held, heldUpdate{u.KeyName, done})
	h.mu.Unlock()
}

// release answers the n updates that were proposed first.
func (h *holder) release(n int) { h.answer(n, nil) }

func (h *holder) answer(n int, err error) {
	h.mu.Lock()
	out := h.held[:min(n, len(h.held))]
	h.held = h.held[len(out):]
	h.mu.Unlock()
	for _, u := range out {
		u.done(fsm.Result{}, err)
	}
}

// releaseKey answers what the key has proposed, and returns how many that were.
func (h *holder) releaseKey(key zone.Name) (n int) {
	h.mu.Lock()
	var out []heldUpdate
	h.held = slices.DeleteFunc(h.held, func(u heldUpdate) bool {
		if u.key == key {
			out = append(out, u)
		}
		return u.key == key
	})
	h.mu.Unlock()
	for _, u := range out {
		u.done(fsm.Result{}, nil)
	}
	return len(out)
}

// TestFairness defends I8: behind a flood of one key with more than a thousand
// updates waiting, another key's update is proposed among the next two.
func TestFairness(t *testing.T) {
	w := newWorld(t)
	log := new(holder)
	w.write = log.write
	t.Cleanup(func() { log.release(len(w.updates())) })
	w.set(func(s *testSettings) {
		z := testZone(t, "example.test.", "key")
		z.AllowUpdate = acl(t, `key "key"; key "other";`)
		s.zones[z.ID.Name] = z
	})
	s := w.start(func(c *Config) {
		c.MaxUpdates, c.MaxUpdatesPerKey, c.QueueTimeout = 20, 2000, time.Hour
	})
	flood, other := testKey(t, "key.", tsig.HMACSHA256), testKey(t, "other.", tsig.HMACSHA256)
	for i := range 16 {
		c := tcpDial(t, s.Addrs()[0])
		for j := range 100 {
			tcpSend(t, c, tsig.SignRequest(updateMsg(t, "example.test.", fmt.Sprintf("h%d-%d.example.test.", i, j)), flood, time.Now()))
		}
	}
	eventually(t, "the flood waits", func() bool { n, q := s.admission.load(); return n == 20 && q == 1580 })
	waiting := 1580
	for i := range 20 {
		c := tcpDial(t, s.Addrs()[0])
		tcpSend(t, c, tsig.SignRequest(updateMsg(t, "example.test.", fmt.Sprintf("o%d.example.test.", i)), other, time.Now()))
		eventually(t, "the modest key's update waits", func() bool { _, q := s.admission.load(); return q == waiting+1 })
		log.release(2)
		if n := log.releaseKey(other.Name); n != 1 {
			t.Fatalf("round %d: %d of the modest key's updates proposed", i, n)
		}
		if got := rcodeOf(tcpRead(t, c)); got != 0 {
			t.Errorf("RCODE %d", got)
		}
		waiting -= 2 // two places came free for the flood: one of the two released, and the modest one's own
	}
	if n, q := s.admission.load(); n != 20 || q != waiting {
		t.Errorf("%d proposed and %d waiting, want 20 and %d", n, q, waiting)
	}
}

// TestOverload: too much from one key is a fast SERVFAIL that says so, and what
// waits too long as well; neither was proposed.
func TestOverload(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var held []func(fsm.Result, error)
	w.write = func(_ *fsm.Update, done func(fsm.Result, error)) {
		mu.Lock()
		held = append(held, done)
		mu.Unlock()
	}
	s := w.start(func(c *Config) { c.MaxUpdates, c.MaxUpdatesPerKey, c.QueueTimeout = 2, 4, 200*time.Millisecond })
	k := testKey(t, "key.", tsig.HMACSHA256)
	c := tcpDial(t, s.Addrs()[0])
	for i := range 6 { // 2 proposed, 2 wait, 2 too many
		msg := withID(updateMsg(t, "example.test.", fmt.Sprintf("h%d.example.test.", i), withEDNS), uint16(i))
		tcpSend(t, c, tsig.SignRequest(msg, k, time.Now()))
	}
	for range 4 { // the two too many at once, the two that wait after a while
		reply := tcpRead(t, c)
		m := unpack(t, reply)
		ede, text := edeOf(t, reply)
		if m.Rcode != 2 || m.Id < 2 || ede != 0 || !strings.Contains(text, "not applied") {
			t.Errorf("answer %d, RCODE %d, EDE %d %q", m.Id, m.Rcode, ede, text)
		}
	}
	if n := len(w.updates()); n != 2 {
		t.Errorf("%d updates proposed", n)
	}
	mu.Lock()
	for _, done := range held {
		done(fsm.Result{}, nil)
	}
	mu.Unlock()
	for range 2 {
		if got := rcodeOf(tcpRead(t, c)); got != 0 {
			t.Errorf("RCODE %d", got)
		}
	}
}

// TestSecondLooksAreShared: a thousand bad keys cost few refreshes.
func TestSecondLooksAreShared(t *testing.T) {
	w := newWorld(t)
	gate := make(chan struct{})
	var once sync.Once
	w.refresh = func(context.Context) error { <-gate; return nil }
	s := w.start(nil)
	signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), testKey(t, "nobody.", tsig.HMACSHA256), time.Now())
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			reply, err := udpTry(s.Addrs()[0], signed, testTimeout)
			if err != nil || rcodeOf(reply) != 9 {
				t.Errorf("answer: %v", err)
			}
		})
	}
	eventually(t, "someone looks", func() bool { return w.refreshes.Load() > 0 })
	once.Do(func() { close(gate) })
	wg.Wait()
	if n := w.refreshes.Load(); n > 50 {
		t.Errorf("%d refreshes for 200 requests", n)
	}
}
