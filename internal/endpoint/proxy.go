package endpoint

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// The PROXY protocol, versions 1 and 2, as HAProxy specifies it in
// doc/proxy-protocol.txt. It is parsed here and not by a library because version
// 2 also comes in datagrams, and because its MAC covers the header's own octets.

// proxySignature begins every version 2 header. As the start of a DNS message it
// would be a request of the obsolete opcode IQUERY.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

const (
	proxyV1Prefix = "PROXY "
	proxyV1Max    = 107 // octets of the longest version 1 header
	proxyV2Fixed  = 16
	proxyV2Max    = 1024 // what we accept; the specification wants at least 216

	// proxyMACType is the TLV by which a front proves a header, from the range for
	// custom use. Its value is the time (seconds since 1970, 8 octets) and the
	// HMAC-SHA256, with the shared key, of: proxyMACLabel, the header up to and
	// including the time, and, for a datagram, the DNS message behind it. It must
	// be the header's last TLV.
	proxyMACType  = 0xE1
	proxyMACSize  = 8 + sha256.Size
	proxyMACLabel = "zonekeeper PROXY v2\x00"

	// proxySkew is how old or early a proven header may be.
	proxySkew = 30 * time.Second
)

// errProxy is a PROXY header that is missing, malformed or forged: the
// connection is closed, the datagram dropped.
var errProxy = errors.New("endpoint: PROXY protocol")

// proxied is what a header says.
type proxied struct {
	client netip.AddrPort // invalid: the front speaks for itself (LOCAL, UNKNOWN)
	proven bool           // the MAC verified
	length int            // octets of the header
}

// looksProxied reports whether b begins with a header of either version.
func looksProxied(b []byte) bool {
	return bytes.HasPrefix(b, []byte(proxySignature)) || bytes.HasPrefix(b, []byte(proxyV1Prefix))
}

// readProxyHeader consumes the header at the start of a connection.
func readProxyHeader(r *bufio.Reader, key []byte, now time.Time) (proxied, error) {
	start, err := r.Peek(len(proxySignature))
	if err != nil {
		return proxied{}, fmt.Errorf("%w: no header: %w", errProxy, err)
	}
	if bytes.HasPrefix(start, []byte(proxyV1Prefix)) {
		line := make([]byte, 0, proxyV1Max)
		for !bytes.HasSuffix(line, []byte("\r\n")) {
			var c byte
			if c, err = r.ReadByte(); err != nil {
				return proxied{}, fmt.Errorf("%w: version 1 header: %w", errProxy, err)
			}
			if line = append(line, c); len(line) > proxyV1Max {
				return proxied{}, fmt.Errorf("%w: version 1 header is longer than %d octets", errProxy, proxyV1Max)
			}
		}
		return parseProxyV1(string(line[:len(line)-2]))
	}
	fixed, err := r.Peek(proxyV2Fixed)
	if err != nil || !bytes.HasPrefix(fixed, []byte(proxySignature)) {
		return proxied{}, fmt.Errorf("%w: a front's connection begins without a header: enable send-proxy-v2 there", errProxy)
	}
	size := proxyV2Fixed + int(binary.BigEndian.Uint16(fixed[14:]))
	if size > proxyV2Max {
		return proxied{}, fmt.Errorf("%w: header of %d octets, at most %d are accepted", errProxy, size, proxyV2Max)
	}
	header := make([]byte, size)
	for n := 0; n < size; {
		m, err := r.Read(header[n:])
		if n += m; err != nil && n < size {
			return proxied{}, fmt.Errorf("%w: version 2 header: %w", errProxy, err)
		}
	}
	return parseProxyV2(header, nil, key, now)
}

// parseProxyV1 reads "PROXY TCP4 192.0.2.1 198.51.100.1 40000 53".
func parseProxyV1(line string) (proxied, error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return proxied{length: len(line) + 2}, nil
	}
	if len(f) != 6 || (f[1] != "TCP4" && f[1] != "TCP6") {
		return proxied{}, fmt.Errorf("%w: malformed version 1 header %q", errProxy, line)
	}
	addr, err := netip.ParseAddrPort(bracketed(f[2]) + ":" + f[4])
	if err != nil || addr.Addr().Is4() != (f[1] == "TCP4") || addr.Addr().Zone() != "" {
		return proxied{}, fmt.Errorf("%w: source address in version 1 header %q", errProxy, line)
	}
	return proxied{client: addr, length: len(line) + 2}, nil
}

func bracketed(addr string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]"
	}
	return addr
}

