package differential

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Generator makes requests for one zone. The same seed and the same answers give the same requests.
type Generator struct {
	spec      ZoneSpec
	origin    zone.Name
	rng       *rand.Rand
	zone      *zone.Zone // what the zone holds now; follows the model
	id        uint16
	hosts     []zone.Name
	names     []zone.Name
	outside   []zone.Name
	mnemonics []string
	rows      []row
	// open are the indexes in rows of those whose goal is not reached; missing is how many hits each row lacks.
	open    []int
	missing []int
}

// NewGenerator makes requests for the zone spec, whose content z is updated by whoever evaluates them.
func NewGenerator(seed uint64, spec ZoneSpec, z *zone.Zone) *Generator {
	g := &Generator{spec: spec, origin: spec.Origin, zone: z, rng: rand.New(rand.NewPCG(seed, 0x5a6f6e65))}
	in := func(labels ...string) (names []zone.Name) {
		for _, l := range labels {
			names = append(names, zone.MustParseName(l+"."+spec.Origin.String()))
		}
		return names
	}
	g.hosts = append(in("ns1", "ns2", "mail"), g.origin, zone.MustParseName("ns.elsewhere.example."), zone.MustParseName("Mail.Example."))
	g.names = append(in(
		"a", "b", "case", "www", "secret", "one", "open", "no", "x.no", "sub", "x.sub", "*.sub", "wild", "a.wild", "b.c.wild",
		"hosts", "h1.hosts", "h2.hosts", "x.h1.hosts", "*.h2.hosts", "ent", "y.ent", "x.y.ent", "z.y.ent", "w", "*.w", "a.w", "a.b.w", "*.*.w", "a.*.w",
		"deleg", "ns.deleg", "x.deleg", "new-deleg", "ns.new-deleg", "dn", "x.dn", "ns1", "ns2", "mail", "p", "_sip._tcp", "_dns", "_853._dns",
		"_under.score", "gc._msdcs", "x._spf", "dot\\.ted", "b._dns-sd._udp", "*", "1", "1.0.0.0.0.0.f.7", "x.1.0.0.0.0.0.f.7",
	), g.origin, g.origin)
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("x", zone.MaxLabelLen)+".", 3), ".")
	room := zone.MaxNameLen - len(g.origin) - (len(long) + 1) - 1 // octets for one more label
	for _, n := range []int{room, room - 1, room - 2, room - 3} { // the longest name, and those that "*." fits before or not
		g.names = append(g.names, in(strings.Repeat("y", n)+"."+long)...)
	}
	g.outside = []zone.Name{zone.Root, zone.MustParseName("example."), zone.MustParseName("a.other.test."), g.origin.Parent(), zone.MustParseName("x" + spec.Origin.String())}
	for m := range samples {
		g.mnemonics = append(g.mnemonics, m)
	}
	slices.Sort(g.mnemonics)
	g.rows = rowsFor(spec)
	g.aim(nil)
	return g
}

// Case is a request and what it is for.
type Case struct {
	Request Request
	// Row is the row of named's documented behaviour that the request is meant to hit, "" for a random one.
	Row string
	// Hit reports whether the outcome shows that it did.
	Hit func(before, after *zone.Zone, rcode uint16) bool
}

// Next returns the next request: mostly directed ones until every row's goal is reached, mostly random ones afterwards.
func (g *Generator) Next() Case {
	g.id++
	i := -1
	switch {
	case len(g.open) > 0 && g.rng.IntN(8) > 0:
		i = pick(g.rng, g.open)
	case g.rng.IntN(3) == 0:
		i = g.rng.IntN(len(g.rows))
	}
	if i >= 0 {
		r := &g.rows[i]
		if m, signer := r.make(g); m != nil {
			m.compress = g.rng.IntN(3) == 0
			return Case{
				Request: Request{Wire: m.wire(g.id), Signer: signer.key(), UDP: r.udp, Tamper: r.tamper},
				Row:     r.name,
				Hit:     func(before, after *zone.Zone, rcode uint16) bool { return r.hit(before, after, rcode) && g.count(i) },
			}
		}
	}
	return g.random()
}

// count notes a hit of row i; it returns true.
func (g *Generator) count(i int) bool {
	if g.missing[i]--; g.missing[i] == 0 {
		g.open = slices.DeleteFunc(g.open, func(o int) bool { return o == i })
	}
	return true
}

// aim sets the goal of each row; see Plan.
func (g *Generator) aim(goals map[string]int) {
	g.open, g.missing = nil, make([]int, len(g.rows))
	for i, r := range g.rows {
		if g.missing[i] = goals[r.name]; g.missing[i] > 0 {
			g.open = append(g.open, i)
		}
	}
}

// who signs a directed request; "" is KeyMain.
type who string

const unsigned who = "-"

