package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	clients  = 8
	counters = 3
	// opsPerKey bounds the history of one RRset: then its successor is used.
	opsPerKey   = 250
	keysAtATime = 5
	// pace is the mean pause between a client's requests: the test is about order, not about throughput.
	pace = 8 * time.Millisecond
)

// load is clients at work, and what they learnt.
type load struct {
	c         *harness.Cluster
	zones     []string
	relay     string
	primaries []string // their endpoints
	signer    *signer
	history   *history
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	done      atomic.Int64 // acknowledged updates
	servfails atomic.Int64
	replays   atomic.Int64
	transfers atomic.Int64

	mu       sync.Mutex
	failures []string
	ledger   map[entry]fate // records that are added once and never touched again
	counts   [counters]struct{ acked, unknown int }
	sent     []request // acknowledged, for repeating
	serials  map[string][]sighting
	version  int
}

// entry is a record of the ledger.
type entry struct{ zone, name string }

// fate is what the client of a ledger's record was told.
type fate uint8

const (
	acknowledged fate = iota
	refused
	doubtful
)

// request is a signed message and its first answer.
type request struct {
	wire  []byte
	key   tsig.Key
	rcode int
}

// sighting is a serial that somebody was shown.
type sighting struct {
	call, ret int64
	serial    uint32
}

// startLoad starts the clients. seed decides what they do; when, the machine decides.
func startLoad(t testing.TB, c *harness.Cluster, seed uint64) *load {
	info := c.Info()
	l := &load{
		c: c, zones: info.Zones, relay: info.Endpoint, signer: &signer{}, history: newHistory(),
		ledger: map[entry]fate{}, serials: map[string][]sighting{},
	}
	k := c.Key()
	l.signer.current.Store(&k)
	for _, p := range info.Primaries {
		l.primaries = append(l.primaries, p.DNS)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	t.Cleanup(func() { cancel(); l.wg.Wait() })
	for i := range clients {
		cl := &client{id: i, rnd: rand.New(rand.NewPCG(seed, uint64(i))), load: l, last: map[key]state{}}
		l.wg.Go(func() { cl.work(ctx) })
	}
	for i := range l.primaries {
		cl := &client{id: clients + i, rnd: rand.New(rand.NewPCG(seed, uint64(clients+i))), load: l, last: map[key]state{}}
		l.wg.Go(func() { cl.watch(ctx, i) })
	}
	l.wg.Go(func() { l.repeat(ctx, rand.New(rand.NewPCG(seed, 1000))) })
	l.wg.Go(func() { l.transfer(ctx, rand.New(rand.NewPCG(seed, 1001))) })
	return l
}

// goesOn waits until each client, on average, has had another answer.
func (l *load) goesOn(limit time.Duration, what string) {
	before := l.done.Load()
	l.c.Until(limit, what, func(context.Context) error {
		if l.done.Load() < before+clients {
			return fmt.Errorf("%d acknowledged since", l.done.Load()-before)
		}
		return nil
	})
}

// fail notes something that must never happen.
func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < 100 {
		l.failures = append(l.failures, fmt.Sprintf(format, args...))
	}
}

// stop ends the clients and waits for them. Requests that are under way get a last chance.
func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// work is the life of a client.
func (c *client) work(ctx context.Context) {
	for c.pause(ctx) {
		// A request that has begun ends by its own patience, not by the end of the test.
		c.act(context.WithoutCancel(ctx))
	}
}

func (c *client) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(c.rnd.ExpFloat64() * float64(pace))):
		return ctx.Err() == nil
	}
}

// watch reads at one primary and stays there: while it is cut off, clients that turn to others see new values, and it must
// not show old ones.
func (c *client) watch(ctx context.Context, primary int) {
	for c.pause(ctx) {
		c.queryAt(context.WithoutCancel(ctx), target{c.load.primaries[primary], "udp"}, c.pick())
	}
}

