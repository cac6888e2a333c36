package named

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// MaxMessage is the longest DNS message, in octets (RFC 1035 4.2.2).
const MaxMessage = 65535

const (
	headerSize   = 12
	opcodeQuery  = 0
	opcodeUpdate = 5 // RFC 2136
	typeSOA      = 6
	typeAXFR     = 252
)

// AppendUpdate appends an UPDATE message (RFC 2136) without a signature. prereqs are class IN RRs that must exist with
// exactly this value; updates are additions (class IN) and deletions of single RRs (class NONE), carried out in order.
func AppendUpdate(b []byte, id uint16, origin zone.Name, prereqs, updates []zone.RR) []byte {
	start := len(b)
	b = appendHeader(b, id, opcodeUpdate<<11, 1, len(prereqs), len(updates))
	b = append(b, origin...)
	b = binary.BigEndian.AppendUint16(b, typeSOA)
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	for _, rr := range prereqs {
		b = appendRR(b, start, origin, rr, rr.Class, 0)
	}
	for _, rr := range updates {
		ttl := rr.TTL
		if rr.Class == zone.ClassNONE {
			ttl = 0 // RFC 2136 2.5.4
		}
		b = appendRR(b, start, origin, rr, rr.Class, ttl)
	}
	return b
}

// UpdateSize returns what an RR adds to an UPDATE of the zone, in octets.
func UpdateSize(origin zone.Name, rr zone.RR) int {
	n := len(rr.Name)
	if pointable(origin, rr.Name) {
		n += 2 - len(origin)
	}
	return n + 10 + len(rr.Data)
}

// pointable reports whether an owner can end in a pointer to the zone section's name: it is spelt alike there.
func pointable(origin, owner zone.Name) bool {
	return origin != zone.Root && strings.HasSuffix(string(owner), string(origin)) && owner.IsSubdomainOf(origin)
}

func appendHeader(b []byte, id, flags uint16, qd, an, ns int) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(qd))
	b = binary.BigEndian.AppendUint16(b, uint16(an))
	b = binary.BigEndian.AppendUint16(b, uint16(ns))
	return binary.BigEndian.AppendUint16(b, 0)
}

// appendRR writes an RR, its owner shortened if possible. Owners keep their case.
func appendRR(b []byte, start int, origin zone.Name, rr zone.RR, class zone.Class, ttl uint32) []byte {
	if pointable(origin, rr.Name) {
		b = append(b, rr.Name[:len(rr.Name)-len(origin)]...)
		b = append(b, 0xC0, headerSize)
	} else {
		b = append(b, rr.Name...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(rr.Type))
	b = binary.BigEndian.AppendUint16(b, uint16(class))
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rr.Data)))
	return append(b, rr.Data...)
}

func appendQuery(b []byte, id uint16, name zone.Name, qtype uint16) []byte {
	b = appendHeader(b, id, opcodeQuery<<11, 1, 0, 0)
	b = append(b, name...)
	b = binary.BigEndian.AppendUint16(b, qtype)
	return binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
}

var errMessage = errors.New("malformed answer from named")

// answer is the part of a response that the clients here look at.
type answer struct {
	rcode uint16
	aa    bool
	body  int // offset of the answer section
	count int // RRs in it
}

func parseAnswer(msg []byte, id uint16) (answer, error) {
	if len(msg) < headerSize {
		return answer{}, fmt.Errorf("%w: %d octets", errMessage, len(msg))
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	if got := binary.BigEndian.Uint16(msg); got != id {
		return answer{}, fmt.Errorf("%w: ID %d instead of %d", errMessage, got, id)
	}
	if flags&0x8000 == 0 {
		return answer{}, fmt.Errorf("%w: not a response", errMessage)
	}
	a := answer{rcode: flags & 15, aa: flags&0x0400 != 0, body: headerSize, count: int(binary.BigEndian.Uint16(msg[6:]))}
	for range binary.BigEndian.Uint16(msg[4:]) {
		_, next, err := zone.UnpackName(msg, a.body)
		if err != nil || next+4 > len(msg) {
			return answer{}, fmt.Errorf("%w: question section: %w", errMessage, err)
		}
		a.body = next + 4
	}
	return a, nil
}

// rrs calls fn with each RR of the answer section.
func (a answer) rrs(msg []byte, fn func(zone.RR) error) error {
	off := a.body
	for range a.count {
		rr, next, err := zone.UnpackRR(msg, off)
		if err != nil {
			return fmt.Errorf("%w: %w", errMessage, err)
		}
		if err := fn(rr); err != nil {
			return err
		}
		off = next
	}
	return nil
}
