package tsig

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"sync"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Key is one secret under a name. Several keys may share a name while a secret
// is being rotated. A Key is immutable once it is in use and safe for
// concurrent use; copies share their pool of HMAC states.
//
// Make keys with [NewKey]: one built as a literal works, but allocates an HMAC
// for every message.
type Key struct {
	Name      zone.Name // lower case
	Algorithm Algorithm
	Secret    []byte
	Version   uint64 // which secret of the name this is; the caller's business

	// MACSize is the shortest MAC, in octets, that is accepted, and the length
	// of the MACs that are made; 0 is the algorithm's full length. It is what
	// named.conf writes as hmac-sha256-128 (16 octets). Even then a reply is
	// never cut shorter than the request was.
	MACSize int

	// AllowMD5 must be set for a key with HMACMD5 to be used at all. RFC 8945
	// section 6 keeps that algorithm for old clients only.
	AllowMD5 bool

	states *sync.Pool // of *state
}

// state is the reusable part of computing one MAC.
type state struct {
	mac hash.Hash
	sum [maxMACSize]byte
	buf []byte // scratch for the TSIG variables, RFC 8945 section 4.3.3
}

// NewKey returns a key that is ready for use: checked, its name in lower case,
// with the secret's inner and outer hash states computed once.
func NewKey(k Key) (Key, error) {
	if err := k.Validate(); err != nil {
		return Key{}, err
	}
	k.Name = k.Name.Canonical()
	k.states = &sync.Pool{New: func() any { return k.newState() }}
	return k, nil
}

// Validate says what is wrong with the key. It never prints the secret.
func (k *Key) Validate() error {
	switch {
	case k.Name == "":
		return errors.New("tsig: a key has no name: name it, for example ddns.example")
	case !k.Algorithm.Valid():
		return fmt.Errorf("tsig: key %s has no valid algorithm (%v): choose hmac-sha256", k.Name, k.Algorithm)
	case len(k.Secret) == 0:
		return fmt.Errorf("tsig: key %s has an empty secret: make one with tsig-keygen", k.Name)
	case k.Algorithm == HMACMD5 && !k.AllowMD5:
		return fmt.Errorf("tsig: key %s uses hmac-md5, which is off by default: allow it for this key, or choose hmac-sha256", k.Name)
	case k.MACSize != 0 && (k.MACSize < k.Algorithm.minMACSize() || k.MACSize > k.Algorithm.Size()):
		return fmt.Errorf("tsig: key %s truncates its MACs to %d octets: %v allows %d to %d", k.Name, k.MACSize,
			k.Algorithm, k.Algorithm.minMACSize(), k.Algorithm.Size())
	}
	return nil
}

// LogValue keeps the secret out of every log.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", k.Name.String()), slog.String("algorithm", k.Algorithm.String()), slog.Uint64("version", k.Version))
}

// String names the key without its secret.
func (k Key) String() string {
	return fmt.Sprintf("%s:%s (version %d)", k.Algorithm, k.Name, k.Version)
}

// ParseSecret reads a secret in base64, as named.conf and nsupdate -y take it.
func ParseSecret(text string) ([]byte, error) {
	secret, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		// The position is safe to print; the text is not.
		return nil, fmt.Errorf("tsig: the secret is not base64 (%w): copy it as tsig-keygen prints it", err)
	}
	return secret, nil
}

// macSize returns the octets of a MAC made with the key when nothing longer is
// asked for.
func (k *Key) macSize() int {
	if k.MACSize == 0 {
		return k.Algorithm.Size()
	}
	return k.MACSize
}

func (k *Key) newState() *state {
	// Room for the longest names and every fixed field of the TSIG variables.
	return &state{mac: hmac.New(k.Algorithm.info().hash, k.Secret), buf: make([]byte, 0, 2*maxName+64)}
}

func (k *Key) acquire() *state {
	if k.states == nil {
		return k.newState()
	}
	s := k.states.Get().(*state)
	s.mac.Reset()
	return s
}

func (k *Key) release(s *state) {
	if k.states != nil {
		k.states.Put(s)
	}
}

// Keyring finds keys by name.
type Keyring interface {
	// Lookup returns the keys of the name, newest first, or nil. The name is in
	// lower case and valid only during the call: an implementation must not keep
	// it. The caller does not change the slice or the keys, and keeps pointers
	// to them, so the implementation must never change them either. Lookup is
	// called concurrently.
	Lookup(name zone.Name) []Key
}

// Ring is a fixed Keyring. The zero value has no keys.
type Ring map[zone.Name][]Key

// NewRing returns a ring of the keys, each prepared by [NewKey]. Keys of one
// name are tried in the order they are given: the newest comes first.
func NewRing(keys ...Key) (Ring, error) {
	ring := make(Ring, len(keys))
	for _, k := range keys {
		prepared, err := NewKey(k)
		if err != nil {
			return nil, err
		}
		ring[prepared.Name] = append(ring[prepared.Name], prepared)
	}
	return ring, nil
}

// Lookup implements [Keyring].
func (r Ring) Lookup(name zone.Name) []Key { return r[name] }
