package zone

import (
	"bytes"
	"strings"
)

// checkSubstitution checks a NAPTR substitution expression (RFC 3402 3.2: delimiter, regular expression, delimiter,
// replacement, delimiter, flags) as named reads it: it must be complete, the only flag is "i", back references must name
// groups that exist, and the regular expression must be a POSIX extended one. The empty expression is fine.
func checkSubstitution(s []byte) error {
	if len(s) == 0 {
		return nil
	}
	delim := s[0]
	if bytes.IndexByte([]byte("0123456789\\i\x00"), delim) >= 0 {
		return bad("NAPTR substitution with the delimiter %q", delim)
	}
	var pattern []byte
	part, highest := 0, 0 // 0 pattern, 1 replacement, 2 flags; the highest back reference
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == 0:
			return bad("NAPTR substitution with a zero octet")
		case c == delim:
			if part++; part > 2 {
				return bad("NAPTR substitution with more than 3 delimiters %q", delim)
			}
			continue
		case part == 2:
			if c != 'i' {
				return bad("NAPTR substitution with the flag %q; only \"i\" is defined", c)
			}
			continue
		case part == 0:
			pattern = append(pattern, c)
		}
		if c != '\\' {
			continue
		}
		i++ // the escaped octet, which is no delimiter
		if i == len(s) || s[i] == 0 || part == 1 && s[i] == '0' {
			return bad("NAPTR substitution with a bad escape")
		}
		if part == 0 {
			pattern = append(pattern, s[i])
		} else if s[i] >= '1' && s[i] <= '9' {
			highest = max(highest, int(s[i]-'0'))
		}
	}
	if part != 2 {
		return bad("NAPTR substitution with %d delimiters; 3 are needed", part+1)
	}
	groups, ok := countGroups(string(pattern))
	if !ok {
		return bad("NAPTR regular expression %q is not a POSIX extended one", pattern)
	}
	if highest > groups {
		return bad("NAPTR substitution refers to group %d of %d", highest, groups)
	}
	return nil
}

// countGroups reports whether p is a POSIX extended regular expression as named's isc_regex_validate decides it, and how
// many groups it has.
func countGroups(p string) (groups int, ok bool) {
	r := regex{s: p}
	open := 0
	atom, repeated, emptyOK := false, false, false
	for r.at < len(p) {
		c := r.next()
		switch {
		case c == '\\':
			e := r.next()
			if e == 0 || e >= '1' && e <= '9' && int(e-'0') > groups {
				return 0, false
			}
			atom, repeated = true, false
		case c == '[':
			if !r.bracket() {
				return 0, false
			}
			atom, repeated = true, false
		case c == '{' && isDigit(r.peek()):
			if !atom || repeated || !r.bound() {
				return 0, false
			}
			repeated = true
		case c == '(':
			open++
			groups++
			atom, repeated, emptyOK = false, false, true
		case c == ')':
			if open > 0 && !atom && !emptyOK {
				return 0, false
			}
			if open > 0 {
				open--
			}
			atom, repeated = true, false
		case c == '|':
			if !atom {
				return 0, false
			}
			atom, repeated, emptyOK = false, false, false
		case c == '^' || c == '$':
			atom, repeated = true, true
		case c == '+' || c == '*' || c == '?':
			if !atom || repeated {
				return 0, false
			}
			repeated = true
		default:
			atom, repeated = true, false
		}
	}
	return groups, open == 0 && atom
}

// regex scans the parts of a regular expression.
type regex struct {
	s  string
	at int
	// rangeStart is the last element of a bracket expression, to which the end of a range is compared. Like named's, it
	// survives from one bracket expression to the next, and a lone "[" does not set it.
	rangeStart int
}

func (r *regex) peek() byte { // 0 at the end; the pattern has no zero octets
	if r.at >= len(r.s) {
		return 0
	}
	return r.s[r.at]
}

func (r *regex) next() byte {
	c := r.peek()
	if c != 0 {
		r.at++
	}
	return c
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// bound scans what follows "{", whose first octet is a digit: low[,[high]]} with both at most 255.
func (r *regex) bound() bool {
	low, high, comma, haveHigh := 0, 0, false, false
	for {
		switch c := r.next(); {
		case isDigit(c) && !comma:
			if low = low*10 + int(c-'0'); low > 255 {
				return false
			}
		case isDigit(c):
			haveHigh = true
			if high = high*10 + int(c-'0'); high > 255 {
				return false
			}
		case c == ',' && !comma:
			comma = true
		case c == '}':
			return !haveHigh || low <= high
		default:
			return false
		}
	}
}

const noRangeStart = 256 // a collating element of several octets: nothing is above it

// bracket scans a bracket expression after its "[".
func (r *regex) bracket() bool {
	seen, negated := false, false
	dash := 0 // 2: the next element ends a range; 1: it has just ended
	element := func(c byte) bool {
		if dash == 2 && int(c) < r.rangeStart {
			return false
		}
		seen = true
		dash, r.rangeStart = max(dash-1, 0), int(c)
		return true
	}
	for {
		c := r.next()
		switch {
		case c == 0:
			return false
		case c == '^' && !seen && !negated:
			negated = true
		case c == '-' && dash != 2 && seen:
			if dash == 1 {
				return false
			}
			dash = 2
		case c == '[' && strings.IndexByte(".=:", r.peek()) >= 0 && r.peek() != 0:
			if !r.class(&dash) {
				return false
			}
			seen = true
		case c == '[':
			seen = true // named takes a lone "[" without ending a range
		case c == ']' && seen:
			return true
		case c == ']' && r.peek() == 0:
			return false
		default:
			if !element(c) {
				return false
			}
		}
	}
}

// class scans a collating element [.x.], an equivalence class [=x=] or a character class [:x:] after its "[".
func (r *regex) class(dash *int) bool {
	kind := r.next()
	end := strings.Index(r.s[r.at:], string(kind)+"]")
	if end < 0 {
		return false
	}
	body := r.s[r.at : r.at+end]
	r.at += end + 2
	switch kind {
	case '.':
		*dash = max(*dash-1, 0)
		if r.rangeStart = noRangeStart; len(body) == 1 {
			r.rangeStart = int(int8(body[0])) // named's char is signed here
		}
		return body != ""
	case '=':
		return *dash != 2 && body != ""
	}
	if *dash == 2 {
		return false
	}
	switch body {
	case "alnum", "digit", "punct", "alpha", "graph", "space", "blank", "lower", "upper", "cntrl", "print", "xdigit":
		return true
	}
	return false
}
