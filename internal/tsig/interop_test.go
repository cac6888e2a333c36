package tsig_test

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

var (
	testSecret = []byte("0123456789abcdef0123456789abcdef")
	testTime   = time.Unix(1_790_000_000, 0)
)

func name(t testing.TB, text string) zone.Name {
	t.Helper()
	n, err := zone.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func key(t testing.TB, owner string, alg tsig.Algorithm, edit ...func(*tsig.Key)) tsig.Key {
	t.Helper()
	k := tsig.Key{Name: name(t, owner), Algorithm: alg, Secret: testSecret, Version: 1, AllowMD5: true}
	for _, e := range edit {
		e(&k)
	}
	k, err := tsig.NewKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ring(t testing.TB, keys ...tsig.Key) tsig.Ring {
	t.Helper()
	r, err := tsig.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// update returns an unsigned UPDATE.
func update(t testing.TB, id uint16) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate("example.test.")
	m.Id = id
	rr, err := dns.NewRR("host.example.test. 60 IN A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	m.Insert([]dns.RR{rr})
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// reply returns the bare reply to a message.
func reply(msg []byte, rcode byte) []byte {
	r := append([]byte(nil), msg[:12]...)
	r[2] |= 0x80
	r[3] = rcode
	clear(r[4:])
	return r
}

// provider lets miekg/dns build and digest messages for every algorithm,
// HMAC-MD5 too, which that library itself has dropped.
type provider struct{ secret []byte }

func (p provider) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	alg, err := tsig.ParseAlgorithm(t.Algorithm)
	if err != nil {
		return nil, dns.ErrKeyAlg
	}
	h := hmac.New(hashes[alg], p.secret)
	h.Write(msg)
	return h.Sum(nil), nil
}

func (p provider) Verify(msg []byte, t *dns.TSIG) error {
	want, err := p.Generate(msg, t)
	if err != nil {
		return err
	}
	if hex.EncodeToString(want) != t.MAC {
		return dns.ErrSig
	}
	return nil
}

func TestRequestOfOtherImplementation(t *testing.T) {
	for _, alg := range tsig.Algorithms() {
		t.Run(alg.String(), func(t *testing.T) {
			m := new(dns.Msg)
			if err := m.Unpack(update(t, 4711)); err != nil {
				t.Fatal(err)
			}
			m.SetTsig("Key.Example.", alg.Name().String(), 300, testTime.Unix())
			wire, mac, err := dns.TsigGenerateWithProvider(m, provider{testSecret}, "", false)
			if err != nil {
				t.Fatal(err)
			}
			q, err := tsig.Verify(wire, ring(t, key(t, "key.example.", alg)), testTime)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(q.FullMAC); got != mac {
				t.Errorf("full MAC %s, want %s", got, mac)
			}
			if got := q.KeyName().String(); got != "key.example." {
				t.Errorf("key name %s", got)
			}
			if string(q.Strip(wire)) != string(update(t, 4711)) {
				t.Error("Strip does not give the unsigned message")
			}
			resp := q.Sign(reply(wire, 0), testTime)
			if err := dns.TsigVerifyWithProvider(resp, provider{testSecret}, mac, false); err != nil && !errors.Is(err, dns.ErrTime) {
				t.Errorf("the other side rejects our reply: %v", err)
			}
		})
	}
}

// TestMiekgBuiltIn uses miekg/dns without any help of ours, for the algorithms
// it has itself.
func TestMiekgBuiltIn(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString(testSecret)
	for _, alg := range tsig.Algorithms()[1:] {
		t.Run(alg.String(), func(t *testing.T) {
			k, now := key(t, "key.example.", alg), time.Now()
			signed := tsig.SignRequest(update(t, 1), k, now)
			if err := dns.TsigVerify(append([]byte(nil), signed...), secret, "", false); err != nil {
				t.Errorf("miekg/dns rejects our request: %v", err)
			}
			m := new(dns.Msg)
			if err := m.Unpack(update(t, 2)); err != nil {
				t.Fatal(err)
			}
			m.SetTsig("key.example.", alg.Name().String(), 300, now.Unix())
			wire, mac, err := dns.TsigGenerate(m, secret, "", false)
			if err != nil {
				t.Fatal(err)
			}
			q, err := tsig.Verify(wire, ring(t, k), now)
			if err != nil {
				t.Fatal(err)
			}
			if err := dns.TsigVerify(q.Sign(reply(wire, 5), now), secret, mac, false); err != nil {
				t.Errorf("miekg/dns rejects our reply: %v", err)
			}
		})
	}
}

// TestTransfer lets miekg/dns sign a transfer of many messages.
func TestTransfer(t *testing.T) {
	k := key(t, "key.example.", tsig.HMACSHA256)
	now := time.Now()
	request := tsig.SignRequest(update(t, 7), k, now)
	rec, err := tsig.Find(request)
	if err != nil {
		t.Fatal(err)
	}
	secret := base64.StdEncoding.EncodeToString(testSecret)

	var messages [][]byte
	mac := hex.EncodeToString(rec.MAC)
	for i := range 5 {
		m := new(dns.Msg)
		m.SetReply(&dns.Msg{MsgHdr: dns.MsgHdr{Id: 7}})
		rr, err := dns.NewRR(fmt.Sprintf("h%d.example.test. 60 IN A 192.0.2.%d", i, i))
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = []dns.RR{rr}
		m.SetTsig("key.example.", dns.HmacSHA256, 300, now.Unix())
		wire, next, err := dns.TsigGenerate(m, secret, mac, i > 0)
		if err != nil {
			t.Fatal(err)
		}
		messages, mac = append(messages, wire), next
	}

	verify := func(messages [][]byte) error {
		tr, err := tsig.NewTransfer(request, k)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if err := tr.Verify(m, now); err != nil {
				return err
			}
		}
		return tr.Finish()
	}
	if err := verify(messages); err != nil {
		t.Errorf("good transfer: %v", err)
	}
	if err := verify(append(messages[:2:2], messages[3:]...)); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("a message left out: %v", err)
	}
	if err := verify(nil); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("no message: %v", err)
	}
	unsigned := reply(request, 0)
	if err := verify([][]byte{messages[0], unsigned}); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("last message unsigned: %v", err)
	}
	if err := verify([][]byte{unsigned}); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("first message unsigned: %v", err)
	}
	tampered := append([]byte(nil), messages[1]...)
	tampered[20] ^= 1
	if err := verify([][]byte{messages[0], tampered}); err == nil {
		t.Error("a changed message verifies")
	}
	many := [][]byte{messages[0]}
	for range 100 {
		many = append(many, unsigned)
	}
	if err := verify(many); !errors.Is(err, tsig.ErrResponse) {
		t.Errorf("100 messages unsigned: %v", err)
	}
}

