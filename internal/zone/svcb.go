package zone

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// SvcParamKeys whose form named checks (RFC 9460 14.3.2, RFC 9461).
const (
	svcMandatory     = 0
	svcALPN          = 1
	svcNoDefaultALPN = 2
	svcPort          = 3
	svcIPv4Hint      = 4
	svcIPv6Hint      = 6
	svcDoHPath       = 7
)

// checkSVCB checks the SvcParams of SVCB and HTTPS: keys strictly ascending, every mandatory key present, no-default-alpn
// only after alpn, values of known keys well-formed.
func checkSVCB(d []byte) error {
	d = d[nameEnd(string(d), 2):]
	var mandatory []byte // keys not yet seen
	haveALPN := false
	for last := -1; len(d) > 0; {
		if len(d) < 4 {
			return cutOff("SvcParam")
		}
		key, n := int(binary.BigEndian.Uint16(d)), int(binary.BigEndian.Uint16(d[2:]))
		if key <= last {
			return bad("SvcParam key %d after key %d; keys must ascend", key, last)
		}
		if len(mandatory) > 0 {
			want := int(binary.BigEndian.Uint16(mandatory))
			if key > want {
				return bad("mandatory SvcParam key %d is missing", want)
			}
			if key == want {
				mandatory = mandatory[2:]
			}
		}
		haveALPN = haveALPN || key == svcALPN
		if key == svcNoDefaultALPN && !haveALPN {
			return bad("SvcParam no-default-alpn without alpn")
		}
		last = key
		if len(d) < 4+n {
			return cutOff("SvcParam value")
		}
		value := d[4 : 4+n]
		if !validSvcParam(key, value) {
			return bad("SvcParam key %d with a malformed value of %d octets", key, n)
		}
		if key == svcMandatory {
			if mandatory = value; binary.BigEndian.Uint16(value) == svcMandatory {
				return bad("SvcParam mandatory lists itself")
			}
		}
		d = d[4+n:]
	}
	if len(mandatory) > 0 {
		return bad("mandatory SvcParam key %d is missing", binary.BigEndian.Uint16(mandatory))
	}
	return nil
}

// CheckServiceBinding is ServiceBindingProblem as an error, which wraps ErrZone.
func CheckServiceBinding(owner Name, d string) error {
	if problem := ServiceBindingProblem(owner, d); problem != "" {
		return fmt.Errorf("%w: %s SVCB: %s", ErrZone, owner, problem)
	}
	return nil
}

// ServiceBindingProblem says what named 9.20 has against an SVCB beyond its format before it takes one in an UPDATE or a zone
// file (option check-svcb, dns_rdata_checksvcb), "" when nothing: parameters in alias mode; at a DNS server's owner (_dns,
// _port._dns; RFC 9461) a missing alpn, and a missing dohpath when alpn offers HTTP. d is checked RDATA. HTTPS is exempt, as in named.
func ServiceBindingProblem(owner Name, d string) string {
	params := []byte(d[nameEnd(d, 2):])
	if d[0] == 0 && d[1] == 0 && len(params) > 0 {
		return "an alias has parameters"
	}
	if !isDNSServerOwner(owner) {
		return ""
	}
	values := map[int][]byte{}
	for len(params) > 0 {
		key, n := int(binary.BigEndian.Uint16(params)), int(binary.BigEndian.Uint16(params[2:]))
		values[key], params = params[4:4+n], params[4+n:]
	}
	if values[svcALPN] == nil {
		return "a DNS server needs the parameter alpn"
	}
	if offersHTTP(values[svcALPN]) && values[svcDoHPath] == nil {
		return "a DNS server over HTTP needs the parameter dohpath"
	}
	return ""
}

// hasNewSvcParam reports whether RDATA has a key from 8 on: miekg/dns writes those that it knows by names that named does not
// read. Malformed RDATA counts as such, as it has no text but that of unknown types either.
func hasNewSvcParam(d string) bool {
	end := nameEnd(d, 2)
	if end < 0 || end > len(d) {
		return true
	}
	for params := d[end:]; len(params) >= 4; {
		if params[0] != 0 || params[1] > svcDoHPath {
			return true
		}
		params = params[min(4+(int(params[2])<<8|int(params[3])), len(params)):]
	}
	return false
}

// isDNSServerOwner reports whether n starts with _dns, or with _port and _dns.
func isDNSServerOwner(n Name) bool {
	label := func(n Name) string { return lower(string(n[1 : 1+int(n[0])])) }
	if n == Root {
		return false
	}
	first := label(n)
	if len(first) > 1 && first[0] == '_' && isDigit(first[1]) && n.Labels() > 1 {
		port, err := strconv.ParseUint(first[1:], 10, 16)
		if err != nil || strconv.FormatUint(port, 10) != first[1:] {
			return false
		}
		first = label(n.Parent())
	}
	return first == "_dns"
}

