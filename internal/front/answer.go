package front

import (
	"encoding/binary"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Of the DNS message format (RFC 1035, section 4.1), EDNS (RFC 6891) and Extended DNS Errors (RFC 8914).
const (
	headerLen   = 12
	flagQR      = 0x8000
	flagRD      = 0x0100
	maskOpcode  = 0x7800
	rcodeServ   = 2
	typeOPT     = 41
	optionEDE   = 15
	edeNoAnswer = 22 // No Reachable Authority
	// udpSize is the UDP payload size that the answer announces: what passes without fragments (RFC 9715).
	udpSize = 1232
)

// noPrimary is the text of the Extended DNS Error of the last answer that is left.
const noPrimary = "no primary can be reached"

// Unreachable is the answer to a request when no primary can be asked: SERVFAIL, with the reason for those who sent an OPT RR. It
// is not signed, because the front has no keys, and promises nothing: an earlier copy of an UPDATE may have been
// applied. It is nil for what is no request.
func Unreachable(query []byte) []byte {
	if len(query) < headerLen {
		return nil
	}
	flags := binary.BigEndian.Uint16(query[2:])
	if flags&flagQR != 0 {
		return nil
	}
	keep := uint16(maskOpcode)
	if flags&maskOpcode == 0 { // RD is a query's
		keep |= flagRD
	}
	b := make([]byte, headerLen, 512)
	copy(b, query[:2])
	binary.BigEndian.PutUint16(b[2:], flagQR|flags&keep|rcodeServ)
	end, edns := scan(query)
	if end > headerLen {
		copy(b[4:6], query[4:6])
		b = append(b, query[headerLen:end]...)
	}
	if edns {
		b[11] = 1
		b = append(b, 0)
		b = binary.BigEndian.AppendUint16(b, typeOPT)
		b = binary.BigEndian.AppendUint16(b, udpSize)
		b = append(b, 0, 0, 0, 0) // extended RCODE, version, flags
		b = binary.BigEndian.AppendUint16(b, uint16(4+2+len(noPrimary)))
		b = binary.BigEndian.AppendUint16(b, optionEDE)
		b = binary.BigEndian.AppendUint16(b, uint16(2+len(noPrimary)))
		b = binary.BigEndian.AppendUint16(b, edeNoAnswer)
		b = append(b, noPrimary...)
	}
	return b
}

// scan finds the end of the question section (an UPDATE's zone section), and whether there is an OPT RR. The end is 0 where the
// section can't be repeated.
func scan(msg []byte) (questions int, edns bool) {
	off := headerLen
	for range binary.BigEndian.Uint16(msg[4:]) {
		_, next, err := zone.UnpackName(msg, off)
		if err != nil || next+4 > len(msg) {
			return 0, false
		}
		off = next + 4
	}
	questions = off
	if questions > headerLen+300 { // more than one long name is no usual request, and its repetition no small answer
		questions = 0
	}
	records := 0
	for i := 6; i < headerLen; i += 2 {
		records += int(binary.BigEndian.Uint16(msg[i:]))
	}
	for range records {
		_, next, err := zone.UnpackName(msg, off)
		if err != nil || next+10 > len(msg) {
			return questions, edns
		}
		edns = edns || binary.BigEndian.Uint16(msg[next:]) == typeOPT
		off = next + 10 + int(binary.BigEndian.Uint16(msg[next+8:]))
		if off > len(msg) {
			return questions, edns
		}
	}
	return questions, edns
}
