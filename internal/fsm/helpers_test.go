package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// startMS is the log time that tests begin at; TSIG needs a plausible one.
const startMS = 1_700_000_000_000

// cluster drives one or more machines with one log, as replicas a, b, … propose.
type cluster struct {
	t        testing.TB
	machines []*Machine
	index    uint64
	timeMS   int64
	seq      map[string]uint64
	nextSign uint64
	log      []loggedEntry
}

type loggedEntry struct {
	index uint64
	data  []byte
}

func newCluster(t testing.TB, machines int) *cluster {
	c := &cluster{t: t, timeMS: startMS, seq: make(map[string]uint64)}
	for range machines {
		c.machines = append(c.machines, New())
	}
	return c
}

// apply proposes commands as replica a and gives the effects at the first machine.
func (c *cluster) apply(cmds ...Command) Effects { return c.applyAs("a", cmds...) }

func (c *cluster) applyAs(replica string, cmds ...Command) Effects {
	c.t.Helper()
	c.seq[replica]++
	c.index += 3 // the log's indexes are not dense
	data := EncodeEntry(Entry{
		Header:   Header{Replica: replica, Epoch: 1, Seq: c.seq[replica], TimeMS: c.timeMS},
		Commands: cmds,
	})
	c.log = append(c.log, loggedEntry{c.index, data})
	var first Effects
	for i, m := range c.machines {
		eff, err := m.Apply(c.index, data)
		if err != nil {
			c.t.Fatalf("machine %d: %v", i, err)
		}
		if i == 0 {
			first = eff
		}
	}
	return first
}

// must applies one command that has to succeed.
func (c *cluster) must(cmd Command) Result {
	c.t.Helper()
	r := c.apply(cmd).Results[0]
	if r.Err != "" {
		c.t.Fatalf("%s: %s", cmd.Kind(), r.Err)
	}
	return r
}

func (c *cluster) tick(ms int64) { c.timeMS += ms }

func mustName(s string) zone.Name {
	n, err := zone.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

// addZone creates example.test (or name) that the key "k" may update.
func (c *cluster) addZone(name string) ZoneID {
	c.t.Helper()
	id := ZoneOf(mustName(name))
	ns := mustName("ns." + strings.TrimSuffix(name, ".") + ".")
	c.must(&PutZone{
		Zone: id, Create: true, Settings: ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;"},
		RRs: NewZoneRRs(id.Name, ns, mustName("hostmaster."+name), []netip.Addr{netip.MustParseAddr("192.0.2.1")}),
	})
	return id
}

// addKey adds a key; version 0 takes the next free one, which is returned.
func (c *cluster) addKey(name string) uint64 {
	c.t.Helper()
	v := c.machines[0].Settings().NextKeyVersion
	c.must(&PutKey{Name: mustName(name), Algorithm: "hmac-sha256", Version: v, Sealed: []byte("sealed " + name), SecretID: secretID(name, v)})
	return v
}

func secretID(parts ...any) (id [16]byte) {
	sum := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	copy(id[:], sum[:])
	return id
}

// signed makes an update signed by key version v now; each is a new request.
func (c *cluster) signed(key string, v uint64, wire []byte) *Update {
	c.nextSign++
	u := &Update{KeyName: mustName(key), KeyVersion: v, TimeSigned: uint64(c.timeMS / 1000), Fudge: 300, Wire: wire}
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, c.nextSign))
	h.Write(wire)
	copy(u.Fingerprint[:], h.Sum(nil))
	return u
}

// updateWire makes an UPDATE message from lines: "add <rr>", "del <rr>", "delset <name> <type>", "delname <name>",
// "need <rr>", "nonexist <name>", "exist <name>".
func updateWire(t testing.TB, zoneName string, lines ...string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(zoneName))
	m.Id = 4711 // random otherwise; golden logs must not be
	for _, line := range lines {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rr := func(text string) []dns.RR {
			r, err := dns.NewRR(text)
			if err != nil || r == nil {
				t.Fatalf("bad record %q: %v", text, err)
			}
			return []dns.RR{r}
		}
		anyOf := func(name string) []dns.RR { return []dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: dns.Fqdn(name)}}} }
		switch verb {
		case "add":
			m.Insert(rr(rest))
		case "del":
			m.Remove(rr(rest))
		case "delset":
			name, typ, _ := strings.Cut(rest, " ")
			m.RemoveRRset([]dns.RR{&dns.RFC3597{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.StringToType[typ]}}})
		case "delname":
			m.RemoveName(anyOf(rest))
		case "need":
			m.Used(rr(rest))
		case "exist":
			m.NameUsed(anyOf(rest))
		case "nonexist":
			m.NameNotUsed(anyOf(rest))
		default:
			t.Fatalf("unknown verb in %q", line)
		}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