func (w who) key() zone.Name {
	switch w {
	case "":
		return zone.MustParseName(KeyMain)
	case unsigned:
		return ""
	}
	return zone.MustParseName(string(w))
}

func (g *Generator) name() zone.Name {
	if g.rng.IntN(25) == 0 {
		return pick(g.rng, g.outside)
	}
	return g.inside()
}

func (g *Generator) inside() zone.Name {
	n := pick(g.rng, g.names)
	if g.rng.IntN(6) == 0 {
		n = g.flip(n)
	}
	return n
}

func (g *Generator) host() zone.Name {
	if g.rng.IntN(6) == 0 {
		return g.name()
	}
	n := pick(g.rng, g.hosts)
	if g.rng.IntN(6) == 0 {
		n = g.flip(n)
	}
	return n
}

// flip changes the case of some letters.
func (g *Generator) flip(n zone.Name) zone.Name {
	b := []byte(n)
	for i, c := range b {
		if (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') && g.rng.IntN(2) == 0 {
			b[i] = c ^ 0x20
		}
	}
	return zone.Name(b)
}

// existing returns a random RRset of the zone.
func (g *Generator) existing() *zone.RRset {
	for range 20 {
		if sets := g.zone.Sets(pick(g.rng, g.names)); len(sets) > 0 {
			return pick(g.rng, sets)
		}
	}
	return g.zone.SOA()
}

func (g *Generator) random() Case {
	m := newMessage(g.origin)
	m.compress = g.rng.IntN(3) == 0
	if g.rng.IntN(4) == 0 {
		for range 1 + g.rng.IntN(3) {
			m.require(g.prereq()...)
		}
	}
	for range 1 + g.rng.IntN(4) {
		m.update(g.change())
	}
	if g.rng.IntN(40) == 0 {
		for range 120 {
			m.update(g.rr(pick(g.rng, m.updates).Name, pick(g.rng, []string{"A", "TXT", "TYPE65280"})))
		}
	}
	if g.rng.IntN(30) == 0 {
		m.additional = append(m.additional, g.rr(g.name(), ""))
	}
	damaged := g.rng.IntN(25) == 0
	if !damaged && g.rng.IntN(20) == 0 { // damage would make versions of EDNS, which are not for package update to answer
		m.additional = append(m.additional, g.opt()...)
	}
	if g.rng.IntN(60) == 0 {
		m.zones[0].class = pick(g.rng, []zone.Class{zone.ClassCH, zone.ClassHS, zone.ClassNONE, zone.ClassANY, 0, 7})
	}
	wire := m.wire(g.id)
	if damaged {
		g.damage(wire)
	}
	if g.rng.IntN(20) == 0 { // flags and response codes mean nothing in an UPDATE request
		wire[2] ^= byte(g.rng.IntN(8))
		wire[3] ^= byte(g.rng.IntN(256))
	}
	signer := KeyMain
	if g.rng.IntN(8) == 0 {
		signer = pick(g.rng, g.spec.Keys)
	}
	r := Request{Wire: wire, Signer: zone.MustParseName(signer)}
	if g.rng.IntN(40) == 0 || !complete(wire) || readsOn(wire) {
		r.Signer = "" // what follows damaged counts or lengths would not be seen as a TSIG RR, or as a part of a name
	}
	if r.Signer != "" && g.rng.IntN(20) == 0 {
		r.Tamper = 1 + Tamper(g.rng.IntN(int(OtherTTL))) // the rest is malformed in itself
	}
	return Case{Request: r}
}

// readsOn reports whether a message means something else once it is signed: a stray compression pointer can lead to a name
// that takes in the header's counts or runs over the end.
func readsOn(wire []byte) bool {
	rcode := func(wire []byte) uint16 {
		var bad *update.Error
		if _, err := update.Parse(wire); errors.As(err, &bad) {
			return bad.RCode
		}
		return update.NoError
	}
	signed := slices.Clone(wire)
	binary.BigEndian.PutUint16(signed[10:], binary.BigEndian.Uint16(signed[10:])+1)
	signed = zone.AppendRR(signed, zone.RR{Name: zone.Root, Type: zone.TypeNULL, Class: zone.ClassIN})
	return rcode(wire) != rcode(append(signed, make([]byte, zone.MaxNameLen)...))
}

// complete reports whether the message ends where its counts and lengths say.
func complete(wire []byte) bool {
	off := 12
	for section := range 4 {
		for range binary.BigEndian.Uint16(wire[4+2*section:]) {
			_, next, err := zone.UnpackName(wire, off)
			if err != nil {
				return false
			}
			if off = next + 4; section == 0 {
				continue
			}
			if off+6 > len(wire) {
				return false
			}
			off += 6 + int(binary.BigEndian.Uint16(wire[off+4:]))
		}
	}
	return off == len(wire)
}

