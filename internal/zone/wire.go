package zone

import (
	"encoding/binary"
	"fmt"
)

// UnpackName reads the name at off in msg, following compression pointers, and returns it with the offset after it.
// A pointer must point before the octets that have led to it, so a loop is impossible (named's dns_name_fromwire).
// The error wraps ErrFormat.
func UnpackName(msg []byte, off int) (Name, int, error) {
	var buf [MaxNameLen]byte
	b, next, err := appendName(buf[:0], msg, off)
	if err != nil {
		return "", 0, err
	}
	if len(b) == 1 {
		return Root, next, nil
	}
	return Name(b), next, nil
}

// appendName appends the name at off, decompressed, to b.
func appendName(b, msg []byte, off int) ([]byte, int, error) {
	start := len(b)
	next := -1    // the offset after the name, known at the first pointer or at the end
	marker := off // pointers must point before this
	for pos := off; ; {
		if pos < 0 || pos >= len(msg) {
			return nil, 0, fmt.Errorf("%w: name at octet %d runs past the end of the message (%d octets)", ErrFormat, off, len(msg))
		}
		c := int(msg[pos])
		switch {
		case c == 0:
			if len(b)-start+1 > MaxNameLen {
				return nil, 0, nameTooLong(off)
			}
			if next < 0 {
				next = pos + 1
			}
			return append(b, 0), next, nil
		case c <= MaxLabelLen:
			if len(b)-start+1+c > MaxNameLen {
				return nil, 0, nameTooLong(off)
			}
			if pos+1+c > len(msg) {
				return nil, 0, fmt.Errorf("%w: label at octet %d runs past the end of the message (%d octets)", ErrFormat, pos, len(msg))
			}
			b = append(b, msg[pos:pos+1+c]...)
			pos += 1 + c
		case c < 0xc0:
			return nil, 0, fmt.Errorf("%w: label type %#x at octet %d is not defined", ErrFormat, c>>6, pos)
		default:
			if pos+1 >= len(msg) {
				return nil, 0, fmt.Errorf("%w: compression pointer at octet %d is cut off", ErrFormat, pos)
			}
			to := (c&0x3f)<<8 | int(msg[pos+1])
			if to >= marker {
				return nil, 0, fmt.Errorf("%w: compression pointer at octet %d does not point backwards (to %d)", ErrFormat, pos, to)
			}
			if next < 0 {
				next = pos + 2
			}
			marker, pos = to, to
		}
	}
}

// SkipName returns the offset after the name at off in msg. It follows no compression pointer and does not look where one
// leads. The error wraps ErrFormat.
func SkipName(msg []byte, off int) (int, error) {
	for pos := off; pos < len(msg); {
		switch c := int(msg[pos]); {
		case c == 0:
			return pos + 1, nil
		case c <= MaxLabelLen:
			pos += 1 + c
		case c < 0xc0:
			return 0, fmt.Errorf("%w: label type %#x at octet %d is not defined", ErrFormat, c>>6, pos)
		case pos+2 > len(msg):
			return 0, fmt.Errorf("%w: compression pointer at octet %d is cut off", ErrFormat, pos)
		default:
			return pos + 2, nil
		}
	}
	return 0, fmt.Errorf("%w: name at octet %d runs past the end of the message (%d octets)", ErrFormat, off, len(msg))
}

func nameTooLong(off int) error {
	return fmt.Errorf("%w: name at octet %d is longer than %d octets", ErrFormat, off, MaxNameLen)
}

// MaxTTL is the largest TTL in seconds (RFC 2181 8). named takes greater ones in messages, and makes them 0 when it loads a
// zone file.
const MaxTTL = 1<<31 - 1

// RR is one resource record.
type RR struct {
	Name  Name
	Type  Type
	Class Class
	// TTL is in seconds.
	TTL uint32
	// Data is the RDATA with every name decompressed and in the case received.
	Data string
}

// Unpacker reads RRs one after another and keeps its memory between them. The zero value is ready.
type Unpacker struct {
	buf   []byte
	owner Name // of the RR before; an RR with the same one shares it
	name  Name // that Name gave last
}

// Name is UnpackName, but gives the same name as before without a copy.
func (u *Unpacker) Name(msg []byte, off int) (Name, int, error) {
	b, next, err := appendName(u.buf[:0], msg, off)
	if err != nil {
		return "", 0, err
	}
	u.buf = b
	if string(b) != string(u.name) {
		u.name = Name(b)
	}
	return u.name, next, nil
}

