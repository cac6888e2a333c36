package xfr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const apex = "example.test."

func soaData(serial uint32) string {
	return zone.SOA{MName: "\x01m\x00", RName: "\x01r\x00", Serial: serial, Refresh: 1, Retry: 1, Expire: 1, Minimum: 1}.Data()
}

func soaRR(serial uint32) zone.RR {
	return zone.RR{Name: zone.MustParseName(apex), Type: zone.TypeSOA, Class: zone.ClassIN, TTL: 60, Data: soaData(serial)}
}

// query asks for an AXFR, or for an IXFR from have.
func query(t zone.Type, have uint32) []byte {
	b := []byte{0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	b = append(b, zone.MustParseName("Example.TEST.")...)
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = append(b, 0, 1)
	if t == zone.TypeIXFR {
		b[9] = 1
		b = zone.AppendRR(b, soaRR(have))
	}
	return b
}

// message is an answer in words: "7" is an SOA with that serial, any other word the
// A record of that name in the zone, "!5" an RCODE.
func message(t testing.TB, words string) []byte {
	t.Helper()
	b := []byte{0x12, 0x34, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	n := 0
	for _, w := range strings.Fields(words) {
		if code, ok := strings.CutPrefix(w, "!"); ok {
			v, err := strconv.Atoi(code)
			if err != nil {
				t.Fatal(err)
			}
			b[3] = byte(v)
			continue
		}
		n++
		if serial, err := strconv.ParseUint(w, 10, 32); err == nil {
			b = zone.AppendRR(b, soaRR(uint32(serial)))
			continue
		}
		rr, err := zone.ParseRR(w + "." + apex + " 60 IN A 192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		b = zone.AppendRR(b, rr)
	}
	binary.BigEndian.PutUint16(b[answers:], uint16(n))
	return b
}

func words(rrs []zone.RR) string {
	var out []string
	for _, rr := range rrs {
		if rr.Type == zone.TypeSOA {
			out = append(out, fmt.Sprint(zone.SOASerial(rr.Data)))
			continue
		}
		out = append(out, strings.TrimSuffix(rr.Name.String(), "."+apex))
	}
	return strings.Join(out, " ")
}

// TestTransfer: where transfers end, which form they have, and what they change.
func TestTransfer(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ixfr  uint32   // the serial in the request, 0: AXFR
		parts []string // messages
		form  Form
		del   string
		add   string
		bad   string // part of Decode's error
		early bool   // End reports an error as well
	}{
		{name: "AXFR", parts: []string{"7 a b 7"}, form: Whole, add: "7 a b"},
		{name: "AXFR in parts", parts: []string{"7", "a b", "c", "7"}, form: Whole, add: "7 a b c"},
		{name: "AXFR of an empty zone", parts: []string{"7 7"}, form: Whole, add: "7"},
		{name: "AXFR with an empty message in it", parts: []string{"7 a", "", "7"}, form: Whole, add: "7 a"},
		{name: "AXFR refused", parts: []string{"!5"}, bad: "RCODE 5"},
		{name: "AXFR broken off with an error", parts: []string{"7 a", "!2"}, form: Whole, bad: "RCODE 2"},
		{name: "AXFR, empty answer", parts: []string{""}, bad: "empty transfer"},
		{name: "AXFR, ends with another serial", parts: []string{"7 a 8"}, bad: "begins with serial 7 and ends with 8", early: true},
		{name: "AXFR, no SOA first", parts: []string{"a 7"}, bad: "begins with A", early: true},
		{name: "AXFR, more in the last message", parts: []string{"7 a 7 b"}, bad: "after the end", early: true},
		{name: "AXFR of differences", parts: []string{"7 6 a 7 7"}, bad: "begins with serial 7 and ends with 6", early: true},
		{name: "IXFR, current", ixfr: 7, parts: []string{"7"}, form: UpToDate},
		{name: "IXFR, client ahead", ixfr: 9, parts: []string{"7"}, form: UpToDate},
		{name: "IXFR, one difference", ixfr: 6, parts: []string{"7 6 a 7 b 7"}, form: Incremental, del: "6 a", add: "7 b"},
		{name: "IXFR, several in parts", ixfr: 5, parts: []string{"7", "5 a", "6 b 6", "c 7", "d e", "7"}, form: Incremental, del: "5 a c", add: "7 b d e"},
		{name: "IXFR, what comes and goes", ixfr: 5, parts: []string{"7 5 a 6 b 6 b 7 a 7"}, form: Incremental, del: "5", add: "7"},
		{name: "IXFR, deletions only", ixfr: 6, parts: []string{"7 6 a 7 7"}, form: Incremental, del: "6 a", add: "7"},
		{name: "IXFR, as a full transfer", ixfr: 5, parts: []string{"7 a", "b 7"}, form: Whole, add: "7 a b"},
		{name: "IXFR, as an empty full transfer", ixfr: 5, parts: []string{"7 7"}, form: Whole, add: "7"},
		{name: "IXFR over the end of the serials", ixfr: 4294967295, parts: []string{"1 4294967295 1 a 1"}, form: Incremental, del: "4294967295", add: "1 a"},
		{name: "IXFR from another serial", ixfr: 5, parts: []string{"7 6 a 7 7"}, bad: "begin at serial 6, the client has 5", early: true},
		{name: "IXFR with a gap", ixfr: 5, parts: []string{"8 5 a 6 b 7 c 8 8"}, bad: "begins at serial 7, the one before ended at 6", early: true},
		{name: "IXFR refused", ixfr: 5, parts: []string{"!9"}, bad: "RCODE 9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := query(zone.TypeAXFR, 0)
			if tc.ixfr > 0 {
				q = query(zone.TypeIXFR, tc.ixfr)
			}
			end, err := NewEnd(q)
			if err != nil {
				t.Fatal(err)
			}
			var msgs [][]byte
			for i, part := range tc.parts {
				msg := message(t, part)
				msgs = append(msgs, msg)
				last, err := end.Next(msg)
				if tc.early && err != nil {
					break
				}
				if err != nil || last != (i == len(tc.parts)-1) {
					t.Fatalf("part %d %q: last %v, %v", i, part, last, err)
				}
			}
			if end.Form() != tc.form && !tc.early {
				t.Errorf("form %v, want %v", end.Form(), tc.form)
			}
			c, err := Decode(q, msgs)
			if tc.bad != "" {
				if err == nil || !strings.Contains(err.Error(), tc.bad) || !errors.Is(err, zone.ErrFormat) && !errors.Is(err, ErrAnswer) {
					t.Fatalf("error %v does not say %q", err, tc.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			serial, ok := end.Serial()
			if !ok || serial != c.To || c.Full != (tc.form == Whole) || words(c.Del) != tc.del || words(c.Add) != tc.add {
				t.Errorf("serial %d, %v: deletes %q, adds %q", serial, c, words(c.Del), words(c.Add))
			}
			if tc.form == Incremental && c.From != tc.ixfr || tc.form == UpToDate && c.From != c.To || tc.form == Whole && c.From != 0 {
				t.Errorf("from %d", c.From)
			}
			if len(msgs) > 1 {
				if _, err := Decode(q, msgs[:len(msgs)-1]); err == nil {
					t.Error("a transfer without its last message is taken for whole")
				}
			}
			if _, err := Decode(q, append(msgs, msgs[0])); err == nil {
				t.Error("a message after the last one is taken")
			}
		})
	}
}

// TestDecodeContent: records that can't be in the zone are refused.
func TestDecodeContent(t *testing.T) {
	for text, want := range map[string]string{
		"h.other.test. 60 IN A 192.0.2.1":                        "outside the zone",
		"sub.example.test. 60 IN SOA a. b. 7 1 1 1 1":            "SOA of sub.example.test. is not the zone's",
		`h.example.test. 60 IN TYPE250 \# 0`:                     "can't be in a zone",
		`h.example.test. 60 IN TYPE1 \# 3 010203`:                "RDATA of h.example.test. A",
		`h.example.test. 60 IN TYPE65280 \# 3 010203`:            "",
		"EXAMPLE.test. 60 IN NS ns.example.test.":                "",
		"long.label.below.example.test. 60 IN TXT \"some text\"": "",
	} {
		msg := message(t, "7")
		rr := rawRR(t, text)
		msg = append(msg, rr...)
		msg = zone.AppendRR(msg, soaRR(7))
		binary.BigEndian.PutUint16(msg[answers:], 3)
		_, err := Decode(query(zone.TypeAXFR, 0), [][]byte{msg})
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !errors.Is(err, zone.ErrFormat)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	chaos := append(message(t, "7"), zone.AppendRR(nil, zone.RR{Name: zone.MustParseName(apex), Type: zone.TypeTXT, Class: zone.ClassCH, Data: "\x01x"})...)
	binary.BigEndian.PutUint16(chaos[answers:], 2)
	if _, err := Decode(query(zone.TypeAXFR, 0), [][]byte{chaos}); !errors.Is(err, zone.ErrFormat) {
		t.Errorf("class CH: %v", err)
	}
}

// rawRR writes an RR without looking at its RDATA: generic RDATA stays as it is.
func rawRR(t *testing.T, text string) []byte {
	t.Helper()
	f := strings.Fields(text)
	if f[4] != `\#` {
		rr, err := zone.ParseRR(text)
		if err != nil {
			t.Fatal(err)
		}
		return zone.AppendRR(nil, rr)
	}
	typ, err := strconv.ParseUint(strings.TrimPrefix(f[3], "TYPE"), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	rr := zone.RR{Name: zone.MustParseName(f[0]), Type: zone.Type(typ), Class: zone.ClassIN, TTL: 60}
	if len(f) > 6 {
		var b []byte
		if _, err := fmt.Sscanf(f[6], "%x", &b); err != nil {
			t.Fatal(err)
		}
		rr.Data = string(b)
	}
	return zone.AppendRR(nil, rr)
}

func TestParseQuestion(t *testing.T) {
	name, typ, have, err := ParseQuestion(query(zone.TypeIXFR, 42))
	if err != nil || name.String() != apex || typ != zone.TypeIXFR || have != 42 {
		t.Errorf("%v %v %d, %v", name, typ, have, err)
	}
	bare := query(zone.TypeIXFR, 42)[:headerLen+14+4]
	bare[9] = 0
	if _, typ, have, err := ParseQuestion(bare); err != nil || typ != zone.TypeIXFR || have != 0 {
		t.Errorf("IXFR without a serial: %d, %v", have, err)
	}
	change := func(at int, v byte) []byte { b := query(zone.TypeSOA, 0); b[at] = v; return b }
	for what, msg := range map[string][]byte{
		"empty": nil, "short": query(zone.TypeSOA, 0)[:11], "a response": change(2, 0x80), "an update": change(2, 5<<3),
		"no question": change(5, 0), "two questions": change(5, 2), "class CH": change(len(query(zone.TypeSOA, 0))-1, 3),
		"cut off": query(zone.TypeSOA, 0)[:headerLen+16], "bad label": change(headerLen, 0x80),
	} {
		if _, _, _, err := ParseQuestion(msg); !errors.Is(err, zone.ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := NewEnd(query(zone.TypeSOA, 0)); !errors.Is(err, zone.ErrFormat) {
		t.Errorf("a question for the SOA as a transfer: %v", err)
	}
}

func TestAnswerSerial(t *testing.T) {
	origin := zone.MustParseName("EXAMPLE.test.")
	for words, want := range map[string]string{"7": "7", "a 8 9": "8", "a": "", "": "", "!5 7": ""} {
		serial, ok := AnswerSerial(message(t, words), origin)
		if ok != (want != "") || ok && fmt.Sprint(serial) != want {
			t.Errorf("%q: %d, %v", words, serial, ok)
		}
	}
	if _, ok := AnswerSerial(message(t, "7"), zone.MustParseName("other.test.")); ok {
		t.Error("the SOA of another zone is taken")
	}
	if _, ok := AnswerSerial(message(t, "7")[:40], origin); ok {
		t.Error("half an SOA is taken")
	}
}

func TestFrames(t *testing.T) {
	var buf bytes.Buffer
	for _, n := range []int{0, 1, 12, 512, MaxMessage} {
		if err := WriteFrame(&buf, bytes.Repeat([]byte{7}, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFrame(&buf, make([]byte, MaxMessage+1)); err == nil {
		t.Error("a message of 65,536 octets is written")
	}
	all := bytes.Clone(buf.Bytes())
	r := iotest.OneByteReader(&buf)
	var msg []byte
	for _, n := range []int{0, 1, 12, 512, MaxMessage} {
		var err error
		if msg, err = ReadFrame(r, msg); err != nil || len(msg) != n || bytes.Count(msg, []byte{7}) != n {
			t.Fatalf("%d octets: got %d, %v", n, len(msg), err)
		}
	}
	if _, err := ReadFrame(r, msg); !errors.Is(err, io.EOF) {
		t.Errorf("end between messages: %v", err)
	}
	for _, cut := range []int{1, 3, len(all) - 1} {
		r := bytes.NewReader(all[:cut])
		var err error
		for err == nil {
			_, err = ReadFrame(r, nil)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d octets: %v", cut, err)
		}
	}
}

// TestDecodeRandom: random histories of a zone, sent as differences and as a whole
// in messages of random size, give what really changed.
func TestDecodeRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		versions := []map[string]bool{{}}
		start := rng.Uint32()
		for range 1 + rng.IntN(5) {
			next := map[string]bool{}
			for n := range versions[len(versions)-1] {
				if rng.IntN(3) > 0 {
					next[n] = true
				}
			}
			for range rng.IntN(4) {
				next[string(rune('a'+rng.IntN(6)))] = true
			}
			versions = append(versions, next)
		}
		from, to := versions[0], versions[len(versions)-1]
		serial := func(i int) string { return fmt.Sprint(start + uint32(i)) }
		end := serial(len(versions) - 1)
		ixfr := []string{end}
		for i := range versions[1:] {
			ixfr = append(ixfr, serial(i))
			ixfr = append(ixfr, minus(versions[i], versions[i+1])...)
			ixfr = append(ixfr, serial(i+1))
			ixfr = append(ixfr, minus(versions[i+1], versions[i])...)
		}
		ixfr = append(ixfr, end)
		axfr := append(append([]string{end}, minus(to, nil)...), end)

		c, err := Decode(query(zone.TypeIXFR, start), split(t, rng, ixfr))
		if err != nil || words(c.Del) != strings.Join(append([]string{serial(0)}, minus(from, to)...), " ") ||
			words(c.Add) != strings.Join(append([]string{end}, minus(to, from)...), " ") {
			t.Fatalf("IXFR %v: deletes %q, adds %q, %v", ixfr, words(c.Del), words(c.Add), err)
		}
		c, err = Decode(query(zone.TypeAXFR, 0), split(t, rng, axfr))
		if err != nil || !c.Full || words(c.Add) != strings.Join(axfr[:len(axfr)-1], " ") {
			t.Fatalf("AXFR %v: %q, %v", axfr, words(c.Add), err)
		}
	}
}

func minus(a, b map[string]bool) []string {
	var out []string
	for c := 'a'; c <= 'f'; c++ {
		if a[string(c)] && !b[string(c)] {
			out = append(out, string(c))
		}
	}
	return out
}

// split puts records into messages of one or more.
func split(t *testing.T, rng *rand.Rand, records []string) [][]byte {
	var msgs [][]byte
	for len(records) > 0 {
		n := 1 + rng.IntN(len(records))
		msgs = append(msgs, message(t, strings.Join(records[:n], " ")))
		records = records[n:]
	}
	return msgs
}

// FuzzDecode: nothing that comes makes a reader panic, and what Decode takes, End
// takes too, with the same end.
func FuzzDecode(f *testing.F) {
	for _, parts := range [][]string{{"7 a b 7"}, {"7", "a", "7"}, {"7 6 a 7 b 7"}, {"7"}, {"!5"}, {"7 5 a 6", "b 6 c 7 7"}} {
		for _, q := range [][]byte{query(zone.TypeAXFR, 0), query(zone.TypeIXFR, 5), query(zone.TypeIXFR, 6)} {
			f.Add(q, message(f, parts[0]), message(f, parts[len(parts)-1]))
		}
	}
	f.Fuzz(func(t *testing.T, q, a, b []byte) {
		name, _, _, err := ParseQuestion(q)
		if err != nil && !errors.Is(err, zone.ErrFormat) {
			t.Fatalf("ParseQuestion: %v", err)
		}
		_, _ = AnswerSerial(a, name)
		for _, msgs := range [][][]byte{{a}, {a, b}} {
			c, err := Decode(q, msgs)
			if err != nil {
				if !errors.Is(err, zone.ErrFormat) && !errors.Is(err, ErrAnswer) {
					t.Fatalf("Decode: %v", err)
				}
				continue
			}
			end, err := NewEnd(q)
			if err != nil {
				t.Fatal(err)
			}
			for i, msg := range msgs {
				if last, err := end.Next(msg); err != nil || last != (i == len(msgs)-1) {
					t.Fatalf("message %d: last %v, %v", i, last, err)
				}
			}
			if serial, ok := end.Serial(); !ok || serial != c.To || c.Full != (end.Form() == Whole) {
				t.Fatalf("serial %d, %v; form %v; decoded %+v", serial, ok, end.Form(), c)
			}
		}
	})
}
