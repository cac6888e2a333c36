package overload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// control is the well-behaved client: one goroutine that writes a record after another, and one that reads what was written
// and compares. Both use one address, of the relay or of a primary.
type control struct {
	t      testing.TB
	origin zone.Name
	key    tsig.Key
	addr   string
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	records  []string // acknowledged labels; record i has the address addressOf(i)
	phase    string
	writes   map[string][]time.Duration // latencies by phase
	reads    map[string][]time.Duration
	refused  map[string]int // SERVFAIL by phase: an explicit answer, the write was not applied
	unread   map[string]int // SERVFAIL, or no answer, to a read: no barrier, rather than old data
	silent   map[string]int // writes without any answer within the client's patience
	wrong    []string       // answers that must never be
	sequence int
}

// pace is the pause between two requests of the control client: it shows what others suffer, it makes no load.
const pace = 5 * time.Millisecond

// startControl starts both goroutines. They end with the test, or with stop.
func startControl(t testing.TB, addr, origin string, key tsig.Key) *control {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &control{
		t: t, origin: zone.MustParseName(origin), key: key, addr: addr, cancel: cancel, phase: "before",
		writes: map[string][]time.Duration{}, reads: map[string][]time.Duration{},
		refused: map[string]int{}, unread: map[string]int{}, silent: map[string]int{},
	}
	client := harness.Dial(t, addr, key)
	c.wg.Go(func() { c.write(ctx, client) })
	c.wg.Go(func() { c.read(ctx) })
	t.Cleanup(c.stop)
	return c
}

func (c *control) stop() {
	c.cancel()
	c.wg.Wait()
}

func addressOf(i int) [4]byte { return [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)} }

func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}

// write adds a record at a time. What is answered is final; what is not is sent again, as nsupdate does, by the client.
func (c *control) write(ctx context.Context, client *harness.Client) {
	for rest(ctx, pace) {
		label := fmt.Sprintf("c%d", c.sequence)
		start := time.Now()
		rcode, err := client.Update(c.origin, nil, []zone.RR{harness.A(c.origin, label, 60, addressOf(c.sequence))})
		took := time.Since(start)
		c.mu.Lock()
		switch {
		case err != nil:
			c.silent[c.phase]++
			c.sequence++ // nobody knows what became of it: never again
		case rcode == dns.RcodeServerFailure:
			c.refused[c.phase]++
		case rcode != dns.RcodeSuccess:
			c.wrong = append(c.wrong, fmt.Sprintf("%s: the update of %s was answered %s", c.phase, label, dns.RcodeToString[int(rcode)]))
		default:
			c.writes[c.phase] = append(c.writes[c.phase], took)
			c.records = append(c.records, label)
			c.sequence++
		}
		c.mu.Unlock()
	}
}

// read asks for a record that was acknowledged before: mostly the newest, which is the one that may be missing.
func (c *control) read(ctx context.Context) {
	asker := harness.Asker{Timeout: 3 * time.Second}
	for i := 0; rest(ctx, pace); i++ {
		c.mu.Lock()
		if len(c.records) == 0 {
			c.mu.Unlock()
			continue
		}
		label := c.records[len(c.records)-1]
		if i%4 == 0 {
			label = c.records[(i*7919)%len(c.records)]
		}
		phase := c.phase
		c.mu.Unlock()
		start := time.Now()
		resp, err := asker.Ask(ctx, "udp", c.addr, label+"."+c.origin.String(), dns.TypeA)
		took := time.Since(start)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		switch {
		case err != nil || resp.Rcode == dns.RcodeServerFailure:
			c.unread[phase]++
		default:
			c.reads[phase] = append(c.reads[phase], took)
			if why := c.judge(label, resp); why != "" {
				c.wrong = append(c.wrong, phase+": "+why)
			}
		}
		c.mu.Unlock()
	}
}

// judge says what is wrong with an answer to a question for an acknowledged record; "" for nothing.
func (c *control) judge(label string, resp *dns.Msg) string {
	var n int
	if _, err := fmt.Sscanf(label, "c%d", &n); err != nil {
		return err.Error()
	}
	want := netip.AddrFrom4(addressOf(n)).String()
	if resp.Rcode != dns.RcodeSuccess || len(resp.Answer) != 1 {
		return fmt.Sprintf("%s was acknowledged, and the answer is %s with %d records", label, dns.RcodeToString[resp.Rcode], len(resp.Answer))
	}
	if a, ok := resp.Answer[0].(*dns.A); !ok || a.A.String() != want {
		return fmt.Sprintf("%s was acknowledged with %s, and the answer is %v", label, want, resp.Answer[0])
	}
	return ""
}