// opt returns an OPT RR, in one of four cases misplaced or doubled.
func (g *Generator) opt() []zone.RR {
	rr := zone.RR{Name: zone.Root, Type: zone.TypeOPT, Class: 1232, Data: pick(g.rng, []string{
		"", "\x00\x03\x00\x00", "\x00\x0a\x00\x08cookie01", "\x00\x0c\x00\x02\x00\x00", "\x00\x0a\x00\x03abc", "\x00\x03\x00",
	})}
	switch g.rng.IntN(8) {
	case 0:
		rr.Name = g.inside()
	case 1:
		return []zone.RR{rr, rr}
	}
	return []zone.RR{rr}
}

// damage changes some octets after the header, or a count in it.
func (g *Generator) damage(wire []byte) {
	if g.rng.IntN(4) == 0 {
		at := 4 + 2*g.rng.IntN(3)
		n := binary.BigEndian.Uint16(wire[at:])
		binary.BigEndian.PutUint16(wire[at:], n+uint16(g.rng.IntN(3))-1)
		return
	}
	for range 1 + g.rng.IntN(2) {
		at := 12 + g.rng.IntN(len(wire)-12)
		switch g.rng.IntN(3) {
		case 0:
			wire[at] ^= 1 << g.rng.IntN(8)
		case 1:
			wire[at]++
		case 2:
			wire[at] = byte(g.rng.IntN(256))
		}
	}
}

func (g *Generator) prereq() []zone.RR {
	t := g.rr(g.origin, "").Type
	switch g.rng.IntN(9) {
	case 0:
		return []zone.RR{nameInUse(g.name())}
	case 1:
		return []zone.RR{nameNotInUse(g.name())}
	case 2:
		return []zone.RR{setExists(g.name(), t)}
	case 3:
		return []zone.RR{setNotExists(g.name(), t)}
	case 4, 5:
		return exactly(g.existing())
	case 6:
		rrs := exactly(g.existing())
		return append(rrs, pick(g.rng, rrs))
	case 7:
		s := g.existing()
		return []zone.RR{setExists(g.flip(s.Owner), s.Type)}
	default:
		rr := g.rr(g.name(), "")
		rr.TTL = 0
		return []zone.RR{rr}
	}
}

func (g *Generator) change() zone.RR {
	switch g.rng.IntN(16) {
	case 0, 1, 2:
		s := g.existing()
		rr := s.RR(g.rng.IntN(len(s.Data)))
		if g.rng.IntN(3) == 0 {
			rr.Name = g.flip(rr.Name)
		}
		return deleteRR(rr)
	case 3:
		return deleteRR(g.rr(g.name(), ""))
	case 4:
		s := g.existing()
		return deleteSet(g.flip(s.Owner), s.Type)
	case 5:
		return deleteSet(g.name(), g.rr(g.origin, "").Type)
	case 6:
		return deleteName(g.name())
	case 7: // add what exists, or nearly
		s := g.existing()
		rr := s.RR(g.rng.IntN(len(s.Data)))
		switch g.rng.IntN(3) {
		case 0:
			rr.Name = g.flip(rr.Name)
		case 1:
			rr.TTL = g.ttl()
		}
		return rr
	case 8: // malformed or odd
		rr := g.rr(g.name(), "")
		switch g.rng.IntN(8) {
		case 0:
			rr.Class = zone.ClassNONE
		case 1:
			rr.Class, rr.Data = zone.ClassANY, ""
		case 2:
			rr.Class = pick(g.rng, []zone.Class{zone.ClassANY, zone.ClassCH, zone.ClassHS, 0, 9})
		case 3:
			rr.Type, rr.Data = g.oddType(), ""
			rr.Class, rr.TTL = pick(g.rng, []zone.Class{zone.ClassANY, zone.ClassNONE, zone.ClassIN}), 0
		case 4:
			rr.Data = ""
		case 5:
			rr.Data += "\x00"
		case 6:
			if rr.Data != "" {
				rr.Data = rr.Data[:len(rr.Data)-1]
			}
		case 7:
			if b := []byte(rr.Data); len(b) > 0 {
				b[g.rng.IntN(len(b))] = byte(g.rng.IntN(256))
				rr.Data = string(b)
			}
		}
		return rr
	}
	return g.rr(g.name(), "")
}

// oddType returns a type that is not stored in zones, or that only signed zones hold, or none at all.
func (g *Generator) oddType() zone.Type {
	return pick(g.rng, []zone.Type{0, zone.TypeOPT, zone.TypeTSIG, zone.TypeTKEY, zone.TypeAXFR, zone.TypeIXFR, zone.TypeANY,
		zone.TypeMAILB, 128, 200, zone.TypeNSEC, zone.TypeNSEC3, zone.TypeSIG, zone.TypeNXT, zone.TypeRRSIG, zone.TypeDNSKEY, zone.TypeCDS, zone.TypeNSEC3PARAM})
}
