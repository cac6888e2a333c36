package relay

import (
	"encoding/binary"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

const (
	maxDatagram = 65535
	headerSize  = 12

	opcodeUpdate = 5 // RFC 2136 section 1.3

	// RCODEs; those of RFC 2136 section 2.2 are what the log decides.
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeYXDomain = 6
	rcodeYXRRSet  = 7
	rcodeNXRRSet  = 8
	rcodeNotZone  = 10
)

func messageID(msg []byte) uint16 { return binary.BigEndian.Uint16(msg) }

func setMessageID(msg []byte, id uint16) { binary.BigEndian.PutUint16(msg, id) }

func isResponse(msg []byte) bool { return msg[2]&0x80 != 0 }

func isUpdate(msg []byte) bool { return msg[2]>>3&0xf == opcodeUpdate }

func rcode(msg []byte) byte { return msg[3] & 0xf }

// repeatable says whether a second primary may be asked after a first one was: any query, and an UPDATE with a TSIG RR. The
// relay can't verify it and need not: a signature that fails applies nothing anywhere, and one that verifies is recognised by
// its MAC (I4). SIG(0) is no such identity. msg has a whole header.
func repeatable(msg []byte) bool {
	if !isUpdate(msg) {
		return true
	}
	r, err := tsig.Find(msg)
	return err == nil && r != nil
}
