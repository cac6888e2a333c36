package xfr

import (
	"encoding/binary"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Bits of a header's second word.
const (
	flagResponse = 1 << 15
	opcodeMask   = 0xf << 11
)

// ParseQuestion reads a query's only question: its name in lower case, its type,
// and the serial that an IXFR request says the client has (RFC 1995 section 3), 0
// when it does not say: the primary answers that with FORMERR. What is no query
// with one question of class IN is an error that wraps zone.ErrFormat.
func ParseQuestion(msg []byte) (name zone.Name, qtype zone.Type, have uint32, err error) {
	if len(msg) < headerLen {
		return "", 0, 0, malformed("%d octets are no message", len(msg))
	}
	if flags := binary.BigEndian.Uint16(msg[2:]); flags&(flagResponse|opcodeMask) != 0 {
		return "", 0, 0, malformed("flags %#04x are not those of a query", flags)
	}
	if n := binary.BigEndian.Uint16(msg[questions:]); n != 1 {
		return "", 0, 0, malformed("%d questions instead of one", n)
	}
	name, off, err := zone.UnpackName(msg, headerLen)
	if err != nil {
		return "", 0, 0, fmt.Errorf("xfr: question: %w", err)
	}
	if off+4 > len(msg) {
		return "", 0, 0, malformed("question is cut off")
	}
	qtype = zone.Type(binary.BigEndian.Uint16(msg[off:]))
	if class := zone.Class(binary.BigEndian.Uint16(msg[off+2:])); class != zone.ClassIN {
		return "", 0, 0, malformed("question of class %v instead of IN", class)
	}
	name = name.Canonical()
	if qtype != zone.TypeIXFR || binary.BigEndian.Uint16(msg[answers:]) != 0 || binary.BigEndian.Uint16(msg[authorities:]) == 0 {
		return name, qtype, 0, nil
	}
	if typ, serial, _, err := recordAt(msg, off+4); err == nil && typ == zone.TypeSOA {
		have = serial
	}
	return name, qtype, have, nil
}

// AnswerSerial returns the serial of the first SOA of origin in a message's answer
// section. ok is false when there is none, when the message is malformed, and when
// it reports an error (RCODE).
func AnswerSerial(msg []byte, origin zone.Name) (serial uint32, ok bool) {
	if len(msg) < headerLen || RCode(msg) != 0 {
		return 0, false
	}
	off, err := afterQuestions(msg)
	if err != nil {
		return 0, false
	}
	for range binary.BigEndian.Uint16(msg[answers:]) {
		typ, serial, next, err := recordAt(msg, off)
		if err != nil {
			return 0, false
		}
		if typ == zone.TypeSOA {
			owner, _, err := zone.UnpackName(msg, off)
			if err == nil && owner.Equal(origin) {
				return serial, true
			}
		}
		off = next
	}
	return 0, false
}

// RCode returns the response code in the header of a message (RFC 1035 section
// 4.1.1) that is as long as a header.
func RCode(msg []byte) int { return int(msg[3] & 0xf) }
