// Package proxyproto reads and writes the PROXY protocol, versions 1 and 2, by which a front tells a primary the client's address.
//
// HAProxy specifies it in doc/proxy-protocol.txt. It is parsed here and not by a library because version 2 also comes in
// datagrams, and because a MAC of ours, by which a front proves a header, covers the header's own octets.
package proxyproto

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// signature begins every version 2 header. As the start of a DNS message it
// would be a request of the obsolete opcode IQUERY.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

const (
	v1Prefix = "PROXY "
	v1Max    = 107 // octets of the longest version 1 header
	v2Fixed  = 16
	v2Max    = 1024 // what we accept; the specification wants at least 216

	// macType is the TLV by which a front proves a header, from the range for
	// custom use. Its value is the time (seconds since 1970, 8 octets) and the
	// HMAC-SHA256, with the shared key, of: macLabel, the header up to and
	// including the time, and, for a datagram, the DNS message behind it. It must
	// be the header's last TLV.
	macType  = 0xE1
	macSize  = 8 + sha256.Size
	macLabel = "zonekeeper PROXY v2\x00"
)

// MaxSkew is how old or early a proven header may be.
const MaxSkew = 30 * time.Second

// Err is a PROXY header that is missing, malformed or forged: the connection is
// to be closed, the datagram to be dropped.
var Err = errors.New("PROXY protocol")

// Header is what a header says.
type Header struct {
	Client netip.AddrPort // invalid: the front speaks for itself (LOCAL, UNKNOWN)
	Proven bool           // the MAC verified
	Proof  Proof          // of a proven header
	Length int            // octets of the header
}

// Proof is the beginning of a MAC that has verified: whoever does not have the key can't make a header with another one.
type Proof [16]byte

// Looks reports whether b begins with a header of either version.
func Looks(b []byte) bool {
	return bytes.HasPrefix(b, []byte(signature)) || bytes.HasPrefix(b, []byte(v1Prefix))
}

// FirstOctets of a connection tell whether it [Begins] with a header.
const FirstOctets = len(v1Prefix)

// Begins reports whether b, the FirstOctets of a connection or more, may be the
// start of a header. No DNS message of a client begins so.
func Begins(b []byte) bool {
	return Looks(b) || strings.HasPrefix(signature, string(b))
}

// Read consumes the header at the start of a connection. keys may be nil: then a
// MAC proves nothing. Errors wrap [Err].
func Read(r *bufio.Reader, keys Keys, now time.Time) (Header, error) {
	start, err := r.Peek(len(signature))
	if err != nil {
		return Header{}, fmt.Errorf("%w: no header: %w", Err, err)
	}
	if bytes.HasPrefix(start, []byte(v1Prefix)) {
		line := make([]byte, 0, v1Max)
		for !bytes.HasSuffix(line, []byte("\r\n")) {
			var c byte
			if c, err = r.ReadByte(); err != nil {
				return Header{}, fmt.Errorf("%w: version 1 header: %w", Err, err)
			}
			if line = append(line, c); len(line) > v1Max {
				return Header{}, fmt.Errorf("%w: version 1 header is longer than %d octets", Err, v1Max)
			}
		}
		return parseV1(string(line[:len(line)-2]))
	}
	fixed, err := r.Peek(v2Fixed)
	if err != nil || !bytes.HasPrefix(fixed, []byte(signature)) {
		return Header{}, fmt.Errorf("%w: a front's connection begins without a header: enable send-proxy-v2 there", Err)
	}
	size := v2Fixed + int(binary.BigEndian.Uint16(fixed[14:]))
	if size > v2Max {
		return Header{}, fmt.Errorf("%w: header of %d octets, at most %d are accepted", Err, size, v2Max)
	}
	header := make([]byte, size)
	for n := 0; n < size; {
		m, err := r.Read(header[n:])
		if n += m; err != nil && n < size {
			return Header{}, fmt.Errorf("%w: version 2 header: %w", Err, err)
		}
	}
	return Parse(header, nil, keys, now)
}

// parseV1 reads "PROXY TCP4 192.0.2.1 198.51.100.1 40000 53".
func parseV1(line string) (Header, error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return Header{Length: len(line) + 2}, nil
	}
	if len(f) != 6 || (f[1] != "TCP4" && f[1] != "TCP6") {
		return Header{}, fmt.Errorf("%w: malformed version 1 header %q", Err, line)
	}
	addr, err := netip.ParseAddrPort(bracketed(f[2]) + ":" + f[4])
	if err != nil || addr.Addr().Is4() != (f[1] == "TCP4") || addr.Addr().Zone() != "" {
		return Header{}, fmt.Errorf("%w: source address in version 1 header %q", Err, line)
	}
	return Header{Client: addr, Length: len(line) + 2}, nil
}

func bracketed(addr string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]"
	}
	return addr
}

