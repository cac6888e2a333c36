package propagation

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// addresses is how many names a client gives an address in turn: zones keep their size.
const addresses = 50

// load updates zones and tells a watcher what was acknowledged.
//
// Each update moves the zone's serial by one, at BIND as in a cluster, so the n-th acknowledgement says that the zone has the
// serial n above the one that it began with. With several clients a zone this is what it has at least: an answer may overtake
// another. check says in the end whether that was so.
type load struct {
	t       testing.TB
	w       *watcher
	zones   []*loaded
	stopped chan struct{}
	wg      sync.WaitGroup
	began   time.Time
	// patience is that of loading.
	patience time.Duration
}

// loaded is a zone under load.
type loaded struct {
	origin zone.Name
	turn   chan struct{} // a paced update; nil: as fast as it goes

	mu     sync.Mutex
	first  uint32
	acked  int
	failed []string
}

// loading says how.
type loading struct {
	addr    string // that updates go to
	key     tsig.Key
	zones   []zone.Name
	clients int           // of each zone
	rate    int           // updates a second over all zones; 0: as many as are acknowledged
	repeat  time.Duration // a client sends its octets again after this time; 0: a second
	// patience is how long a client that is answered SERVFAIL sends its octets again: as long as a cluster may be without a leader.
	patience time.Duration
}

// start begins. The watcher's servers must show the zones' present serials.
func start(t testing.TB, w *watcher, l loading) *load {
	t.Helper()
	s := &load{t: t, w: w, stopped: make(chan struct{}), began: time.Now(), patience: l.patience}
	for i, z := range l.zones {
		first, err := serialAt(l.addr, z)
		if err != nil {
			t.Fatal(err)
		}
		z := &loaded{origin: z, first: first}
		if l.rate > 0 {
			z.turn = make(chan struct{}, 1)
		}
		s.zones = append(s.zones, z)
		for k := range l.clients {
			cl := harness.Dial(t, l.addr, l.key)
			if l.repeat > 0 {
				cl.Repeat = l.repeat
			}
			s.wg.Go(func() { s.client(z, cl, i*l.clients+k) })
		}
	}
	if l.rate > 0 {
		s.wg.Go(func() { s.pace(time.Second / time.Duration(l.rate)) })
	}
	return s
}

// pace gives each zone its turn.
func (s *load) pace(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-s.stopped:
			return
		}
		select {
		case s.zones[i%len(s.zones)].turn <- struct{}{}:
		default: // its client still waits for an answer
		}
	}
}

func (s *load) client(z *loaded, cl *harness.Client, id int) {
	value := rand.Uint32() // what an earlier load left would not be changed
	for n := 0; ; n++ {
		select {
		case <-s.stopped:
			return
		default:
		}
		if z.turn != nil {
			select {
			case <-z.turn:
			case <-s.stopped:
				return
			}
		}
		add := harness.A(z.origin, fmt.Sprintf("w%d-%d", id, n%addresses), 60, [4]byte(binary.BigEndian.AppendUint32(nil, value+uint32(n))))
		remove := add
		remove.Class, remove.TTL, remove.Data = zone.ClassANY, 0, ""
		rcode, err := cl.UpdateWithin(s.patience, z.origin, nil, []zone.RR{remove, add})
		z.mu.Lock()
		if err != nil || rcode != 0 {
			z.failed = append(z.failed, fmt.Sprintf("update of %s: rcode %d, %v", z.origin, rcode, err))
			z.mu.Unlock()
			continue
		}
		z.acked++
		// Under the lock: serials are told in order.
		s.w.acknowledged(z.origin, z.first+uint32(z.acked))
		z.mu.Unlock()
	}
}

// stop ends the clients and says how many updates a second were acknowledged, and which were not.
func (s *load) stop() (rate float64, failed []string) {
	s.t.Helper()
	close(s.stopped)
	length := time.Since(s.began)
	s.wg.Wait()
	n := 0
	for _, z := range s.zones {
		n += z.acked
		failed = append(failed, z.failed...)
	}
	return float64(n) / length.Seconds(), failed
}

// done is stop for those who count on every update.
func (s *load) done() (rate float64) {
	s.t.Helper()
	rate, failed := s.stop()
	for _, f := range failed[:min(5, len(failed))] {
		s.t.Error(f)
	}
	return rate
}

// check fails when a zone does not have the serial that was counted.
func (s *load) check(addr string) {
	s.t.Helper()
	for _, z := range s.zones {
		got, err := serialAt(addr, z.origin)
		if err != nil {
			s.t.Error(err)
		} else if want := z.first + uint32(z.acked); got != want {
			s.t.Errorf("%s has serial %d after %d updates from %d on", z.origin, got, z.acked, z.first)
		}
	}
}

func serialAt(addr string, z zone.Name) (serial uint32, err error) {
	err = harness.Retry(10*time.Second, func(ctx context.Context) error {
		serial, err = harness.Serial(ctx, addr, z.String())
		return err
	})
	return serial, err
}

func zoneNames(n int, suffix string) (out []zone.Name) {
	for i := range n {
		out = append(out, zone.MustParseName(fmt.Sprintf("z%05d.%s", i, suffix)))
	}
	return out
}
