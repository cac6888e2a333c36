package tsig

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrResponse is wrapped by every error about a response that can't be trusted.
var ErrResponse = errors.New("tsig: response does not verify")

// ResponseError is an error that the server reported in a response's TSIG RR.
type ResponseError struct {
	TSIGError  uint16 // BadSig, BadKey, BadTime or BadTrunc
	Signed     bool   // the response's MAC verified
	ServerTime uint64 // with BadTime: the server's clock, seconds since 1970
}

// Error implements error.
func (e *ResponseError) Error() string {
	switch e.TSIGError {
	case BadSig:
		return "tsig: the server answers BADSIG: check the secret"
	case BadKey:
		return "tsig: the server answers BADKEY: check the key's name and algorithm"
	case BadTime:
		return fmt.Sprintf("tsig: the server answers BADTIME, its clock is at %d: synchronise the clocks", e.ServerTime)
	case BadTrunc:
		return "tsig: the server answers BADTRUNC: send full MACs"
	}
	return fmt.Sprintf("tsig: the server answers TSIG error %d", e.TSIGError)
}

// SignRequest appends a TSIG RR to a request and returns the longer message. It
// changes msg's header and may use its spare capacity.
func SignRequest(msg []byte, k Key, now time.Time) []byte {
	out := k.record()
	out.Offset = len(msg)
	out.TimeSigned = uint64(now.Unix())
	out.OrigID = binary.BigEndian.Uint16(msg)
	s := k.acquire()
	s.mac.Write(msg)
	s.variables(&out, 0, nil)
	msg = out.append(msg, s.mac.Sum(s.sum[:0])[:k.macSize()])
	k.release(s)
	return msg
}

// record returns a Record with the key's constant fields.
func (k *Key) record() Record {
	r := Record{Fudge: MaxFudge}
	r.ownerLength = copy(r.owner[:], k.Name)
	lower(r.owner[:r.ownerLength])
	r.algorithmSize = copy(r.algorithm[:], k.Algorithm.Name())
	return r
}

// VerifyResponse checks a single-message response against the signed request
// that it answers. The error is a *ResponseError when the server reports one,
// or wraps ErrResponse or ErrFormat.
func VerifyResponse(resp, request []byte, k Key, now time.Time) error {
	t, err := NewTransfer(request, k)
	if err != nil {
		return err
	}
	if err := t.Verify(resp, now); err != nil {
		return err
	}
	return t.Finish()
}

// maxUnsigned is how many messages of a transfer may pass without a TSIG RR
// (RFC 8945 section 5.3.1: at least every 100th message is signed).
const maxUnsigned = 99

// Transfer verifies the messages of one response, in the order they arrive. It
// is not safe for concurrent use.
type Transfer struct {
	key      Key
	prior    []byte
	first    bool
	pending  *state // digests the messages since the last signed one
	unsigned int
}

// NewTransfer returns a verifier for the response to a request that was signed
// with k by [SignRequest].
func NewTransfer(request []byte, k Key) (*Transfer, error) {
	r, err := Find(request)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("%w: the request was not signed", ErrResponse)
	}
	return &Transfer{key: k, prior: append([]byte(nil), r.MAC...), first: true}, nil
}

// Verify takes the next message. After an error the response is lost.
func (t *Transfer) Verify(msg []byte, now time.Time) error {
	var r Record
	found, err := r.find(msg)
	if err != nil {
		return err
	}
	if t.pending == nil {
		t.pending = t.key.acquire()
		t.pending.prior(t.prior)
	}
	if !found {
		if t.first {
			return fmt.Errorf("%w: its first message is not signed", ErrResponse)
		}
		if t.unsigned++; t.unsigned > maxUnsigned {
			return fmt.Errorf("%w: more than %d messages without a signature", ErrResponse, maxUnsigned)
		}
		t.pending.mac.Write(msg)
		return nil
	}
	return t.signed(msg, &r, now)
}

func (t *Transfer) signed(msg []byte, r *Record, now time.Time) error {
	want := t.key.record()
	if r.KeyName() != want.KeyName() || r.AlgorithmName() != want.AlgorithmName() {
		return fmt.Errorf("%w: signed by %s %s instead of %v", ErrResponse, r.AlgorithmName(), r.KeyName(), t.key)
	}
	if len(r.MAC) == 0 {
		if r.PeerError == 0 {
			return fmt.Errorf("%w: its MAC is empty", ErrResponse)
		}
		return &ResponseError{TSIGError: r.PeerError}
	}
	if len(r.MAC) < t.key.macSize() || len(r.MAC) > t.key.Algorithm.Size() {
		return fmt.Errorf("%w: its MAC has %d octets", ErrResponse, len(r.MAC))
	}
	s := t.pending
	s.message(msg, r)
	if t.first {
		s.variables(r, r.PeerError, r.Other)
	} else {
		// Only the timers from the second message on, section 5.3.1.
		s.buf = appendTime(s.buf[:0], r.TimeSigned, r.Fudge)
		s.mac.Write(s.buf)
	}
	mac := s.mac.Sum(s.sum[:0])
	ok := hmac.Equal(mac[:len(r.MAC)], r.MAC)
	t.pending = nil
	t.key.release(s)
	if !ok {
		return fmt.Errorf("%w: its MAC does not match", ErrResponse)
	}
	if r.PeerError != 0 {
		e := &ResponseError{TSIGError: r.PeerError, Signed: true}
		if r.PeerError == BadTime && len(r.Other) == 6 {
			e.ServerTime = uint64(binary.BigEndian.Uint16(r.Other))<<32 | uint64(binary.BigEndian.Uint32(r.Other[2:]))
		}
		return e
	}
	if !timely(r, now) {
		return fmt.Errorf("%w: signed at %d, more than %d s from our clock", ErrResponse, r.TimeSigned, r.Fudge)
	}
	t.prior = append(t.prior[:0], r.MAC...)
	t.first, t.unsigned = false, 0
	return nil
}

// Finish says whether the response ended as it must: its last message is signed.
func (t *Transfer) Finish() error {
	if t.first {
		return fmt.Errorf("%w: there was no message", ErrResponse)
	}
	if t.unsigned > 0 {
		return fmt.Errorf("%w: its last message is not signed", ErrResponse)
	}
	return nil
}
