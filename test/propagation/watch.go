package propagation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	// closely is the shortest pause between two questions for one zone at one server where delays of milliseconds are measured,
	// roughly where the watching must leave the processors to those that are watched.
	closely = 200 * time.Microsecond
	roughly = 5 * time.Millisecond
	// easing is the share of what has been waited for already by which a pause grows. Who asks a server that is late as often as one
	// that is not keeps it late: the watchers of a hundred zones fill the processors.
	easing = 20
	// lost is how long an answer is waited for before the question is asked again.
	lost = 200 * time.Millisecond
)

// server is one name server that the world asks.
type server struct{ name, addr string }

// watcher asks servers for the serials of zones, over and over while a server does not show what was acknowledged, and notes
// how long that took.
type watcher struct {
	wg   sync.WaitGroup
	eyes map[zone.Name][]*eye
	all  []*eye
}

// eye watches one zone at one server.
type eye struct {
	server string
	origin zone.Name
	conn   net.Conn
	query  []byte
	pause  time.Duration
	wake   chan struct{} // something is due, or the end

	mu     sync.Mutex
	due    []due
	seen   []sighting
	last   uint32 // newest serial shown
	back   []string
	closed bool
}

// due is an acknowledged serial that the server does not show yet.
type due struct {
	serial uint32
	acked  time.Time
}

// sighting is a serial that came to be shown.
type sighting struct {
	acked time.Time
	delay time.Duration
}

func watch(t testing.TB, servers []server, zones []zone.Name, pause time.Duration) *watcher {
	t.Helper()
	w := &watcher{eyes: map[zone.Name][]*eye{}}
	for _, z := range zones {
		m := new(dns.Msg)
		m.SetQuestion(z.String(), dns.TypeSOA)
		m.RecursionDesired = false
		query, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range servers {
			conn, err := net.Dial("udp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			e := &eye{server: s.name, origin: z, conn: conn, query: slices.Clone(query), pause: pause, wake: make(chan struct{}, 1)}
			w.eyes[z] = append(w.eyes[z], e)
			w.all = append(w.all, e)
			w.wg.Go(e.run)
		}
	}
	t.Cleanup(w.close)
	return w
}

// acknowledged says that the zone has a serial since now.
func (w *watcher) acknowledged(z zone.Name, serial uint32) {
	d := due{serial, time.Now()}
	for _, e := range w.eyes[z] {
		e.mu.Lock()
		e.due = append(e.due, d)
		e.mu.Unlock()
		e.poke()
	}
}

func (e *eye) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *eye) run() {
	buf := make([]byte, 4096)
	for range e.wake {
		for {
			age, waiting := e.waiting()
			if !waiting {
				break
			}
			e.look(buf)
			<-time.After(max(e.pause, age/easing))
		}
		e.mu.Lock()
		closed := e.closed
		e.mu.Unlock()
		if closed {
			return
		}
	}
}

// waiting says for how long the oldest change has been looked for, if there is one.
func (e *eye) waiting() (age time.Duration, waiting bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.due) == 0 || e.closed {
		return 0, false
	}
	return time.Since(e.due[0].acked), true
}

// look asks once.
func (e *eye) look(buf []byte) {
	id := binary.BigEndian.Uint16(e.query) + 1
	binary.BigEndian.PutUint16(e.query, id)
	if _, err := e.conn.Write(e.query); err != nil {
		return // nobody listens just now
	}
	if err := e.conn.SetReadDeadline(time.Now().Add(lost)); err != nil {
		return
	}
	for {
		n, err := e.conn.Read(buf)
		if err != nil {
			return
		}
		if n >= 12 && binary.BigEndian.Uint16(buf) == id {
			if serial, ok := xfr.AnswerSerial(buf[:n], e.origin); ok {
				e.saw(serial, time.Now())
			}
			return
		}
	}
}

// saw notes a serial that the server showed.
func (e *eye) saw(serial uint32, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if int32(serial-e.last) < 0 && e.last != 0 {
		e.back = append(e.back, fmt.Sprintf("%s: %s went from serial %d back to %d", e.server, e.origin, e.last, serial))
	}
	e.last = serial
	n := 0
	for n < len(e.due) && int32(serial-e.due[n].serial) >= 0 {
		e.seen = append(e.seen, sighting{e.due[n].acked, now.Sub(e.due[n].acked)})
		n++
	}
	e.due = e.due[n:]
}

// drained waits until every server shows all that was acknowledged, and says how long that took.
func (w *watcher) drained(limit time.Duration) (time.Duration, error) {
	began := time.Now()
	err := harness.Retry(limit, func(context.Context) error {
		n := 0
		var example string
		for _, e := range w.all {
			e.mu.Lock()
			if len(e.due) > 0 {
				n += len(e.due)
				example = fmt.Sprintf("%s at %s: serial %d, acknowledged %d", e.origin, e.server, e.last, e.due[len(e.due)-1].serial)
			}
			e.mu.Unlock()
		}
		if n > 0 {
			return fmt.Errorf("%d changes are not visible, such as %s", n, example)
		}
		return nil
	})
	return time.Since(began), err
}

// delays of all that was acknowledged after a moment, sorted. What is not visible yet counts with its age.
func (w *watcher) delays(after time.Time) spread {
	var out spread
	now := time.Now()
	for _, e := range w.all {
		e.mu.Lock()
		for _, s := range e.seen {
			if s.acked.After(after) {
				out = append(out, s.delay)
			}
		}
		for _, d := range e.due {
			if d.acked.After(after) {
				out = append(out, now.Sub(d.acked))
			}
		}
		e.mu.Unlock()
	}
	slices.Sort(out)
	return out
}

// errBack: a server showed an older serial than before.
var errBack = errors.New("a serial went back")

// monotonic fails when a server ever did.
func (w *watcher) monotonic() error {
	var errs []error
	for _, e := range w.all {
		e.mu.Lock()
		for _, text := range e.back {
			errs = append(errs, fmt.Errorf("%w: %s", errBack, text))
		}
		e.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (w *watcher) close() {
	for _, e := range w.all {
		e.mu.Lock()
		e.closed = true
		e.mu.Unlock()
		_ = e.conn.Close()
		e.poke()
	}
	w.wg.Wait()
}

// spread is a sorted list of durations.
type spread []time.Duration

// at is the value that a share of all does not exceed.
func (s spread) at(share float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s[min(int(share*float64(len(s))), len(s)-1)]
}

func (s spread) String() string {
	if len(s) == 0 {
		return "not measured"
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
	return fmt.Sprintf("p50 %s  p99 %s  max %s ms  (n=%d)", ms(s.at(.5)), ms(s.at(.99)), ms(s.at(1)), len(s))
}

func sorted(all []time.Duration) spread {
	slices.Sort(all)
	return all
}
