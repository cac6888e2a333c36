package tsig

import (
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// MaxFudge is the longest time around its time signed that a message is
// accepted, even when it asks for more with its fudge (RFC 8945 section 10
// recommends 300 s). BIND has no such cap: this is an intended difference,
// because dedupe by signature must be able to forget.
const MaxFudge = 300 // seconds

// RCODEs and TSIG error codes of this package (RFC 8945 section 3 and IANA).
const (
	RCodeFormErr = 1
	RCodeNotAuth = 9

	BadSig   = 16
	BadKey   = 17
	BadTime  = 18
	BadTrunc = 22
)

// Error says why a message does not verify and what its answer is.
type Error struct {
	RCode     uint16 // of the reply
	TSIGError uint16 // in the reply's TSIG RR; 0 when the reply has none
	Sign      bool   // the reply's TSIG RR carries a MAC
	reason    string
	record    *Record
	now       int64
	cause     error
}

// Error names the key, what failed, and what to look at.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.cause.Error()
	}
	text := fmt.Sprintf("tsig: key %s, algorithm %s: %s", e.record.KeyName(), e.record.AlgorithmName(), e.reason)
	if e.TSIGError == BadTime {
		text += fmt.Sprintf(" (time signed %d, our clock %d, fudge %d s)", e.record.TimeSigned, e.now, min(e.record.Fudge, MaxFudge))
	}
	return text
}

// Unwrap returns what makes the message malformed (it wraps ErrFormat), or nil.
func (e *Error) Unwrap() error { return e.cause }

// Reason is the error without the key's name: a constant text for metrics, for
// an Extended DNS Error and for logs that have the key in a field of its own.
func (e *Error) Reason() string { return e.reason }

// The reasons, each with its remedy.
const (
	reasonFormat  = "malformed message"
	reasonBadKey  = "BADKEY: no such key with this algorithm: check the key's name and algorithm"
	reasonMD5     = "BADKEY: hmac-md5 is not allowed for this key: choose hmac-sha256"
	reasonTooLong = "the MAC is longer than the algorithm's"
	reasonTooCut  = "the MAC is shorter than RFC 8945 allows"
	reasonEmpty   = "BADSIG: the MAC is empty"
	reasonBadSig  = "BADSIG: the MAC does not match: check the secret"
	reasonBadTime = "BADTIME: the clocks differ by more than the fudge: synchronise the client's clock"
	reasonTrunc   = "BADTRUNC: the MAC is truncated more than this key allows"
	reasonPeer    = "the request carries a TSIG error code"
)

// Request is a message with a TSIG RR: what it says, and the outcome of
// verifying it. It lives as long as the message it came from.
type Request struct {
	Record
	Key     *Key   // the key that verified, or the newest that could have; nil when there is none
	FullMAC []byte // the full MAC as computed with Key; nil unless a MAC verified
	Error   uint16 // the TSIG error of the reply: 0, BadSig, BadKey, BadTime or BadTrunc

	full [maxMACSize]byte
}

// Verify checks a request's signature at the time now.
//
// An unsigned message returns nil and nil. A message that verifies returns its
// Request and nil. Any other returns an *Error, together with a Request whenever
// the reply is due a TSIG RR ([Request.Sign] makes the right one); a nil Request
// with an error means that the message is malformed: FORMERR, unsigned.
func Verify(msg []byte, ring Keyring, now time.Time) (*Request, error) {
	q := new(Request)
	signed, err := q.Verify(msg, ring, now)
	if !signed {
		return nil, err
	}
	return q, err
}

// Verify is the function of that name for callers that reuse q. It reports
// whether q was filled, that is whether the message has a readable TSIG RR.
func (q *Request) Verify(msg []byte, ring Keyring, now time.Time) (signed bool, err error) {
	q.Key, q.FullMAC, q.Error = nil, nil, 0
	found, err := q.find(msg)
	if err != nil {
		return false, &Error{RCode: RCodeFormErr, reason: reasonFormat, cause: err}
	}
	if !found {
		return false, nil
	}
	return true, q.check(msg, ring, now)
}

