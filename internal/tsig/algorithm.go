package tsig

import (
	"crypto/md5"  //nolint:gosec // RFC 8945 lists HMAC-MD5; it is used only for keys that opt in.
	"crypto/sha1" //nolint:gosec // RFC 8945 makes HMAC-SHA1 mandatory to implement.
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

// algorithms is indexed by Algorithm.
var algorithms = [...]algorithmInfo{
	HMACMD5:    {"hmac-md5", "\x08hmac-md5\x07sig-alg\x03reg\x03int\x00", md5.Size, md5.New},
	HMACSHA1:   {"hmac-sha1", "\x09hmac-sha1\x00", sha1.Size, sha1.New},
	HMACSHA224: {"hmac-sha224", "\x0bhmac-sha224\x00", sha256.Size224, sha256.New224},
	HMACSHA256: {"hmac-sha256", "\x0bhmac-sha256\x00", sha256.Size, sha256.New},
	HMACSHA384: {"hmac-sha384", "\x0bhmac-sha384\x00", sha512.Size384, sha512.New384},
	HMACSHA512: {"hmac-sha512", "\x0bhmac-sha512\x00", sha512.Size, sha512.New},
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
		if name == algorithms[a].text {
			return a, nil
		}
	}
	return 0, fmt.Errorf("tsig: unknown algorithm %q: use hmac-sha256, hmac-sha512, hmac-sha384, hmac-sha224, hmac-sha1 or hmac-md5", text)
}

// Valid reports whether a is one of the algorithms.
func (a Algorithm) Valid() bool { return a >= HMACMD5 && int(a) < len(algorithms) }

// String returns the name that named.conf uses, "hmac-sha256".
func (a Algorithm) String() string {
	if !a.Valid() {
		return fmt.Sprintf("algorithm(%d)", uint8(a))
	}
	return algorithms[a].text
}

// Name returns the algorithm's domain name, as in a TSIG RR.
func (a Algorithm) Name() zone.Name {
	if !a.Valid() {
		return ""
	}
	return algorithms[a].wire
}

// Size returns the length of the algorithm's full MAC in octets.
func (a Algorithm) Size() int {
	if !a.Valid() {
		return 0
	}
	return algorithms[a].size
}

// minMACSize returns the shortest MAC that RFC 8945 section 5.2.2.1 lets a
// message carry: ten octets, or half of the hash, whichever is longer.
func (a Algorithm) minMACSize() int {
	return max(10, (a.Size()+1)/2)
}

// algorithmFromWire returns the algorithm with the given lower-case wire name,
// or 0 when it is not implemented.
func algorithmFromWire(name []byte) Algorithm {
	for _, a := range [...]Algorithm{HMACSHA256, HMACSHA512, HMACSHA1, HMACSHA384, HMACSHA224, HMACMD5} {
		if string(name) == string(algorithms[a].wire) {
			return a
		}
	}
	return 0
}
