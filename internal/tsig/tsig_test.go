package tsig_test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"hash"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

var hashes = map[tsig.Algorithm]func() hash.Hash{
	tsig.HMACMD5: md5.New, tsig.HMACSHA1: sha1.New, tsig.HMACSHA224: sha256.New224,
	tsig.HMACSHA256: sha256.New, tsig.HMACSHA384: sha512.New384, tsig.HMACSHA512: sha512.New,
}

// cut shortens the MAC of a signed message to n octets.
func cut(t testing.TB, msg []byte, n int) []byte {
	t.Helper()
	r, err := tsig.Find(msg)
	if err != nil || r == nil {
		t.Fatal(err)
	}
	size := len(r.MAC)
	at := len(msg) - 6 - len(r.Other) - size // the MAC's first octet
	out := append([]byte(nil), msg[:at+min(n, size)]...)
	out = append(out, make([]byte, max(0, n-size))...)
	out = append(out, msg[at+size:]...)
	binary.BigEndian.PutUint16(out[at-2:], uint16(n))
	rdlen := r.Offset + len(r.KeyName()) + 8
	binary.BigEndian.PutUint16(out[rdlen:], uint16(int(binary.BigEndian.Uint16(out[rdlen:]))+n-size))
	return out
}

// TestAnswers is the table of TSIG failures: RCODE, TSIG error, signed or not.
func TestAnswers(t *testing.T) {
	k := key(t, "key.example.", tsig.HMACSHA256)
	short := key(t, "short.example.", tsig.HMACSHA256, func(k *tsig.Key) { k.MACSize = 16 })
	keys := ring(t, k, short)
	md5off := tsig.Ring{name(t, "old.example."): {{Name: name(t, "old.example."), Algorithm: tsig.HMACMD5, Secret: testSecret}}}
	full := func(k tsig.Key, at time.Time) []byte { return tsig.SignRequest(update(t, 1), k, at) }

	for _, tc := range []struct {
		name      string
		msg       []byte
		ring      tsig.Ring
		rcode     uint16
		tsigError uint16
		signed    bool
	}{
		{name: "good", msg: full(k, testTime)},
		{name: "unknown key", msg: full(key(t, "other.example.", tsig.HMACSHA256), testTime), rcode: 9, tsigError: tsig.BadKey},
		{name: "another algorithm", msg: full(key(t, "key.example.", tsig.HMACSHA1), testTime), rcode: 9, tsigError: tsig.BadKey},
		{name: "MD5 not allowed", msg: full(key(t, "old.example.", tsig.HMACMD5), testTime), ring: md5off, rcode: 9, tsigError: tsig.BadKey},
		{name: "another secret", msg: full(key(t, "key.example.", tsig.HMACSHA256, func(k *tsig.Key) { k.Secret = []byte("x") }), testTime), rcode: 9, tsigError: tsig.BadSig},
		{name: "empty MAC", msg: cut(t, full(k, testTime), 0), rcode: 9, tsigError: tsig.BadSig},
		{name: "MAC too long", msg: cut(t, full(k, testTime), 33), rcode: 1, tsigError: tsig.BadSig},
		{name: "MAC below the minimum", msg: cut(t, full(k, testTime), 15), rcode: 1, tsigError: tsig.BadSig},
		{name: "MAC truncated, key wants all of it", msg: cut(t, full(k, testTime), 16), rcode: 9, tsigError: tsig.BadTrunc, signed: true},
		{name: "MAC truncated and wrong", msg: cut(t, full(key(t, "key.example.", tsig.HMACSHA256, func(k *tsig.Key) { k.Secret = []byte("x") }), testTime), 16), rcode: 9, tsigError: tsig.BadSig},
		{name: "MAC truncated as the key allows", msg: full(short, testTime)},
		{name: "MAC longer than the key asks", msg: cut(t, full(key(t, "short.example.", tsig.HMACSHA256), testTime), 20)},
		{name: "299 s old", msg: full(k, testTime.Add(-299*time.Second))},
		{name: "300 s old", msg: full(k, testTime.Add(-300*time.Second))},
		{name: "301 s old", msg: full(k, testTime.Add(-301*time.Second)), rcode: 9, tsigError: tsig.BadTime, signed: true},
		{name: "300 s ahead", msg: full(k, testTime.Add(300*time.Second))},
		{name: "301 s ahead", msg: full(k, testTime.Add(301*time.Second)), rcode: 9, tsigError: tsig.BadTime, signed: true},
		{name: "signed at 0", msg: full(k, time.Unix(0, 0)), rcode: 9, tsigError: tsig.BadTime, signed: true},
		{name: "late and truncated: the time is checked first", msg: cut(t, full(k, testTime.Add(-time.Hour)), 16), rcode: 9, tsigError: tsig.BadTime, signed: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.ring == nil {
				tc.ring = keys
			}
			q, err := tsig.Verify(tc.msg, tc.ring, testTime)
			if q == nil {
				t.Fatalf("no request: %v", err)
			}
			var e *tsig.Error
			if errors.As(err, &e) != (tc.rcode != 0) {
				t.Fatalf("error %v", err)
			}
			if e != nil && (e.RCode != tc.rcode || e.TSIGError != tc.tsigError || e.Sign != tc.signed) {
				t.Errorf("RCODE %d, TSIG error %d, signed %v: %v", e.RCode, e.TSIGError, e.Sign, err)
			}
			if e != nil && !strings.Contains(e.Error(), q.KeyName().String()) {
				t.Errorf("the error does not name the key: %v", e)
			}

			resp := q.Sign(reply(tc.msg, byte(tc.rcode)), testTime)
			if want := 12 + q.Overhead(); len(resp) != want {
				t.Errorf("reply of %d octets, want %d", len(resp), want)
			}
			r, err := tsig.Find(resp)
			if err != nil || r == nil {
				t.Fatalf("reply has no TSIG RR: %v", err)
			}
			if r.PeerError != tc.tsigError || (len(r.MAC) > 0) != (tc.signed || tc.rcode == 0) {
				t.Errorf("reply has TSIG error %d and a MAC of %d octets", r.PeerError, len(r.MAC))
			}
			if r.KeyName() != q.KeyName() || r.AlgorithmName() != q.AlgorithmName() {
				t.Error("reply names another key or algorithm")
			}
			if (tc.tsigError == tsig.BadTime) != (len(r.Other) == 6) {
				t.Errorf("other length %d", len(r.Other))
			}
		})
	}
}

