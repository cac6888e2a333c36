package zone

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cockroachdb/datadriven"
)

// TestZoneFiles reads the zone files in testdata/files and prints the zone, or every problem with its line.
func TestZoneFiles(t *testing.T) {
	datadriven.RunTest(t, "testdata/files", func(t *testing.T, d *datadriven.TestData) string {
		opt := ReadOptions{File: "f"}
		text := d.Input
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "strip":
				opt.StripSigning = true
			case "apex":
				text = "$TTL 300\n" + apex + text
			case "limit":
				arg.Scan(t, 0, &opt.MaxErrors)
			}
		}
		z, err := ReadZone(strings.NewReader(strings.ReplaceAll(text, "<tab>", "\t")), testOrigin, opt)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("%T is not Problems: %v", err, err)
			}
			for _, problem := range problems {
				if !errors.Is(problem, ErrFormat) && !errors.Is(problem, ErrZone) {
					t.Errorf("%v wraps neither sentinel", problem)
				}
			}
			return err.Error() + "\n"
		}
		var out strings.Builder
		for _, rr := range z.RRs() {
			if d.HasArg("apex") && rr.Name.Equal(testOrigin) && rr.Type != TypeMX && rr.Type != TypeTXT {
				continue
			}
			fmt.Fprintln(&out, rr)
		}
		return out.String()
	})
}

func TestFromRRs(t *testing.T) {
	rrs := mustRRs(t, apex+"a TXT x\na TXT x\nA TXT y\na 5 TXT z\n")
	z, err := FromRRs(testOrigin, append(rrs, rrs[0]))
	if err != nil {
		t.Fatal(err)
	}
	s := z.Get(MustParseName("a.example.test"), TypeTXT)
	if len(s.Data) != 3 || s.TTL != 300 || s.Owner != MustParseName("a.example.test") || z.Records() != 6 {
		t.Errorf("%+v, %d records", s, z.Records())
	}
	checkInvariants(t, z)
	for what, extra := range map[string]RR{
		"another class": {Name: testOrigin, Type: TypeA, Class: ClassCH, Data: "\x00\x00\x01"},
		"out of zone":   {Name: Root, Type: TypeA, Class: ClassIN, Data: "1234"},
		"no name":       {Name: "\x07example", Type: TypeA, Class: ClassIN, Data: "1234"},
		"bad RDATA":     {Name: testOrigin, Type: TypeA, Class: ClassIN, Data: "123"},
		"endless data":  {Name: testOrigin, Type: 65280, Class: ClassIN, TTL: 60, Data: strings.Repeat("x", MaxDataLen+1)},
		"endless TTL":   {Name: testOrigin, Type: TypeA, Class: ClassIN, TTL: MaxTTL + 1, Data: "1234"},
		"meta-type":     {Name: testOrigin, Type: TypeANY, Class: ClassIN},
		"signature":     {Name: testOrigin, Type: TypeRRSIG, Class: ClassIN, Data: signingExamples[TypeRRSIG][0]},
		"another SOA":   {Name: testOrigin, Type: TypeSOA, Class: ClassIN, Data: SOA{MName: Root, RName: Root}.Data()},
	} {
		var problems Problems
		if _, err := FromRRs(testOrigin, append(rrs[:len(rrs):len(rrs)], extra)); !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%s: %v", what, err)
		}
	}
	signed := append(rrs[:len(rrs):len(rrs)], RR{Name: testOrigin, Type: TypeDNSKEY, Class: ClassIN, Data: signingExamples[TypeDNSKEY][0]})
	kept, stripped := StripSigning(signed)
	if stripped != 1 || len(kept) != len(rrs) || len(signed) != len(rrs)+1 {
		t.Errorf("StripSigning left %d and took %d", len(kept), stripped)
	}
}