// maxJoined is up to how many octets owner and RDATA are kept in one piece of memory. Whoever keeps the owner keeps the
// RDATA too, so it must be small.
const maxJoined = 128

// UnpackRR is Unpacker.RR for one RR.
func UnpackRR(msg []byte, off int) (RR, int, error) {
	var u Unpacker
	return u.RR(msg, off)
}

// RR reads the RR at off in msg and returns it with the offset after it. RDATA is checked against the layout of its
// type, as named does: in the RR's class, with class NONE (RFC 2136) read as IN. Empty RDATA passes in the classes NONE
// and ANY, where it means "none" in some sections of an UPDATE; see CheckData. The error wraps ErrFormat.
func (u *Unpacker) RR(msg []byte, off int) (RR, int, error) {
	b, at, err := appendName(u.buf[:0], msg, off)
	if err != nil {
		return RR{}, 0, fmt.Errorf("owner: %w", err)
	}
	if at+10 > len(msg) {
		return RR{}, 0, fmt.Errorf("%w: RR at octet %d is cut off in its fixed part", ErrFormat, off)
	}
	rr := RR{
		Type:  Type(binary.BigEndian.Uint16(msg[at:])),
		Class: Class(binary.BigEndian.Uint16(msg[at+2:])),
		TTL:   binary.BigEndian.Uint32(msg[at+4:]),
	}
	owner := b
	length := int(binary.BigEndian.Uint16(msg[at+8:]))
	at += 10
	end := at + length
	if end > len(msg) {
		return RR{}, 0, fmt.Errorf("%w: RDATA of %s %s claims %d octets, the message has %d left", ErrFormat, Name(owner), rr.Type, length, len(msg)-at)
	}
	if length != 0 || rr.Class != ClassNONE && rr.Class != ClassANY {
		if b, err = appendData(b, msg, at, end, rr.Type, rr.Class); err != nil {
			return RR{}, 0, fmt.Errorf("RDATA of %s %s: %w", Name(owner), rr.Type, err)
		}
	}
	u.buf = b
	switch n := len(owner); {
	case string(owner) == string(u.owner):
		rr.Name, rr.Data = u.owner, string(b[n:])
	case len(b) <= maxJoined:
		s := string(b)
		rr.Name, rr.Data = Name(s[:n]), s[n:]
	default:
		rr.Name, rr.Data = Name(owner), string(b[n:])
	}
	u.owner = rr.Name
	if rr.Type == TypeNSEC3 && !isHashLabel(rr.Name) {
		return RR{}, 0, fmt.Errorf("owner of NSEC3 %s is not a base32hex hash: %w", rr.Name, ErrUnsupported)
	}
	return rr, end, nil
}

// AppendRR appends the uncompressed wire form of rr.
func AppendRR(b []byte, rr RR) []byte {
	b = append(b, rr.Name...)
	b = binary.BigEndian.AppendUint16(b, uint16(rr.Type))
	b = binary.BigEndian.AppendUint16(b, uint16(rr.Class))
	b = binary.BigEndian.AppendUint32(b, rr.TTL)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rr.Data)))
	return append(b, rr.Data...)
}

// WireLen is the length of what AppendRR appends, in octets.
func (rr RR) WireLen() int { return len(rr.Name) + 10 + len(rr.Data) }

// Equal reports whether rr and o are the same RR: owner and RDATA compare as DNS compares them, type, class and TTL are
// equal.
func (rr RR) Equal(o RR) bool {
	return rr.Type == o.Type && rr.Class == o.Class && rr.TTL == o.TTL && rr.Name.Equal(o.Name) && CompareData(rr.Type, rr.Data, o.Data) == 0
}

// isHashLabel reports whether the first label is base32hex without padding (RFC 4648 7), as an NSEC3 owner must be.
func isHashLabel(n Name) bool {
	l := int(n[0])
	last := 0
	for _, c := range []byte(n[1 : 1+l]) {
		switch c = lowerByte(c); {
		case c >= '0' && c <= '9':
			last = int(c - '0')
		case c >= 'a' && c <= 'v':
			last = int(c-'a') + 10
		default:
			return false
		}
	}
	switch l % 8 { // the bits of the last digit that no whole octet uses have to be 0
	case 0:
		return true
	case 2:
		return last&0x03 == 0
	case 4:
		return last&0x0f == 0
	case 5:
		return last&0x01 == 0
	case 7:
		return last&0x07 == 0
	}
	return false // no whole number of octets has this length
}