// TestFudge: a client can't widen its own window.
func TestFudge(t *testing.T) {
	k := key(t, "key.example.", tsig.HMACSHA256)
	msg := tsig.SignRequest(update(t, 1), k, testTime)
	r, err := tsig.Find(msg)
	if err != nil {
		t.Fatal(err)
	}
	fudge := r.Offset + len(r.KeyName()) + 10 + len(r.AlgorithmName()) + 6
	// Sign again by hand with a fudge of 65535 s.
	binary.BigEndian.PutUint16(msg[fudge:], 65535)
	resigned := resign(t, msg, k)
	if _, err := tsig.Verify(resigned, ring(t, k), testTime.Add(300*time.Second)); err != nil {
		t.Errorf("within 300 s: %v", err)
	}
	var e *tsig.Error
	if _, err := tsig.Verify(resigned, ring(t, k), testTime.Add(301*time.Second)); !errors.As(err, &e) || e.TSIGError != tsig.BadTime {
		t.Errorf("after 301 s: %v", err)
	}
	binary.BigEndian.PutUint16(msg[fudge:], 2)
	if _, err := tsig.Verify(resign(t, msg, k), ring(t, k), testTime.Add(3*time.Second)); !errors.As(err, &e) || e.TSIGError != tsig.BadTime {
		t.Errorf("fudge 2 s after 3 s: %v", err)
	}
}