// enter begins a phase and returns when the client has had an answer in it.
func (c *control) enter(phase string) {
	c.mu.Lock()
	c.phase = phase
	c.mu.Unlock()
}

// written waits until n more writes are acknowledged.
func (c *control) written(n int, limit time.Duration) {
	c.t.Helper()
	c.mu.Lock()
	want := len(c.records) + n
	c.mu.Unlock()
	c.await(limit, fmt.Sprintf("%d writes", n), func() bool { return len(c.records) >= want })
}

// await waits for a condition, asked under the lock.
func (c *control) await(limit time.Duration, what string, holds func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	defer cancel()
	for {
		c.mu.Lock()
		ok := holds()
		c.mu.Unlock()
		if ok {
			return
		}
		if !rest(ctx, 10*time.Millisecond) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.Fatalf("%s: not within %s; phase %q: %d acknowledged, %d SERVFAIL, %d without an answer, %d reads not answered",
				what, limit, c.phase, len(c.writes[c.phase]), c.refused[c.phase], c.silent[c.phase], c.unread[c.phase])
		}
	}
}

// unharmed fails the test when the client felt more of a phase than waiting, or waited longer than limit at the 99th
// percentile.
func (c *control) unharmed(phase string, limit time.Duration) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	p50, p99 := percentiles(c.writes[phase])
	r50, r99 := percentiles(c.reads[phase])
	c.t.Logf("%s: %d writes p50 %s p99 %s, %d reads p50 %s p99 %s, %d SERVFAIL, %d without an answer, %d reads not answered", phase,
		len(c.writes[phase]), p50, p99, len(c.reads[phase]), r50, r99, c.refused[phase], c.silent[phase], c.unread[phase])
	if n := c.refused[phase] + c.silent[phase]; n > 0 {
		c.t.Errorf("%s: %d writes of a well-behaved client failed", phase, n)
	}
	if p99 > limit || r99 > limit {
		c.t.Errorf("%s: p99 of writes %s, of reads %s, want at most %s", phase, p99, r99, limit)
	}
}

func percentiles(l []time.Duration) (p50, p99 time.Duration) {
	if len(l) == 0 {
		return 0, 0
	}
	s := slices.Clone(l)
	slices.Sort(s)
	r := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return r(s[len(s)/2]), r(s[len(s)*99/100])
}

// check ends the client and looks for every acknowledged record at every address, once.
func (c *control) check(addrs ...string) {
	c.t.Helper()
	c.stop()
	for _, w := range c.wrong {
		c.t.Error(w)
	}
	for _, addr := range addrs {
		rrs, err := harness.Asker{Key: &c.key, Timeout: 20 * time.Second}.Transfer(c.t.Context(), addr, c.origin.String(), nil)
		if err != nil {
			c.t.Fatal(err)
		}
		seen := map[string]int{}
		for _, rr := range rrs {
			label, _, _ := strings.Cut(rr.Header().Name, ".")
			seen[label]++
		}
		for _, label := range c.records {
			if seen[label] != 1 {
				c.t.Errorf("%s: %s was acknowledged and is there %d times", addr, label, seen[label])
			}
		}
	}
}

var errNoText = errors.New("the answer has no extended DNS error")

// extendedError finds the extended DNS error (RFC 8914) of an answer.
func extendedError(resp []byte) (code uint16, text string, err error) {
	m := new(dns.Msg)
	if err := m.Unpack(resp); err != nil {
		return 0, "", err
	}
	opt := m.IsEdns0()
	if opt == nil {
		return 0, "", errNoText
	}
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok {
			return e.InfoCode, e.ExtraText, nil
		}
	}
	return 0, "", errNoText
}

// withEDNS adds an OPT record to a message without additional records.
func withEDNS(msg []byte) []byte {
	binary.BigEndian.PutUint16(msg[10:], 1)
	return append(msg, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0)
}
