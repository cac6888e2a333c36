package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// logMaker proposes random commands: mostly valid, some not, some repeated, from several replicas with clocks that disagree.
type logMaker struct {
	t    testing.TB
	rng  *rand.Rand
	c    *cluster
	sent []*Update
	next uint64 // import number
	open []*openImport
	last []Command // of the last entry
}

type openImport struct {
	id   string
	zone ZoneID
	rrs  []zone.RR
	seq  uint64
}

var makerZones = []string{"example.test.", "sub.example.test.", "other.test."}

var makerCatalog = mustName("catalog.test.")

func newLogMaker(t testing.TB, seed uint64, machines int) *logMaker {
	g := &logMaker{t: t, rng: rand.New(rand.NewPCG(seed, 1)), c: newCluster(t, machines)}
	limits := DefaultLimits()
	limits.MaxDedupePerKey, limits.MaxDedupe = 40, 60
	limits.HistoryPerZone, limits.HistoryTotalBytes, limits.CutBytes, limits.MaxImports = 6, 9000, 700, 2
	g.c.must(&PutLimits{Limits: limits})
	g.c.addKey("k.")
	g.c.addKey("l.")
	g.c.addZone(makerZones[0])
	if seed%2 == 0 {
		g.c.must(&PutCatalog{Name: makerCatalog})
	}
	return g
}

func (g *logMaker) pick(list ...string) string { return list[g.rng.IntN(len(list))] }

// step proposes one entry.
func (g *logMaker) step() Effects {
	g.c.timeMS += []int64{0, 1, 3, 7, 30, 1500, -200}[g.rng.IntN(7)]
	if g.rng.IntN(40) == 0 {
		g.c.timeMS += 200_000
	}
	var cmds []Command
	for range g.rng.IntN(5) {
		cmds = append(cmds, g.command())
	}
	g.last = cmds
	return g.c.applyAs(g.pick("a", "b", "c"), cmds...)
}

func (g *logMaker) command() Command {
	r := g.rng.IntN(100)
	id := ZoneOf(mustName(g.pick(makerZones...)))
	key := mustName(g.pick("k.", "l."))
	actor := Actor{By: g.pick("", "", "", "operator"), TakeOver: g.rng.IntN(8) == 0}
	m := g.c.machines[0]
	if g.rng.IntN(25) == 0 {
		id = ZoneOf(makerCatalog)
	}
	if g.rng.IntN(15) == 0 {
		return g.secondaryCommand(key, actor)
	}
	switch {
	case r < 60:
		return g.update(id)
	case r < 64:
		return g.sent0(id)
	case r < 68:
		exists := m.Settings().Key(key) != nil
		return &PutKey{Name: key, Algorithm: "hmac-sha256", Version: m.Settings().NextKeyVersion, Sealed: []byte("s"),
			SecretID: secretID(key, g.rng.IntN(3)), Rotate: exists && g.rng.IntN(4) > 0, Actor: actor}
	case r < 70:
		var version uint64
		if k := m.Settings().Key(key); k != nil && len(k.Secrets) > 1 && g.rng.IntN(4) > 0 {
			version = k.Secrets[1].Version
		}
		return &DeleteKey{Name: key, Version: version, Actor: actor}
	case r < 76:
		c := &PutZone{Zone: id, Create: g.rng.IntN(2) == 0, Settings: ZoneSettings{UpdatePolicy: "grant k. zonesub ANY; grant l. zonesub A TXT;",
			AllowQuery: g.pick("", "", "any;", "key k.;", "none;")}, Actor: actor}
		if c.Create {
			c.RRs = NewZoneRRs(id.Name, mustName("ns.elsewhere.test."), mustName("h."), nil)
		}
		return c
	case r < 78:
		return &DeleteZone{Zone: id, Confirm: mustName(g.pick(makerZones...)), Actor: actor}
	case r < 80:
		g.next++
		im := &openImport{id: fmt.Sprint("i", g.next), zone: id}
		g.open = append(g.open, im)
		return &ImportBegin{ID: im.id, Zone: id, Settings: ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;"},
			Replace: g.rng.IntN(4) > 0, MoveSerial: g.rng.IntN(2) == 0, Actor: actor}
	case r < 87:
		return g.importStep()
	case r < 90:
		return &Cut{Zone: []ZoneID{id, {}}[g.rng.IntN(2)]}
	case r < 92:
		return &BumpSerial{Zone: id, Past: g.rng.Uint32(), HasPast: g.rng.IntN(2) == 0}
	case r < 94:
		return &Mark{Replica: g.pick("a", "b", "c"), Index: uint64(g.rng.IntN(int(g.c.index) + 5)), Digest: Digest{byte(g.rng.IntN(2))}}
	case r < 96:
		return &Support{Version: uint8(g.rng.IntN(3))}
	case r < 97:
		return &Floor{Key: key, TimeSigned: uint64(g.c.timeMS/1000) - 5}
	case r < 98:
		return &Activate{Version: 1, Members: []string{"a"}}
	}
	return &Checkpoint{}
}

