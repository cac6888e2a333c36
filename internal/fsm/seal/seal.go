// Package seal encrypts TSIG secrets with the cluster's key, so that the replicated log, checkpoints and backups hold no
// secret in the clear.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
)

// KeySize is the size of the cluster's key in octets: AES-256.
const KeySize = 32

// format is the first octet of a sealed secret.
const format = 1

// ErrOpen means that a sealed secret does not belong to this cluster key, key name and version, or was altered.
var ErrOpen = errors.New("seal: cannot open a sealed secret: wrong cluster key, or it was altered")

// Sealer seals and opens secrets. Safe for concurrent use.
type Sealer struct {
	aead cipher.AEAD
	id   []byte // key of the keyed hash behind ID
}

// New makes a Sealer from the cluster's key.
func New(clusterKey []byte) (*Sealer, error) {
	if len(clusterKey) != KeySize {
		return nil, fmt.Errorf("seal: cluster key of %d octets; it must have %d: make one with `openssl rand -base64 32`", len(clusterKey), KeySize)
	}
	// One key a purpose, so that identifiers tell nothing about the encryption.
	block, err := aes.NewCipher(derive(clusterKey, "zonekeeper secret encryption v1"))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Sealer{aead: aead, id: derive(clusterKey, "zonekeeper secret identity v1")}, nil
}

// ReadKeyFile reads the cluster's key: base64 of 32 octets on one line.
func ReadKeyFile(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("seal: cluster key: %w; copy the file that the other primaries have, or make one for a new cluster with "+
			"`openssl rand -base64 32`", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("seal: %s does not hold base64 of %d octets: make one with `openssl rand -base64 32`", path, KeySize)
	}
	return key, nil
}

// Seal encrypts the secret of one version of a key. name is the key's canonical name in wire format. A sealed secret that
// is moved to another name or version does not open.
func (s *Sealer) Seal(name string, version uint64, secret []byte) []byte {
	out := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(secret)+s.aead.Overhead())
	out[0] = format
	nonce := out[1:]
	rand.Read(nonce) // never fails: crypto/rand
	return s.aead.Seal(out, nonce, secret, additional(name, version))
}

// Open gives the secret back. errors.Is(err, ErrOpen) when it can't.
func (s *Sealer) Open(name string, version uint64, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+s.aead.NonceSize() || sealed[0] != format {
		return nil, fmt.Errorf("%w (key version %d)", ErrOpen, version)
	}
	nonce, box := sealed[1:1+s.aead.NonceSize()], sealed[1+s.aead.NonceSize():]
	secret, err := s.aead.Open(nil, nonce, box, additional(name, version))
	if err != nil {
		return nil, fmt.Errorf("%w (key version %d)", ErrOpen, version)
	}
	return secret, nil
}

// ID is equal for equal secrets of one key name and algorithm, and tells nothing else to who lacks the cluster's key.
func (s *Sealer) ID(name, algorithm string, secret []byte) (id [16]byte) {
	h := hmac.New(sha256.New, s.id)
	for _, part := range []string{name, algorithm, string(secret)} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write([]byte(part))
	}
	copy(id[:], h.Sum(nil))
	return id
}

func additional(name string, version uint64) []byte {
	return append(binary.BigEndian.AppendUint64(nil, version), name...)
}

// derive is HKDF-Expand (RFC 5869 section 2.3) for one block; the cluster's key is uniformly random already.
func derive(key []byte, purpose string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(purpose))
	h.Write([]byte{1})
	return h.Sum(nil)
}
