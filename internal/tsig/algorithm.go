package tsig

import (
	"crypto/md5"  // RFC 8945 lists HMAC-MD5; it is used only for keys that opt in.
	"crypto/sha1" // RFC 8945 makes HMAC-SHA1 mandatory to implement.
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Algorithm is a TSIG algorithm of RFC 8945 section 6. The zero value is no
// algorithm.
type Algorithm uint8

// The algorithms. GSS-TSIG is not among them.
const (
	HMACMD5 Algorithm = iota + 1
	HMACSHA1
	HMACSHA224
	HMACSHA256
	HMACSHA384
	HMACSHA512
)

// algorithmInfo is what the protocol and the hash say about an algorithm.
type algorithmInfo struct {
	text string
	wire zone.Name
	size int // octets of the full MAC
	hash func() hash.Hash
}

// info returns the zero value for what is no algorithm.
func (a Algorithm) info() algorithmInfo {
	switch a {
	case HMACMD5:
		return algorithmInfo{"hmac-md5", "\x08hmac-md5\x07sig-alg\x03reg\x03int\x00", md5.Size, md5.New}
	case HMACSHA1:
		return algorithmInfo{"hmac-sha1", "\x09hmac-sha1\x00", sha1.Size, sha1.New}
	case HMACSHA224:
		return algorithmInfo{"hmac-sha224", "\x0bhmac-sha224\x00", sha256.Size224, sha256.New224}
	case HMACSHA256:
		return algorithmInfo{"hmac-sha256", "\x0bhmac-sha256\x00", sha256.Size, sha256.New}
	case HMACSHA384:
		return algorithmInfo{"hmac-sha384", "\x0bhmac-sha384\x00", sha512.Size384, sha512.New384}
	case HMACSHA512:
		return algorithmInfo{"hmac-sha512", "\x0bhmac-sha512\x00", sha512.Size, sha512.New}
	}
	return algorithmInfo{}
}

// maxMACSize is the longest full MAC of any algorithm, in octets.
const maxMACSize = sha512.Size

// Algorithms returns every algorithm this package implements, weakest first.
func Algorithms() []Algorithm {
	return []Algorithm{HMACMD5, HMACSHA1, HMACSHA224, HMACSHA256, HMACSHA384, HMACSHA512}
}

// ParseAlgorithm reads an algorithm's name as named.conf and tsig-keygen write
// it ("hmac-sha256"), or as the wire does ("hmac-md5.sig-alg.reg.int."), in any
// case, with or without the final dot.
func ParseAlgorithm(text string) (Algorithm, error) {
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	if name == "hmac-md5.sig-alg.reg.int" {
		return HMACMD5, nil
	}
	for _, a := range Algorithms() {
		if name == a.info().text {
			return a, nil
		}
	}
	return 0, fmt.Errorf("tsig: unknown algorithm %q: use hmac-sha256, hmac-sha512, hmac-sha384, hmac-sha224, hmac-sha1 or hmac-md5", text)
}

// Valid reports whether a is one of the algorithms.
func (a Algorithm) Valid() bool { return a.info().size > 0 }

// String returns the name that named.conf uses, "hmac-sha256".
func (a Algorithm) String() string {
	if !a.Valid() {
		return fmt.Sprintf("algorithm(%d)", uint8(a))
	}
	return a.info().text
}

// Name returns the algorithm's domain name, as in a TSIG RR.
func (a Algorithm) Name() zone.Name { return a.info().wire }

// Size returns the length of the algorithm's full MAC in octets.
func (a Algorithm) Size() int { return a.info().size }

// minMACSize returns the shortest MAC that RFC 8945 section 5.2.2.1 lets a
// message carry: ten octets, or half of the hash, whichever is longer.
func (a Algorithm) minMACSize() int {
	return max(10, (a.Size()+1)/2)
}

// algorithmFromWire returns the algorithm with the given lower-case wire name,
// or 0 when it is not implemented.
func algorithmFromWire(name []byte) Algorithm {
	for _, a := range [...]Algorithm{HMACSHA256, HMACSHA512, HMACSHA1, HMACSHA384, HMACSHA224, HMACMD5} {
		if string(name) == string(a.info().wire) {
			return a
		}
	}
	return 0
}
