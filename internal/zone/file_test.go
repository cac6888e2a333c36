package zone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
)

// checkzone runs named-checkzone on a zone file with all checks of content off, so that its verdict is about the format
// alone, and returns what it printed.
func checkzone(t *testing.T, bind namedtest.Release, file string, more ...string) (report string, ok bool) {
	t.Helper()
	args := []string{"-i", "none", "-k", "ignore", "-m", "ignore", "-M", "ignore", "-n", "ignore", "-r", "ignore", "-S", "ignore", "-T", "ignore", "-W", "ignore"}
	b, err := exec.Command(bind.CheckZone, append(append(args, more...), "example.test.", file)...).CombinedOutput()
	return string(b), err == nil
}

// loadInNamed loads a zone file in named-checkzone and returns named's own RRsets, from its raw format: wire octets, in
// the order of named's RDATA comparison.
func loadInNamed(t *testing.T, bind namedtest.Release, text string) []*RRset {
	t.Helper()
	dir := t.TempDir()
	file, raw := filepath.Join(dir, "zone"), filepath.Join(dir, "raw")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if report, ok := checkzone(t, bind, file, "-F", "raw", "-o", raw); !ok {
		t.Fatalf("named-checkzone refuses the zone:\n%s", report)
	}
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	const header = 24
	var sets []*RRset
	for b = b[header:]; len(b) > 0; {
		set := b[4:binary.BigEndian.Uint32(b)]
		b = b[len(set)+4:]
		s := &RRset{Type: Type(binary.BigEndian.Uint16(set[2:])), TTL: binary.BigEndian.Uint32(set[6:])}
		count := binary.BigEndian.Uint32(set[10:])
		counted := func() string {
			n := binary.BigEndian.Uint16(set)
			item := string(set[2 : 2+n])
			set = set[2+n:]
			return item
		}
		set = set[14:]
		s.Owner = Name(counted())
		for ; count > 0; count-- {
			s.Data = append(s.Data, counted())
		}
		sets = append(sets, s)
	}
	return sets
}

func mustReadTypes(t *testing.T) *Zone {
	t.Helper()
	f, err := os.Open("testdata/types.zone")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := ReadZone(f, MustParseName("example.test."), ReadOptions{File: "types.zone"})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func zoneText(t *testing.T, z *Zone) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteFile(&b, z); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestEveryTypeRoundTrips: every type survives text → wire → text → wire, octet for octet.
func TestEveryTypeRoundTrips(t *testing.T) {
	z := mustReadTypes(t)
	text := zoneText(t, z)
	again, err := ReadZone(strings.NewReader(text), z.Origin(), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d := Between(z, again); !d.Empty() {
		t.Fatalf("text does not round-trip: %v", d)
	}
	seen := map[Type]bool{}
	for _, rr := range z.RRs() {
		seen[rr.Type] = true
		wire := AppendRR(nil, rr)
		got, n, err := UnpackRR(wire, 0)
		if err != nil || n != len(wire) || got != rr {
			t.Errorf("%s: unpacked %v, %d of %d octets, %v", rr, got, n, len(wire), err)
		}
		got, err = ParseRR(rr.String())
		if err != nil || got != rr {
			t.Errorf("ParseRR(%s) = %v, %v", rr, got, err)
		}
	}
	for typ := range layouts {
		if !seen[typ] && !IsMeta(typ) && !IsSigning(typ) && !IsObsolete(typ) {
			t.Errorf("testdata/types.zone has no %s", typ)
		}
	}
}

// TestNamedLoadsWhatIsWritten: named loads what WriteFile writes as the same octets in the same order.
func TestNamedLoadsWhatIsWritten(t *testing.T) {
	z := mustReadTypes(t)
	namedtest.Each(t, func(t *testing.T, bind namedtest.Release) {
		compareWithNamed(t, z, loadInNamed(t, bind, zoneText(t, z)))
	})
}

// TestNamedReadsTheSame: named and this package read the same from a zone file that people wrote.
func TestNamedReadsTheSame(t *testing.T) {
	text, err := os.ReadFile("testdata/types.zone")
	if err != nil {
		t.Fatal(err)
	}
	namedtest.Each(t, func(t *testing.T, bind namedtest.Release) {
		compareWithNamed(t, mustReadTypes(t), loadInNamed(t, bind, string(text)))
	})
}

// TestReadsWhatNamedDumps: a zone file that named wrote, in either of its styles, is read as the same zone. The lines of
// types whose own text format is not read here are left out; their number is known.
func TestReadsWhatNamedDumps(t *testing.T) {
	namedtest.Each(t, testReadsWhatNamedDumps)
}

func testReadsWhatNamedDumps(t *testing.T, bind namedtest.Release) {
	z := mustReadTypes(t)
	dir := t.TempDir()
	file, dump := filepath.Join(dir, "zone"), filepath.Join(dir, "dump")
	if err := os.WriteFile(file, []byte(zoneText(t, z)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, style := range []string{"full", "relative"} {
		if report, ok := checkzone(t, bind, file, "-F", "text", "-s", style, "-o", dump); !ok {
			t.Fatal(report)
		}
		text, err := os.ReadFile(dump)
		if err != nil {
			t.Fatal(err)
		}
		var problems Problems
		_, err = ReadFile(bytes.NewReader(text), testOrigin, ReadOptions{MaxErrors: 1000})
		errors.As(err, &problems)
		lines := strings.Split(string(text), "\n")
		for _, p := range problems {
			var line *LineError
			if !errors.As(p, &line) || !errors.Is(p, errNoTextFormat) {
				t.Errorf("%s: %v", style, p)
				continue
			}
			for i, depth := line.Line-1, 0; ; i++ { // the entry, which parentheses may hold together over lines
				depth += strings.Count(lines[i], "(") - strings.Count(lines[i], ")")
				lines[i] = "" // no other RR has its owner, so none inherits it
				if depth <= 0 {
					break
				}
			}
		}
		got, err := ReadZone(strings.NewReader(strings.Join(lines, "\n")), testOrigin, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range Between(z, got).Del {
			if inMiekg(rr.Type) {
				t.Errorf("%s: lost or changed: %s", style, rr)
			}
		}
		if add := Between(z, got).Add; len(add) > 0 {
			t.Errorf("%s: %v was not in the zone", style, add)
		}
		t.Logf("%s: %d lines of %d not compared", style, len(problems), len(lines))
	}
}

func compareWithNamed(t *testing.T, z *Zone, sets []*RRset) {
	t.Helper()
	if len(sets) != z.Len() {
		t.Errorf("named has %d RRsets, we have %d", len(sets), z.Len())
	}
	for _, theirs := range sets {
		if ours := z.Get(theirs.Owner, theirs.Type); !ours.Same(theirs) {
			t.Errorf("%s %s differs:\n named %+v\n ours  %+v", theirs.Owner, theirs.Type, theirs, ours)
		}
	}
}