func (c *client) act(ctx context.Context) {
	var a answer
	switch n := c.rnd.IntN(100); {
	case n < 25:
		c.query(ctx, c.pick())
		return
	case n < 30:
		c.serial(ctx)
		return
	case n < 50:
		a = c.enter(ctx)
	case n < 62:
		a = c.increment(ctx)
	default:
		a = c.mutate(ctx, c.invent())
	}
	if !a.unknown && !a.refused {
		c.load.done.Add(1)
	}
}

// pick chooses an RRset that is in use now.
func (c *client) pick() key {
	n := c.rnd.IntN(keysAtATime)
	l := c.load
	k := key{zone: l.zones[n%len(l.zones)], typ: zone.TypeTXT}
	if n%2 == 0 {
		k.typ = zone.TypeA
	}
	for epoch := 0; ; epoch++ {
		k.name = fmt.Sprintf("r%d-%d", n, epoch)
		if l.history.begin(k) <= opsPerKey {
			return k
		}
	}
}

// invent makes an update with a fair chance that its prerequisite holds.
func (c *client) invent() input {
	k := c.pick()
	in := input{kind: kind(c.rnd.IntN(int(read))), key: k, new: c.value(k.typ)}
	last := c.last[k]
	switch in.kind {
	case replace, deleteIf:
		in.old = last
		if in.old == "" {
			in.old = c.value(k.typ)
		}
		if in.kind == deleteIf {
			in.new = ""
		}
	case deleteRR:
		if v := split(last); len(v) > 0 {
			in.new = v[c.rnd.IntN(len(v))]
		}
	case deleteIfAny, deleteIfName, deleteAll:
		in.new = ""
	}
	_, c.last[k] = apply(last, in)
	return in
}

// enter adds a record of its own to the ledger.
func (c *client) enter(ctx context.Context) answer {
	l := c.load
	c.seq++
	e := entry{l.zones[c.rnd.IntN(len(l.zones))], fmt.Sprintf("u-%d-%d", c.id, c.seq)}
	in := input{kind: add, key: key{e.zone, e.name, zone.TypeA}, new: c.value(zone.TypeA)}
	a := c.send(ctx, c.message(in))
	f := acknowledged
	switch {
	case a.unknown:
		f = doubtful
	case a.refused:
		f = refused
	case a.rcode != noError:
		l.fail("%s: add was answered rcode %d", in.key, a.rcode)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ledger[e] = f
	return a
}

// increment adds one to a counter by compare-and-set.
func (c *client) increment(ctx context.Context) answer {
	l := c.load
	i := c.rnd.IntN(counters)
	k := counterKey(l, i)
	l.history.begin(k)
	s, ok := c.query(ctx, k)
	if !ok {
		return answer{unknown: true}
	}
	in := input{kind: addIfAbsent, key: k, new: "1"}
	if s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			l.fail("%s holds %q", k, s)
			return answer{unknown: true}
		}
		in.kind, in.old, in.new = replace, s, strconv.Itoa(n+1)
	}
	a := c.mutate(ctx, in)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case a.unknown:
		l.counts[i].unknown++
	case !a.refused && a.rcode == noError:
		l.counts[i].acked++
	}
	return a
}

func counterKey(l *load, i int) key {
	return key{l.zones[i%len(l.zones)], fmt.Sprintf("counter-%d", i), zone.TypeTXT}
}

// serial asks for a zone's SOA.
func (c *client) serial(ctx context.Context) {
	z := c.load.zones[c.rnd.IntN(len(c.load.zones))]
	to := c.target()
	call := c.load.history.now()
	resp, err := harness.Asker{Timeout: 3 * time.Second}.Ask(ctx, to.network, to.addr, z, dns.TypeSOA)
	if err != nil || resp.Rcode != dns.RcodeSuccess || len(resp.Answer) != 1 {
		return
	}
	if soa, ok := resp.Answer[0].(*dns.SOA); ok {
		c.load.saw(z, call, soa.Serial)
	}
}