// check follows the order of dns_tsig_verify: key, length, MAC, time,
// truncation, the peer's error.
func (q *Request) check(msg []byte, ring Keyring, now time.Time) error {
	alg := q.Algorithm()
	keys := lookup(ring, &q.Record)
	refused := reasonBadKey
	for i := range keys {
		if k := &keys[i]; k.Algorithm == alg && alg != 0 {
			if alg == HMACMD5 && !k.AllowMD5 {
				refused = reasonMD5
				continue
			}
			if q.Key == nil {
				q.Key = k
			}
		}
	}
	if q.Key == nil {
		return q.fail(RCodeNotAuth, BadKey, refused, now)
	}

	// BIND answers a MAC of impossible length with FORMERR, and puts BADSIG in
	// the TSIG RR.
	switch size := len(q.MAC); {
	case size > alg.Size():
		return q.fail(RCodeFormErr, BadSig, reasonTooLong, now)
	case size > 0 && size < alg.minMACSize():
		return q.fail(RCodeFormErr, BadSig, reasonTooCut, now)
	case size == 0:
		return q.fail(RCodeNotAuth, BadSig, reasonEmpty, now)
	}

	for i := range keys {
		k := &keys[i]
		if k.Algorithm != alg || (alg == HMACMD5 && !k.AllowMD5) {
			continue
		}
		s := k.acquire()
		s.message(msg, &q.Record)
		s.variables(&q.Record, q.PeerError, q.Other)
		full := s.mac.Sum(s.sum[:0])
		ok := hmac.Equal(full[:len(q.MAC)], q.MAC)
		if ok {
			q.Key, q.FullMAC = k, append(q.full[:0], full...)
		}
		k.release(s)
		if ok {
			break
		}
	}
	if q.FullMAC == nil {
		return q.fail(RCodeNotAuth, BadSig, reasonBadSig, now)
	}

	// From here on the client holds the secret: every reply is signed.
	if !timely(&q.Record, now) {
		return q.fail(RCodeNotAuth, BadTime, reasonBadTime, now)
	}
	if len(q.MAC) < q.Key.macSize() {
		return q.fail(RCodeNotAuth, BadTrunc, reasonTrunc, now)
	}
	if q.PeerError != 0 {
		// BIND does nothing with such a request and answers NOERROR, which for an
		// UPDATE would acknowledge what was not done.
		return q.fail(RCodeFormErr, 0, reasonPeer, now)
	}
	return nil
}

func (q *Request) fail(rcode, tsigError uint16, reason string, now time.Time) error {
	q.Error = tsigError
	return &Error{RCode: rcode, TSIGError: tsigError, Sign: q.FullMAC != nil, reason: reason, record: &q.Record, now: now.Unix()}
}

// timely reports whether now is within the message's fudge, at most MaxFudge, of
// its time signed.
func timely(r *Record, now time.Time) bool {
	skew := now.Unix() - int64(r.TimeSigned)
	fudge := int64(min(r.Fudge, MaxFudge))
	return -fudge <= skew && skew <= fudge
}

// lookup asks the ring without copying the name to the heap: the string shares
// r's memory, which the contract of Keyring allows during the call.
func lookup(ring Keyring, r *Record) []Key {
	return ring.Lookup(zone.Name(unsafe.String(&r.owner[0], r.ownerLength)))
}

// message digests a message as it was before its TSIG RR was added (RFC 8945
// section 4.3.2): the original ID, one RR less.
func (s *state) message(msg []byte, r *Record) {
	s.buf = append(s.buf[:0], msg[:headerLen]...)
	binary.BigEndian.PutUint16(s.buf, r.OrigID)
	binary.BigEndian.PutUint16(s.buf[10:], binary.BigEndian.Uint16(msg[10:])-1)
	s.mac.Write(s.buf)
	s.mac.Write(msg[headerLen:r.Offset])
}

// variables digests the TSIG variables (RFC 8945 section 4.3.3).
func (s *state) variables(r *Record, tsigError uint16, other []byte) {
	b := s.buf[:0]
	b = append(b, r.owner[:r.ownerLength]...)
	b = binary.BigEndian.AppendUint16(b, classANY)
	b = binary.BigEndian.AppendUint32(b, r.TTL)
	b = append(b, r.algorithm[:r.algorithmSize]...)
	b = appendTime(b, r.TimeSigned, r.Fudge)
	b = binary.BigEndian.AppendUint16(b, tsigError)
	b = binary.BigEndian.AppendUint16(b, uint16(len(other)))
	b = append(b, other...) // copied: what goes through an interface goes to the heap
	s.mac.Write(b)
	s.buf = b[:0]
}

// prior digests a MAC that this one is chained to: the request's in a reply, the
// previous message's in a transfer.
func (s *state) prior(mac []byte) {
	s.buf = binary.BigEndian.AppendUint16(s.buf[:0], uint16(len(mac)))
	s.mac.Write(s.buf)
	s.mac.Write(mac)
}

func appendTime(b []byte, seconds uint64, fudge uint16) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(seconds>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(seconds))
	return binary.BigEndian.AppendUint16(b, fudge)
}
