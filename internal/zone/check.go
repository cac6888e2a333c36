package zone

import (
	"encoding/binary"
	"fmt"
)

// The check functions see decompressed RDATA that fits the fields of its layout, so minimum lengths need no check here.

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
}

func cutOff(what string) error { return bad("%s is cut off", what) }

func checkWKS(d []byte) error {
	const fixed, bitmap = 5, 8 * 1024 // address and protocol; a bit for each of 65,536 ports
	switch {
	case len(d) > fixed+bitmap:
		return bad("WKS of %d octets; at most %d are allowed", len(d), fixed+bitmap)
	case len(d) > fixed && d[len(d)-1] == 0:
		return bad("WKS bitmap ends in a zero octet")
	}
	return nil
}

func checkX25(d []byte) error {
	if len(d) < 5 || int(d[0]) != len(d)-1 {
		return bad("X25 address needs at least 4 digits in one string")
	}
	return checkDigits("X25 address", d[1:])
}

func checkATMA(d []byte) error {
	if d[0] == 1 { // E.164
		return checkDigits("ATMA E.164 address", d[1:])
	}
	return nil
}

func checkDigits(what string, d []byte) error {
	for _, c := range d {
		if c < '0' || c > '9' {
			return bad("%s has the octet %#x; only digits are allowed", what, c)
		}
	}
	return nil
}

func checkLOC(d []byte) error {
	if len(d) < 1 {
		return cutOff("LOC")
	}
	if d[0] != 0 {
		return nil // an unknown version is opaque (RFC 1876 2)
	}
	if len(d) != 16 {
		return bad("LOC of %d octets; version 0 has 16", len(d))
	}
	for _, c := range d[1:4] { // size, horizontal and vertical precision: mantissa and exponent, each 0-9
		if c != 0 && (c&0xf > 9 || c>>4 > 9 || c>>4 == 0) {
			return bad("LOC precision %#x; digits 0 to 9 with a mantissa of at least 1 are allowed", c)
		}
	}
	const equator, degree = 1 << 31, 3600 * 1000 // thousandths of a second of arc
	if lat := int64(binary.BigEndian.Uint32(d[4:])) - equator; lat < -90*degree || lat > 90*degree {
		return bad("LOC latitude beyond 90 degrees")
	}
	if lon := int64(binary.BigEndian.Uint32(d[8:])) - equator; lon < -180*degree || lon > 180*degree {
		return bad("LOC longitude beyond 180 degrees")
	}
	return nil
}

func checkNXT(d []byte) error {
	bitmap := d[nameEnd(string(d), 0):]
	if n := len(bitmap); n > 0 && (bitmap[0]&0x80 != 0 || n > 16 || bitmap[n-1] == 0) {
		return fmt.Errorf("%w: bad NXT type bitmap", ErrUnsupported)
	}
	return nil
}

func checkAPL(d []byte) error {
	for len(d) > 0 {
		if len(d) < 4 {
			return cutOff("APL item")
		}
		family, prefix, length := binary.BigEndian.Uint16(d), int(d[2]), int(d[3]&0x7f) // the top bit negates
		d = d[4:]
		switch {
		case length > len(d):
			return cutOff("APL address")
		case family == 1 && (prefix > 32 || length > 4), family == 2 && (prefix > 128 || length > 16):
			return bad("APL prefix of %d bits in %d octets is too long for address family %d", prefix, length, family)
		case length > 0 && d[length-1] == 0:
			return bad("APL address ends in a zero octet")
		}
		d = d[length:]
	}
	return nil
}

// checkDS is for DS, CDS, DLV and TA: a known digest type has exactly its length.
func checkDS(d []byte) error {
	want := map[byte]int{1: 20, 2: 32, 4: 48}[d[3]] // SHA-1, SHA-256, SHA-384
	if want != 0 && len(d) != 4+want {
		return bad("digest of type %d has %d octets, not %d", d[3], want, len(d)-4)
	}
	return nil
}

func checkSSHFP(d []byte) error {
	want := map[byte]int{1: 20, 2: 32}[d[1]]
	if want != 0 && len(d) != 2+want {
		return bad("SSHFP fingerprint of type %d has %d octets, not %d", d[1], want, len(d)-2)
	}
	return nil
}

func checkZONEMD(d []byte) error {
	want := map[byte]int{1: 48, 2: 64}[d[5]] // SHA-384, SHA-512; an unknown one has at least 12, which the layout asks for
	if want != 0 && len(d) != 6+want {
		return bad("ZONEMD digest of type %d has %d octets, not %d", d[5], want, len(d)-6)
	}
	return nil
}

func checkCAA(d []byte) error {
	n := int(d[1])
	if n == 0 || len(d)-2 < n {
		return bad("CAA tag of %d octets in %d", n, len(d)-2)
	}
	for _, c := range d[2 : 2+n] {
		if c = lowerByte(c); (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return bad("CAA tag %q; only letters and digits are allowed", d[2:2+n])
		}
	}
	return nil
}

func checkDOA(d []byte) error {
	if int(d[9]) > len(d)-10 {
		return cutOff("DOA media type")
	}
	return nil
}

// checkTypeBitmap checks the windows of NSEC, NSEC3 and CSYNC (RFC 4034 4.1.2).
func checkTypeBitmap(d []byte, allowEmpty bool) error {
	if len(d) == 0 && !allowEmpty {
		return bad("empty type bitmap")
	}
	for last := -1; len(d) > 0; {
		if len(d) < 2 {
			return cutOff("type bitmap window")
		}
		window, n := int(d[0]), int(d[1])
		switch {
		case window <= last:
			return bad("type bitmap window %d after window %d", window, last)
		case n < 1 || n > 32 || len(d) < 2+n:
			return bad("type bitmap window of %d octets", n)
		case d[1+n] == 0:
			return bad("type bitmap window %d ends in a zero octet", window)
		}
		last = window
		d = d[2+n:]
	}
	return nil
}

