package zone

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

var errNoTextFormat = fmt.Errorf("%w: the text format of this type is not supported", ErrFormat)

// data reads RDATA: the commonest types directly, the others through miekg/dns.
func (p *fileParser) data(t Type, toks []token) (string, error) {
	switch {
	case len(toks) > 0 && toks[0].text == `\#` && !toks[0].quoted:
		return parseUnknown(t, toks[1:])
	case t == TypeNS || t == TypeCNAME || t == TypePTR || t == TypeDNAME:
		if len(toks) != 1 {
			return "", bad("%d fields; a name is one", len(toks))
		}
		n, err := p.name(toks[0].text)
		return string(n), err
	case t == TypeA || t == TypeAAAA:
		if len(toks) != 1 {
			return "", bad("%d fields; an address is one", len(toks))
		}
		return parseAddress(t, toks[0].text)
	case onlyTexts(t):
		d, err := parseStrings(toks)
		if err != nil {
			return "", err
		}
		return plainData([]byte(d), t, ClassIN)
	case t == TypeNID || t == TypeL64:
		return parseLocator(toks)
	case t == TypeAMTRELAY:
		return p.relay(toks)
	}
	if !inMiekg(t) {
		return "", fmt.Errorf("%w; write it as %s \\# <length> <hexadecimal>", errNoTextFormat, t)
	}
	return p.miekgData(t, toks)
}

// onlyTexts reports whether RDATA of type t is nothing but <character-string>s: TXT, HINFO, X25 and the like.
func onlyTexts(t Type) bool {
	l := layoutOf(t)
	return l != nil && !slices.ContainsFunc(l.fields, func(f field) bool {
		return f.kind != text && f.kind != texts && f.kind != optionalText
	})
}

func (p *fileParser) miekgData(t Type, toks []token) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, ". 0 IN %s", t)
	for _, tok := range toks {
		if !tok.glued {
			b.WriteByte(' ')
		}
		if t == TypeSVCB || t == TypeHTTPS {
			// named writes these two keys by number, and miekg/dns reads known keys by name only.
			if value, ok := strings.CutPrefix(tok.text, "key7="); ok && !tok.quoted {
				tok.text = "dohpath=" + value
			} else if tok.text == "key8" && !tok.quoted {
				tok.text = "ohttp"
			}
		}
		if tok.quoted {
			b.WriteString(`"` + tok.text + `"`)
		} else {
			b.WriteString(tok.text)
		}
	}
	b.WriteByte('\n')
	parser := dns.NewZoneParser(strings.NewReader(b.String()), p.origin.String(), "")
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil {
		reason, _, _ := strings.Cut(err.Error(), " at line: ") // its lines are not the file's
		return "", bad("%s", strings.TrimPrefix(reason, "dns: "))
	}
	if !ok || rr == nil {
		return "", bad("no RDATA")
	}
	out, err := fromMiekg(rr)
	return out.Data, err
}

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
	return plainData(d, t, ClassIN) // RFC 3597 5 allows no compression
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

// parseLocator reads NID and L64 (RFC 6742 2.1, 2.3): a preference and four groups of hexadecimal digits.
func parseLocator(toks []token) (string, error) {
	if len(toks) != 2 {
		return "", bad("%d fields; a preference and a locator are two", len(toks))
	}
	pref, err := strconv.ParseUint(toks[0].text, 10, 16)
	if err != nil {
		return "", bad("preference %q; 0 to 65535 are allowed", toks[0].text)
	}
	groups := strings.Split(toks[1].text, ":")
	if len(groups) != 4 {
		return "", bad("locator %q has %d groups; 4 are needed", toks[1].text, len(groups))
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(pref))
	for _, g := range groups {
		v, err := strconv.ParseUint(g, 16, 16)
		if err != nil {
			return "", bad("locator group %q; 0 to ffff are allowed", g)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(v))
	}
	return string(b), nil
}

// relay reads AMTRELAY (RFC 8777 4.3.1): precedence, discovery bit, type and, by type, nothing (".", which may be left
// out), an address or a name.
func (p *fileParser) relay(toks []token) (string, error) {
	if len(toks) != 4 && len(toks) != 3 {
		return "", bad("%d fields; AMTRELAY has precedence, discovery bit, type and relay", len(toks))
	}
	var n [3]uint64
	for i, limit := range []uint64{255, 1, 127} {
		v, err := strconv.ParseUint(toks[i].text, 10, 8)
		if err != nil || v > limit {
			return "", bad("field %d of AMTRELAY is %q; 0 to %d are allowed", i+1, toks[i].text, limit)
		}
		n[i] = v
	}
	head := string([]byte{byte(n[0]), byte(n[1]<<7 | n[2])})
	relay := "."
	if len(toks) == 4 {
		relay = toks[3].text
	}
	var tail string
	var err error
	switch n[2] {
	case 0:
		if relay != "." {
			err = bad("AMTRELAY of type 0 with the relay %q; write \".\"", relay)
		}
	case 1:
		tail, err = parseAddress(TypeA, relay)
	case 2:
		tail, err = parseAddress(TypeAAAA, relay)
	case 3:
		var target Name
		target, err = p.name(relay)
		tail = string(target)
	default:
		err = bad("AMTRELAY of type %d; 0 to 3 are defined: write others as \\# <length> <hexadecimal>", n[2])
	}
	return head + tail, err
}
