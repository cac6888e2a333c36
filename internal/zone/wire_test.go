package zone

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestUnpackName(t *testing.T) {
	long := strings.Repeat("3f"+strings.Repeat("61", 63), 3) // 192 octets
	for _, c := range []struct {
		what, msg string
		off       int
		want      string // "" means malformed
		next      int
	}{
		{"root", "00", 0, ".", 1},
		{"plain", "03777777076578616d706c6500ff", 0, "www.example.", 13},
		{"case is kept", "0341624300", 0, "AbC.", 5},
		{"pointer", "0161000162c000", 3, "b.a.", 7},
		{"pointer to a pointer", "016100 0162c000 0163c003", 7, "c.b.a.", 11},
		{"pointer into a label that overlaps", "04 01 61 c000", 1, "", 0},
		{"label that reuses earlier octets", "0401 61c0 00 00", 1, "a.\\001a\\192\\000.", 5},
		{"pointer to itself", "c000", 0, "", 0},
		{"pointer forwards", "c002 00", 0, "", 0},
		{"pointers in a loop", "0161c004 0162c000", 0, "", 0},
		{"pointer cut off", "c0", 0, "", 0},
		{"label type 1", "41", 0, "", 0},
		{"label type 2", "80", 0, "", 0},
		{"no end", "0161", 0, "", 0},
		{"label cut off", "0561", 0, "", 0},
		{"empty message", "", 0, "", 0},
		{"offset after the end", "00", 2, "", 0},
		{"255 octets", long + "3d" + strings.Repeat("62", 61) + "00", 0, "ok", 255},
		{"256 octets", long + "3e" + strings.Repeat("62", 62) + "00", 0, "", 0},
	} {
		msg := []byte(unhex(c.msg))
		n, next, err := UnpackName(msg, c.off)
		switch {
		case c.want == "":
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%s: %v, %v", c.what, n, err)
			}
		case err != nil || next != c.next || c.want != "ok" && n.String() != c.want || !n.Valid():
			t.Errorf("%s: got %s, next %d, %v; want %s, %d", c.what, n, next, err, c.want, c.next)
		}
	}
}