// TestDataErrors: what the readers of RDATA refuse.
func TestDataErrors(t *testing.T) {
	for _, rr := range []string{
		`a TYPE1 \# 4 c0000201ff`, `a TYPE1 \# 70000 00`, `a TYPE1 \#`, `a NS \# 2 c000`, `a NS \# 6 0161000161 00`, "a NID 10 1:2:3", "a NID 10 1:2:3:10000",
		"a NID x 1:2:3:4", "a L64 10", "a AMTRELAY 10 0 1", "a AMTRELAY 256 0 0 .", "a AMTRELAY 1 2 0 .", "a AMTRELAY 1 0 0 x", "a AMTRELAY 1 0 1 ::1",
		"a AMTRELAY 1 0 2 1.2.3.4", "a AMTRELAY 1 0 4 x", "a AMTRELAY 1 0 3 a..b", "a AMTRELAY 1 0", "a TXT " + strings.Repeat("x", 256), `a TXT "\25"`,
		"a TXT " + strings.Repeat(strings.Repeat("x", 255)+" ", 257), "a AAAA fe80::1%lo", "a MX", "a LOC 91 N 0 E 0", `a\`, "99999999999 TXT", "a 99999999999 TXT x",
		"a 1x TXT x", "a h TXT x", `a "TXT" x`, "a", strings.Repeat("a.", 126) + "a TXT x", "$TTL 70000w", "$ORIGIN a..b",
	} {
		if rrs, err := ReadFile(strings.NewReader("$TTL 1\n"+rr+"\n"), testOrigin, ReadOptions{}); err == nil {
			t.Errorf("%.60s was read as %v", rr, rrs)
		}
	}
	for text, want := range map[string]uint32{"0": 0, "300": 300, "1h30m": 5400, "1W2d3H4M5S": 788645, "1h5": 3605, "2147483647": MaxTTL} {
		if ttl, ok := parseTTL(text); !ok || ttl != want {
			t.Errorf("parseTTL(%s) = %d, %v", text, ttl, ok)
		}
	}
	if _, err := ParseRR("a TXT x\nb TXT y"); err == nil {
		t.Error("ParseRR took two RRs")
	}
}

func TestReadErrors(t *testing.T) {
	broken := errors.New("broken disk")
	if _, err := ReadFile(iotest.ErrReader(broken), testOrigin, ReadOptions{}); !errors.Is(err, broken) {
		t.Errorf("a reader's error is lost: %v", err)
	}
	if _, err := ReadFile(strings.NewReader("a 1 TXT ("+strings.Repeat("\nx", maxEntry)), testOrigin, ReadOptions{}); !errors.Is(err, ErrFormat) {
		t.Errorf("an endless entry: %v", err)
	}
	var line *LineError
	_, err := ReadFile(strings.NewReader("\n\n a 1 TXT x\n"), testOrigin, ReadOptions{File: "zone.db"})
	if !errors.As(err, &line) || line.Line != 3 || line.File != "zone.db" {
		t.Errorf("no line: %v", err)
	}
}

func TestWriteErrors(t *testing.T) {
	z := mustReadTypes(t)
	full := errors.New("disk full")
	if err := WriteFile(iotest.TruncateWriter(nil, 0), New(testOrigin)); err != nil {
		t.Errorf("an empty zone needs no writing: %v", err)
	}
	if err := WriteFile(failingWriter{full}, z); !errors.Is(err, full) {
		t.Errorf("a writer's error is lost: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// TestCheckServiceBinding: what named 9.20's check-svcb refuses.
func TestCheckServiceBinding(t *testing.T) {
	for rr, ok := range map[string]bool{
		"x SVCB 0 a.": true, "x SVCB 0 a. alpn=h2": false, "x SVCB 1 a.": true,
		"_dns SVCB 1 a. alpn=dot": true, "_dns SVCB 1 a.": false, "_dns SVCB 1 a. port=53": false, "_dns SVCB 1 a. alpn=h2": false,
		`_dns SVCB 1 a. alpn=h2 dohpath="/q{?dns}"`: true, "_DNS.x SVCB 1 a. alpn=dot,h3": false, "_53._dns SVCB 1 a.": false, "_053._dns SVCB 1 a.": true,
		"_65536._dns SVCB 1 a.": true, "_0._dns SVCB 1 a.": false, "_dns SVCB 0 a.": false, "x._dns SVCB 1 a.": true,
	} {
		r := mustRRs(t, rr)[0]
		if err := CheckServiceBinding(r.Name, r.Data); (err == nil) != ok || err != nil && !errors.Is(err, ErrZone) {
			t.Errorf("%s: %v", rr, err)
		}
	}
}

func FuzzReadFile(f *testing.F) {
	text, err := os.ReadFile("testdata/types.zone")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, line := range bytes.Split(text, []byte("\n")) {
		f.Add(append([]byte("$TTL 5\n"+apex), line...))
	}
	f.Add([]byte("a 1 TXT ( \"x\n ) y ; z\n b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		z, err := ReadZone(bytes.NewReader(text), testOrigin, ReadOptions{})
		if err != nil {
			return
		}
		again, err := ReadZone(strings.NewReader(zoneText(t, z)), testOrigin, ReadOptions{})
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%s", err, zoneText(t, z))
		}
		if d := Between(z, again); !d.Empty() {
			t.Fatalf("%v", d)
		}
	})
}

// brokenReader gives a whole zone and then fails as a connection does that is cut: with an EOF inside another error.
type brokenReader struct{ text io.Reader }

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.text.Read(p)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("connection cut: %w", err)
	}
	return n, err
}

func TestBrokenReadIsNotTheEndOfAZone(t *testing.T) {
	text := "@ 300 SOA ns h 1 2 3 4 5\n@ 300 NS ns\nns 300 A 192.0.2.1\n"
	if _, err := ReadZone(strings.NewReader(text), testOrigin, ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := ReadZone(brokenReader{strings.NewReader(text)}, testOrigin, ReadOptions{})
	if err == nil || !strings.Contains(err.Error(), "connection cut") {
		t.Fatalf("half a file became a zone: %v", err)
	}
}

// TestBuilder: wherever the pieces end, the zone and the number of problems are those of FromRRs.
func TestBuilder(t *testing.T) {
	for what, text := range map[string]string{
		"RRsets":                   "a TXT x\na TXT y\nb 5 TXT z\nA 7 TXT X\na TXT x\na 9 TXT w\nb A 1.2.3.4\n",
		"CNAME, then another type": "a CNAME b\nb TXT x\na TXT x\n",
		"another type, then CNAME": "a TXT x\nb TXT x\na CNAME b\na A 1.2.3.4\n",
		"two CNAMEs":               "a CNAME b\nb TXT x\na CNAME c\na CNAME B\n",
		"two SOAs":                 "a TXT x\n@ SOA a. b. 1 1 1 1 1\n",
	} {
		rrs := mustRRs(t, apex+text)
		want, wantErr := FromRRs(testOrigin, rrs)
		for i := range len(rrs) + 1 {
			for j := i; j <= len(rrs); j++ {
				b := NewBuilder(testOrigin)
				b.Add(rrs[:i])
				b.Add(rrs[i:j])
				b.Add(rrs[j:])
				got, err := b.Zone()
				if problemCount(err) != problemCount(wantErr) {
					t.Errorf("%s, pieces up to %d and %d: %v, in one piece: %v", what, i, j, err, wantErr)
				}
				if err != nil || wantErr != nil {
					continue
				}
				checkInvariants(t, got)
				if a, b := zoneText(t, got), zoneText(t, want); a != b {
					t.Errorf("%s, pieces up to %d and %d:\n%s\nin one piece:\n%s", what, i, j, a, b)
				}
			}
		}
	}
}

func TestBuilderGivesUp(t *testing.T) {
	b := NewBuilder(testOrigin)
	for range 3 * DefaultMaxErrors {
		b.Add([]RR{{Name: Root, Type: TypeA, Class: ClassIN, Data: "1234"}})
	}
	if _, err := b.Zone(); problemCount(err) != DefaultMaxErrors+1 { // the last says that there are more
		t.Errorf("%d problems, want %d: %v", problemCount(err), DefaultMaxErrors+1, err)
	}
}

func problemCount(err error) int {
	var problems Problems
	errors.As(err, &problems)
	return len(problems)
}