// TestStream signs a transfer of many messages and lets both miekg/dns and our
// own client side verify it.
func TestStream(t *testing.T) {
	for _, size := range []int{0, 16} {
		k := key(t, "key.example.", tsig.HMACSHA256, func(k *tsig.Key) { k.MACSize = size })
		now := time.Now()
		request := tsig.SignRequest(update(t, 7), k, now)
		q, err := tsig.Verify(request, ring(t, k), now)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := tsig.NewTransfer(request, k)
		if err != nil {
			t.Fatal(err)
		}
		signer := q.Stream()
		prior := hex.EncodeToString(q.MAC)
		for i := range 5 {
			wire := signer.Sign(append(reply(request, 0), make([]byte, 0, 512)...), now)
			if err := tr.Verify(wire, now); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if size == 0 {
				if err := dns.TsigVerifyWithProvider(append([]byte(nil), wire...), provider{testSecret}, prior, i > 0); err != nil {
					t.Fatalf("miekg/dns rejects message %d: %v", i, err)
				}
			}
			r, err := tsig.Find(wire)
			if err != nil {
				t.Fatal(err)
			}
			prior = hex.EncodeToString(r.MAC)
		}
		if err := tr.Finish(); err != nil {
			t.Error(err)
		}
	}
}

// TestTransferRunningDigest signs every third message only, as a server may.
func TestTransferRunningDigest(t *testing.T) {
	k := key(t, "key.example.", tsig.HMACSHA512)
	request := tsig.SignRequest(update(t, 9), k, testTime)
	rec, err := tsig.Find(request)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := tsig.NewTransfer(request, k)
	if err != nil {
		t.Fatal(err)
	}
	prior, digest := rec.MAC, []byte(nil)
	first := true
	for i := range 10 {
		m := reply(request, 0)
		m[11] = 0
		m = append(m[:12:12], make([]byte, 0, 300)...)
		if i%3 != 0 {
			digest = append(digest, m...)
		} else {
			m, prior = signTransfer(t, m, digest, prior, first)
			digest, first = nil, false
		}
		if err := tr.Verify(m, testTime); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := tr.Finish(); err != nil {
		t.Error(err)
	}
}

// signTransfer is RFC 8945 section 5.3.1 spelled out.
func signTransfer(t *testing.T, m, pending, prior []byte, first bool) (signed, mac []byte) {
	t.Helper()
	owner, alg := string(name(t, "key.example.")), string(tsig.HMACSHA512.Name())
	var timers []byte
	timers = binary.BigEndian.AppendUint16(timers, 0)
	timers = binary.BigEndian.AppendUint32(timers, uint32(testTime.Unix()))
	timers = binary.BigEndian.AppendUint16(timers, 300)

	h := hmac.New(hashes[tsig.HMACSHA512], testSecret)
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(prior))))
	h.Write(prior)
	h.Write(pending)
	h.Write(m)
	if first {
		h.Write([]byte(owner + "\x00\xff\x00\x00\x00\x00" + alg))
	}
	h.Write(timers)
	if first {
		h.Write([]byte{0, 0, 0, 0})
	}
	mac = h.Sum(nil)

	m = append(m, owner+"\x00\xfa\x00\xff\x00\x00\x00\x00"...)
	m = binary.BigEndian.AppendUint16(m, uint16(len(alg)+16+len(mac)))
	m = append(m, alg...)
	m = append(m, timers...)
	m = binary.BigEndian.AppendUint16(m, uint16(len(mac)))
	m = append(m, mac...)
	m = append(m, m[0], m[1], 0, 0, 0, 0)
	m[11]++
	return m, mac
}
