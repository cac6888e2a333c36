package backup

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// Secret is one secret of a key, in the clear.
type Secret struct {
	Key     string `json:"key"`
	Version uint64 `json:"version"`
	Secret  []byte `json:"secret"`
}

// maxSecrets bounds the encrypted part, in octets.
const maxSecrets = 64 << 20

// ErrIdentity: no identity that was given opens the secrets.
var ErrIdentity = errors.New("no key that was given opens the secrets of the backup")

// ParseRecipients reads age recipients (age1…).
func ParseRecipients(list []string) ([]age.Recipient, error) {
	var out []age.Recipient
	for _, text := range list {
		got, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("recipient %q: %w; give one of age, such as age-keygen prints: age1…", text, err)
		}
		out = append(out, got...)
	}
	return out, nil
}

// ParseIdentities reads an age identity file (AGE-SECRET-KEY-1…).
func ParseIdentities(r io.Reader) ([]age.Identity, error) {
	ids, err := age.ParseIdentities(r)
	if err != nil {
		return nil, fmt.Errorf("identity: %w; give a file that age-keygen has made", err)
	}
	return ids, nil
}

// ClusterIdentity is the age identity that follows from a cluster's key: whoever has the key can open a backup with age alone.
func ClusterIdentity(clusterKey []byte) (*age.X25519Identity, error) {
	scalar, err := hkdf.Key(sha256.New, clusterKey, nil, "zonekeeper backup age identity v1", 32)
	if err != nil {
		return nil, fmt.Errorf("identity of the cluster's key: %w", err)
	}
	id, err := age.ParseX25519Identity(strings.ToUpper(bech32("age-secret-key-", scalar)))
	if err != nil {
		return nil, fmt.Errorf("identity of the cluster's key: %w", err)
	}
	return id, nil
}

// ClusterKeyID tells cluster keys apart, and nothing about them.
func ClusterKeyID(clusterKey []byte) (string, error) {
	id, err := hkdf.Key(sha256.New, clusterKey, nil, "zonekeeper cluster key name v1", 8)
	if err != nil {
		return "", fmt.Errorf("name of the cluster's key: %w", err)
	}
	return hex.EncodeToString(id), nil
}

// bech32 encodes octets as age writes its keys (BIP 173).
func bech32(prefix string, data []byte) string {
	const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	var values []byte
	var acc, bits uint
	for _, b := range data {
		acc, bits = acc<<8|uint(b), bits+8
		for bits >= 5 {
			bits -= 5
			values = append(values, byte(acc>>bits&31))
		}
	}
	if bits > 0 {
		values = append(values, byte(acc<<(5-bits)&31))
	}
	var sum []byte
	for i := range len(prefix) {
		sum = append(sum, prefix[i]>>5)
	}
	sum = append(sum, 0)
	for i := range len(prefix) {
		sum = append(sum, prefix[i]&31)
	}
	sum = append(append(sum, values...), 0, 0, 0, 0, 0, 0)
	check := bech32Sum(sum) ^ 1
	for i := range 6 {
		values = append(values, byte(check>>(5*(5-i))&31))
	}
	out := []byte(prefix + "1")
	for _, v := range values {
		out = append(out, alphabet[v])
	}
	return string(out)
}

func bech32Sum(values []byte) uint32 {
	sum := uint32(1)
	for _, v := range values {
		top := sum >> 25
		sum = (sum&0x1ffffff)<<5 ^ uint32(v)
		for i, g := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	return sum
}

func sealSecrets(list []Secret, to []age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to...)
	if err == nil {
		err = json.NewEncoder(w).Encode(list)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt the secrets: %w", err)
	}
	return b.Bytes(), nil
}

// OpenSecrets decrypts the secrets of a backup. errors.Is(err, ErrIdentity) when no identity fits.
func OpenSecrets(sealed []byte, ids []age.Identity) ([]Secret, error) {
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: none was given", ErrIdentity)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), ids...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("%w: they are encrypted to others", ErrIdentity)
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt the secrets: %w", err)
	}
	var out []Secret
	if err := json.NewDecoder(io.LimitReader(r, maxSecrets)).Decode(&out); err != nil {
		return nil, fmt.Errorf("decrypt the secrets: %w", err)
	}
	return out, nil
}
