package zone

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// maxDataLen is the longest RDATA that can be transmitted, as named limits it (DNS_RDATA_MAXLENGTH).
const maxDataLen = 65535

// MaxDataLen is the longest RDATA that a zone may hold. A message carries 65,535 octets, and beside the RR a header, a
// question, the longest owner, an OPT and a TSIG RR have to fit: a zone with a longer one can't be transferred signed.
const MaxDataLen = 64000

// roomForNames is by how much RDATA usually grows when its names are decompressed, in octets.
const roomForNames = 32

// unpackData reads the RDATA msg[at:end] of type t and class c: decompressed and checked.
func unpackData(msg []byte, at, end int, t Type, c Class) (string, error) {
	b, err := appendData(make([]byte, 0, end-at+roomForNames), msg, at, end, t, c)
	return string(b), err
}

// appendData appends to b what unpackData reads; nothing with an error.
func appendData(b, msg []byte, at, end int, t Type, c Class) ([]byte, error) {
	if t == 0 {
		return nil, fmt.Errorf("%w: type 0 is reserved", ErrFormat)
	}
	if c == ClassNONE {
		c = ClassIN
	}
	l := layoutIn(t, c)
	if l.check == nil && len(l.fields) == 1 && l.fields[0].kind <= rest { // A, AAAA, opaque: nothing to decompress
		switch f := l.fields[0]; {
		case end-at < f.n:
			return nil, bad("%d octets where %d are needed", end-at, f.n)
		case f.kind == octets && end-at > f.n:
			return nil, bad("%d octets too many", end-at-f.n)
		}
		return append(b, msg[at:end]...), nil
	}
	r := reader{msg: msg, at: at, end: end, out: b}
	for _, f := range l.fields {
		if err := r.field(f); err != nil {
			return nil, err
		}
	}
	if r.at != r.end {
		return nil, fmt.Errorf("%w: %d octets too many", ErrFormat, r.end-r.at)
	}
	data := r.out[len(b):]
	if len(data) > maxDataLen {
		return nil, fmt.Errorf("%w: %d octets when decompressed; at most %d can be sent", ErrFormat, len(data), maxDataLen)
	}
	if l.check != nil {
		if err := l.check(data); err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

// UnpackData reads the RDATA msg[at:end] of type t as class c lays it out (NONE is read as IN), decompressed and checked.
// The offsets must lie in msg. The error wraps ErrFormat.
func UnpackData(msg []byte, at, end int, t Type, c Class) (string, error) {
	return unpackData(msg, at, end, t, c)
}

// CheckData reports whether d is well-formed uncompressed RDATA of type t in class c (NONE is read as IN), as named's
// fromwire functions decide it. The error wraps ErrFormat.
func CheckData(t Type, c Class, d string) error {
	_, err := appendPlainData(make([]byte, 0, len(d)), []byte(d), t, c)
	return err
}

// plainData is unpackData for RDATA outside a message: it can't have compression pointers, which would have nothing to
// point to.
func plainData(d []byte, t Type, c Class) (string, error) {
	out, err := appendPlainData(make([]byte, 0, len(d)), d, t, c)
	return string(out), err
}

// appendPlainData appends to b, which is empty, what plainData reads; nothing with an error.
func appendPlainData(b, d []byte, t Type, c Class) ([]byte, error) {
	out, err := appendData(b, d, 0, len(d), t, c)
	if err == nil && len(out) != len(d) {
		return nil, ErrDisallowed
	}
	return out, err
}

// reader walks the RDATA msg[at:end] and collects it, decompressed, in out.
type reader struct {
	msg     []byte
	at, end int
	out     []byte
}

func (r *reader) field(f field) error {
	switch f.kind {
	case octets:
		return r.take(f.n)
	case rest:
		if r.left() < f.n {
			return r.short(f.n)
		}
		return r.take(r.left())
	case name, rawName:
		return r.name()
	case rawNames:
		for r.left() > 0 {
			if err := r.name(); err != nil {
				return err
			}
		}
		return nil
	case text:
		return r.text()
	case texts:
		for {
			if err := r.text(); err != nil || r.left() <= 0 {
				return err
			}
		}
	case optionalText:
		if r.left() <= 0 {
			return nil
		}
		return r.text()
	case substitution:
		start := len(r.out)
		if err := r.text(); err != nil {
			return err
		}
		return checkSubstitution(r.out[start+1:])
	case a6Address:
		return r.a6Address()
	case hostIdentity:
		return r.hostIdentity()
	case ipsecGateway:
		return r.ipsecGateway()
	case relay:
		return r.relay()
	}
	panic(fmt.Sprintf("zone: layout with unknown field kind %d", f.kind))
}

func (r *reader) left() int { return r.end - r.at }

func (r *reader) short(want int) error {
	return fmt.Errorf("%w: %d octets are left where at least %d are needed", ErrFormat, max(r.left(), 0), want)
}

func (r *reader) take(n int) error {
	if r.left() < n {
		return r.short(n)
	}
	r.out = append(r.out, r.msg[r.at:r.at+n]...)
	r.at += n
	return nil
}

// name reads a name. Like named, it looks at the whole message rather than at the end of this RDATA: a name that runs
// over the end leaves the reader past it, which is malformed as well.
func (r *reader) name() error {
	out, next, err := appendName(r.out, r.msg, r.at)
	if err != nil {
		return err
	}
	if next > r.end {
		return fmt.Errorf("%w: a name runs %d octets past the end of the RDATA", ErrFormat, next-r.end)
	}
	r.out, r.at = out, next
	return nil
}

func (r *reader) text() error {
	if r.left() < 1 {
		return r.short(1)
	}
	return r.take(1 + int(r.msg[r.at]))
}

func (r *reader) a6Address() error {
	if r.left() < 1 {
		return r.short(1)
	}
	prefix := int(r.msg[r.at])
	if prefix > 128 {
		return fmt.Errorf("%w: A6 prefix length %d; at most 128 is allowed", ErrFormat, prefix)
	}
	if err := r.take(1); err != nil {
		return err
	}
	if prefix != 128 {
		suffix := len(r.out)
		if err := r.take(16 - prefix/8); err != nil {
			return err
		}
		if r.out[suffix]&^(0xff>>(prefix%8)) != 0 {
			return fmt.Errorf("%w: A6 address suffix has bits set inside its prefix of %d bits", ErrFormat, prefix)
		}
	}
	if prefix == 0 {
		return nil
	}
	return r.name()
}

func (r *reader) hostIdentity() error {
	if r.left() < 4 {
		return r.short(4)
	}
	hit, key := int(r.msg[r.at]), int(binary.BigEndian.Uint16(r.msg[r.at+2:]))
	if hit == 0 || key == 0 {
		return fmt.Errorf("%w: HIP with a host identity tag of %d and a key of %d octets; neither may be empty", ErrFormat, hit, key)
	}
	return r.take(4 + hit + key)
}

func (r *reader) ipsecGateway() error {
	if r.left() < 3 {
		return r.short(3)
	}
	switch gateway := r.msg[r.at+1]; gateway {
	case 0, 1, 2: // none, IPv4, IPv6; a key of at least one octet follows
		if need := 4 + []int{0, 4, 16}[gateway]; r.left() < need {
			return r.short(need)
		}
		return r.take(r.left())
	case 3:
		if err := r.take(3); err != nil {
			return err
		}
		if err := r.name(); err != nil {
			return err
		}
		if r.left() < 1 {
			return r.short(1)
		}
		return r.take(r.left())
	default:
		return fmt.Errorf("%w: IPSECKEY gateway type %d; 0 to 3 are defined", ErrUnsupported, gateway)
	}
}

func (r *reader) relay() error {
	if r.left() < 2 {
		return r.short(2)
	}
	exact := func(n int) error {
		if r.left() != n {
			return fmt.Errorf("%w: AMTRELAY of this type has %d octets, not %d", ErrFormat, n, r.left())
		}
		return r.take(n)
	}
	switch r.msg[r.at+1] & 0x7f { // the top bit is the discovery flag
	case 0:
		return exact(2)
	case 1:
		return exact(2 + 4)
	case 2:
		return exact(2 + 16)
	case 3:
		if err := r.take(2); err != nil {
			return err
		}
		return r.name()
	}
	return r.take(r.left())
}

// CanonicalData returns the RDATA d of type t in class IN with the names lower-cased whose case named ignores when it
// compares RDATA: the same RDATA in other words is the same string. It returns d itself when nothing changes.
func CanonicalData(t Type, d string) string {
	l := layoutOf(t)
	if l == nil {
		return d
	}
	at := 0
	for _, f := range l.fields {
		switch f.kind {
		case octets:
			at += f.n
		case text, substitution:
			if at >= len(d) {
				return d
			}
			at += 1 + int(d[at])
		case name:
			end := nameEnd(d, at)
			if end < 0 {
				return d
			}
			d = lowerRange(d, at, end)
			at = end
		case a6Address:
			if len(d) == 0 || d[0] == 0 || d[0] > 128 {
				return d
			}
			at = 1 + 16 - int(d[0])/8
			if end := nameEnd(d, at); end > 0 {
				d = lowerRange(d, at, end)
			}
			return d
		default:
			return d // no foldable name follows any other kind
		}
	}
	return d
}

// nameEnd returns the offset after the uncompressed name at at, or -1.
func nameEnd(d string, at int) int {
	for at < len(d) {
		l := int(d[at])
		if l > MaxLabelLen {
			return -1
		}
		at += 1 + l
		if l == 0 {
			return at
		}
	}
	return -1
}

func lowerRange(d string, from, to int) string {
	low := lower(d[from:to])
	if low == d[from:to] {
		return d
	}
	return d[:from] + low + d[to:]
}

// CompareData orders RDATA of one type (class IN) as named's dns_rdata_compare does: octet by octet, except that the case
// of names is ignored in the types where named ignores it. The result is negative, zero or positive.
func CompareData(t Type, a, b string) int {
	if a == b {
		return 0
	}
	return strings.Compare(CanonicalData(t, a), CanonicalData(t, b))
}

// Target returns the name that RDATA of type t points to: NS, CNAME, DNAME, PTR, MX, SRV and the like; "" for other types
// and for malformed RDATA. For types with several names it is the last one of PX and the first one of SOA, RP, MINFO.
func Target(t Type, d string) Name {
	at := 0
	switch t {
	case TypeNS, TypeMD, TypeMF, TypeCNAME, TypeSOA, TypeMB, TypeMG, TypeMR, TypePTR, TypeMINFO, TypeRP, TypeDNAME, TypeNSAPPTR:
	case TypeMX, TypeAFSDB, TypeRT, TypeKX, TypeLP, TypeSVCB, TypeHTTPS:
		at = 2
	case TypeSRV:
		at = 6
	case TypePX:
		if at = nameEnd(d, 2); at < 0 {
			return ""
		}
	default:
		return ""
	}
	end := nameEnd(d, at)
	if end < 0 {
		return ""
	}
	return Name(d[at:end])
}

// Covers returns the type covered by the RDATA of an RRSIG or SIG, 0 when it is cut off.
func Covers(d string) Type {
	if len(d) < 2 {
		return 0
	}
	return Type(d[0])<<8 | Type(d[1])
}