func (l *load) saw(zone string, call int64, serial uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serials[zone] = append(l.serials[zone], sighting{call, l.history.now(), serial})
}

// remember keeps an acknowledged request for repeat.
func (l *load) remember(wire []byte, k tsig.Key, rcode int) {
	const most = 500
	l.mu.Lock()
	defer l.mu.Unlock()
	r := request{wire, k, rcode}
	if len(l.sent) < most {
		l.sent = append(l.sent, r)
		return
	}
	l.version++
	l.sent[l.version%most] = r
}

// repeat sends requests again that were answered long ago, as a late datagram or an attacker would: the answer is the first
// one, and nothing happens (I4). That nothing happened, the history shows.
func (l *load) repeat(ctx context.Context, rnd *rand.Rand) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		if len(l.sent) == 0 {
			l.mu.Unlock()
			continue
		}
		r := l.sent[rnd.IntN(len(l.sent))]
		l.mu.Unlock()
		actx, cancel := context.WithTimeout(ctx, time.Second)
		resp, err := harness.Bytes(actx, "udp", l.primaries[rnd.IntN(len(l.primaries))], r.wire)
		cancel()
		if err != nil {
			continue
		}
		l.replays.Add(1)
		rcode := int(binary.BigEndian.Uint16(resp[2:]) & 15)
		retired := r.key.Version < l.signer.key().Version
		if rcode != r.rcode && rcode != rcodeServFail && !(retired && rcode == rcodeNotAuth) {
			l.fail("a request was answered rcode %d, and rcode %d when it was sent again", r.rcode, rcode)
		}
	}
}

// transfer fetches whole zones through the endpoints: each holds what was acknowledged before it was asked (I3).
func (l *load) transfer(ctx context.Context, rnd *rand.Rand) {
	tick := time.NewTicker(700 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		z := l.zones[rnd.IntN(len(l.zones))]
		k := l.signer.key()
		want := l.entries(z, acknowledged)
		call := l.history.now()
		actx, cancel := context.WithTimeout(ctx, 10*time.Second)
		rrs, err := harness.Asker{Key: &k, Timeout: 5 * time.Second}.Transfer(actx, l.primaries[rnd.IntN(len(l.primaries))], z, nil)
		cancel()
		if err != nil {
			continue
		}
		l.transfers.Add(1)
		l.saw(z, call, rrs[0].(*dns.SOA).Serial)
		have := owners(rrs)
		for _, name := range want {
			if !have[name] {
				l.fail("a transfer of %s lacks %s, which was acknowledged before", z, name)
			}
		}
	}
}

// entries lists the names of the ledger's records in a zone.
func (l *load) entries(z string, f fate) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for e, got := range l.ledger {
		if e.zone == z && got == f {
			out = append(out, e.name)
		}
	}
	return out
}

// owners are the first labels of the records' names.
func owners(rrs []dns.RR) map[string]bool {
	out := map[string]bool{}
	for _, rr := range rrs {
		label, _, _ := strings.Cut(rr.Header().Name, ".")
		out[strings.ToLower(label)] = true
	}
	return out
}

// checkSerials: a serial that was shown to somebody is never undercut in an answer to a later question (I3, C3).
func (l *load) checkSerials() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for z, seen := range l.serials {
		byReturn := slices.Clone(seen)
		slices.SortFunc(byReturn, func(a, b sighting) int { return int(a.ret - b.ret) })
		slices.SortFunc(seen, func(a, b sighting) int { return int(a.call - b.call) })
		var newest uint32
		i := 0
		for _, s := range seen {
			for ; i < len(byReturn) && byReturn[i].ret < s.call; i++ {
				newest = max(newest, byReturn[i].serial) // they begin low: no wrap
			}
			if s.serial < newest {
				errs = append(errs, fmt.Errorf("%s: serial %d was shown after %d", z, s.serial, newest))
			}
		}
	}
	return errors.Join(errs...)
}