// parseProxyV2 reads the header at the start of b. payload is what the MAC
// covers beside the header; for a datagram b holds header and message, and
// payload is nil, which means the rest of b.
func parseProxyV2(b, payload, key []byte, now time.Time) (proxied, error) {
	if len(b) < proxyV2Fixed || !bytes.HasPrefix(b, []byte(proxySignature)) {
		return proxied{}, fmt.Errorf("%w: no version 2 header", errProxy)
	}
	size := proxyV2Fixed + int(binary.BigEndian.Uint16(b[14:]))
	if size > len(b) {
		return proxied{}, fmt.Errorf("%w: version 2 header is cut off", errProxy)
	}
	if b[12]>>4 != 2 {
		return proxied{}, fmt.Errorf("%w: version %d", errProxy, b[12]>>4)
	}
	header := b[:size]
	if payload == nil {
		payload = b[size:]
	}
	p := proxied{length: size}
	switch b[12] & 0xf {
	case 0: // LOCAL: a health check of the front itself
		return p, nil
	case 1: // PROXY
	default:
		return proxied{}, fmt.Errorf("%w: command %d", errProxy, b[12]&0xf)
	}
	var tlvs []byte
	switch family := b[13] >> 4; {
	case family == 1 && size >= proxyV2Fixed+12:
		p.client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(header[16:20])), binary.BigEndian.Uint16(header[24:]))
		tlvs = header[proxyV2Fixed+12:]
	case family == 2 && size >= proxyV2Fixed+36:
		p.client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(header[16:32])).Unmap(), binary.BigEndian.Uint16(header[48:]))
		tlvs = header[proxyV2Fixed+36:]
	default:
		return proxied{}, fmt.Errorf("%w: address family %d in %d octets", errProxy, family, size)
	}
	mac, err := proxyMAC(tlvs)
	if err != nil || mac == nil || len(key) == 0 {
		return p, err
	}
	if p.proven = proxyProven(header, mac, payload, key, now); !p.proven {
		return proxied{}, fmt.Errorf("%w: the header's MAC does not verify: fronts and primaries need the same key, and clocks within %v", errProxy, proxySkew)
	}
	return p, nil
}

// proxyMAC returns the value of the MAC's TLV, nil when there is none. It must
// end the header, so that nothing escapes it.
func proxyMAC(tlvs []byte) ([]byte, error) {
	for len(tlvs) > 0 {
		if len(tlvs) < 3 || len(tlvs) < 3+int(binary.BigEndian.Uint16(tlvs[1:])) {
			return nil, fmt.Errorf("%w: malformed TLV", errProxy)
		}
		value := tlvs[3 : 3+int(binary.BigEndian.Uint16(tlvs[1:]))]
		rest := tlvs[3+len(value):]
		if tlvs[0] == proxyMACType {
			if len(value) != proxyMACSize || len(rest) != 0 {
				return nil, fmt.Errorf("%w: the MAC is not the last TLV, or not of %d octets", errProxy, proxyMACSize)
			}
			return value, nil
		}
		tlvs = rest
	}
	return nil, nil
}

func proxyProven(header, value, payload, key []byte, now time.Time) bool {
	skew := now.Unix() - int64(binary.BigEndian.Uint64(value))
	if limit := int64(proxySkew / time.Second); skew < -limit || skew > limit {
		return false
	}
	return hmac.Equal(value[8:], proxySum(key, header[:len(header)-sha256.Size], payload))
}

func proxySum(key, header, payload []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(proxyMACLabel))
	h.Write(header)
	h.Write(payload)
	return h.Sum(nil)
}

// AppendProxyHeader appends the version 2 header that a front of ours sends:
// before a connection's first octet, or in front of each datagram. With a key it
// proves the header; payload is the DNS message of a datagram, nil for a
// connection. src and dst must be of one address family.
func AppendProxyHeader(b []byte, src, dst netip.AddrPort, udp bool, key []byte, now time.Time, payload []byte) []byte {
	start := len(b)
	b = append(b, proxySignature...)
	family := byte(0x11)
	if udp {
		family = 0x12
	}
	if !src.Addr().Unmap().Is4() {
		family += 0x10
	}
	b = append(b, 0x21, family, 0, 0)
	if family&0xf0 == 0x10 {
		b = append(b, src.Addr().Unmap().AsSlice()...)
		b = append(b, dst.Addr().Unmap().AsSlice()...)
	} else {
		s, d := src.Addr().As16(), dst.Addr().As16()
		b = append(append(b, s[:]...), d[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	size := len(b) - start - proxyV2Fixed
	if len(key) > 0 {
		size += 3 + proxyMACSize
	}
	binary.BigEndian.PutUint16(b[start+14:], uint16(size))
	if len(key) == 0 {
		return b
	}
	b = append(b, proxyMACType, 0, proxyMACSize)
	b = binary.BigEndian.AppendUint64(b, uint64(now.Unix()))
	return append(b, proxySum(key, b[start:], payload)...)
}
