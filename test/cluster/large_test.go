package cluster

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestLargeSteps: a publish step that fits in no UPDATE replaces the zone in every named while its reads wait (C5), whether one
// message makes it, a small one that touches a large RRset, or many within one log entry. Whoever reads meanwhile sees at
// each serial one content (I2), and never less than was acknowledged (I3, I7).
func TestLargeSteps(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Zones = []string{"large.test", "small.test"} })
	origin, key := zone.MustParseName("large.test."), c.Key()
	var addrs []string
	for _, p := range c.Info().Primaries {
		addrs = append(addrs, p.DNS)
	}
	seen := newVersions()
	ctx, stop := context.WithCancel(context.Background())
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()
	for i := range 4 {
		of := addrs
		if i < len(addrs) {
			of = addrs[i : i+1]
		}
		f := &follower{zone: "large.test", key: func() tsig.Key { return key }, primaries: of, versions: seen}
		followers.Go(func() { f.follow(ctx, 30*time.Millisecond) })
	}
	text := func(owner string, ttl uint32, i int) zone.RR {
		data := strings.Repeat("\xff"+fmt.Sprintf("%06d", i)+strings.Repeat("x", 249), 3)
		return zone.RR{Name: zone.MustParseName(owner + ".large.test."), Type: zone.TypeTXT, Class: zone.ClassIN, TTL: ttl, Data: data}
	}
	var set []zone.RR
	for i := range 79 { // some 62,000 octets
		set = append(set, text("set", 60, i))
	}
	removal := zone.RR{Name: set[0].Name, Type: zone.TypeANY, Class: zone.ClassANY}
	id := uint16(0)
	send := func(addr string, updates ...[]zone.RR) {
		t.Helper()
		// One connection: what is pipelined meets in one entry.
		var frames bytes.Buffer
		for _, u := range updates {
			id++
			wire := tsig.SignRequest(named.AppendUpdate(nil, id, origin, nil, u), key, time.Now())
			frames.Write([]byte{byte(len(wire) >> 8), byte(len(wire))})
			frames.Write(wire)
		}
		for i, rcode := range pipelined(t, addr, frames.Bytes(), len(updates)) {
			if rcode != noError {
				t.Errorf("update %d of %d: rcode %d", i, len(updates), rcode)
			}
		}
	}
	serial := func() uint32 {
		t.Helper()
		z, err := c.Admin[c.Names()[0]].Zone(t.Context(), "large.test.")
		if err != nil {
			t.Fatal(err)
		}
		return z.Serial
	}
	before := serial()
	steps := 0
	for round, addr := range addrs {
		send(addr, set)                                         // the whole is too long
		send(addr, []zone.RR{text("set", 90+uint32(round), 0)}) // another TTL: every RR of the set goes and comes
		var many [][]zone.RR
		for i := range 40 { // the deletion and the addition of all are within a run of small ones
			many = append(many, []zone.RR{harness.A(origin, fmt.Sprintf("r%d-%d", round, i), 60, [4]byte{192, 0, 2, 1})})
		}
		many[10], many[20], many[30] = []zone.RR{removal}, set, []zone.RR{text("set", 300, 0)}
		send(addr, many...)
		send(addr, []zone.RR{removal})
		steps += 3 + len(many)
	}
	if got := serial(); got != before+uint32(steps) {
		t.Errorf("serial %d after %d changes from %d", got, steps, before)
	}
	z := c.Verified()
	for _, z := range z.Zones {
		if want := 3 + 37*len(addrs); z.Name == "large.test." && z.Copies[0].Records != want {
			t.Errorf("%d records, want %d", z.Copies[0].Records, want)
		}
	}
	stop()
	followers.Wait()
	for _, p := range seen.problems {
		t.Error(p)
	}
	replaced := 0
	for _, n := range c.Names() {
		m, err := c.Admin[n].Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(m), `zonekeeper_publish_zone_replacements_total{reason="size"}`) {
			replaced++
		}
		for _, reason := range []string{"refused", "foreign", "different", "deadly", "serial"} {
			if strings.Contains(string(m), fmt.Sprintf("zonekeeper_publish_zone_replacements_total{reason=%q}", reason)) {
				t.Errorf("%s replaced a zone for another reason: %s", n, reason)
			}
		}
	}
	if replaced != len(addrs) {
		t.Errorf("%d primaries replaced the zone for its size, want all", replaced)
	}
	t.Logf("%d versions seen, %d steps of IXFRs, %d zones transferred whole", len(seen.seen), seen.incremental, seen.whole)
	c.CheckLogs()
}

// TestLargestRecord: an RR that fills a whole message would fit into no signed transfer. It is refused, and the zone stays
// readable at every primary; one of the greatest length that is taken can be transferred.
func TestLargestRecord(t *testing.T) {
	c := harness.Start(t, nil)
	origin, key := zone.MustParseName("example.test."), c.Key()
	p := c.Info().Primaries
	for octets, want := range map[int]int{65400: dns.RcodeRefused, zone.MaxDataLen + 1: dns.RcodeRefused, zone.MaxDataLen: dns.RcodeSuccess} {
		rr := zone.RR{Name: zone.MustParseName("h.example.test."), Type: 65280, Class: zone.ClassIN, TTL: 60, Data: strings.Repeat("z", octets)}
		wire := tsig.SignRequest(named.AppendUpdate(nil, 1, origin, nil, []zone.RR{rr}), key, time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		rcode, err := exchange(ctx, "tcp", p[0].DNS, wire)
		cancel()
		if err != nil || rcode != want {
			t.Errorf("an RR of %d octets: rcode %d, %v; want %d", octets, rcode, err, want)
		}
	}
	mustUpdate(t, p[0].DNS, key, origin, harness.A(origin, "after", 60, [4]byte{192, 0, 2, 1}))
	for _, p := range p {
		if rcode := ask(t, &key, p.DNS, "after.example.test", uint16(zone.TypeA)); rcode != noError {
			t.Errorf("a query at %s: rcode %d", p.Name, rcode)
		}
		if rcode := ask(t, &key, p.DNS, "h.example.test", 65280); rcode != noError {
			t.Errorf("a query of the longest record at %s: rcode %d", p.Name, rcode)
		}
		if rcode := xfrRCode(t, &key, p.DNS, "example.test", nil); rcode != noError {
			t.Errorf("a transfer from %s: rcode %d", p.Name, rcode)
		}
	}
	c.Verified()
}
