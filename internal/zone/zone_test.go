package zone

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

var testOrigin = MustParseName("example.test.")

// mustRRs reads RRs, one a line, relative to example.test.
func mustRRs(t testing.TB, text string) []RR {
	t.Helper()
	rrs, err := ReadFile(strings.NewReader("$TTL 300\n"+text), testOrigin, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return rrs
}

const apex = "@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"

func mustZone(t testing.TB, text string) *Zone {
	t.Helper()
	z, err := FromRRs(testOrigin, mustRRs(t, apex+text))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestZoneLookups(t *testing.T) {
	z := mustZone(t, "Www A 192.0.2.2\nwww A 192.0.2.1\nwww AAAA 2001:db8::1\nb.a.ent TXT x\n* TXT w\nWw0 TXT y\n")
	www := MustParseName("WWW.example.TEST")
	if s := z.Get(www, TypeA); s == nil || len(s.Data) != 2 || s.Data[0] != "\xc0\x00\x02\x01" || s.Owner != MustParseName("Www.example.test") {
		t.Errorf("Get: %+v", s)
	}
	if sets := z.Sets(www); len(sets) != 2 || sets[0].Type != TypeA || sets[1].Type != TypeAAAA {
		t.Errorf("Sets: %v", sets)
	}
	for n, want := range map[string]bool{"example.test": true, "www.example.test": true, "a.ent.example.test": false, "ent.example.test": false,
		"ww.example.test": false, "x.www.example.test": false, "test": false, ".": false, "www.example.com": false, "wexample.test": false} {
		if z.Exists(MustParseName(n)) != want {
			t.Errorf("Exists(%s) is %v", n, !want)
		}
	}
	if z.Serial() != 1 || z.Records() != 9 || z.Len() != 8 || z.SOA() == nil {
		t.Errorf("serial %d, records %d, sets %d", z.Serial(), z.Records(), z.Len())
	}
	var below []string
	z.AscendBelow(MustParseName("ENT.example.test"), func(s *RRset) bool {
		below = append(below, s.Owner.String())
		return true
	})
	if fmt.Sprint(below) != "[b.a.ent.example.test.]" {
		t.Errorf("AscendBelow: %v", below)
	}
}

// TestCanonicalOrder is the example of RFC 4034 6.1, and labels of the octets that the key must escape.
func TestCanonicalOrder(t *testing.T) {
	names := []string{"example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.", "z.example.", `\001.z.example.`,
		"*.z.example.", `\200.z.example.`}
	more := []string{`\000.q.`, `\000\000.q.`, `\000\001.q.`, `a.\000\001.q.`, `\001.q.`, `\001\000.q.`, `\001\001.q.`, `\002.q.`, `z.\002.q.`, `\002\000.q.`}
	for _, list := range [][]string{names, more} {
		for i, a := range list {
			for j, b := range list {
				got, want := MustParseName(a).Compare(MustParseName(b)), i-j
				if got < 0 != (want < 0) || got > 0 != (want > 0) {
					t.Errorf("Compare(%s, %s) = %d", a, b, got)
				}
			}
		}
	}
}

func TestSerialArithmetic(t *testing.T) {
	for _, c := range []struct {
		a, b uint32
		want bool
	}{{1, 0, true}, {0, 1, false}, {5, 5, false}, {0, 1<<32 - 1, true}, {1<<31 - 1, 0, true}, {1 << 31, 0, false}, {0, 1 << 31, false}, {100, 1<<32 - 100, true}} {
		if SerialGT(c.a, c.b) != c.want {
			t.Errorf("SerialGT(%d, %d) is %v", c.a, c.b, !c.want)
		}
	}
	if NextSerial(1<<32-1) != 1 || NextSerial(0) != 1 || NextSerial(7) != 8 || SerialAdd(1<<32-1, 2) != 1 {
		t.Error("serials must skip 0")
	}
}

func TestSOA(t *testing.T) {
	d := mustZone(t, "").SOA().Data[0]
	s, err := ParseSOA(d)
	if err != nil || s.Data() != d || s.Serial != 1 || s.Refresh != 2 || s.Retry != 3 || s.Expire != 4 || s.Minimum != 5 || s.RName != MustParseName("host.example.test") {
		t.Fatalf("%+v %v", s, err)
	}
	if SOASerial(WithSOASerial(d, 77)) != 77 || SOASerial("x") != 0 {
		t.Error("serial accessors")
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct{ rr, want string }{
		{"x NS a.b.", "a.b."}, {"x PTR a.b.", "a.b."}, {"x MX 1 a.b.", "a.b."}, {"x SRV 1 2 3 a.b.", "a.b."}, {"x CNAME a.b.", "a.b."},
		{"x PX 1 c.d. a.b.", "a.b."}, {"x SOA a.b. c.d. 1 2 3 4 5", "a.b."}, {"x HTTPS 1 a.b. alpn=h2", "a.b."},
	} {
		rr := mustRRs(t, c.rr)[0]
		if got := Target(rr.Type, rr.Data).String(); got != c.want {
			t.Errorf("Target of %s: %s", c.rr, got)
		}
	}
	if Target(TypeA, "\x00\x00\x00\x00") != "" || Target(TypeSRV, "\x00") != "" {
		t.Error("Target where there is none")
	}
}

// model is a zone as a plain map, which the random tests compare with.
type model map[RR]bool

func (m model) canonical() []string {
	var lines []string
	for rr := range m {
		lines = append(lines, fmt.Sprintf("%s|%d|%d|%x", rr.Name, rr.Type, rr.TTL, rr.Data))
	}
	slices.Sort(lines)
	return lines
}

func contents(z *Zone) model {
	m := model{}
	for _, rr := range z.RRs() {
		m[rr] = true
	}
	return m
}

func (m model) equal(o model) bool { return slices.Equal(m.canonical(), o.canonical()) }

// step makes one random change.
func step(rng *rand.Rand, z *Zone) {
	labels := []string{"\x01a", "\x01A", "\x01b", "\x02aa", "\x01*", "\x02\x00\x01", "\x03www", "\x03WWW"}
	owner := testOrigin
	for n := rng.IntN(3); n > 0; n-- {
		owner = Name(labels[rng.IntN(len(labels))]) + owner
	}
	types := []Type{TypeA, TypeNS, TypeTXT, TypeMX, TypeSOA, Type(65280)}
	typ := types[rng.IntN(len(types))]
	switch old := z.Get(owner, typ); {
	case rng.IntN(4) == 0:
		z.Remove(owner, typ)
	case old != nil && rng.IntN(3) == 0:
		if s := old.Without(old.Data[rng.IntN(len(old.Data))]); s == nil {
			z.Remove(owner, typ)
		} else {
			z.Set(s)
		}
	case old != nil && typ != TypeSOA && rng.IntN(2) == 0:
		z.Set(old.With(randomData(rng, typ)))
	default:
		var data []string
		for n := 1 + rng.IntN(4); n > 0; n-- {
			data = append(data, randomData(rng, typ))
		}
		if typ == TypeSOA {
			data = data[:1]
		}
		z.Set(NewRRset(owner, typ, uint32(rng.IntN(2)), data...))
	}
}

func randomData(rng *rand.Rand, t Type) string {
	n := byte(rng.IntN(6))
	target := "\x01" + string("abABcC"[n]) + "\x00"
	switch t {
	case TypeA:
		return string([]byte{192, 0, 2, n})
	case TypeNS:
		return target
	case TypeMX:
		return "\x00" + string(rune(n)) + target
	case TypeTXT:
		return "\x01" + string("abABcC"[n])
	case TypeSOA:
		return SOA{MName: Name(target), RName: Root, Serial: rng.Uint32()}.Data()
	}
	return strings.Repeat(string(rune(n)), int(n))
}

// checkInvariants recomputes from scratch what a zone keeps up to date.
func checkInvariants(t *testing.T, z *Zone) {
	t.Helper()
	rrs := z.RRs()
	if len(rrs) != z.Records() {
		t.Fatalf("the zone counts %d records and has %d", z.Records(), len(rrs))
	}
	var h hasher
	var sum lanes
	sets, last := 0, ""
	var soa *RRset
	z.Ascend(func(s *RRset) bool {
		sets++
		key := string(appendSetKey(nil, s.Owner, 1, s.Type))
		if key <= last || !s.ordered() || len(s.Data) == 0 {
			t.Fatalf("out of order at %s %s", s.Owner, s.Type)
		}
		last = key
		if s.Type == TypeSOA && s.Owner.Equal(z.Origin()) {
			soa = s
		}
		if z.Get(s.Owner, s.Type) != s || !slices.Contains(z.Sets(s.Owner), s) {
			t.Fatalf("%s %s is not found", s.Owner, s.Type)
		}
		for _, rr := range s.RRs() {
			sum.add(h.rr(rr.Name, rr.Type, rr.Class, rr.TTL, rr.Data))
		}
		return true
	})
	if sets != z.Len() || soa != z.SOA() || sum.digest() != z.Digest() {
		t.Fatalf("sets %d of %d, SOA %v of %v, digest %s of %s", z.Len(), sets, z.SOA(), soa, z.Digest(), sum.digest())
	}
}

// TestRandomChanges: rollback restores exactly, snapshots never change, diffs lead from one state to the next, merged diffs
// do the work of two, and the digest is that of the content, however it came about.
func TestRandomChanges(t *testing.T) {
	rng := newRand(t)
	z := New(testOrigin)
	for round := range 300 {
		before, start := contents(z), z.Snapshot()
		tx := z.Begin()
		for range rng.IntN(12) {
			step(rng, tx.Zone)
		}
		during := contents(z)
		if rng.IntN(3) == 0 {
			tx.Rollback()
			if !contents(z).equal(before) || z.Digest() != start.Digest() || z.SOA() != start.SOA() {
				t.Fatalf("round %d: rollback does not restore the zone", round)
			}
			checkInvariants(t, z)
			continue
		}
		first := tx.Commit()
		middle := z.Snapshot()
		tx = z.Begin()
		for range rng.IntN(12) {
			step(rng, tx.Zone)
		}
		second := tx.Commit()
		checkInvariants(t, z)
		if !contents(start).equal(before) || !contents(middle).equal(during) {
			t.Fatalf("round %d: a snapshot changed", round)
		}
		for _, c := range []struct {
			what     string
			from, to *Zone
			diff     Diff
		}{
			{"a transaction's diff", start, middle, first},
			{"Between", start, z, Between(start, z)},
			{"Merge", start, z, Merge(first, second)},
		} {
			got := c.from.Snapshot()
			got.Apply(c.diff)
			if !contents(got).equal(contents(c.to)) || got.Digest() != c.to.Digest() {
				t.Fatalf("round %d: %s does not lead to the next state:\n%v", round, c.what, c.diff)
			}
			checkInvariants(t, got)
		}
		if a, b := Merge(first, second), Between(start, z); !slices.Equal(a.Del, b.Del) || !slices.Equal(a.Add, b.Add) {
			t.Fatalf("round %d: Merge and Between differ:\n%v\n%v", round, a, b)
		}
		if !Between(z, z.Snapshot()).Empty() {
			t.Fatal("a zone differs from its snapshot")
		}
	}
}

// TestDigestIgnoresOrderAndCase: the digest of a zone is that of its RRs in any order and any case.
func TestDigestIgnoresOrderAndCase(t *testing.T) {
	rng := newRand(t)
	z := mustReadTypes(t)
	rrs := z.RRs()
	axfr := append(slices.Clone(rrs), rrs[0])
	if DigestRRs(axfr) != z.Digest() {
		t.Error("digest of a transfer, closing SOA included, is not that of the zone")
	}
	rng.Shuffle(len(rrs), func(i, j int) { rrs[i], rrs[j] = rrs[j], rrs[i] })
	rebuilt, err := FromRRs(z.Origin(), rrs)
	if err != nil {
		t.Fatal(err)
	}
	if rebuilt.Digest() != z.Digest() || DigestRRs(rrs) != z.Digest() {
		t.Error("digest depends on the order of RRs")
	}
	upper := New(z.Origin())
	for _, rr := range rrs {
		s := upper.Get(rr.Name, rr.Type)
		if s == nil {
			s = NewRRset(Name(upperCase(string(rr.Name))), rr.Type, rr.TTL)
		}
		if l := layoutOf(rr.Type); l != nil && l.fields[0].kind == name {
			end := nameEnd(rr.Data, 0)
			rr.Data = upperCase(rr.Data[:end]) + rr.Data[end:]
		}
		upper.Set(s.With(rr.Data))
	}
	if upper.Digest() != z.Digest() {
		t.Error("digest depends on the case of names")
	}
	rr := rrs[0]
	rr.TTL++
	if DigestRRs([]RR{rr}) == DigestRRs(rrs[:1]) {
		t.Error("digest ignores the TTL")
	}
	if New(testOrigin).Digest() != (Digest{}) {
		t.Error("digest of an empty zone is not zero")
	}
}

func upperCase(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// TestDigestIsStable: the digest is part of what replicas and releases agree on; this value must never change.
func TestDigestIsStable(t *testing.T) {
	z := mustZone(t, "Www 60 A 192.0.2.2\nwww 60 A 192.0.2.1\n@ 0 MX 10 Mail\nt TXT \"Case Stays\"\nh HTTPS 1 Svc alpn=h2\nu TYPE65280 \\# 2 4142\n")
	const want = "7ee7409e5ebd9cbe85bf7a4daa7eb9a62cf3d022ea52919cfb1ff17801ab6354"
	if got := z.Digest().String(); got != want {
		t.Errorf("digest is %s, was %s in earlier releases", got, want)
	}
}

// TestSnapshotIsIndependent reads a snapshot in one goroutine while the zone changes in another.
func TestSnapshotIsIndependent(t *testing.T) {
	rng := newRand(t)
	z := New(testOrigin)
	var readers sync.WaitGroup
	for range 50 {
		for range 20 {
			step(rng, z)
		}
		snap, want := z.Snapshot(), z.Digest()
		readers.Go(func() {
			var h hasher
			var sum lanes
			for _, rr := range snap.RRs() {
				sum.add(h.rr(rr.Name, rr.Type, rr.Class, rr.TTL, rr.Data))
				snap.Get(rr.Name, rr.Type)
			}
			if sum.digest() != want {
				t.Error("a snapshot changed under its reader")
			}
		})
	}
	readers.Wait()
}

func TestDiffOrder(t *testing.T) {
	z := mustZone(t, "a TXT x\nb TXT x\n")
	tx := z.Begin()
	tx.Set(NewRRset(testOrigin, TypeA, 5, "\xc0\x00\x02\x07"))
	tx.Set(NewRRset(MustParseName("B.example.test"), TypeTXT, 300, "\x01x"))
	tx.Set(NewRRset(MustParseName("a.example.test"), TypeTXT, 299, "\x01x"))
	tx.Set(NewRRset(testOrigin, TypeSOA, 300, WithSOASerial(tx.SOA().Data[0], 2)))
	tx.Set(NewRRset(MustParseName("gone.example.test"), TypeTXT, 300, "\x01x"))
	tx.Remove(MustParseName("gone.example.test"), TypeTXT)
	d := tx.Commit()
	want := `del example.test.	300	IN	SOA	ns.example.test. host.example.test. 1 2 3 4 5
del a.example.test.	300	IN	TXT	"x"
del b.example.test.	300	IN	TXT	"x"
add example.test.	300	IN	SOA	ns.example.test. host.example.test. 2 2 3 4 5
add example.test.	5	IN	A	192.0.2.7
add a.example.test.	299	IN	TXT	"x"
add B.example.test.	300	IN	TXT	"x"
`
	var got strings.Builder
	for _, rr := range d.Del {
		fmt.Fprintf(&got, "del %s\n", rr)
	}
	for _, rr := range d.Add {
		fmt.Fprintf(&got, "add %s\n", rr)
	}
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if from, to, ok := d.Serials(); from != 1 || to != 2 || !ok {
		t.Errorf("Serials: %d %d %v", from, to, ok)
	}
	wire := 0
	for _, rr := range append(slices.Clone(d.Del), d.Add...) {
		wire += len(AppendRR(nil, rr))
	}
	if wire != d.WireLen() {
		t.Errorf("WireLen %d, want %d", d.WireLen(), wire)
	}
}

func TestBeginTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a second transaction began")
		}
	}()
	z := New(testOrigin)
	z.Begin()
	z.Begin()
}

// million is a zone of n names with one A record each.
func million(n int) *Zone {
	z := New(testOrigin)
	for i := range n {
		// The strings are made one by one, as the decoder of messages makes them.
		data := string(binary.BigEndian.AppendUint32(nil, uint32(i)))
		z.Set(&RRset{Owner: Name(fmt.Appendf(nil, "\x0ahost%06d%s", i, string(testOrigin))), Type: TypeA, TTL: 300, Data: []string{data}})
	}
	return z
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemoryPerRecord holds the zone to 300 octets of heap for a name with one A record.
func TestMemoryPerRecord(t *testing.T) {
	const n = 200_000
	before := heap()
	z := million(n)
	per := float64(heap()-before) / n
	runtime.KeepAlive(z)
	t.Logf("%.0f octets of heap per record", per)
	if per > 300 {
		t.Errorf("%.0f octets of heap per record; at most 300 are allowed", per)
	}
}

func BenchmarkMillion(b *testing.B) {
	for b.Loop() {
		before := heap()
		z := million(1_000_000)
		b.ReportMetric(float64(heap()-before)/1e6, "B/record")
		runtime.KeepAlive(z)
	}
}

// BenchmarkUpdate is one transaction that adds a record and moves the serial, in a zone of a million records.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{0, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			z := million(n)
			soa := SOA{MName: Root, RName: Root, Serial: 1}.Data()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				tx := z.Begin()
				tx.Set(&RRset{Owner: Name(fmt.Appendf(nil, "\x0bnew%08d%s", i, string(testOrigin))), Type: TypeA, TTL: 300, Data: []string{"\x01\x02\x03\x04"}})
				tx.Set(&RRset{Owner: testOrigin, Type: TypeSOA, TTL: 300, Data: []string{WithSOASerial(soa, uint32(i))}})
				if d := tx.Commit(); d.Empty() {
					b.Fatal("nothing changed")
				}
			}
		})
	}
}

func BenchmarkUnpackRR(b *testing.B) {
	msg := AppendRR(nil, RR{Name: "\x04host" + testOrigin, Type: TypeA, Class: ClassIN, TTL: 300, Data: "\x01\x02\x03\x04"})
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := UnpackRR(msg, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteFile(b *testing.B) {
	z := million(100_000)
	z.Set(NewRRset(testOrigin, TypeSOA, 1, SOA{MName: Root, RName: Root}.Data()))
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		if err := WriteFile(&out, z); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e5, "ns/record")
}

func BenchmarkReadFile(b *testing.B) {
	z := million(100_000)
	z.Set(NewRRset(testOrigin, TypeSOA, 1, SOA{MName: Root, RName: Root}.Data()))
	var out bytes.Buffer
	if err := WriteFile(&out, z); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ReadFile(bytes.NewReader(out.Bytes()), testOrigin, ReadOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e5, "ns/record")
}
