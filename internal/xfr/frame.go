package xfr

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// MaxMessage is the longest DNS message in octets (RFC 1035 section 4.2.2: its
// length is sent in 16 bits).
const MaxMessage = 65535

// roomForTSIG fits most TSIG RRs; a longer one is copied.
const roomForTSIG = 192

// ReadFrame reads one message with its length (RFC 1035 section 4.2.2) into buf
// when it fits there, else into new memory with room for a TSIG RR. The error is
// io.EOF when r ends before a message and io.ErrUnexpectedEOF when it ends in one.
func ReadFrame(r io.Reader, buf []byte) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if cap(buf) < n {
		buf = make([]byte, n, n+roomForTSIG)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		if err == io.EOF { //nolint:errorlint // io.ReadFull returns it as it is
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return buf, nil
}

// WriteFrame writes a message with its length in one call of Write, so that it
// leaves in one segment.
func WriteFrame(w io.Writer, msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("xfr: a message of %d octets is longer than the %d that DNS allows: split it", len(msg), MaxMessage)
	}
	b := make([]byte, 2, 2+len(msg))
	binary.BigEndian.PutUint16(b, uint16(len(msg)))
	_, err := w.Write(append(b, msg...))
	return err
}

// headerLen is the length of a message's header in octets (RFC 1035 section 4.1.1).
const headerLen = 12

// counts of a header's sections are at these offsets.
const (
	questions   = 4
	answers     = 6
	authorities = 8
)

// malformed is an error about octets that are no zone transfer. It wraps
// zone.ErrFormat, as all errors about what came do.
func malformed(format string, args ...any) error {
	return fmt.Errorf("xfr: %w: %w", zone.ErrFormat, fmt.Errorf(format, args...))
}

// afterQuestions returns the offset of the first RR of a message that has a whole
// header.
func afterQuestions(msg []byte) (int, error) {
	off := headerLen
	for range binary.BigEndian.Uint16(msg[questions:]) {
		next, err := zone.SkipName(msg, off)
		if err != nil {
			return 0, fmt.Errorf("xfr: question: %w", err)
		}
		if off = next + 4; off > len(msg) {
			return 0, malformed("question is cut off")
		}
	}
	return off, nil
}

// recordAt reads the RR at off: its type, the serial if it is an SOA, and the
// offset after it.
func recordAt(msg []byte, off int) (typ zone.Type, serial uint32, next int, err error) {
	fixed, err := zone.SkipName(msg, off)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("xfr: owner: %w", err)
	}
	if fixed+10 > len(msg) {
		return 0, 0, 0, malformed("RR at octet %d is cut off", off)
	}
	typ = zone.Type(binary.BigEndian.Uint16(msg[fixed:]))
	data := fixed + 10
	next = data + int(binary.BigEndian.Uint16(msg[fixed+8:]))
	if next > len(msg) {
		return 0, 0, 0, malformed("RDATA at octet %d is cut off", data)
	}
	if typ != zone.TypeSOA {
		return typ, 0, next, nil
	}
	for range 2 { // MNAME, RNAME
		if data, err = zone.SkipName(msg[:next], data); err != nil {
			return 0, 0, 0, fmt.Errorf("xfr: SOA: %w", err)
		}
	}
	if data+4 > next {
		return 0, 0, 0, malformed("SOA without a serial")
	}
	return typ, binary.BigEndian.Uint32(msg[data:]), next, nil
}