// resign computes the MAC of a message anew from its TSIG RR, by RFC 8945
// section 4.3 spelled out.
func resign(t *testing.T, msg []byte, k tsig.Key) []byte {
	t.Helper()
	out := append([]byte(nil), msg...)
	r, err := tsig.Find(out)
	if err != nil {
		t.Fatal(err)
	}
	copy(r.MAC, macOf(r.Strip(out), r, k))
	return out
}

// TestRotation: both secrets of a name are good, the newest is tried first.
func TestRotation(t *testing.T) {
	older := key(t, "key.example.", tsig.HMACSHA256)
	newer := key(t, "key.example.", tsig.HMACSHA256, func(k *tsig.Key) { k.Secret = []byte("new"); k.Version = 2 })
	other := key(t, "key.example.", tsig.HMACSHA512, func(k *tsig.Key) { k.Secret = []byte("newest"); k.Version = 3 })
	both := ring(t, other, newer, older)
	for _, k := range []tsig.Key{other, newer, older} {
		q, err := tsig.Verify(tsig.SignRequest(update(t, 1), k, testTime), both, testTime)
		if err != nil || q.Key.Version != k.Version {
			t.Fatalf("version %d: %v", k.Version, err)
		}
		signed := tsig.SignRequest(update(t, 1), k, testTime)
		if err := tsig.VerifyResponse(q.Sign(reply(signed, 0), testTime), signed, k, testTime); err != nil {
			t.Errorf("version %d: reply: %v", k.Version, err)
		}
	}
	if _, err := tsig.Verify(tsig.SignRequest(update(t, 1), older, testTime), ring(t, newer), testTime); err == nil {
		t.Error("a removed secret still verifies")
	}
}

// TestFullMAC defends I4: neither a truncated MAC nor another message ID is a
// new request.
func TestFullMAC(t *testing.T) {
	k := key(t, "key.example.", tsig.HMACSHA256, func(k *tsig.Key) { k.MACSize = 16 })
	msg := tsig.SignRequest(update(t, 1), key(t, "key.example.", tsig.HMACSHA256), testTime)
	q, err := tsig.Verify(msg, ring(t, k), testTime)
	if err != nil {
		t.Fatal(err)
	}
	if len(q.FullMAC) != 32 {
		t.Fatalf("full MAC of %d octets", len(q.FullMAC))
	}
	for n := 16; n < 32; n++ {
		variant := cut(t, msg, n)
		binary.BigEndian.PutUint16(variant, uint16(n)) // the header's ID is not signed
		v, err := tsig.Verify(variant, ring(t, k), testTime)
		if err != nil {
			t.Fatal(err)
		}
		if string(v.FullMAC) != string(q.FullMAC) {
			t.Errorf("%d octets give another full MAC", n)
		}
		if string(v.Strip(variant)) != string(update(t, 1)) {
			t.Errorf("%d octets: Strip", n)
		}
		// RFC 8945 section 5.2.4: the reply's MAC is as long as the request's.
		r, err := tsig.Find(v.Sign(reply(variant, 0), testTime))
		if err != nil || len(r.MAC) != n {
			t.Errorf("reply to %d octets has %d: %v", n, len(r.MAC), err)
		}
	}
}

func TestUnsigned(t *testing.T) {
	q, err := tsig.Verify(update(t, 1), nil, testTime)
	if q != nil || err != nil {
		t.Errorf("unsigned message: %v, %v", q, err)
	}
}

