package zone

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Digest is the digest of a set of RRs in any order: the sum, in four lanes of 64 bits modulo 2^64, of the SHA-256 of each
// RR in canonical form (RFC 4034 6.2): owner in lower case, type, class, TTL, RDATA as CanonicalData gives it. An empty
// set has the zero Digest. It finds divergence; it is no proof against someone who can choose the RRs.
type Digest [32]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// lanes is a Digest as numbers.
type lanes [4]uint64

func (l *lanes) add(o lanes) {
	for i := range l {
		l[i] += o[i]
	}
}

func (l *lanes) sub(o lanes) {
	for i := range l {
		l[i] -= o[i]
	}
}

func (l lanes) digest() (d Digest) {
	for i, v := range l {
		binary.BigEndian.PutUint64(d[8*i:], v)
	}
	return d
}

// hasher makes the lanes of RRs and keeps its buffer between them.
type hasher struct{ buf []byte }

func (h *hasher) rr(owner Name, t Type, c Class, ttl uint32, data string) (l lanes) {
	b := h.buf[:0]
	for i := 0; i < len(owner); i++ {
		b = append(b, lowerByte(owner[i]))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = binary.BigEndian.AppendUint16(b, uint16(c))
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = append(b, CanonicalData(t, data)...)
	h.buf = b
	sum := sha256.Sum256(b)
	for i := range l {
		l[i] = binary.BigEndian.Uint64(sum[8*i:])
	}
	return l
}

// DigestRRs is the digest of rrs, which must be a set, but for one exception: the closing SOA of a zone transfer, equal to
// the first RR, is left out, so that the RRs of an AXFR can be given as they came.
func DigestRRs(rrs []RR) Digest {
	if n := len(rrs); n > 1 && rrs[0].Type == TypeSOA && rrs[n-1].Equal(rrs[0]) {
		rrs = rrs[:n-1]
	}
	var h hasher
	var sum lanes
	for _, rr := range rrs {
		sum.add(h.rr(rr.Name, rr.Type, rr.Class, rr.TTL, rr.Data))
	}
	return sum.digest()
}
