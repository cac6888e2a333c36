package zone

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "seed of the random tests; 0 takes a new one")
	mutationsFlag = flag.Int("mutations", 150, "mutations of each RDATA example that are compared with named")
)

// newRand returns a generator whose seed is printed when the test fails.
func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with -seed=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// unhex decodes hexadecimal with spaces.
func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// signingExamples are RDATA of the types that no zone here may have, but messages do.
var signingExamples = map[Type][]string{
	TypeRRSIG: {
		unhex("0001 08 02 00000E10 65000000 64000000 1234 0765 78616D706C65 00 01020304"),
		unhex("0001 FD 02 00000E10 65000000 64000000 1234 00 0161 0162 00 0102"),
		unhex("0001 FE 02 00000E10 65000000 64000000 1234 00 05 06 03 2B 06 01 0102"),
	},
	TypeSIG:        {unhex("0001 08 02 00000E10 65000000 64000000 1234 00 01020304")},
	TypeNXT:        {unhex("0161 00 62 00 00 01"), unhex("00")},
	TypeNSEC:       {unhex("0161 00 0006 400000000003 0101 80"), unhex("00 0001 40")},
	TypeNSEC3:      {unhex("01 00 0005 04 AABBCCDD 14 0102030405060708090A0B0C0D0E0F1011121314 0001 40"), unhex("02 00 0000 00 01 FF")},
	TypeNSEC3PARAM: {unhex("01 00 0005 04 AABBCCDD"), unhex("01 00 0000 00")},
	TypeDNSKEY: {
		unhex("0101 03 08 0301 0001 AABB"), unhex("0100 03 FD 0161 00 0102"), unhex("0100 03 FE 05 06 03 2B 06 01 0102"),
		unhex("0100 03 FE 06 06 04 2B 06 81 01 01"),
	},
	TypeKEY: {unhex("0200 03 FD 0161 00 0102"), unhex("C000 03 05")},
	TypeSVCB: {
		unhex("0001 00 0000 0004 0001 0003 0001 0003 02 6832 0003 0002 01BB"),
		pathExample("/dns{?x:3,b*,dns}/{+y,a%20_}"), pathExample("/d%41/{#dns:12,b}"), pathExample("/q{dns*,?b2}"),
	},
	TypeNAPTR: {
		substitutionExample(`!^a(b|c)?[a-z0-9_]{2,3}[^]x-z]*$!\1!i`), substitutionExample(`/[[.a.]-c]|[[.hyphen.]]|[[=e=]]|()/x\\0/`),
		substitutionExample(`!([[:digit:]]+)(x)\2{1}!\1\2!`), substitutionExample(`|a[-b]{3,}|y|`),
	},
}

func pathExample(s string) string { return "\x00\x01\x00\x00\x07\x00" + string(rune(len(s))) + s }

func substitutionExample(s string) string {
	return "\x00\x01\x00\x02\x01u\x00" + string(rune(len(s))) + s + "\x00"
}

// examples returns valid RDATA of every type that can be compared with named through a zone file.
func examples(t *testing.T) map[Type][]string {
	all := map[Type][]string{}
	for typ, data := range signingExamples {
		all[typ] = append(all[typ], data...)
	}
	for _, rr := range mustReadTypes(t).RRs() {
		if rr.Type != TypeSOA { // named takes an SOA at the apex only, which no mutation can be
			all[rr.Type] = append(all[rr.Type], rr.Data)
		}
	}
	for typ, data := range all {
		for _, d := range data {
			if err := CheckData(typ, ClassIN, d); err != nil {
				t.Errorf("example of %s %x: %v", typ, d, err)
			}
		}
	}
	return all
}

// mutate changes RDATA a little: octets, length, parts.
func mutate(rng *rand.Rand, d string) string {
	b := []byte(d)
	for n := 1 + rng.IntN(2); n > 0; n-- {
		at := 0
		if len(b) > 0 {
			at = rng.IntN(len(b))
		}
		small := []byte{0, 1, 2, 3, 4, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff, '!', '[', ']', '-', '(', ')', '{', '}', ':', '.', '\\', 'i', ','}
		switch op := rng.IntN(7); {
		case op == 0 || len(b) == 0:
			b = append(b, byte(rng.UintN(256)))
		case op == 1:
			b = b[:at]
		case op == 2:
			b = slices.Insert(b, at, small[rng.IntN(len(small))])
		case op == 3:
			b = slices.Delete(b, at, at+1)
		case op == 4:
			b[at] = byte(rng.UintN(256))
		case op == 5:
			b[at] = small[rng.IntN(len(small))]
		default:
			b[at] += byte(rng.IntN(3)) - 1
		}
	}
	return string(b)
}

var errorLine = regexp.MustCompile(`(?m)^dns_rdata_fromtext: .*zone:(\d+): `)

// TestNamedAcceptsTheSameData: of thousands of damaged RDATA of every type, named accepts exactly those that CheckData
// accepts. named-checkzone reads them as unknown types (RFC 3597), which it passes through the same fromwire functions as
// messages, and reports every line that fails.
func TestNamedAcceptsTheSameData(t *testing.T) {
	namedtest.Each(t, testNamedAcceptsTheSameData)
}