// secondaryCommand is about secondaries, the catalog and guarantees.
func (g *logMaker) secondaryCommand(key zone.Name, actor Actor) Command {
	name := g.pick("s0", "s1", "-bad")
	switch g.rng.IntN(6) {
	case 0:
		return &PutSecondary{Name: name, Key: key, Notify: []string{g.pick("192.0.2.1:53", "[2001:db8::1]:5353", "nowhere")},
			Foreign: g.rng.IntN(2) == 0, Actor: actor}
	case 1:
		return &DeleteSecondary{Name: name, Actor: actor}
	case 2:
		return &PutKeyGuarantee{Key: key, Guarantee: Guarantee{Secondaries: uint8(g.rng.IntN(3)), LimitMS: uint32(g.rng.IntN(3) * 6000)}, Actor: actor}
	case 3:
		return &ConfirmCatalog{Serial: uint32(g.rng.IntN(20)), Actor: actor}
	case 4:
		return &BumpSerial{Zone: ZoneOf(makerCatalog), Past: g.rng.Uint32(), HasPast: g.rng.IntN(2) == 0}
	}
	return &PutCatalog{Name: makerCatalog, Settings: ZoneSettings{AllowQuery: g.pick("", "none;", "any;")}, Actor: actor}
}

func (g *logMaker) update(id ZoneID) *Update {
	host := g.pick("a", "b", "c", "*.w", "ns") + "."
	name := host + id.Name.String()
	var lines []string
	for range 1 + g.rng.IntN(3) {
		lines = append(lines, g.pick(
			fmt.Sprintf("add %s %d A 192.0.2.%d", name, 60*(1+g.rng.IntN(3)), g.rng.IntN(9)),
			fmt.Sprintf("add %s 60 TXT \"%0*d\"", name, 1+g.rng.IntN(200), g.rng.IntN(9)),
			fmt.Sprintf("add %s 60 CNAME target.test.", name),
			fmt.Sprintf("del %s 0 A 192.0.2.%d", name, g.rng.IntN(9)),
			"delname "+name, "delset "+name+" A", "nonexist "+name, "exist "+name))
	}
	zoneName := id.Name.String()
	if g.rng.IntN(20) == 0 {
		zoneName = "nowhere.test."
	}
	wire := updateWire(g.t, zoneName, lines...)
	if g.rng.IntN(30) == 0 {
		wire = wire[:g.rng.IntN(len(wire))]
	}
	key := g.pick("k.", "l.")
	var version uint64
	if k := g.c.machines[0].Settings().Key(mustName(key)); k != nil {
		version = k.Secrets[g.rng.IntN(len(k.Secrets))].Version
	}
	u := g.c.signed(key, version, wire)
	u.TimeSigned += uint64(g.rng.IntN(20)) - 10
	u.Fudge = uint16(g.rng.IntN(400))
	if g.rng.IntN(10) == 0 {
		u.DeadlineMS = g.c.timeMS - 1000 + int64(g.rng.IntN(2000))
	}
	g.sent = append(g.sent, u)
	return u
}

