package zone

import (
	"fmt"
	"strings"
)

const (
	// MaxNameLen is the longest name in wire octets, the root label included (RFC 1035 2.3.4).
	MaxNameLen = 255
	// MaxLabelLen is the longest label in octets (RFC 1035 2.3.4).
	MaxLabelLen = 63
)

// Name is an absolute domain name in uncompressed wire format, in the case in which it was received. The zero value ""
// is no name at all; the DNS root is Root.
type Name string

// Root is the name of the DNS root.
const Root Name = "\x00"

// ParseName reads a name in presentation format (RFC 1035 5.1: \X and \DDD escapes). The name is absolute whether or not
// it ends in a dot. The error wraps ErrFormat.
func ParseName(text string) (Name, error) {
	if text == "." {
		return Root, nil
	}
	if text == "" {
		return "", fmt.Errorf("%w: empty name; write the root as \".\"", ErrFormat)
	}
	wire := make([]byte, 1, len(text)+2)
	label := 0 // offset of the length octet of the label being read
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '.':
			if err := closeLabel(wire, label, text); err != nil {
				return "", err
			}
			label = len(wire)
			wire = append(wire, 0)
			continue
		case c == '\\':
			var n int
			if c, n = unescape(text[i+1:]); n == 0 {
				return "", fmt.Errorf("%w: name %q: bad escape after octet %d; write \\. for a dot and \\DDD (000-255) for any octet", ErrFormat, text, i)
			}
			i += n
		}
		wire = append(wire, c)
	}
	if label != len(wire)-1 { // no trailing dot: the last label is still open
		if err := closeLabel(wire, label, text); err != nil {
			return "", err
		}
		wire = append(wire, 0)
	}
	if len(wire) > MaxNameLen {
		return "", fmt.Errorf("%w: name %q is %d octets long in wire format; at most %d are allowed", ErrFormat, text, len(wire), MaxNameLen)
	}
	return Name(wire), nil
}

// MustParseName is ParseName for constants; it panics when text is not a name.
func MustParseName(text string) Name {
	n, err := ParseName(text)
	if err != nil {
		panic(err)
	}
	return n
}

func closeLabel(wire []byte, label int, text string) error {
	n := len(wire) - label - 1
	switch {
	case n == 0:
		return fmt.Errorf("%w: name %q has an empty label; remove the doubled or leading dot", ErrFormat, text)
	case n > MaxLabelLen:
		return fmt.Errorf("%w: name %q has a label of %d octets; at most %d are allowed", ErrFormat, text, n, MaxLabelLen)
	}
	wire[label] = byte(n)
	return nil
}

// unescape reads what follows a backslash and returns the octet and how many characters it took, 0 when malformed.
func unescape(s string) (byte, int) {
	if s == "" {
		return 0, 0
	}
	if s[0] < '0' || s[0] > '9' {
		return s[0], 1
	}
	if len(s) < 3 {
		return 0, 0
	}
	v := 0
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return 0, 0
		}
		v = v*10 + int(c-'0')
	}
	if v > 255 {
		return 0, 0
	}
	return byte(v), 3
}

// String returns the presentation format with a trailing dot, escaped as named escapes it.
func (n Name) String() string {
	if n == Root {
		return "."
	}
	var b strings.Builder
	b.Grow(len(n))
	for rest := string(n); len(rest) > 1; {
		l := int(rest[0])
		if l >= len(rest) {
			return fmt.Sprintf("<invalid name %x>", string(n))
		}
		for _, c := range []byte(rest[1 : 1+l]) {
			switch {
			case strings.IndexByte(`."();\@$`, c) >= 0:
				b.WriteByte('\\')
				b.WriteByte(c)
			case c <= ' ' || c >= 0x7f:
				fmt.Fprintf(&b, "\\%03d", c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('.')
		rest = rest[1+l:]
	}
	return b.String()
}

// Valid reports whether n is a well-formed absolute name in wire format.
func (n Name) Valid() bool {
	if len(n) > MaxNameLen {
		return false
	}
	for i := 0; i < len(n); {
		l := int(n[i])
		if l == 0 {
			return i == len(n)-1
		}
		if l > MaxLabelLen {
			return false
		}
		i += 1 + l
	}
	return false
}

// Canonical returns n with its ASCII letters in lower case (RFC 4034 6.2), n itself when it has no upper case. The length
// octets of labels are below 'A' and are never touched.
func (n Name) Canonical() Name { return Name(lower(string(n))) }

func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if isUpper(s[i]) {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = lowerByte(b[i])
			}
			return string(b)
		}
	}
	return s
}

func isUpper(c byte) bool { return c-'A' < 26 }

func lowerByte(c byte) byte {
	if isUpper(c) {
		return c + ('a' - 'A')
	}
	return c
}

// Equal reports whether n and m are the same name, ignoring ASCII case.
func (n Name) Equal(m Name) bool {
	return n == m || len(n) == len(m) && equalFold(string(n), string(m))
}

func equalFold(a, b string) bool {
	for i := 0; i < len(a); i++ {
		if a[i] != b[i] && lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// IsSubdomainOf reports whether n is at or below p, ignoring ASCII case.
func (n Name) IsSubdomainOf(p Name) bool {
	cut := len(n) - len(p)
	if cut < 0 || p == "" || !equalFold(string(n[cut:]), string(p)) {
		return false
	}
	i := 0 // the suffix must begin at a label boundary
	for i < cut {
		i += 1 + int(n[i])
	}
	return i == cut
}

// Labels returns the number of labels, the root label not counted.
func (n Name) Labels() int {
	count := 0
	for i := 0; i < len(n) && n[i] != 0; i += 1 + int(n[i]) {
		count++
	}
	return count
}

// Parent returns the name without its first label; the parent of the root is the root.
func (n Name) Parent() Name {
	if len(n) <= 1 {
		return Root
	}
	return n[1+int(n[0]):]
}

// IsWildcard reports whether the first label is "*" (RFC 4592 2.1.1).
func (n Name) IsWildcard() bool { return len(n) > 2 && n[0] == 1 && n[1] == '*' }

// Compare orders names canonically (RFC 4034 6.1): by labels from the root down, ignoring ASCII case. The result is
// negative, zero or positive.
func (n Name) Compare(m Name) int {
	return strings.Compare(string(appendNameKey(nil, n)), string(appendNameKey(nil, m)))
}
