package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Lifetimes of what is issued. Each is renewed when two thirds are over.
type Lifetimes struct {
	Authority time.Duration
	Leaf      time.Duration
}

// DefaultLifetimes are ten years and 90 days.
func DefaultLifetimes() Lifetimes {
	const day = 24 * time.Hour
	return Lifetimes{Authority: 3650 * day, Leaf: 90 * day}
}

// Validate reports lifetimes that can't be kept: what is renewed has to arrive in pods, which takes minutes.
func (l Lifetimes) Validate() error {
	if l.Leaf < time.Hour {
		return fmt.Errorf("lifetime of certificates is %v: use an hour or more", l.Leaf)
	}
	if l.Authority < 3*l.Leaf {
		return fmt.Errorf("lifetime of CAs is %v: use three times that of certificates (%v) or more", l.Authority, l.Leaf)
	}
	return nil
}

// backdate is for clocks that are behind the issuer's.
const backdate = 5 * time.Minute

// Authority is a CA with its key.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

// NewAuthority makes a CA that signs itself. It signs leaves and no further CA.
func NewAuthority(name string, life time.Duration, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: key of CA %s: %w", name, err)
	}
	return selfSign(pkix.Name{CommonName: name}, key, life, now)
}

// Renewed is the same CA, with the same key, for another life.
func (a *Authority) Renewed(life time.Duration, now time.Time) (*Authority, error) {
	return selfSign(a.cert.Subject, a.key, life, now)
}

func selfSign(subject pkix.Name, key *ecdsa.PrivateKey, life time.Duration, now time.Time) (*Authority, error) {
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: subject, NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("pki: CA %s: %w", subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: CA %s: %w", subject.CommonName, err)
	}
	return &Authority{cert: cert, key: key, der: der}, nil
}

// ParseAuthority reads a CA from PEM, whoever has made it.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("pki: certificate %q is none of a CA (basicConstraints)", cert.Subject.CommonName)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("pki: the key beside certificate %q is another one's", cert.Subject.CommonName)
	}
	return &Authority{cert: cert, key: key, der: cert.Raw}, nil
}

// PEM is the certificate, and the key.
func (a *Authority) PEM() (cert, key []byte, err error) {
	key, err = keyPEM(a.key)
	return a.CertPEM(), key, err
}

// CertPEM is what others trust.
func (a *Authority) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: a.der})
}

// NotAfter is when it ends.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// Due says that it is to be renewed: two thirds of its life are over.
func (a *Authority) Due(now time.Time) bool { return old(a.cert, now) }

// old: two thirds of a certificate's life are over.
func old(c *x509.Certificate, now time.Time) bool {
	life := c.NotAfter.Sub(c.NotBefore)
	return now.After(c.NotBefore.Add(life - life/3))
}

const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY" // PKCS #8, RFC 5958
	blockECKey       = "EC PRIVATE KEY"
)

func parseCertificate(text []byte) (*x509.Certificate, error) {
	b, _ := pem.Decode(text)
	if b == nil || b.Type != blockCertificate {
		return nil, errors.New("pki: no PEM certificate")
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("pki: certificate: %w", err)
	}
	return c, nil
}

// parseKey reads an ECDSA key as PKCS #8 or as SEC 1, which other issuers write.
func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	b, _ := pem.Decode(text)
	if b == nil {
		return nil, errors.New("pki: no PEM key")
	}
	if b.Type == blockECKey {
		key, err := x509.ParseECPrivateKey(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("pki: key: %w", err)
		}
		return key, nil
	}
	any, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("pki: key: %w", err)
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("pki: the key is a %T: use an ECDSA key", any)
	}
	return key, nil
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("pki: key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// serialNumber is random, as the CA/Browser Forum asks for: 64 bits or more of a random generator's output.
func serialNumber() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("pki: serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}