func testNamedAcceptsTheSameData(t *testing.T, bind namedtest.Release) {
	rng := newRand(t)
	all := examples(t)
	types := make([]Type, 0, len(all))
	for typ := range all {
		types = append(types, typ)
	}
	slices.Sort(types)
	var text strings.Builder
	text.WriteString("@ 1 IN SOA . . 1 1 1 1 1\n@ 1 IN NS .\n")
	type sample struct {
		t Type
		d string
	}
	samples := map[int]sample{}
	line := 2
	for _, typ := range types {
		for _, d := range all[typ] {
			for range *mutationsFlag {
				s := sample{typ, mutate(rng, d)}
				if typ == TypeRRSIG && Covers(s.d) == 0 {
					continue // refused in messages, not in files
				}
				line++
				samples[line] = s
				fmt.Fprintf(&text, "n%d 1 IN TYPE%d \\# %d %x\n", line, typ, len(s.d), s.d)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	report, _ := checkzone(t, bind, file)
	refused := map[int]bool{}
	for _, m := range errorLine.FindAllStringSubmatch(report, -1) {
		n, _ := strconv.Atoi(m[1])
		refused[n] = true
	}
	good, differ := 0, 0
	for n, s := range samples {
		err := CheckData(s.t, ClassIN, s.d)
		if bind.Version == "9.18" && isPrivate(s.t, s.d) {
			continue
		}
		if err == nil {
			good++
		}
		if (err != nil) != refused[n] {
			if differ++; differ <= 30 {
				t.Errorf("%s %x: named refuses it: %v; we say: %v", s.t, s.d, refused[n], err)
			}
		}
	}
	t.Logf("%d types, %d RDATA, %d of them well-formed, %d differences", len(types), len(samples), good, differ)
	if len(refused) == 0 || good == 0 {
		t.Fatalf("nothing was compared; named-checkzone said:\n%.2000s", report)
	}
}

// TestNamedLoadsAndOrdersTheSame: random well-formed RDATA of every type, in random cases, written by WriteFile and loaded
// in named, are the same octets there and in the same order, and named drops as duplicates what we hold to be equal.
func TestNamedLoadsAndOrdersTheSame(t *testing.T) {
	namedtest.Each(t, testNamedLoadsAndOrdersTheSame)
}

func testNamedLoadsAndOrdersTheSame(t *testing.T, bind namedtest.Release) {
	rng := newRand(t)
	z := mustZone(t, "")
	all := examples(t)
	for typ := Type(1); typ != 0; typ++ {
		if IsSingleton(typ) || IsSigning(typ) || IsObsolete(typ) {
			continue
		}
		var data []string
		for _, d := range all[typ] {
			for range *mutationsFlag {
				m := mutate(rng, d)
				if rng.IntN(2) == 0 {
					m = otherCase(rng, d)
				}
				if CheckData(typ, ClassIN, m) == nil && (typ != TypeSVCB || CheckServiceBinding(testOrigin, m) == nil) {
					data = append(data, m)
				}
			}
		}
		const atOnce = 90 // named's default for max-records-per-type is 100
		for n := 0; len(data) > 0; n++ {
			owner := Name(fmt.Sprintf("\x09n%04x%04x", uint16(typ), n)) + testOrigin
			chunk := data[:min(len(data), atOnce)]
			data = data[len(chunk):]
			z.Set(NewRRset(owner, typ, 300, chunk...))
		}
	}
	text := zoneText(t, z)
	var again strings.Builder // every RR once more, the names in lower case
	for _, rr := range z.RRs()[1:] {
		rr.Data = CanonicalData(rr.Type, rr.Data)
		again.WriteString(rr.String() + "\n")
	}
	sets := loadInNamed(t, bind, text+again.String())
	if len(sets) != z.Len() {
		t.Errorf("named has %d RRsets, we have %d", len(sets), z.Len())
	}
	records := 0
	for _, theirs := range sets {
		ours := z.Get(theirs.Owner, theirs.Type)
		records += len(theirs.Data)
		if ours == nil || !slices.EqualFunc(ours.Data, theirs.Data, func(a, b string) bool { return CompareData(theirs.Type, a, b) == 0 }) {
			t.Errorf("%s differs:\n named %x\n ours  %x", theirs.Type, theirs.Data, ours.Data)
		}
	}
	t.Logf("%d RRsets, %d RRs", len(sets), records)
}

func otherCase(rng *rand.Rand, d string) string {
	b := []byte(d)
	for range rng.IntN(4) {
		if at := rng.IntN(len(b) + 1); at < len(b) {
			b[at] ^= 0x20 // the case of a letter, if it is one
		}
	}
	return string(b)
}

// isPrivate reports whether RDATA has, or may have, a key or signature of a private algorithm, which 9.18 does not look
// into as 9.20 does.
func isPrivate(t Type, d string) bool {
	if t == TypeRRSIG || t == TypeSIG {
		return true
	}
	at := map[Type]int{TypeKEY: 3, TypeDNSKEY: 3, TypeCDNSKEY: 3, TypeRKEY: 3}[t]
	return at > 0 && len(d) > at && d[at] >= 253
}
