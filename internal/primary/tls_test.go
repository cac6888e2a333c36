package primary

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newECKey(t)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.pool(), "CERTIFICATE", der)
	return a
}

func (a *authority) pool() string { return filepath.Join(a.dir, "ca.pem") }

// issue writes a certificate for 127.0.0.1 and its key.
func (a *authority) issue(name string, serial int64) (certFile, keyFile string) {
	a.t.Helper()
	key := newECKey(a.t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	writePEM(a.t, certFile, "CERTIFICATE", der)
	writePEM(a.t, keyFile, "EC PRIVATE KEY", keyDER)
	return certFile, keyFile
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAdminNeedsCertificate: without a certificate of the cluster's CA nobody gets as far as HTTP.
func TestAdminNeedsCertificate(t *testing.T) {
	ours, foreign := newAuthority(t, "ours"), newAuthority(t, "foreign")
	c := AdminConfig{Listen: "127.0.0.1:0", TLSClientCA: ours.pool()}
	c.TLSCert, c.TLSKey = ours.issue("server", 2)
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = adminTLS(c, l); err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "in") }), ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })

	get := func(c AdminConfig) error {
		hc, err := adminClient(c)
		if err != nil {
			t.Fatal(err)
		}
		defer hc.CloseIdleConnections()
		resp, err := hc.Get("https://" + l.Addr().String())
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := get(c); err != nil {
		t.Errorf("a peer with our certificate: %v", err)
	}
	stranger := AdminConfig{TLSClientCA: ours.pool()}
	stranger.TLSCert, stranger.TLSKey = foreign.issue("stranger", 3)
	if get(stranger) == nil {
		t.Error("a certificate of another CA was let in")
	}
	plain := http.Client{Timeout: 5 * time.Second}
	if resp, err := plain.Get("http://" + l.Addr().String()); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("plain HTTP was let in")
		}
	}
}

// TestFilesOfTheEndpoint: each mistake is one error that names the field, the file and the remedy.
func TestFilesOfTheEndpoint(t *testing.T) {
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	certFile, keyFile := ours.issue("primary", 2)
	_, foreignKey := other.issue("foreign", 3)
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(t.TempDir(), "missing.pem")
	junk := write("junk.pem", "no PEM")
	listen := []string{"127.0.0.1:0"}
	front := func(cert, key, ca string) DNSConfig {
		return DNSConfig{ListenFront: listen, FrontTLSCert: cert, FrontTLSKey: key, FrontTLSClientCA: ca}
	}
	for name, tc := range map[string]struct {
		cfg  DNSConfig
		want []string // nil: no error
	}{
		"all right":          {front(certFile, keyFile, ours.pool()), nil},
		"DNS over TLS":       {DNSConfig{ListenTLS: listen, TLSCert: missing, TLSKey: keyFile}, []string{"dns.tls_cert", missing, "name a PEM file"}},
		"no certificate":     {front(missing, keyFile, ours.pool()), []string{"dns.front_tls_cert", missing, "name a PEM file"}},
		"another's key":      {front(certFile, foreignKey, ours.pool()), []string{certFile, foreignKey, "belong together"}},
		"CA without PEM":     {front(certFile, keyFile, junk), []string{"dns.front_tls_client_ca", junk, "give the certificate of the CA"}},
		"no CA":              {front(certFile, keyFile, missing), []string{"dns.front_tls_client_ca", missing}},
		"proxy key":          {DNSConfig{ProxyKeyFile: write("key", "MDEyMzQ1Njc4OWFiY2RlZg==\n")}, nil},
		"no proxy key":       {DNSConfig{ProxyKeyFile: missing}, []string{"dns.proxy_key_file", missing, "base64"}},
		"proxy key is text":  {DNSConfig{ProxyKeyFile: junk}, []string{"dns.proxy_key_file", junk, "not base64", "/dev/urandom"}},
		"proxy key is short": {DNSConfig{ProxyKeyFile: write("key", "c2hvcnQ=")}, []string{"a key of 5 octets", "/dev/urandom"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadDNSFiles(tc.cfg)
			if (err == nil) != (tc.want == nil) {
				t.Fatalf("error %v", err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}
