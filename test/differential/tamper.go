package differential

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Tamper is a way in which a signature is not as usual.
type Tamper int

// The ways. A key that the servers don't know is made by naming it as the signer.
const (
	Genuine Tamper = iota
	UpperCase
	WrongSecret
	OtherAlgorithm
	OldSignature
	NewSignature
	NoMAC
	ShortMAC
	HalfMAC
	LongMAC
	OtherTTL
	OtherClass
	Followed
	Twice
)

// tampers says how to make each and what named answers to an otherwise sound request.
var tampers = map[Tamper]struct { //nolint:gochecknoglobals // a constant table
	rcode, tsigError uint16
	key              func(*tsig.Key)
	skew             time.Duration
	edit             func(*zone.RR, *tsigData)
	append           func(msg []byte, signature zone.RR) []byte
}{
	UpperCase: {edit: func(rr *zone.RR, d *tsigData) { // names in a digest are in lower case (RFC 8945 4.3.3)
		rr.Name, d.algorithm = zone.Name(bytes.ToUpper([]byte(rr.Name))), zone.Name(bytes.ToUpper([]byte(d.algorithm)))
	}},
	WrongSecret:    {rcode: update.NotAuth, tsigError: tsig.BadSig, key: func(k *tsig.Key) { k.Secret = []byte("not the secret") }},
	OtherAlgorithm: {rcode: update.NotAuth, tsigError: tsig.BadKey, key: func(k *tsig.Key) { k.Algorithm = tsig.HMACSHA512 }},
	OldSignature:   {rcode: update.NotAuth, tsigError: tsig.BadTime, skew: -time.Hour},
	NewSignature:   {rcode: update.NotAuth, tsigError: tsig.BadTime, skew: time.Hour},
	NoMAC:          {rcode: update.NotAuth, tsigError: tsig.BadSig, edit: func(_ *zone.RR, d *tsigData) { d.mac = nil }},
	ShortMAC:       {rcode: update.FormErr, tsigError: tsig.BadSig, edit: func(_ *zone.RR, d *tsigData) { d.mac = d.mac[:15] }},
	HalfMAC:        {rcode: update.NotAuth, tsigError: tsig.BadTrunc, edit: func(_ *zone.RR, d *tsigData) { d.mac = d.mac[:16] }},
	LongMAC:        {rcode: update.FormErr, tsigError: tsig.BadSig, edit: func(_ *zone.RR, d *tsigData) { d.mac = append(d.mac, 0) }},
	OtherTTL:       {rcode: update.NotAuth, tsigError: tsig.BadSig, edit: func(rr *zone.RR, _ *tsigData) { rr.TTL = 1 }},
	OtherClass:     {rcode: update.FormErr, edit: func(rr *zone.RR, _ *tsigData) { rr.Class = zone.ClassIN }},
	Followed: {rcode: update.FormErr, append: func(msg []byte, _ zone.RR) []byte {
		return appendAdditional(msg, zone.RR{Name: zone.Root, Type: zone.TypeNULL, Class: zone.ClassIN})
	}},
	Twice: {rcode: update.FormErr, append: appendAdditional},
}

// sign signs msg with key at the time at, in this way.
func (t Tamper) sign(msg []byte, key tsig.Key, at time.Time) ([]byte, error) {
	how := tampers[t]
	if how.key != nil {
		how.key(&key)
		var err error
		if key, err = tsig.NewKey(key); err != nil {
			return nil, err
		}
	}
	end := len(msg)
	msg = tsig.SignRequest(msg, key, at.Add(how.skew))
	rr, _, err := zone.UnpackRR(msg, end) // the message before it may be malformed
	if err != nil {
		return nil, err
	}
	d, err := unpackTSIG([]byte(rr.Data))
	if err != nil {
		return nil, err
	}
	if how.edit != nil {
		how.edit(&rr, &d)
	}
	rr.Data = d.pack()
	msg = zone.AppendRR(msg[:end], rr)
	if how.append != nil {
		msg = how.append(msg, rr)
	}
	return msg, nil
}

func appendAdditional(msg []byte, rr zone.RR) []byte {
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	return zone.AppendRR(msg, rr)
}

// tsigData is the RDATA of a request's TSIG RR (RFC 8945 4.2).
type tsigData struct {
	algorithm zone.Name
	timers    [8]byte // time signed, fudge
	mac       []byte
	rest      [6]byte // original ID, error, no other data
}

func unpackTSIG(b []byte) (d tsigData, err error) {
	var at int
	if d.algorithm, at, err = zone.UnpackName(b, 0); err != nil {
		return d, err
	}
	d.timers, at = [8]byte(b[at:]), at+8
	d.mac = bytes.Clone(b[at+2:][:binary.BigEndian.Uint16(b[at:])])
	d.rest = [6]byte(b[at+2+len(d.mac):])
	return d, nil
}

func (d tsigData) pack() string {
	b := append([]byte(d.algorithm), d.timers[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(d.mac)))
	return string(append(append(b, d.mac...), d.rest[:]...))
}
