package bench

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// A name says which client of which cell sent it and as which of its updates, so
// that a transferred zone can be checked record by record: cCC-wWWW-sSSSSSS in hex.
const (
	labelSize  = 16
	maxCells   = 1 << 8
	maxClients = 1 << 12
	maxUpdates = 1 << 24 // a client's, per cell
	maxZones   = 64

	recordTTL    = 300
	opcodeUpdate = 5 << 3 // in the header's third octet
	headerSize   = 12
	responseBit  = 0x80
	rcodeMask    = 0x0f
)

// template is an UPDATE that adds one A record; only ID, label and address differ
// between messages, so making one costs a copy and a signature.
type template struct {
	msg     []byte
	label   int // offset of the label's text
	address int // offset of the RDATA
}

func newTemplate(origin zone.Name) template {
	b := make([]byte, headerSize, 512)
	b[2] = opcodeUpdate
	binary.BigEndian.PutUint16(b[4:], 1) // ZOCOUNT
	binary.BigEndian.PutUint16(b[8:], 1) // UPCOUNT
	b = append(b, origin...)
	b = binary.BigEndian.AppendUint16(b, uint16(zone.TypeSOA))
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	b = append(b, labelSize)
	label := len(b)
	b = append(b, make([]byte, labelSize)...)
	b = append(b, 0xc0, headerSize) // the origin, in the zone section
	b = binary.BigEndian.AppendUint16(b, uint16(zone.TypeA))
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	b = binary.BigEndian.AppendUint32(b, recordTTL)
	b = binary.BigEndian.AppendUint16(b, 4)
	return template{msg: append(b, 10, 0, 0, 0), label: label, address: len(b)}
}

// build makes the signed message of an update in buf's memory.
func (t template) build(buf []byte, id uint16, u update, key tsig.Key, now time.Time) []byte {
	b := buf[:0]
	b = append(b, t.msg...)
	binary.BigEndian.PutUint16(b, id)
	u.putLabel(b[t.label:])
	copy(b[t.address:], u.address())
	return tsig.SignRequest(b, key, now)
}

// update is one record that a client adds.
type update struct{ cell, worker, seq int }

func (u update) putLabel(b []byte) {
	_ = b[labelSize-1]
	b[0] = 'c'
	hex(b[1:3], u.cell)
	b[3], b[4] = '-', 'w'
	hex(b[5:8], u.worker)
	b[8], b[9] = '-', 's'
	hex(b[10:16], u.seq)
}

func (u update) address() []byte {
	return []byte{10, byte(u.seq >> 16), byte(u.seq >> 8), byte(u.seq)}
}

func hex(b []byte, v int) {
	const digits = "0123456789abcdef"
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = digits[v&0xf]
		v >>= 4
	}
}

// parseLabel is the reverse of putLabel; false for names of others.
func parseLabel(s string) (update, bool) {
	var u update
	if len(s) != labelSize {
		return u, false
	}
	if _, err := fmt.Sscanf(s, "c%02x-w%03x-s%06x", &u.cell, &u.worker, &u.seq); err != nil {
		return u, false
	}
	var same [labelSize]byte
	u.putLabel(same[:])
	return u, s == string(same[:])
}