// sent0 repeats an earlier request.
func (g *logMaker) sent0(id ZoneID) *Update {
	if len(g.sent) == 0 {
		return g.update(id)
	}
	return g.sent[len(g.sent)-1-g.rng.IntN(min(len(g.sent), 40))]
}

func (g *logMaker) importStep() Command {
	if len(g.open) == 0 {
		return &ImportAbort{ID: "none"}
	}
	im := g.open[len(g.open)-1-g.rng.IntN(min(3, len(g.open)))]
	r := g.rng.IntN(20)
	switch {
	case r == 0:
		return &ImportAbort{ID: im.id}
	case r == 1:
		return &ImportChunk{ID: im.id, Seq: im.seq + 2}
	case len(im.rrs) > 0 && r < 15:
		return &ImportCommit{ID: im.id, Records: uint64(len(im.rrs)), Digest: zone.DigestRRs(im.rrs)}
	}
	im.seq++
	rrs := NewZoneRRs(im.zone.Name, mustName("ns.elsewhere.test."), mustName("h."), nil)
	if im.seq > 1 {
		rrs = []zone.RR{{Name: mustName(fmt.Sprintf("i%d.%s", im.seq, im.zone)), Type: zone.TypeA, Class: zone.ClassIN, TTL: 5, Data: "\xc0\x00\x02\x01"}}
	}
	im.rrs = append(im.rrs, rrs...)
	return &ImportChunk{ID: im.id, Seq: im.seq, RRs: rrs}
}

// Any number of machines that apply one log have one digest after every entry; so has a machine that was restored from a
// checkpoint on the way, and so does a snapshot taken earlier stay what it was. The restored one also has the same effects.
func TestReplicasAgree(t *testing.T) {
	seeds, steps := 30, 120
	if testing.Short() {
		seeds = 5
	}
	base := uint64(time.Now().UnixNano())
	for i := range seeds {
		seed := base + uint64(i)
		g := newLogMaker(t, seed, 3)
		type kept struct {
			snap   *Snapshot
			digest Digest
		}
		var snaps []kept
		for step := range steps {
			restored := g.rng.IntN(10) == 0
			if restored {
				m, err := Restore(bytes.NewReader(checkpointOf(t, g.c.machines[0])))
				if err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
				g.c.machines[2] = m
			}
			g.step()
			digests := make([]Digest, len(g.c.machines))
			for j, m := range g.c.machines {
				s := m.Snapshot()
				digests[j] = s.Digest()
				if g.rng.IntN(30) == 0 {
					snaps = append(snaps, kept{s, digests[j]})
				}
			}
			if digests[0] != digests[1] || digests[0] != digests[2] {
				t.Fatalf("seed %d, step %d (restored before: %v): digests %v", seed, step, restored, digests)
			}
			checkZones(t, g.c.machines[0], seed, step)
		}
		for _, k := range snaps {
			if k.snap.Digest() != k.digest {
				t.Fatalf("seed %d: the snapshot of index %d has changed", seed, k.snap.Index())
			}
		}
	}
}

// Effects are as deterministic as the state: those who publish rely on the same boundaries everywhere.
func TestEffectsAgree(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	g := newLogMaker(t, seed, 1)
	var want []string
	for range 300 {
		want = append(want, fmt.Sprintf("%+v", g.step()))
	}
	m := New()
	offset := len(g.c.log) - len(want)
	for i, e := range g.c.log {
		if i%7 == 6 {
			r, err := Restore(bytes.NewReader(checkpointOf(t, m)))
			if err != nil {
				t.Fatal(err)
			}
			m = r
		}
		eff, err := m.Apply(e.index, e.data)
		if err != nil {
			t.Fatal(err)
		}
		if i >= offset {
			if got := fmt.Sprintf("%+v", eff); got != want[i-offset] {
				t.Fatalf("seed %d, entry %d:\n got %s\nwant %s", seed, i, got, want[i-offset])
			}
		}
	}
}