func TestMalformed(t *testing.T) {
	k := key(t, "key.example.", tsig.HMACSHA256)
	good := tsig.SignRequest(update(t, 1), k, testTime)
	r, err := tsig.Find(good)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(m []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	for name, msg := range map[string][]byte{
		"empty":       {},
		"header only": good[:11],
		"cut off":     good[:len(good)-1],
		"two TSIG RRs": edit(func(m []byte) []byte {
			m[11]++
			return append(m, good[r.Offset:]...)
		}),
		"TSIG in the update section": edit(func(m []byte) []byte { m[9]++; m[11]--; return m }),
		"class IN":                   edit(func(m []byte) []byte { m[r.Offset+len(r.KeyName())+3] = 1; return m }),
		"pointer to itself": edit(func(m []byte) []byte {
			return append(append(m[:r.Offset:r.Offset], 0xc0, byte(r.Offset)), good[r.Offset+len(r.KeyName()):]...)
		}),
		"compressed algorithm": edit(func(m []byte) []byte { m[r.Offset+len(r.KeyName())+10] = 0xc0; return m }),
		"other data too long":  edit(func(m []byte) []byte { m[len(m)-1] = 1; return m }),
		"MAC too long":         edit(func(m []byte) []byte { m[len(m)-6-32-1] = 200; return m }),
		"RDATA too short":      append(append([]byte(nil), good[:r.Offset]...), "\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x03\x00\x00\x00"...),
	} {
		q, verr := tsig.Verify(msg, ring(t, k), testTime)
		var e *tsig.Error
		if q != nil || !errors.As(verr, &e) || e.RCode != tsig.RCodeFormErr || !errors.Is(verr, tsig.ErrFormat) {
			t.Errorf("%s: %v", name, verr)
		}
	}
	// Garbage after the TSIG RR is not part of the message, as for BIND.
	if _, err = tsig.Verify(append(good, 1, 2, 3), ring(t, k), testTime); err != nil {
		t.Errorf("trailing garbage: %v", err)
	}
	// A compressed owner is legal.
	m := append([]byte(nil), good[:r.Offset]...)
	owner := []byte("\x03key\xc0")
	m = append(append(m, owner...), 12)
	m = append(m, good[r.Offset+len(r.KeyName()):]...)
	q, err := tsig.Verify(m, ring(t, k), testTime)
	if q == nil || q.KeyName() != name(t, "key.example.test.") {
		t.Errorf("compressed owner: %v", err)
	}
}

func TestVerifyResponse(t *testing.T) {
	k := key(t, "key.example.", tsig.HMACSHA256)
	request := tsig.SignRequest(update(t, 1), k, testTime)
	q, err := tsig.Verify(request, ring(t, k), testTime)
	if err != nil {
		t.Fatal(err)
	}
	good := q.Sign(reply(request, 0), testTime)
	if err = tsig.VerifyResponse(good, request, k, testTime); err != nil {
		t.Error(err)
	}
	if err = tsig.VerifyResponse(good, request, k, testTime.Add(time.Hour)); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("an hour late: %v", err)
	}
	if err = tsig.VerifyResponse(reply(request, 0), request, k, testTime); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("unsigned: %v", err)
	}
	if err = tsig.VerifyResponse(good, tsig.SignRequest(update(t, 2), k, testTime), k, testTime); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("to another request: %v", err)
	}
	if err = tsig.VerifyResponse(good, update(t, 1), k, testTime); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("to an unsigned request: %v", err)
	}

	late := tsig.SignRequest(update(t, 1), k, testTime)
	q, err = tsig.Verify(late, ring(t, k), testTime.Add(time.Hour))
	if err == nil {
		t.Fatal("an hour late verifies")
	}
	var e *tsig.ResponseError
	err = tsig.VerifyResponse(q.Sign(reply(late, 9), testTime.Add(time.Hour)), late, k, testTime)
	if !errors.As(err, &e) || e.TSIGError != tsig.BadTime || !e.Signed || e.ServerTime != uint64(testTime.Add(time.Hour).Unix()) {
		t.Errorf("BADTIME: %v", err)
	}
	q, _ = tsig.Verify(late, ring(t), testTime)
	err = tsig.VerifyResponse(q.Sign(reply(late, 9), testTime), late, k, testTime)
	if !errors.As(err, &e) || e.TSIGError != tsig.BadKey || e.Signed {
		t.Errorf("BADKEY: %v", err)
	}
}

