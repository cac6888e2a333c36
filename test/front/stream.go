package front

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	writers = 4                     // of each transport, half of them by IPv6
	pace    = 20 * time.Millisecond // between two writes of one: the nodes share this machine
)

// stream is clients that write, and one that reads. Each writer has a counter: a write takes it from n to n+1 on condition that it
// is n. Applied twice, or lost, the next one fails; and because only one writes, whoever reads must see what was acknowledged
// before the question, and no more than was asked for before the answer (I1, I3, I4).
type stream struct {
	s     *site
	addrs []string
	load  map[string]*harness.Stream // by transport

	mu       sync.Mutex
	counters []*tally
	reads    int
	wrong    []string

	stopReading context.CancelFunc
	readers     sync.WaitGroup
}

// tally is what a writer knows of its counter, and what it was shown to others.
type tally struct {
	name         zone.Name
	client       *client
	asked, acked int
	seen         int
}

func base64Secret(k *tsig.Key) string { return base64.StdEncoding.EncodeToString(k.Secret) }

// startStream starts writers of each transport through the front.
func (s *site) startStream(transports ...string) *stream {
	s.t.Helper()
	return s.streamTo(endpoints(), transports...)
}

// streamTo is startStream with other addresses.
func (s *site) streamTo(addrs []string, transports ...string) *stream {
	s.t.Helper()
	s.streams++
	st := &stream{s: s, addrs: addrs, load: map[string]*harness.Stream{}}
	for _, network := range transports {
		load := &harness.Stream{}
		st.load[network] = load
		for i := range writers {
			name := zone.MustParseName(fmt.Sprintf("counter-%d-%s-%d.%s", s.streams, network, i, origin))
			y := &tally{name: name, client: s.client(network, addrs[i%len(addrs)])}
			st.counters = append(st.counters, y)
			load.Go(pace, func(int) error { return st.count(y) })
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	st.stopReading = cancel
	s.t.Cleanup(func() { cancel(); st.stop() })
	st.readers.Go(func() { st.read(ctx) })
	return st
}

// count takes a counter one further.
func (st *stream) count(y *tally) error {
	st.mu.Lock()
	n := y.acked
	y.asked = n + 1
	st.mu.Unlock()
	rr := func(class zone.Class, ttl uint32, data string) zone.RR {
		return zone.RR{Name: y.name, Type: zone.TypeA, Class: class, TTL: ttl, Data: data}
	}
	prereq := rr(zone.ClassIN, 0, a(n))
	change := []zone.RR{rr(zone.ClassNONE, 0, a(n)), rr(zone.ClassIN, 60, a(n+1))}
	if n == 0 {
		prereq, change = rr(zone.ClassNONE, 0, ""), change[1:]
	}
	rcode, err := y.client.update(zone.MustParseName(origin), []zone.RR{prereq}, change)
	if err == nil && rcode != 0 {
		err = errors.New(dns.RcodeToString[int(rcode)])
	}
	if err != nil {
		return fmt.Errorf("%s %s from %d: %w", y.client.network, y.name, n, err)
	}
	st.mu.Lock()
	y.acked = n + 1
	st.mu.Unlock()
	return nil
}

// read asks for one counter after the other through the front, while it can.
func (st *stream) read(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		y := st.counters[i%len(st.counters)]
		st.mu.Lock()
		least := max(y.acked, y.seen)
		st.mu.Unlock()
		m := new(dns.Msg)
		m.SetQuestion(y.name.String(), dns.TypeA)
		m.RecursionDesired = false
		answer, err := st.s.ask("client", "udp", st.addrs[i%len(st.addrs)], m, nil)
		select {
		case <-ctx.Done():
		case <-time.After(pace):
		}
		if err != nil || answer.Rcode == dns.RcodeServerFailure {
			continue // no answer is no wrong one
		}
		v, err := valueOf(answer)
		st.mu.Lock()
		st.reads++
		switch {
		case err != nil:
			st.wrong = append(st.wrong, fmt.Sprintf("%s: %v", y.name, err))
		case v < least || v > y.asked:
			st.wrong = append(st.wrong, fmt.Sprintf("%s was %d: %d was acknowledged or seen before, %d asked for", y.name, v, least, y.asked))
		}
		y.seen = max(y.seen, v)
		st.mu.Unlock()
	}
}

// turned counts SERVFAIL so far. Only a front that reaches no primary may say it here.
func (st *stream) turned() (n int64) {
	for _, y := range st.counters {
		n += y.client.turned.Load()
	}
	return n
}

// stop ends the clients and gives the failed writes of each transport.
func (st *stream) stop() map[string][]string {
	out := map[string][]string{}
	for network, load := range st.load {
		out[network] = load.Stop()
	}
	st.stopReading()
	st.readers.Wait()
	return out
}

// check stops the stream and asserts what must hold after any faults: no failed write, every acknowledged one there, applied once,
// and the same at every primary. It returns a line about them.
func (st *stream) check(t *testing.T) string {
	t.Helper()
	for network, failed := range st.stop() {
		report(t, "a write over "+network+" failed", failed)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	report(t, "a wrong answer", st.wrong)
	st.s.c.Verified()
	total := 0
	for _, y := range st.counters {
		total += y.acked
		for _, p := range primaryNames() {
			m := new(dns.Msg)
			m.SetQuestion(y.name.String(), dns.TypeA)
			answer, err := st.s.ask("client", "tcp", addrPort(st.s.Host(p).V4, portDNS), m, nil)
			if err != nil {
				t.Fatalf("%s: %v", p, err)
			}
			if v, err := valueOf(answer); err != nil || v != y.acked {
				t.Errorf("%s: %s is %d (%v), %d were acknowledged", p, y.name, v, err, y.acked)
			}
		}
	}
	line := fmt.Sprintf("%d writes acknowledged, each applied once; %d reads, %d of them wrong", total, st.reads, len(st.wrong))
	t.Log(line)
	return line
}

// report fails the test for the first few of what went wrong: one mistake often has a thousand consequences.
func report(t *testing.T, what string, all []string) {
	t.Helper()
	for _, one := range all[:min(len(all), 5)] {
		t.Errorf("%s (one of %d): %s", what, len(all), one)
	}
}