// checkZones checks that history, published content and newest content of each zone fit together.
func checkZones(t *testing.T, m *Machine, seed uint64, step int) {
	t.Helper()
	live, bytes := 0, uint64(0)
	for _, s := range m.slots {
		live += len(s.cur.history)
		for i := range s.cur.history {
			bytes += s.cur.history[i].bytes()
		}
	}
	if q := &m.history; q.live != live || q.bytes != bytes || len(q.refs) < live {
		t.Fatalf("seed %d, step %d: %d boundaries of %d octets are accounted as %d of %d with %d references", seed, step, live, bytes, q.live, q.bytes, len(q.refs))
	}
	var ids []ZoneID
	m.Settings().Zones(func(z *ZoneConfig) bool {
		ids = append(ids, z.ID)
		return true
	})
	checkCatalog(t, m)
	for _, id := range ids {
		v, ok := m.Zone(id)
		if !ok {
			t.Fatalf("seed %d, step %d: zone %s is in the settings only", seed, step, id)
		}
		z := v.Oldest()
		for _, b := range v.History {
			if z.Serial() != b.From {
				t.Fatalf("seed %d, step %d: zone %s: boundary from %d at serial %d", seed, step, id, b.From, z.Serial())
			}
			z.Apply(b.Diff)
			if z.Serial() != b.To {
				t.Fatalf("seed %d, step %d: zone %s: boundary to %d led to serial %d", seed, step, id, b.To, z.Serial())
			}
		}
		published := v.Published()
		if z.Digest() != published.Digest() || z.Serial() != v.PublishedSerial {
			t.Fatalf("seed %d, step %d: zone %s: history does not lead to what is published", seed, step, id)
		}
		for _, d := range v.pending {
			published.Apply(d)
		}
		if published.Digest() != v.Zone.Digest() || published.Records() != v.Zone.Records() {
			t.Fatalf("seed %d, step %d: zone %s: pending changes do not lead to the newest content", seed, step, id)
		}
	}
}

// The account of all histories stays in proportion to them, whatever zone is idle at its front.
func TestHistoryQueueIsBounded(t *testing.T) {
	c := newCluster(t, 1)
	idle, busy := c.addZone("idle.test."), c.addZone("busy.test.")
	c.must(&BumpSerial{Zone: idle})
	for range 5000 {
		c.must(&BumpSerial{Zone: busy})
	}
	if n := len(c.machines[0].history.refs); n > 1300 {
		t.Errorf("%d references for %d boundaries", n, c.machines[0].history.live)
	}
	if n := len(c.machines[0].History(busy)); n != int(DefaultLimits().HistoryPerZone) {
		t.Errorf("%d boundaries kept, want %d", n, DefaultLimits().HistoryPerZone)
	}
}

// A cluster-wide limit drops the oldest boundaries first, whichever zone they are of.
func TestHistoryTotal(t *testing.T) {
	c := newCluster(t, 1)
	first, second := c.addZone("first.test."), c.addZone("second.test.")
	for range 3 {
		c.must(&BumpSerial{Zone: first})
		c.must(&BumpSerial{Zone: second})
	}
	m := c.machines[0]
	l := DefaultLimits()
	l.HistoryTotalBytes = m.Stats().HistoryBytes * 2 / 3
	c.must(&PutLimits{Limits: l})
	for _, id := range []ZoneID{first, second} {
		if h := m.History(id); len(h) != 2 || h[1].To != 4 {
			t.Errorf("zone %s keeps %d boundaries, want the last 2", id, len(h))
		}
	}
}