func TestKeyErrors(t *testing.T) {
	for want, k := range map[string]tsig.Key{
		"no name":      {Algorithm: tsig.HMACSHA256, Secret: testSecret},
		"no valid alg": {Name: name(t, "k."), Secret: testSecret},
		"empty secret": {Name: name(t, "k."), Algorithm: tsig.HMACSHA256},
		"hmac-md5":     {Name: name(t, "k."), Algorithm: tsig.HMACMD5, Secret: testSecret},
		"16 to 32":     {Name: name(t, "k."), Algorithm: tsig.HMACSHA256, Secret: testSecret, MACSize: 15},
	} {
		if _, err := tsig.NewKey(k); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := tsig.ParseAlgorithm("hmac-sha3"); err == nil {
		t.Error("hmac-sha3 parses")
	}
	for _, a := range tsig.Algorithms() {
		for _, text := range []string{a.String(), strings.ToUpper(a.String()), a.Name().String()} {
			if got, err := tsig.ParseAlgorithm(text); got != a || err != nil {
				t.Errorf("%q: %v, %v", text, got, err)
			}
		}
	}
	if _, err := tsig.ParseSecret("c2VjcmV0*"); err == nil || strings.Contains(err.Error(), "c2Vj") {
		t.Errorf("bad secret: %v", err)
	}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("k", "key", key(t, "key.example.", tsig.HMACSHA256))
	if strings.Contains(b.String(), string(testSecret)) {
		t.Error("the log shows the secret")
	}
}

func BenchmarkVerifyAndSign(b *testing.B) {
	for _, alg := range tsig.Algorithms() {
		b.Run(alg.String(), func(b *testing.B) {
			k := key(b, "key.example.", alg)
			keys := ring(b, k)
			msg := tsig.SignRequest(update(b, 1), k, testTime)
			q := new(tsig.Request)
			resp := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := q.Verify(msg, keys, testTime); err != nil {
					b.Fatal(err)
				}
				q.Sign(append(resp[:0], msg[:12]...), testTime)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	k := key(f, "key.example.", tsig.HMACSHA256)
	keys := ring(f, k)
	f.Add(update(f, 1))
	f.Add(tsig.SignRequest(update(f, 1), k, testTime))
	f.Add(cut(f, tsig.SignRequest(update(f, 1), k, testTime), 16))
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := string(msg)
		q, err := tsig.Verify(msg, keys, testTime)
		if string(msg) != before {
			t.Fatal("Verify changed the message")
		}
		if q == nil {
			return
		}
		if (err == nil) != (q.FullMAC != nil && q.Error == 0) && q.PeerError == 0 {
			t.Fatalf("error %v with TSIG error %d", err, q.Error)
		}
		_ = q.Strip(msg)
		resp := q.Sign(reply(msg, 0), testTime)
		if len(resp) != 12+q.Overhead() {
			t.Fatalf("reply of %d octets, promised %d", len(resp), 12+q.Overhead())
		}
		if r, err := tsig.Find(resp); err != nil || r == nil {
			t.Fatalf("our own reply does not parse: %v", err)
		}
	})
}

// macOf is RFC 8945 section 4.3 spelled out for a request.
func macOf(unsigned []byte, r *tsig.Record, k tsig.Key) []byte {
	h := hmac.New(hashes[k.Algorithm], k.Secret)
	h.Write(unsigned)
	h.Write([]byte(string(r.KeyName()) + "\x00\xff\x00\x00\x00\x00" + string(r.AlgorithmName())))
	var b []byte
	b = binary.BigEndian.AppendUint16(b, uint16(r.TimeSigned>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(r.TimeSigned))
	b = binary.BigEndian.AppendUint16(b, r.Fudge)
	b = binary.BigEndian.AppendUint16(b, r.PeerError)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Other)))
	h.Write(append(b, r.Other...))
	return h.Sum(nil)
}
