package tsig

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	headerLen = 12
	maxName   = 255 // octets of a name on the wire, RFC 1035 section 2.3.4

	typeTSIG = 250
	classANY = 255
)

// ErrFormat is wrapped by every error about a message that can't be read; its
// answer is FORMERR.
var ErrFormat = errors.New("tsig: malformed message")

// Record is a TSIG RR as it stands in a message. Its slices point into that
// message.
type Record struct {
	Offset     int    // where the RR begins; what comes before is signed
	End        int    // where the RR ends; what comes after is not part of the message
	TTL        uint32 // 0 by RFC 8945, digested as it is
	TimeSigned uint64 // seconds since 1970, 48 bits
	Fudge      uint16 // seconds, as sent
	MAC        []byte // as sent, possibly truncated
	OrigID     uint16
	PeerError  uint16 // the RR's error field
	Other      []byte

	owner, algorithm           [maxName]byte // lower case
	ownerLength, algorithmSize int
}

// KeyName returns the RR's owner, the key's name, in lower case.
func (r *Record) KeyName() zone.Name { return zone.Name(r.owner[:r.ownerLength]) }

// AlgorithmName returns the algorithm's domain name in lower case.
func (r *Record) AlgorithmName() zone.Name { return zone.Name(r.algorithm[:r.algorithmSize]) }

// Algorithm returns the RR's algorithm, or 0 when it is not implemented.
func (r *Record) Algorithm() Algorithm { return algorithmFromWire(r.algorithm[:r.algorithmSize]) }

// Find returns the TSIG RR of a message, or nil when the message has none. An
// error wraps ErrFormat: the message does not parse, or the TSIG RR is not the
// last RR of the additional section with class ANY.
func Find(msg []byte) (*Record, error) {
	r := new(Record)
	found, err := r.find(msg)
	if !found || err != nil {
		return nil, err
	}
	return r, nil
}

// find fills r. It only walks over the other RRs: what is in them is for the
// message's own parser to judge.
func (r *Record) find(msg []byte) (bool, error) {
	if len(msg) < headerLen {
		return false, fmt.Errorf("%w: %d octets are too few for a header", ErrFormat, len(msg))
	}
	off := headerLen
	for range binary.BigEndian.Uint16(msg[4:]) {
		next, err := skipName(msg, off)
		if err != nil {
			return false, err
		}
		if off = next + 4; off > len(msg) {
			return false, fmt.Errorf("%w: cut off in the question section", ErrFormat)
		}
	}
	for section := 6; section <= 10; section += 2 {
		count := int(binary.BigEndian.Uint16(msg[section:]))
		for i := range count {
			fixed, err := skipName(msg, off)
			if err != nil {
				return false, err
			}
			if fixed+10 > len(msg) {
				return false, fmt.Errorf("%w: cut off in an RR at octet %d", ErrFormat, off)
			}
			end := fixed + 10 + int(binary.BigEndian.Uint16(msg[fixed+8:]))
			if end > len(msg) {
				return false, fmt.Errorf("%w: cut off in an RDATA at octet %d", ErrFormat, fixed+10)
			}
			if binary.BigEndian.Uint16(msg[fixed:]) == typeTSIG {
				if section != 10 || i != count-1 {
					return false, fmt.Errorf("%w: the TSIG RR at octet %d is not the last RR of the additional section", ErrFormat, off)
				}
				return true, r.decode(msg, off, fixed, end)
			}
			off = end
		}
	}
	return false, nil
}

// decode reads the RR whose owner begins at off, whose type is at fixed, and
// that ends at end.
func (r *Record) decode(msg []byte, off, fixed, end int) error {
	if class := binary.BigEndian.Uint16(msg[fixed+2:]); class != classANY {
		return fmt.Errorf("%w: the TSIG RR has class %d instead of ANY", ErrFormat, class)
	}
	n, err := unpackName(&r.owner, msg, off)
	if err != nil {
		return err
	}
	r.Offset, r.End, r.ownerLength = off, end, n
	r.TTL = binary.BigEndian.Uint32(msg[fixed+4:])

	data := msg[fixed+10 : end]
	n = 0
	for { // RFC 3597 section 4: names in the RDATA of a new type are not compressed
		if n >= len(data) || data[n] > 63 || n+1+int(data[n]) > maxName {
			return fmt.Errorf("%w: bad algorithm name in the TSIG RR", ErrFormat)
		}
		if data[n] == 0 {
			break
		}
		n += 1 + int(data[n])
	}
	n++
	r.algorithmSize = n
	copy(r.algorithm[:], data[:n])
	lower(r.algorithm[:n])
	data = data[n:]

	if len(data) < 10 {
		return errShort
	}
	r.TimeSigned = uint64(binary.BigEndian.Uint16(data))<<32 | uint64(binary.BigEndian.Uint32(data[2:]))
	r.Fudge = binary.BigEndian.Uint16(data[6:])
	size := int(binary.BigEndian.Uint16(data[8:]))
	if data = data[10:]; len(data) < size+6 {
		return errShort
	}
	r.MAC, data = data[:size:size], data[size:]
	r.OrigID = binary.BigEndian.Uint16(data)
	r.PeerError = binary.BigEndian.Uint16(data[2:])
	size = int(binary.BigEndian.Uint16(data[4:]))
	if data = data[6:]; len(data) != size {
		return errShort
	}
	r.Other = data[:size:size]
	return nil
}

var errShort = fmt.Errorf("%w: the TSIG RR's fields do not fill its RDATA", ErrFormat)

// skipName returns the offset after the name at off, without following a
// compression pointer.
func skipName(msg []byte, off int) (int, error) {
	for off < len(msg) {
		switch c := msg[off]; {
		case c == 0:
			return off + 1, nil
		case c < 64:
			off += 1 + int(c)
		case c >= 192:
			return off + 2, nil // a bound check follows at the caller
		default:
			return 0, fmt.Errorf("%w: bad label type 0x%02x at octet %d", ErrFormat, c, off)
		}
	}
	return 0, fmt.Errorf("%w: cut off in a name", ErrFormat)
}

// unpackName writes the name at off, decompressed and in lower case, and returns
// its length. Each pointer must lead before the label run it ends, which makes
// loops impossible.
func unpackName(dst *[maxName]byte, msg []byte, off int) (int, error) {
	n, limit := 0, off
	for {
		if off >= len(msg) {
			return 0, fmt.Errorf("%w: cut off in a name", ErrFormat)
		}
		c := int(msg[off])
		switch {
		case c < 64:
			if off+1+c > len(msg) || n+1+c > maxName {
				return 0, fmt.Errorf("%w: a name is cut off or longer than %d octets", ErrFormat, maxName)
			}
			copy(dst[n:], msg[off:off+1+c])
			n += 1 + c
			if c == 0 {
				lower(dst[:n])
				return n, nil
			}
			off += 1 + c
		case c >= 192 && off+1 < len(msg):
			to := c&63<<8 | int(msg[off+1])
			if to >= limit {
				return 0, fmt.Errorf("%w: a compression pointer at octet %d does not lead backwards", ErrFormat, off)
			}
			off, limit = to, to
		default:
			return 0, fmt.Errorf("%w: bad label type 0x%02x at octet %d", ErrFormat, c, off)
		}
	}
}

// lower maps A-Z of a wire-format name to a-z. Lengths of labels are below 64,
// hence never touched.
func lower(name []byte) {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			name[i] = c | 0x20
		}
	}
}
