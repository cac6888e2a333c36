package endpoint

import (
	"encoding/binary"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// transferEnd finds the last message of a zone transfer, which nothing but the
// SOA RRs in it tells (RFC 5936 section 2.2, RFC 1995 section 4).
type transferEnd struct {
	ixfr bool
	have uint32 // the serial that an IXFR request says the client has

	serial uint32 // of the first SOA: the zone's present one
	state  transferState
}

type transferState uint8

const (
	transferFirst transferState = iota
	transferSecond
	transferFull    // as in AXFR: ends with the second SOA
	transferDeletes // IXFR: the records that a difference removes
	transferAdds    // IXFR: the records that it adds
	transferDone
)

// newTransferEnd reads the request that the transfer answers.
func newTransferEnd(query []byte, name zone.Name) (*transferEnd, error) {
	end, err := skipName(query, headerLen)
	if err != nil || end+4 > len(query) {
		return nil, malformed("question of a zone transfer")
	}
	t := &transferEnd{ixfr: binary.BigEndian.Uint16(query[end:]) == typeIXFR}
	off := end + 4
	if !t.ixfr || binary.BigEndian.Uint16(query[6:]) != 0 || binary.BigEndian.Uint16(query[8:]) == 0 {
		return t, nil
	}
	if typ, serial, _, err := soaAt(query, off); err == nil && typ == typeSOA {
		t.have = serial
	}
	return t, nil
}

// next takes the next message and reports whether it is the last.
func (t *transferEnd) next(msg []byte) (last bool, err error) {
	if len(msg) < headerLen {
		return false, malformed("%d octets from named", len(msg))
	}
	if msg[3]&0xf != 0 || binary.BigEndian.Uint16(msg[6:]) == 0 {
		return true, nil // an error, or nothing: there is no more
	}
	off := headerLen
	for range binary.BigEndian.Uint16(msg[4:]) {
		if off, err = skipName(msg, off); err != nil {
			return false, err
		}
		off += 4
	}
	for range binary.BigEndian.Uint16(msg[6:]) {
		var typ uint16
		var serial uint32
		if typ, serial, off, err = soaAt(msg, off); err != nil {
			return false, err
		}
		if t.state == transferDone {
			return false, malformed("records after the end of the zone transfer")
		}
		t.record(typ, serial)
	}
	// An IXFR that has nothing newer is a single SOA.
	if t.state == transferSecond && t.ixfr && !zone.SerialGT(t.serial, t.have) {
		return true, nil
	}
	return t.state == transferDone, nil
}

func (t *transferEnd) record(typ uint16, serial uint32) {
	soa := typ == typeSOA
	switch t.state {
	case transferFirst:
		t.serial, t.state = serial, transferSecond
	case transferSecond:
		switch {
		case soa && t.ixfr && serial != t.serial:
			t.state = transferDeletes
		case soa:
			t.state = transferDone // a zone of nothing but its SOA
		default:
			t.state = transferFull
		}
	case transferFull:
		if soa {
			t.state = transferDone
		}
	case transferDeletes:
		if soa {
			t.state = transferAdds
		}
	case transferDone: // next refuses what follows
	case transferAdds:
		switch {
		case soa && serial == t.serial:
			t.state = transferDone
		case soa:
			t.state = transferDeletes
		}
	}
}

// soaAt reads the RR at off: its type, the serial if it is an SOA, and the
// offset after it.
func soaAt(msg []byte, off int) (typ uint16, serial uint32, next int, err error) {
	fixed, err := skipName(msg, off)
	if err != nil {
		return 0, 0, 0, err
	}
	if fixed+10 > len(msg) {
		return 0, 0, 0, malformed("cut off in an RR at octet %d", off)
	}
	typ = binary.BigEndian.Uint16(msg[fixed:])
	data := fixed + 10
	next = data + int(binary.BigEndian.Uint16(msg[fixed+8:]))
	if next > len(msg) {
		return 0, 0, 0, malformed("cut off in an RDATA at octet %d", data)
	}
	if typ != typeSOA {
		return typ, 0, next, nil
	}
	for range 2 { // MNAME, RNAME
		if data, err = skipName(msg[:next], data); err != nil {
			return 0, 0, 0, err
		}
	}
	if data+4 > next {
		return 0, 0, 0, fmt.Errorf("%w: SOA without a serial", malformed("zone transfer"))
	}
	return typ, binary.BigEndian.Uint32(msg[data:]), next, nil
}
