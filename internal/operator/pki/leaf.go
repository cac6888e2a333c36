package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// Leaf is what a certificate says.
type Leaf struct {
	CommonName string
	// Unit is the organizational unit, "" for none.
	Unit string
	// Hosts are the DNS names of a server; without any the certificate is a client's only.
	Hosts []string
}

// Issue makes a key and a certificate for it, in PEM. It never outlives the CA.
func (a *Authority) Issue(l Leaf, life time.Duration, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: key of %s: %w", l.CommonName, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, nil, err
	}
	end := now.Add(life)
	if a.cert.NotAfter.Before(end) {
		end = a.cert.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: l.subject(), NotBefore: now.Add(-backdate), NotAfter: end,
		DNSNames: l.Hosts, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.usages(), BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: certificate of %s: %w", l.CommonName, err)
	}
	if key, err = keyPEM(private); err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der}), key, nil
}

func (l Leaf) subject() pkix.Name {
	n := pkix.Name{CommonName: l.CommonName}
	if l.Unit != "" {
		n.OrganizationalUnit = []string{l.Unit}
	}
	return n
}

// usages: servers of the cluster are clients of each other as well.
func (l Leaf) usages() []x509.ExtKeyUsage {
	if len(l.Hosts) == 0 {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

// Examine says why the certificate in PEM, with its key, has to be issued anew to be what l says and signed by a; "" when it is good.
// notAfter is when it ends, zero when it can't be read.
func (a *Authority) Examine(l Leaf, certPEM, keyPEM []byte, now time.Time) (why string, notAfter time.Time) {
	if len(certPEM) == 0 {
		return "there is none", notAfter
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return err.Error(), notAfter
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return err.Error(), notAfter
	}
	switch {
	case !key.PublicKey.Equal(cert.PublicKey):
		return "its key is another one's", cert.NotAfter
	case cert.CheckSignatureFrom(a.cert) != nil:
		return "another CA has signed it", cert.NotAfter
	case cert.Subject.String() != l.subject().String():
		return fmt.Sprintf("it is for %s instead of %s", cert.Subject, l.subject()), cert.NotAfter
	case !slices.Equal(slices.Sorted(slices.Values(cert.DNSNames)), slices.Sorted(slices.Values(l.Hosts))):
		return "it has other hosts", cert.NotAfter
	case !slices.Equal(cert.ExtKeyUsage, l.usages()):
		return "it has other usages", cert.NotAfter
	case old(cert, now):
		return fmt.Sprintf("two thirds of its life are over, it ends at %s", cert.NotAfter.Format(time.RFC3339)), cert.NotAfter
	}
	return "", cert.NotAfter
}