// Parse reads the version 2 header at the start of b. payload is what the MAC
// covers beside the header; for a datagram b holds header and message, and
// payload is nil, which means the rest of b. Errors wrap [Err].
func Parse(b, payload []byte, keys Keys, now time.Time) (Header, error) {
	if len(b) < v2Fixed || !bytes.HasPrefix(b, []byte(signature)) {
		return Header{}, fmt.Errorf("%w: no version 2 header, which every datagram of a front or load balancer begins with", Err)
	}
	size := v2Fixed + int(binary.BigEndian.Uint16(b[14:]))
	if size > len(b) {
		return Header{}, fmt.Errorf("%w: version 2 header is cut off", Err)
	}
	if b[12]>>4 != 2 {
		return Header{}, fmt.Errorf("%w: version %d", Err, b[12]>>4)
	}
	header := b[:size]
	if payload == nil {
		payload = b[size:]
	}
	p := Header{Length: size}
	switch b[12] & 0xf {
	case 0: // LOCAL: a health check of the front itself
		return p, nil
	case 1: // PROXY
	default:
		return Header{}, fmt.Errorf("%w: command %d", Err, b[12]&0xf)
	}
	var tlvs []byte
	switch family := b[13] >> 4; {
	case family == 1 && size >= v2Fixed+12:
		p.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(header[16:20])), binary.BigEndian.Uint16(header[24:]))
		tlvs = header[v2Fixed+12:]
	case family == 2 && size >= v2Fixed+36:
		p.Client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(header[16:32])).Unmap(), binary.BigEndian.Uint16(header[48:]))
		tlvs = header[v2Fixed+36:]
	default:
		return Header{}, fmt.Errorf("%w: address family %d in %d octets", Err, family, size)
	}
	mac, err := findMAC(tlvs)
	if err != nil || mac == nil || len(keys) == 0 {
		return p, err
	}
	if p.Proven = verify(header, mac, payload, keys, now); !p.Proven {
		return Header{}, fmt.Errorf("%w: the header's MAC does not verify: fronts and primaries need the same key, and clocks within %v", Err, MaxSkew)
	}
	p.Proof = Proof(mac[8:])
	return p, nil
}

// findMAC returns the value of the MAC's TLV, nil when there is none. It must
// end the header, so that nothing escapes it.
func findMAC(tlvs []byte) ([]byte, error) {
	for len(tlvs) > 0 {
		if len(tlvs) < 3 || len(tlvs) < 3+int(binary.BigEndian.Uint16(tlvs[1:])) {
			return nil, fmt.Errorf("%w: malformed TLV", Err)
		}
		value := tlvs[3 : 3+int(binary.BigEndian.Uint16(tlvs[1:]))]
		rest := tlvs[3+len(value):]
		if tlvs[0] == macType {
			if len(value) != macSize || len(rest) != 0 {
				return nil, fmt.Errorf("%w: the MAC is not the last TLV, or not of %d octets", Err, macSize)
			}
			return value, nil
		}
		tlvs = rest
	}
	return nil, nil
}

func verify(header, value, payload []byte, keys Keys, now time.Time) bool {
	skew := now.Unix() - int64(binary.BigEndian.Uint64(value))
	if limit := int64(MaxSkew / time.Second); skew < -limit || skew > limit {
		return false
	}
	return slices.ContainsFunc(keys, func(key []byte) bool {
		return hmac.Equal(value[8:], sum(key, header[:len(header)-sha256.Size], payload))
	})
}

func sum(key, header, payload []byte) []byte {
	return appendSum(nil, hmac.New(sha256.New, key), header, payload)
}

func appendSum(b []byte, h hash.Hash, header, payload []byte) []byte {
	h.Reset()
	h.Write([]byte(macLabel))
	h.Write(header)
	h.Write(payload)
	return h.Sum(b)
}

// Append appends the version 2 header that a front of ours sends: before a
// connection's first octet, or in front of each datagram. With a key it proves
// the header; payload is the DNS message of a datagram, nil for a connection.
// src and dst must be of one address family.
func Append(b []byte, src, dst netip.AddrPort, udp bool, key []byte, now time.Time, payload []byte) []byte {
	w := NewWriter(key)
	return w.Append(b, src, dst, udp, now, payload)
}

// Writer is [Append] for whoever sends many headers with one key. It is not safe
// for concurrent use.
type Writer struct {
	key []byte
	mac hash.Hash // nil without a key
}

// NewWriter returns a Writer of headers that are proven with key, or of bare ones
// when key is empty.
func NewWriter(key []byte) Writer {
	if len(key) == 0 {
		return Writer{}
	}
	return Writer{key, hmac.New(sha256.New, key)}
}

// Use makes the first of the keys the one that proves headers from now on.
func (w *Writer) Use(keys Keys) {
	if !bytes.Equal(w.key, keys.first()) {
		*w = NewWriter(keys.first())
	}
}

// Append is the function of that name.
func (w *Writer) Append(b []byte, src, dst netip.AddrPort, udp bool, now time.Time, payload []byte) []byte {
	start := len(b)
	b = append(b, signature...)
	family := byte(0x11)
	if udp {
		family = 0x12
	}
	if !src.Addr().Unmap().Is4() {
		family += 0x10
	}
	b = append(b, 0x21, family, 0, 0)
	if family&0xf0 == 0x10 {
		s, d := src.Addr().Unmap().As4(), dst.Addr().Unmap().As4()
		b = append(append(b, s[:]...), d[:]...)
	} else {
		s, d := src.Addr().As16(), dst.Addr().As16()
		b = append(append(b, s[:]...), d[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	size := len(b) - start - v2Fixed
	if w.mac != nil {
		size += 3 + macSize
	}
	binary.BigEndian.PutUint16(b[start+14:], uint16(size))
	if w.mac == nil {
		return b
	}
	b = append(b, macType, 0, macSize)
	b = binary.BigEndian.AppendUint64(b, uint64(now.Unix()))
	return appendSum(b, w.mac, b[start:], payload)
}
