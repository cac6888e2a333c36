package zone

import (
	"encoding/binary"
	"fmt"
)

// SOA is the RDATA of an SOA RR (RFC 1035 3.3.13). Times are in seconds.
type SOA struct {
	MName, RName                            Name
	Serial, Refresh, Retry, Expire, Minimum uint32
}

// soaTail is the length of the five numbers at the end of SOA RDATA.
const soaTail = 20

// ParseSOA reads SOA RDATA. The error wraps ErrFormat.
func ParseSOA(d string) (SOA, error) {
	m := nameEnd(d, 0)
	r := -1
	if m >= 0 {
		r = nameEnd(d, m)
	}
	if r < 0 || len(d) != r+soaTail {
		return SOA{}, fmt.Errorf("%w: %d octets are not the RDATA of an SOA", ErrFormat, len(d))
	}
	n := []byte(d[r:])
	return SOA{
		MName: Name(d[:m]), RName: Name(d[m:r]),
		Serial: binary.BigEndian.Uint32(n), Refresh: binary.BigEndian.Uint32(n[4:]), Retry: binary.BigEndian.Uint32(n[8:]),
		Expire: binary.BigEndian.Uint32(n[12:]), Minimum: binary.BigEndian.Uint32(n[16:]),
	}, nil
}

// Data returns the RDATA of s.
func (s SOA) Data() string {
	b := append([]byte(s.MName), s.RName...)
	for _, n := range []uint32{s.Serial, s.Refresh, s.Retry, s.Expire, s.Minimum} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return string(b)
}

// SOASerial returns the serial in SOA RDATA that has been checked, 0 when it is too short to hold one.
func SOASerial(d string) uint32 {
	at := len(d) - soaTail
	if at < 0 {
		return 0
	}
	return uint32(d[at])<<24 | uint32(d[at+1])<<16 | uint32(d[at+2])<<8 | uint32(d[at+3])
}

// WithSOASerial returns checked SOA RDATA with another serial.
func WithSOASerial(d string, serial uint32) string {
	at := len(d) - soaTail
	if at < 0 {
		return d
	}
	var buf [2*MaxNameLen + soaTail]byte
	b := append(buf[:0], d...)
	binary.BigEndian.PutUint32(b[at:], serial)
	return string(b)
}
