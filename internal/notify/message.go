package notify

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	headerSize   = 12
	opcodeNotify = 4 // RFC 1996 section 3.3
	flagResponse = 0x8000
	flagAA       = 0x0400 // RFC 1996 section 3.6
	opcodeMask   = 0x7800
)

// Response codes that are told apart (RFC 1035 section 4.1.1, RFC 2136 section 2.2).
const (
	rcodeNoError  = 0
	rcodeServFail = 2
	rcodeRefused  = 5
	rcodeNotAuth  = 9
)

// appendMessage appends an unsigned NOTIFY: the SOA in the question, and in the answer section the one that changed.
func appendMessage(b []byte, id uint16, soa zone.RR) []byte {
	for _, v := range []uint16{id, opcodeNotify<<11 | flagAA, 1, 1, 0, 0} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	b = append(b, soa.Name...)
	b = binary.BigEndian.AppendUint16(b, uint16(zone.TypeSOA))
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	b = append(b, 0xC0, headerSize) // the question's name
	b = binary.BigEndian.AppendUint16(b, uint16(zone.TypeSOA))
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	b = binary.BigEndian.AppendUint32(b, soa.TTL)
	b = binary.BigEndian.AppendUint16(b, uint16(len(soa.Data)))
	return append(b, soa.Data...)
}

var errMessage = errors.New("not an answer to a NOTIFY")

// parseAnswer reads an answer: its ID, response code, and the zone in its question, "" when it has none (RFC 1996 section 4.7
// wants the question; some servers leave it out of refusals).
func parseAnswer(msg []byte) (id, rcode uint16, name zone.Name, err error) {
	if len(msg) < headerSize {
		return 0, 0, "", fmt.Errorf("%w: %d octets", errMessage, len(msg))
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	if flags&flagResponse == 0 || flags&opcodeMask != opcodeNotify<<11 {
		return 0, 0, "", fmt.Errorf("%w: flags %#04x", errMessage, flags)
	}
	if binary.BigEndian.Uint16(msg[4:]) > 0 {
		if name, _, err = zone.UnpackName(msg, headerSize); err != nil {
			return 0, 0, "", fmt.Errorf("%w: %w", errMessage, err)
		}
	}
	return binary.BigEndian.Uint16(msg), flags & 15, name, nil
}
