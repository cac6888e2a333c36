package xfr

import (
	"encoding/binary"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// End finds the last message of a zone transfer, which nothing but the SOA RRs in
// it tells (RFC 5936 section 2.2, RFC 1995 section 4).
type End struct {
	ixfr bool
	have uint32 // the serial that an IXFR request says the client has

	seen   bool   // the first SOA has come
	serial uint32 // its serial: the zone's present one
	to     uint32 // serial that the present difference leads to
	steps  bool   // there are differences
	state  state
}

type state uint8

const (
	first   state = iota
	second        // the first SOA has come
	whole         // as in AXFR: ends with the second SOA
	deletes       // IXFR: the records that a difference removes
	adds          // IXFR: the records that it adds
	done
)

// Form is how an answer gives a zone.
type Form uint8

// The forms.
const (
	Unknown     Form = iota // not yet to be told
	UpToDate                // a single SOA: the client has it (IXFR only)
	Incremental             // differences (RFC 1995)
	Whole                   // all records, also as the answer to an IXFR request
)

func (f Form) String() string {
	return [...]string{"unknown", "up_to_date", "incremental", "whole"}[f]
}

// NewEnd reads the request that the transfer answers.
func NewEnd(query []byte) (*End, error) {
	_, qtype, have, err := ParseQuestion(query)
	if err != nil {
		return nil, err
	}
	if qtype != zone.TypeIXFR && qtype != zone.TypeAXFR {
		return nil, malformed("a question for %v asks for no zone transfer", qtype)
	}
	return &End{ixfr: qtype == zone.TypeIXFR, have: have}, nil
}

// Serial returns the serial of the zone in the answer; ok is false until its first
// SOA has come, and stays so when the answer is an error.
func (e *End) Serial() (serial uint32, ok bool) { return e.serial, e.seen }

// Next takes the next message and reports whether it is the last. After an error
// the transfer is lost.
func (e *End) Next(msg []byte) (last bool, err error) { return e.walk(msg, nil) }

// walk is Next, and tells visit of each record: where it is, and the state before
// it. Without visit records are only skipped.
func (e *End) walk(msg []byte, visit func(msg []byte, off int, before state) error) (last bool, err error) {
	if len(msg) < headerLen {
		return false, malformed("%d octets are no message of a zone transfer", len(msg))
	}
	if RCode(msg) != 0 || e.state == first && binary.BigEndian.Uint16(msg[answers:]) == 0 {
		return true, nil // an error, or nothing: there is no more
	}
	off, err := afterQuestions(msg)
	if err != nil {
		return false, err
	}
	for range binary.BigEndian.Uint16(msg[answers:]) {
		typ, serial, next, err := recordAt(msg, off)
		if err != nil {
			return false, err
		}
		before := e.state
		if err := e.record(typ, serial); err != nil {
			return false, err
		}
		if visit != nil {
			if err := visit(msg, off, before); err != nil {
				return false, err
			}
		}
		off = next
	}
	return e.state == done || e.upToDate(), nil
}

// Form returns what the messages so far tell of the answer's form.
func (e *End) Form() Form {
	switch e.state {
	case first:
		return Unknown
	case second:
		if e.upToDate() {
			return UpToDate
		}
		if e.ixfr {
			return Unknown
		}
		return Whole
	case whole:
		return Whole
	case deletes, adds:
		return Incremental
	case done:
		if e.steps {
			return Incremental
		}
		return Whole
	}
	return Unknown
}

func (e *End) upToDate() bool {
	return e.state == second && e.ixfr && !zone.SerialGT(e.serial, e.have)
}

// record takes the next RR, as xfr_rr of BIND's lib/dns/xfrin.c does.
func (e *End) record(typ zone.Type, serial uint32) error {
	soa := typ == zone.TypeSOA
	switch e.state {
	case first:
		if !soa {
			return malformed("zone transfer begins with %v instead of the SOA", typ)
		}
		e.serial, e.seen, e.state = serial, true, second
	case second:
		switch {
		case !soa:
			e.state = whole
		case serial == e.serial:
			e.state = done // a zone of nothing but its SOA
		case e.ixfr && serial == e.have:
			e.steps, e.state = true, deletes
		case e.ixfr:
			return malformed("differences begin at serial %d, the client has %d", serial, e.have)
		default:
			return malformed("zone transfer begins with serial %d and ends with %d", e.serial, serial)
		}
	case whole:
		switch {
		case soa && serial == e.serial:
			e.state = done
		case soa:
			return malformed("zone transfer begins with serial %d and ends with %d", e.serial, serial)
		}
	case deletes:
		if soa {
			e.to, e.state = serial, adds
		}
	case adds:
		switch {
		case soa && serial == e.serial:
			e.state = done
		case soa && serial != e.to:
			return malformed("a difference begins at serial %d, the one before ended at %d", serial, e.to)
		case soa:
			e.state = deletes
		}
	case done:
		return malformed("%v after the end of the zone transfer", typ)
	}
	return nil
}
