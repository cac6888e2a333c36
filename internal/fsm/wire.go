package fsm

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Entries and checkpoints share these few encodings: unsigned varints, and octet strings with a varint length before them.

func appendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = appendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(b, 0)
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		x := a.As4()
		return append(append(b, 4), x[:]...)
	}
	x := a.As16()
	return append(append(b, 16), x[:]...)
}

// reader takes values off the front of a buffer. The first mistake sticks: later calls give zero values, so that a decoder
// reads all its fields and looks at err once.
type reader struct {
	b   []byte
	err error
	// known is a name that is likely to come: name gives it rather than a copy.
	known zone.Name
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
		r.b = nil
	}
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("cut short")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail("flag octet %d, want 0 or 1", v)
	}
	return v == 1
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// uvarintMax reads a varint that must not exceed limit.
func (r *reader) uvarintMax(limit uint64, what string) uint64 {
	v := r.uvarint()
	if v > limit {
		r.fail("%s is %d, the limit is %d", what, v, limit)
		return 0
	}
	return v
}

func (r *reader) uint32(what string) uint32 { return uint32(r.uvarintMax(1<<32-1, what)) }
func (r *reader) uint16(what string) uint16 { return uint16(r.uvarintMax(1<<16-1, what)) }

// millis reads a time in milliseconds since 1970.
func (r *reader) millis(what string) int64 { return int64(r.uvarintMax(1<<62, what)) }

// take gives the next n octets; they alias the buffer.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("cut short: %d octets wanted, %d left", n, len(r.b))
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// octets gives a length-prefixed string of octets; it aliases the buffer.
func (r *reader) octets() []byte { return r.take(r.uvarint()) }

func (r *reader) string() string { return string(r.octets()) }

// strings gives nil for none.
func (r *reader) strings(what string) []string {
	n := r.count(what)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.string()
	}
	return list
}

func (r *reader) fixed(dst []byte) { copy(dst, r.take(uint64(len(dst)))) }

func (r *reader) addr() netip.Addr {
	switch n := r.byte(); n {
	case 0:
	case 4, 16:
		a, ok := netip.AddrFromSlice(r.take(uint64(n)))
		if ok && a == a.Unmap() {
			return a
		}
		r.fail("bad address")
	default:
		r.fail("address of %d octets", n)
	}
	return netip.Addr{}
}

// name reads a length-prefixed domain name. An absent name has length 0; a present one must be whole and uncompressed.
func (r *reader) name() zone.Name {
	b := r.octets()
	switch {
	case len(b) == 0:
		return ""
	case string(b) == string(r.known):
		return r.known
	case !wellFormedName(b):
		r.fail("bad domain name %x", b)
		return ""
	}
	return zone.Name(b)
}

// wellFormedName says whether b is one whole, absolute, uncompressed name (RFC 1035 section 3.1).
func wellFormedName(b []byte) bool {
	if len(b) == 0 || len(b) > 255 {
		return false
	}
	for i := 0; i < len(b); i += int(b[i]) + 1 {
		if b[i] > 63 {
			return false
		}
		if b[i] == 0 {
			return i == len(b)-1
		}
	}
	return false
}

// list reads a count of items that are at least one octet each, so that a forged count cannot reserve memory.
func (r *reader) count(what string) int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail("%d %s announced, only %d octets left", n, what, len(r.b))
		return 0
	}
	return int(n)
}

// done fails unless everything was read.
func (r *reader) done(what string) error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d octets after the end", len(r.b))
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w", what, r.err)
	}
	return nil
}