func TestParseName(t *testing.T) {
	for text, want := range map[string]string{
		".": ".", "example": "example.", "example.": "example.", `a\.b.c`: `a\.b.c.`, `\065\066.`: "AB.", `a\ b`: `a\032b.`, `\255\000`: `\255\000.`,
		`quote\"`: `quote\".`, "*.x": "*.x.", strings.Repeat("a", 63): strings.Repeat("a", 63) + ".", "@x": `\@x.`,
		"": "", "..": "", ".a": "", "a..b": "", `a\`: "", `a\25`: "", `a\256`: "", `\2x3`: "", strings.Repeat("a", 64): "",
		strings.Repeat("abcdefg.", 31) + "abcdef": "",
	} {
		n, err := ParseName(text)
		if want == "" {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("ParseName(%q) = %v, %v", text, n, err)
			}
			continue
		}
		if err != nil || n.String() != want || !n.Valid() {
			t.Errorf("ParseName(%q) = %v, %v", text, n, err)
		}
		if again, err := ParseName(n.String()); err != nil || again != n {
			t.Errorf("%q does not round-trip: %v, %v", text, again, err)
		}
	}
}

func TestNameRelations(t *testing.T) {
	name := MustParseName
	if !name("A.b").Equal(name("a.B")) || name("a.b").Equal(name("a.c")) || name("a").Equal(name("a.b")) {
		t.Error("Equal")
	}
	for _, c := range []struct {
		n, p string
		want bool
	}{{"a.b", "b", true}, {"a.b", "B", true}, {"b", "b", true}, {"ab", "b", false}, {"b", "a.b", false}, {"a.b", ".", true}, {`a\001b`, "b", false}, {".", ".", true}, {".", "a", false}} {
		if name(c.n).IsSubdomainOf(name(c.p)) != c.want {
			t.Errorf("%s below %s is %v", c.n, c.p, !c.want)
		}
	}
	if name("a.b.c").Labels() != 3 || Root.Labels() != 0 || name("a.b").Parent() != name("b") || Root.Parent() != Root {
		t.Error("labels and parents")
	}
	if !name("*.a").IsWildcard() || name("a.*").IsWildcard() || name("**.a").IsWildcard() || Root.IsWildcard() {
		t.Error("wildcards")
	}
	if n := name("abc"); n.Canonical() != n || name("aBc").Canonical() != n {
		t.Error("Canonical")
	}
}

func TestUnpackRR(t *testing.T) {
	for _, c := range []struct{ what, msg, want string }{
		{"A", "0161 00 0001 0001 0000012c 0004 c0000201", "a.\t300\tIN\tA\t192.0.2.1"},
		{"pointer in MX, as every type is decompressed", "0161 00 000f 0001 0000012c 0004 000a c000", "a.\t300\tIN\tMX\t10 a."},
		{"pointer in SRV", "0161 00 0021 0001 0000012c 0008 000100020003 c000", "a.\t300\tIN\tSRV\t1 2 3 a."},
		{"pointer in DNAME", "0161 00 0027 0001 0000012c 0002 c000", "a.\t300\tIN\tDNAME\ta."},
		{"class NONE is read as IN", "0161 00 0001 00fe 00000000 0004 c0000201", "a.\t0\tNONE\tA\t\\# 4 c0000201"},
		{"class NONE, bad RDATA", "0161 00 0001 00fe 00000000 0003 c00002", ""},
		{"class NONE, no RDATA", "0161 00 0001 00fe 00000000 0000", "a.\t0\tNONE\tA\t\\# 0"},
		{"class ANY, no RDATA", "0161 00 00ff 00ff 00000000 0000", "a.\t0\tANY\tANY\t\\# 0"},
		{"class IN, no RDATA", "0161 00 0001 0001 00000000 0000", ""},
		{"class IN, no RDATA where that is fine", "0161 00 002a 0001 00000000 0000", "a.\t0\tIN\tAPL\t\\# 0"},
		{"class CH, A is a name and a number", "0161 00 0001 0003 00000000 0004 c000 0001", "a.\t0\tCH\tA\t\\# 5 0161000001"},
		{"class CH, AAAA is opaque", "0161 00 001c 0003 00000000 0001 01", "a.\t0\tCH\tAAAA\t\\# 1 01"},
		{"class HS", "0161 00 0001 0004 00000000 0004 c0000201", "a.\t0\tHS\tA\t\\# 4 c0000201"},
		{"TSIG", "0161 00 00fa 00ff 00000000 0012 00 000064000000 012c 0000 1234 0000 0001 ff", "a.\t0\tANY\tTSIG\t\\# 18 00000064000000012c0000123400000001ff"},
		{"TSIG cut off", "0161 00 00fa 00ff 00000000 0011 00 000064000000 012c 0000 1234 0000 0001", ""},
		{"unknown type", "0161 00 ff00 0001 00000000 0002 c000", "a.\t0\tIN\tTYPE65280\t\\# 2 c000"},
		{"type 0", "0161 00 0000 0001 00000000 0001 00", ""},
		{"type 0 in class ANY", "0161 00 0000 00ff 00000000 0000", "a.\t0\tANY\tTYPE0\t\\# 0"},
		{"NSEC3 without RDATA, owner is no hash", "0474657374 00 0032 00ff 00000000 0000", ""},
		{"A of 5 octets", "0161 00 0001 0001 00000000 0005 c000020100", ""},
		{"RDATA cut off", "0161 00 0001 0001 00000000 0004 c00002", ""},
		{"fixed part cut off", "0161 00 0001 0001 0000", ""},
		{"a name runs past the RDATA", "0161 00 0002 0001 00000000 0002 01620000", ""},
		{"a name ends before the RDATA", "0161 00 0002 0001 00000000 0004 01620000", ""},
		{"OPT", "00 0029 04d0 00000000 000c 000a 0008 0102030405060708", ".\t0\tCLASS1232\tOPT\t\\# 12 000a00080102030405060708"},
		{"OPT with a short cookie", "00 0029 04d0 00000000 000b 000a 0007 01020304050607", ""},
		{"OPT, client subnet", "00 0029 04d0 00000000 000b 0008 0007 0001 14 00 c00010", ".\t0\tCLASS1232\tOPT\t\\# 11 00080007000114" + "00c00010"},
		{"OPT, client subnet with bits beyond the prefix", "00 0029 04d0 00000000 000b 0008 0007 0001 14 00 c00011", ""},
		{"OPT, extended error that is not UTF-8", "00 0029 04d0 00000000 0007 000f 0003 0001 ff", ""},
		{"TKEY", "0161 00 00f9 00ff 00000000 0012 00 0000000100000002 0003 0000 0001 aa 0000", "a.\t0\tANY\tTKEY\t\\# 18 00000000010000000200030000" + "0001aa0000"},
		{"TKEY too long", "0161 00 00f9 00ff 00000000 0013 00 0000000100000002 0003 0000 0001 aa 0000 00", ""},
		{"RRSIG of type 0", "0161 00 002e 0001 00000000 0014 0000 08 02 00000e10 65000000 64000000 1234 00 01", ""},
	} {
		msg := []byte(unhex(c.msg))
		rr, next, err := UnpackRR(msg, 0)
		if c.want == "" {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%s: %v, %v", c.what, rr, err)
			}
			continue
		}
		if err != nil || next != len(msg) || rr.String() != c.want {
			t.Errorf("%s:\n got  %s, next %d of %d, %v\n want %s", c.what, rr, next, len(msg), err, c.want)
		}
	}
}

// TestAnswerOtherThanFormerr: the few kinds of malformed data that named answers with another code.
func TestAnswerOtherThanFormerr(t *testing.T) {
	for _, c := range []struct {
		msg  string
		want error
	}{
		{"0161 00 002d 0001 00000000 0004 0a 04 02 00", ErrUnsupported},                   // IPSECKEY, gateway type 4
		{"0161 00 001e 0001 00000000 0002 00 80", ErrUnsupported},                         // NXT, bad bitmap
		{"0177 00 0032 0001 00000000 0008 02 00 0000 00 01 ff 00", ErrFormat},             // NSEC3, bad bitmap
		{"0177 00 0032 0001 00000000 0007 02 00 0000 00 01 ff", ErrUnsupported},           // NSEC3, owner is no hash
		{"0161 00 0030 0001 00000000 0007 0100 03 fd c000 00", ErrDisallowed},             // DNSKEY, pointer in a private name
		{"0261 61 00 0032 0001 00000000 0009 02 00 0000 00 01 ff 0001", ErrFormat},        // NSEC3, window cut off
		{"0161 00 0041 0001 00000000 000a 0001 00 0001 0003 03 6832", ErrFormat},          // HTTPS is checked like SVCB
		{"0161 00 0041 0001 00000000 000d 0001 00 0002 0000 0001 0003 026832", ErrFormat}, // no-default-alpn first
		{"0161 00 0023 0001 00000000 000c 0001 0002 01 75 00 03 21 61 21 00", ErrFormat},  // NAPTR, 2 delimiters
		{"0161 00 0037 0001 00000000 0006 00 02 0001 aa 00", ErrFormat},                   // HIP without a tag
	} {
		_, _, err := UnpackRR([]byte(unhex(c.msg)), 0)
		if !errors.Is(err, c.want) || !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want %v", c.msg, err, c.want)
		}
		for _, special := range []error{ErrUnsupported, ErrDisallowed} {
			if errors.Is(err, special) != errors.Is(c.want, special) {
				t.Errorf("%s: %v, want %v", c.msg, err, c.want)
			}
		}
	}
}

func TestCompareData(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		a, b string
		want int
	}{
		{TypeA, "\x01\x02\x03\x04", "\x01\x02\x03\x05", -1},
		{TypeNS, "\x01A\x00", "\x01a\x00", 0},
		{TypeNS, "\x01b\x00", "\x01a\x00", 1},
		{TypeMX, "\x00\x0a\x01A\x00", "\x00\x0a\x01a\x00", 0},
		{TypeSRV, "\x00\x01\x00\x02\x00\x03\x01A\x00", "\x00\x01\x00\x02\x00\x03\x01a\x00", 0},
		{TypeTXT, "\x01A", "\x01a", -1},                          // text is not a name
		{TypeSVCB, "\x00\x01\x01A\x00", "\x00\x01\x01a\x00", -1}, // named compares the octets
		{TypeLP, "\x00\x01\x01A\x00", "\x00\x01\x01a\x00", -1},   // named compares the octets
		{TypeNSEC, "\x01A\x00\x00\x01\x40", "\x01a\x00\x00\x01\x40", -1},
		{TypeNAPTR, "\x00\x01\x00\x02\x01u\x00\x00\x01A\x00", "\x00\x01\x00\x02\x01u\x00\x00\x01a\x00", 0},
		{TypeNAPTR, "\x00\x01\x00\x02\x01U\x00\x00\x01a\x00", "\x00\x01\x00\x02\x01u\x00\x00\x01a\x00", -1},
		{TypeRP, "\x01A\x00\x01B\x00", "\x01a\x00\x01b\x00", 0},
		{TypeA6, "\x80\x01A\x00", "\x80\x01a\x00", 0},
		{TypePX, "\x00\x01\x01A\x00\x01B\x00", "\x00\x01\x01a\x00\x01b\x00", 0},
		{TypeRRSIG, strings.Repeat("A", 18) + "\x01A\x00A", strings.Repeat("A", 18) + "\x01a\x00A", 0},
		{TypeRRSIG, strings.Repeat("A", 18) + "\x01A\x00A", strings.Repeat("A", 18) + "\x01a\x00a", -1},
		{Type(65280), "\x01A\x00", "\x01a\x00", -1},
	} {
		if got := CompareData(c.typ, c.a, c.b); got != c.want {
			t.Errorf("CompareData(%s, %x, %x) = %d", c.typ, c.a, c.b, got)
		}
		if got := CompareData(c.typ, c.b, c.a); got != -c.want {
			t.Errorf("CompareData(%s, %x, %x) = %d", c.typ, c.b, c.a, got)
		}
	}
}

func TestTypes(t *testing.T) {
	for n := range 1 << 16 {
		typ := Type(n)
		got, err := ParseType(typ.String())
		if err != nil || got != typ {
			t.Fatalf("ParseType(%s) = %d, %v", typ, got, err)
		}
	}
	if got, err := ParseType("type1"); got != TypeA || err != nil {
		t.Errorf("type1: %v %v", got, err)
	}
	for _, s := range []string{"", "X", "TYPE", "TYPE65536", "TYPE-1", "TYPE1x"} {
		if _, err := ParseType(s); !errors.Is(err, ErrFormat) {
			t.Errorf("ParseType(%q): %v", s, err)
		}
	}
	if IsMeta(TypeA) || !IsMeta(TypeOPT) || !IsMeta(TypeANY) || !IsMeta(200) || IsMeta(256) || !IsSingleton(TypeCNAME) || IsSingleton(TypeA) {
		t.Error("attributes")
	}
}

func FuzzUnpackName(f *testing.F) {
	for _, s := range []string{"00", "03777777076578616d706c6500", "0161000162c000", "0401 61c0 00 00", "c000", "3f"} {
		f.Add([]byte(unhex(s)), 0)
	}
	f.Fuzz(func(t *testing.T, msg []byte, off int) {
		n, next, err := UnpackName(msg, off)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("error %v is no ErrFormat", err)
			}
			return
		}
		if !n.Valid() || next <= off || next > len(msg) {
			t.Fatalf("name %x, next %d", string(n), next)
		}
		if again, end, err := UnpackName([]byte(n), 0); err != nil || again != n || end != len(n) {
			t.Fatalf("%x is not read again: %x %v", string(n), string(again), err)
		}
		if again, err := ParseName(n.String()); err != nil || again != n {
			t.Fatalf("%s is not parsed again: %s %v", n, again, err)
		}
	})
}

func FuzzUnpackRR(f *testing.F) {
	text, err := os.ReadFile("testdata/types.zone")
	if err != nil {
		f.Fatal(err)
	}
	rrs := mustRRs(f, string(text))
	for typ, data := range signingExamples {
		for _, d := range data {
			rrs = append(rrs, RR{Name: Root, Type: typ, Class: ClassIN, Data: d})
		}
	}
	for _, rr := range rrs {
		f.Add(AppendRR(nil, rr))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		rr, next, err := UnpackRR(msg, 0)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("error %v is no ErrFormat", err)
			}
			return
		}
		if next > len(msg) {
			t.Fatalf("next %d of %d", next, len(msg))
		}
		if len(rr.Data) > maxDataLen {
			t.Fatalf("RDATA of %d octets", len(rr.Data))
		}
		wire := AppendRR(nil, rr)
		if again, _, err := UnpackRR(wire, 0); err != nil || again != rr {
			t.Fatalf("%s is not read again: %s %v\n%s", rr, again, err, hex.EncodeToString(wire))
		}
		low := CanonicalData(rr.Type, rr.Data)
		if CanonicalData(rr.Type, low) != low || CompareData(rr.Type, low, rr.Data) != 0 || len(low) != len(rr.Data) {
			t.Fatalf("canonical form of %s is %x", rr, low)
		}
		if target := Target(rr.Type, rr.Data); target != "" && !strings.Contains(rr.Data, string(target)) {
			t.Fatalf("%s has the target %q, which is not in its data", rr, target)
		}
		if rr.Class == ClassIN && !IsMeta(rr.Type) && rr.TTL <= MaxTTL {
			if again, err := ParseRR(rr.String()); err != nil || again != rr {
				t.Fatalf("%s is not parsed again: %s %v", rr, again, err)
			}
			if rr.Type == TypeSVCB {
				_ = CheckServiceBinding(rr.Name, rr.Data)
			}
		}
	})
}

// TestAttributes lists the types with each of named's attributes; all others lack it.
func TestAttributes(t *testing.T) {
	for _, c := range []struct {
		what string
		has  func(Type) bool
		want string
	}{
		{"question only", IsQuestionOnly, "IXFR AXFR MAILB MAILA ANY"},
		{"not in questions", IsNotQuestion, "OPT TSIG"},
		{"singleton", IsSingleton, "CNAME SOA DNAME OPT RESINFO"},
		{"DNSSEC", IsDNSSEC, "DS RRSIG NSEC DNSKEY NSEC3 NSEC3PARAM"},
		{"at CNAME", IsAtCNAME, "KEY RRSIG NSEC"},
		{"zone cut", IsZoneCutAuth, "NS KEY DS RRSIG NSEC"},
		{"at parent", IsAtParent, "DS"},
		{"signing", IsSigning, "SIG NXT RRSIG NSEC DNSKEY NSEC3 NSEC3PARAM TYPE65534"},
		{"obsolete", IsObsolete, "MD MF"},
	} {
		var got []string
		for n := range 1 << 16 {
			if c.has(Type(n)) {
				got = append(got, Type(n).String())
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.what, s, c.want)
		}
	}
	if !IsKnown(TypeA) || !IsKnown(TypeDLV) || IsKnown(54) || IsKnown(65280) {
		t.Error("IsKnown")
	}
}

func TestEDNSOptions(t *testing.T) {
	for option, ok := range map[string]bool{
		"": true, "0001 0012 000102030405060708090a0b0c0d0e0f1011": true, "0001 0011 000102030405060708090a0b0c0d0e0f10": false,
		"0002 0004 00000001": true, "0002 0008 0000000100000002": true, "0002 0006 000000010000": false,
		"0008 0004 0000 00 00": true, "0008 0004 0000 01 00": false, "0008 0003 0001 00": false, "0008 0004 0003 00 00": false,
		"0008 0008 0001 20 00 c0000201": true, "0008 0008 0001 21 00 c0000201": false, "0008 0005 0001 08 21 c0": false, "0008 0005 0002 07 80 fe": true,
		"0008 0005 0002 07 80 ff": false, "0008 0005 0002 00 00 00": false,
		"0009 0000": true, "0009 0004 00000001": true, "0009 0001 00": false,
		"000a 0008 0102030405060708": true, "000a 0010 01020304050607080102030405060708": true, "000a 0009 010203040506070801": false,
		"000e 0002 0001": true, "000e 0000": false, "000e 0003 000102": false,
		"000f 0002 0001": true, "000f 0001 00": false, "000f 0004 0001 c3a9": true, "000f 0003 0001 e9": false, "000f 0005 0001 efbbbf": false,
		"0010 0002 0001": true, "0010 0001 00": false, "0011 0002 0001": true, "0011 0003 000102": false,
		"ff00 0003 010203": true, "ff00 0003 0102": false, "ff00 00": false, "0009 0000 000e 0000": false, "0009 0000 000e 0002 0001": true,
	} {
		if err := CheckData(TypeOPT, ClassIN, unhex(option)); (err == nil) != ok {
			t.Errorf("option %s: %v", option, err)
		}
	}
}
