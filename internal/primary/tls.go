package primary

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// certificate is a certificate and key on disk that may be replaced while they are in use. The files are looked at again
// at most once a second.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	checked time.Time
	stamp   [2]time.Time // modification times of what is loaded
	cert    *tls.Certificate
}

const certificateRecheck = time.Second

func loadCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if err := c.reload(); err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return c, nil
}

// get gives the newest certificate that could be loaded: half a replacement (the key before the certificate) keeps the old.
func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) > certificateRecheck {
		_ = c.reload() // what was loaded before stays in use
	}
	return c.cert
}

func (c *certificate) reload() error {
	c.checked = time.Now()
	var stamp [2]time.Time
	for i, f := range []string{c.certFile, c.keyFile} {
		st, err := os.Stat(f)
		if err != nil {
			return err
		}
		stamp[i] = st.ModTime()
	}
	if stamp == c.stamp && c.cert != nil {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.cert, c.stamp = &cert, stamp
	return nil
}

func loadPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(file + " has no PEM certificate")
	}
	return pool, nil
}

// adminTLS wraps the admin API's listener in mutual TLS where the configuration has certificates.
func adminTLS(c AdminConfig, l net.Listener) (net.Listener, error) {
	if c.TLSCert == "" {
		return l, nil // a loopback address, as Validate saw to
	}
	cert, err := loadCertificate(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	pool, err := loadPool(c.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("admin.tls_client_ca: %w", err)
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.get(), nil },
	}), nil
}

// adminClient makes the HTTP client for the peers' admin APIs: it shows this primary's own certificate.
func adminClient(c AdminConfig) (*http.Client, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, DialContext: (&net.Dialer{Timeout: peerTimeout}).DialContext}
	if c.TLSCert != "" {
		cert, err := loadCertificate(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
		pool, err := loadPool(c.TLSClientCA)
		if err != nil {
			return nil, fmt.Errorf("admin.tls_client_ca: %w", err)
		}
		t.TLSClientConfig = &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert.get(), nil },
		}
	}
	return &http.Client{Transport: t}, nil
}
