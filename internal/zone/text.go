package zone

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// String returns rr as one line of a zone file, with an absolute owner and the fields separated by tabs. Types and RDATA
// that have no presentation format of their own here are written as unknown ones (RFC 3597 5), which every server reads.
func (rr RR) String() string {
	return string(appendText(nil, rr))
}

func appendText(b []byte, rr RR) []byte {
	b = append(b, rr.Name.String()...)
	b = append(b, '\t')
	b = strconv.AppendUint(b, uint64(rr.TTL), 10)
	b = append(b, '\t')
	b = append(b, rr.Class.String()...)
	b = append(b, '\t')
	b = append(b, rr.Type.String()...)
	b = append(b, '\t')
	return appendDataText(b, rr.Type, rr.Class, rr.Data)
}

// DataString returns RDATA of type t in class IN in presentation format.
func DataString(t Type, d string) string { return string(appendDataText(nil, t, ClassIN, d)) }

// appendDataText writes the common types itself, because a large zone is written often; the others go through miekg/dns,
// and what does not come back from its text as the same octets is written as RFC 3597 says.
func appendDataText(b []byte, t Type, c Class, d string) []byte {
	if c != ClassIN {
		return appendUnknownText(b, d)
	}
	switch t {
	case TypeA, TypeAAAA:
		if a, ok := netip.AddrFromSlice([]byte(d)); ok {
			return a.AppendTo(b)
		}
	case TypeNS, TypeCNAME, TypePTR, TypeDNAME:
		if Name(d).Valid() {
			return append(b, Name(d).String()...)
		}
	case TypeTXT, TypeSPF:
		if text, ok := appendTextStrings(b, d); ok {
			return text
		}
	case TypeMX:
		if text, ok := appendNumbersAndName(b, 1, d); ok {
			return text
		}
	case TypeSRV:
		if text, ok := appendNumbersAndName(b, 3, d); ok {
			return text
		}
	case TypeSOA:
		if s, err := ParseSOA(d); err == nil {
			return fmt.Appendf(b, "%s %s %d %d %d %d %d", s.MName, s.RName, s.Serial, s.Refresh, s.Retry, s.Expire, s.Minimum)
		}
	case TypeCERT: // in numbers: miekg/dns has mnemonics that named does not read
		if len(d) >= 6 {
			b = fmt.Appendf(b, "%d %d %d ", uint16(d[0])<<8|uint16(d[1]), uint16(d[2])<<8|uint16(d[3]), d[4])
			return base64.StdEncoding.AppendEncode(b, []byte(d[5:]))
		}
	default:
		if (t == TypeSVCB || t == TypeHTTPS) && hasNewSvcParam(d) {
			break
		}
		if text, ok := miekgText(t, d); ok {
			return append(b, text...)
		}
	}
	return appendUnknownText(b, d)
}

func appendUnknownText(b []byte, d string) []byte {
	b = fmt.Appendf(b, "\\# %d", len(d))
	if d != "" {
		b = append(b, ' ')
		b = hex.AppendEncode(b, []byte(d))
	}
	return b
}

// appendTextStrings writes <character-string>s, each in quotes.
func appendTextStrings(b []byte, d string) ([]byte, bool) {
	if d == "" {
		return b, false
	}
	for first := true; d != ""; first = false {
		n := int(d[0])
		if len(d) < 1+n {
			return b, false
		}
		if !first {
			b = append(b, ' ')
		}
		b = append(b, '"')
		for _, c := range []byte(d[1 : 1+n]) {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ' || c >= 0x7f:
				b = fmt.Appendf(b, "\\%03d", c)
			default:
				b = append(b, c)
			}
		}
		b = append(b, '"')
		d = d[1+n:]
	}
	return b, true
}

// appendNumbersAndName writes count 16-bit numbers followed by a name.
func appendNumbersAndName(b []byte, count int, d string) ([]byte, bool) {
	if len(d) < 2*count || !Name(d[2*count:]).Valid() {
		return b, false
	}
	for i := 0; i < 2*count; i += 2 {
		b = strconv.AppendUint(b, uint64(d[i])<<8|uint64(d[i+1]), 10)
		b = append(b, ' ')
	}
	return append(b, Name(d[2*count:]).String()...), true
}

// miekgText converts RDATA through miekg/dns; ok is false when it does not know the type or would lose something.
func miekgText(t Type, d string) (string, bool) {
	if d == "" || !inMiekg(t) {
		return "", false
	}
	wire := AppendRR(nil, RR{Name: Root, Type: t, Class: ClassIN, Data: d})
	rr, _, err := dns.UnpackRR(wire, 0)
	if err != nil {
		return "", false
	}
	text := strings.TrimPrefix(rr.String(), rr.Header().String())
	if back, err := ParseRR(". 0 IN " + t.String() + " " + text); err != nil || back.Data != d {
		return "", false
	}
	return text, true
}

// inMiekg reports whether miekg/dns reads and writes t by the same mnemonic as named.
func inMiekg(t Type) bool {
	return dns.TypeToRR[uint16(t)] != nil && dns.TypeToString[uint16(t)] == t.String()
}

// ParseRR reads one RR in zone-file text: absolute owner, optional TTL (default 0) and class IN, type, RDATA. The error
// wraps ErrFormat.
func ParseRR(text string) (RR, error) {
	p := fileParser{entries: entryReader{r: bufio.NewReader(strings.NewReader(text))}, origin: Root, haveTTL: true}
	en, _, err := p.entries.next()
	if err == nil {
		rr, found, err := p.entry(en)
		if err != nil {
			return RR{}, fmt.Errorf("RR %q: %w", text, err)
		}
		if _, _, err = p.entries.next(); found && errors.Is(err, errNoEntry) {
			return rr, nil
		}
	}
	return RR{}, fmt.Errorf("%w: %q is not one RR", ErrFormat, text)
}

// fromMiekg converts and checks an RR that miekg/dns has parsed.
func fromMiekg(rr dns.RR) (RR, error) {
	buf := make([]byte, dns.Len(rr)+64)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return RR{}, fmt.Errorf("%w: %s: %w", ErrFormat, rr.Header().Name, err)
	}
	out, _, err := UnpackRR(buf[:n], 0)
	return out, err
}
