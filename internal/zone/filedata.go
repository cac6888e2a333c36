package zone

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// parseUnknown reads the tokens after \# (RFC 3597 5): a length and that many octets in hexadecimal, in any pieces.
func parseUnknown(t Type, toks []token) (string, error) {
	if len(toks) == 0 {
		return "", bad("\\# without a length")
	}
	n, err := strconv.ParseUint(toks[0].text, 10, 16)
	if err != nil {
		return "", bad("\\# with the length %q; 0 to 65535 are allowed", toks[0].text)
	}
	var digits strings.Builder
	for _, tok := range toks[1:] {
		digits.WriteString(tok.text)
	}
	d, err := hex.DecodeString(digits.String())
	if err != nil {
		return "", bad("\\# with bad hexadecimal: %v", err)
	}
	if len(d) != int(n) {
		return "", bad("\\# says %d octets and has %d", n, len(d))
	}
	// The names in it, if any, are taken as they are: RFC 3597 5 allows no compression.
	return unpackData(d, 0, len(d), t, ClassIN)
}

func parseAddress(t Type, s string) (string, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4() != (t == TypeA) {
		return "", bad("%q is no %s address", s, map[Type]string{TypeA: "IPv4", TypeAAAA: "IPv6"}[t])
	}
	return string(a.AsSlice()), nil
}

// parseStrings reads one or more <character-string>s.
func parseStrings(toks []token) (string, error) {
	if len(toks) == 0 {
		return "", bad("no string; write \"\" for an empty one")
	}
	var b []byte
	for _, tok := range toks {
		start := len(b)
		b = append(b, 0)
		for i := 0; i < len(tok.text); i++ {
			c := tok.text[i]
			if c == '\\' {
				var n int
				if c, n = unescape(tok.text[i+1:]); n == 0 {
					return "", bad("string %q: bad escape after octet %d; write \\DDD (000-255) for any octet", tok.text, i)
				}
				i += n
			}
			b = append(b, c)
		}
		n := len(b) - start - 1
		if n > 255 {
			return "", bad("a string of %d octets; at most 255 are allowed: split it into several", n)
		}
		b[start] = byte(n)
	}
	if len(b) > maxDataLen {
		return "", bad("%d octets of strings; at most %d are allowed", len(b), maxDataLen)
	}
	return string(b), nil
}
