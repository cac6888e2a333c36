package zone

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// EDNS(0) options whose form named checks (lib/dns/rdata/generic/opt_41.c).
const (
	optionLLQ          = 1
	optionUpdateLease  = 2
	optionClientSubnet = 8
	optionExpire       = 9
	optionCookie       = 10
	optionKeyTag       = 14
	optionEDE          = 15
	optionClientTag    = 16
	optionServerTag    = 17
)

// checkOPT checks the options in the RDATA of an OPT pseudo-RR (RFC 6891 6.1.2).
func checkOPT(d []byte) error {
	for len(d) > 0 {
		if len(d) < 4 {
			return cutOff("EDNS option")
		}
		code, n := binary.BigEndian.Uint16(d), int(binary.BigEndian.Uint16(d[2:]))
		if len(d) < 4+n {
			return cutOff("EDNS option")
		}
		if !validOption(code, d[4:4+n]) {
			return bad("EDNS option %d with a value of %d octets", code, n)
		}
		d = d[4+n:]
	}
	return nil
}

func validOption(code uint16, v []byte) bool {
	n := len(v)
	switch code {
	case optionLLQ:
		return n == 18
	case optionUpdateLease:
		return n == 4 || n == 8
	case optionClientSubnet:
		return validClientSubnet(v)
	case optionExpire:
		return n == 0 || n == 4
	case optionCookie:
		return n == 8 || n >= 16 && n <= 40
	case optionKeyTag:
		return n > 0 && n%2 == 0
	case optionEDE: // a code and UTF-8 text without a byte order mark (RFC 8914 2)
		return n >= 2 && !bytes.HasPrefix(v[2:], []byte("\xef\xbb\xbf")) && utf8.Valid(v[2:])
	case optionClientTag, optionServerTag:
		return n == 2
	}
	return true
}

// validClientSubnet checks RFC 7871 6: lengths that fit the family, exactly the octets needed, no bits beyond the prefix.
func validClientSubnet(v []byte) bool {
	if len(v) < 4 {
		return false
	}
	family, source, scope := binary.BigEndian.Uint16(v), int(v[2]), int(v[3])
	if family > 2 {
		return false
	}
	longest := []int{0, 32, 128}[family]
	if source > longest || scope > longest || len(v) != 4+(source+7)/8 {
		return false
	}
	return source%8 == 0 || v[len(v)-1]&(0xff>>(source%8)) == 0
}