func checkNSEC(d []byte) error { return checkTypeBitmap(d[nameEnd(string(d), 0):], false) }

func checkCSYNC(d []byte) error { return checkTypeBitmap(d[6:], true) }

func checkNSEC3(d []byte) error {
	if len(d) < 5 {
		return cutOff("NSEC3")
	}
	algorithm, salt := d[0], int(d[4])
	d = d[5:]
	if len(d) < salt+1 {
		return cutOff("NSEC3 salt")
	}
	hash := int(d[salt])
	d = d[salt+1:]
	const maxHash = 155 // what fits a 255 octet name in base32 (NSEC3_MAX_HASH_LENGTH)
	if algorithm == 1 && hash != 20 || hash < 1 || hash > maxHash || len(d) < hash {
		return bad("NSEC3 hash of %d octets", hash)
	}
	return checkTypeBitmap(d[hash:], true)
}

func checkNSEC3PARAM(d []byte) error {
	if len(d) < 5 || len(d) != 5+int(d[4]) {
		return bad("NSEC3PARAM of %d octets does not fit its salt", len(d))
	}
	return nil
}

// checkKEY is for KEY: flags that say "no key" (RFC 2535 3.1.2) allow nothing after the algorithm.
func checkKEY(d []byte) error {
	const noKey = 0xc000
	if binary.BigEndian.Uint16(d)&noKey == noKey {
		if len(d) != 4 {
			return bad("KEY with flags that say \"no key\" has %d octets of key", len(d)-4)
		}
		return nil
	}
	if len(d) == 4 {
		return cutOff("KEY")
	}
	return checkDNSKEY(d)
}

func checkDNSKEY(d []byte) error { return checkPrivate(d[3], d[4:]) }

func checkRKEY(d []byte) error {
	if d[0] != 0 || d[1] != 0 {
		return bad("RKEY flags %#x; they must be 0", d[:2])
	}
	return checkDNSKEY(d)
}

func checkSignature(d []byte) error {
	return checkPrivate(d[2], d[nameEnd(string(d), 18):])
}

func checkRRSIG(d []byte) error {
	if Covers(string(d[:2])) == 0 {
		return bad("RRSIG covers type 0")
	}
	return checkSignature(d)
}

// checkPrivate checks that keys and signatures of the private algorithms begin with their name or OID (RFC 4034 A.1.1).
func checkPrivate(algorithm byte, d []byte) error {
	const privateDNS, privateOID = 253, 254
	switch algorithm {
	case privateDNS:
		for at := 0; at < len(d) && d[at] != 0; at += 1 + int(d[at]) {
			if d[at] >= 0xc0 {
				return fmt.Errorf("name of private algorithm: %w", ErrDisallowed)
			}
			if d[at] > MaxLabelLen {
				return bad("name of private algorithm has an undefined label type")
			}
		}
		if end := nameEnd(string(d), 0); end < 0 || end > MaxNameLen {
			return bad("private algorithm without a name")
		}
	case privateOID:
		if len(d) < 1 || len(d) < 1+int(d[0]) || !isOID(d[1:1+int(d[0])]) {
			return bad("private algorithm without an object identifier")
		}
	}
	return nil
}

// isOID reports whether d is exactly one BER object identifier, tag included, as OpenSSL's d2i_ASN1_OBJECT reads it: it
// looks at the number of the tag alone, and takes lengths in the long form.
func isOID(d []byte) bool {
	if len(d) < 3 || d[0]&0x1f != 6 {
		return false
	}
	n, content := int(d[1]), d[2:]
	if n >= 0x80 {
		size := n & 0x7f
		if size == 0 || size > len(content) {
			return false
		}
		n = 0
		for _, c := range content[:size] {
			if n = n<<8 | int(c); n > len(d) {
				return false
			}
		}
		content = content[size:]
	}
	if n == 0 || n != len(content) || content[n-1]&0x80 != 0 {
		return false
	}
	for i, c := range content { // no subidentifier starts with padding
		if c == 0x80 && (i == 0 || content[i-1]&0x80 == 0) {
			return false
		}
	}
	return true
}

// checkCounted checks a 16-bit length and that many octets, and returns what follows.
func checkCounted(what string, d []byte) ([]byte, error) {
	if len(d) < 2 {
		return nil, cutOff(what)
	}
	n := 2 + int(binary.BigEndian.Uint16(d))
	if len(d) < n {
		return nil, cutOff(what)
	}
	return d[n:], nil
}

func checkTKEY(d []byte) error {
	return checkTwoCounted("TKEY", d[nameEnd(string(d), 0)+12:], 0)
}

func checkTSIG(d []byte) error {
	return checkTwoCounted("TSIG", d[nameEnd(string(d), 0)+8:], 4)
}

// checkTwoCounted checks two counted fields with gap octets between them, which fill d.
func checkTwoCounted(what string, d []byte, gap int) error {
	d, err := checkCounted(what, d)
	if err != nil {
		return err
	}
	if len(d) < gap {
		return cutOff(what)
	}
	if d, err = checkCounted(what, d[gap:]); err == nil && len(d) != 0 {
		err = bad("%s has %d octets too many", what, len(d))
	}
	return err
}