// offersHTTP reports whether an alpn value names a version of HTTP, be it inside a list with commas.
func offersHTTP(alpn []byte) bool {
	for ; len(alpn) > 0; alpn = alpn[1+int(alpn[0]):] {
		for _, id := range strings.Split(string(alpn[1:1+int(alpn[0])]), ",") {
			switch id { // the ALPN protocol IDs of HTTP
			case "http/0.9", "http/1.0", "http/1.1", "h2", "h2c", "h3":
				return true
			}
		}
	}
	return false
}

func validSvcParam(key int, v []byte) bool {
	switch key {
	case svcMandatory:
		if len(v) == 0 || len(v)%2 != 0 {
			return false
		}
		for i := 2; i < len(v); i += 2 {
			if binary.BigEndian.Uint16(v[i:]) <= binary.BigEndian.Uint16(v[i-2:]) {
				return false
			}
		}
		return true
	case svcALPN: // one or more non-empty strings
		for rest := v; len(rest) > 0; rest = rest[1+int(rest[0]):] {
			if rest[0] == 0 || 1+int(rest[0]) > len(rest) {
				return false
			}
		}
		return len(v) > 0
	case svcNoDefaultALPN:
		return len(v) == 0
	case svcPort:
		return len(v) == 2
	case svcIPv4Hint:
		return len(v) > 0 && len(v)%4 == 0
	case svcIPv6Hint:
		return len(v) > 0 && len(v)%16 == 0
	case svcDoHPath:
		return validDoHPath(v)
	}
	return true
}

// validDoHPath reports whether v is a URI template (RFC 6570) that starts with "/" and has the variable "dns" (RFC 9461 5),
// by named's reading of the template syntax.
func validDoHPath(v []byte) bool {
	if len(v) == 0 || v[0] != '/' || !utf8.Valid(v) {
		return false
	}
	p := pathTemplate{text: v}
	for p.at < len(v) {
		c := v[p.at]
		p.at++
		if c == '{' {
			if !p.expression() {
				return false
			}
		} else if c == '%' && !p.percent() {
			return false
		}
	}
	return p.dns
}

// pathTemplate scans a URI template.
type pathTemplate struct {
	text []byte
	at   int
	name int  // where the current variable name starts
	dns  bool // a variable is called "dns"
}

func (p *pathTemplate) next() byte { // 0, which is valid nowhere in an expression, at the end
	if p.at >= len(p.text) {
		return 0
	}
	p.at++
	return p.text[p.at-1]
}

func (p *pathTemplate) percent() bool {
	high, low := p.next(), p.next()
	return isHexDigit(high) && isHexDigit(low)
}

// expression scans what follows "{", the closing brace included: [operator] variable{modifier}[, ...]. It follows named in
// two liberties: an operator may stand before every variable, and a name after a prefix modifier (":3,") is measured from
// the start of the one before, so that it can't be "dns".
func (p *pathTemplate) expression() bool {
	p.name = p.at
	for {
		c, ok := p.variable()
		if !ok {
			return false
		}
		if c == ':' {
			c = p.prefixLength()
		} else {
			if c == '*' {
				c = p.next()
			}
			p.name = p.at
		}
		if c != ',' {
			return c == '}'
		}
	}
}

// variable scans an optional operator and a variable name, and returns the octet that ended it.
func (p *pathTemplate) variable() (end byte, ok bool) {
	operator := false
	for {
		c := p.next()
		switch {
		case c == '+' || c == '#' || c == '.' || c == '/' || c == ';' || c == '?' || c == '&':
			if p.at != p.name+1 || operator {
				return 0, false
			}
			operator, p.name = true, p.at
		case c == '*' || c == ':' || c == '}' || c == ',':
			if p.at == p.name+1 {
				return 0, false
			}
			p.dns = p.dns || string(p.text[p.name:p.at-1]) == "dns"
			return c, true
		case c == '%':
			if !p.percent() {
				return 0, false
			}
		case c != '_' && !isAlnum(c):
			return 0, false
		}
	}
}

// prefixLength scans a number from 1 to 9999 and returns the octet after it, 0 when there is no such number.
func (p *pathTemplate) prefixLength() byte {
	start := p.at
	c := p.next()
	for c >= '0' && c <= '9' {
		c = p.next()
	}
	if n := p.at - 1 - start; n < 1 || n > 4 || p.text[start] == '0' {
		return 0
	}
	return c
}

func isAlnum(c byte) bool {
	c = lowerByte(c)
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z'
}

func isHexDigit(c byte) bool {
	c = lowerByte(c)
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
}
