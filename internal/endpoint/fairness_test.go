package endpoint

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// TestFairness defends I8: a flood of one key leaves the others' latency fine.
// The log behind takes one update a millisecond.
func TestFairness(t *testing.T) {
	w := newWorld(t)
	queue := make(chan func(fsm.Result, error), 10_000)
	w.write = func(_ *fsm.Update, done func(fsm.Result, error)) { queue <- done }
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				select {
				case done := <-queue:
					done(fsm.Result{}, nil)
				default:
				}
			case <-stop:
				for len(queue) > 0 {
					(<-queue)(fsm.Result{}, nil)
				}
				return
			}
		}
	}()
	w.set(func(s *testSettings) {
		z := testZone(t, "example.test.", "key")
		z.AllowUpdate = acl(t, `key "key"; key "other";`)
		s.zones[z.ID.Name] = z
	})
	s := w.start(func(c *Config) {
		c.MaxUpdates, c.MaxUpdatesPerKey, c.QueueTimeout = 20, 2000, 10*time.Second
	})
	flood := testKey(t, "key.", tsig.HMACSHA256)
	c := make([]net.Conn, 16)
	for i := range c {
		c[i] = tcpDial(t, s.Addrs()[0])
		for j := range 100 {
			tcpSend(t, c[i], tsig.SignRequest(updateMsg(t, "example.test.", fmt.Sprintf("h%d.example.test.", j)), flood, time.Now()))
		}
	}
	eventually(t, "the flood waits", func() bool { _, q := s.admission.load(); return q > 1000 })
	other := testKey(t, "other.", tsig.HMACSHA256)
	var worst time.Duration
	for i := range 20 {
		signed := tsig.SignRequest(updateMsg(t, "example.test.", fmt.Sprintf("o%d.example.test.", i)), other, time.Now())
		start := time.Now()
		if got := rcodeOf(udpAsk(t, s.Addrs()[0], signed)); got != 0 {
			t.Fatalf("RCODE %d for the modest key", got)
		}
		worst = max(worst, time.Since(start))
	}
	_, queued := s.admission.load()
	t.Logf("worst latency of the modest key %v with %d of the flood waiting", worst, queued)
	// 20 proposed before it, one a millisecond; behind the flood it would be more than a second.
	if worst > 500*time.Millisecond || queued < 100 {
		t.Errorf("worst latency %v, %d waiting", worst, queued)
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
