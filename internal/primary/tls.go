package primary

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// certificate is what one side of a TLS connection needs from disk: its certificate and key, and, where the other side must
// show one too, the CA that signed that. The files may be replaced while they are in use; they are looked at again at most
// once a second.
type certificate struct {
	files [3]string // certificate, key, CA; the last may be ""

	mu      sync.Mutex
	checked time.Time
	stamp   [3]time.Time // modification times of what is loaded
	cert    *tls.Certificate
	ca      *x509.CertPool
}

const certificateRecheck = time.Second

// loadCertificate reads the files; caFile is "" where the other side shows no certificate.
func loadCertificate(certFile, keyFile, caFile string) (*certificate, error) {
	c := &certificate{files: [3]string{certFile, keyFile, caFile}}
	if err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// get gives the newest certificate that could be loaded: half a replacement (the key before the certificate) keeps the old.
func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c.cert
}

// pool gives the newest CA in the same way; nil without one.
func (c *certificate) pool() *x509.CertPool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c.ca
}

func (c *certificate) refresh() {
	if time.Since(c.checked) > certificateRecheck {
		_ = c.reload() // what was loaded before stays in use
	}
}

func (c *certificate) reload() error {
	c.checked = time.Now()
	var stamp [3]time.Time
	for i, f := range c.files {
		if f == "" {
			continue
		}
		st, err := os.Stat(f)
		if err != nil {
			return fmt.Errorf("%w; name a PEM file that this program may read", err)
		}
		stamp[i] = st.ModTime()
	}
	if stamp == c.stamp && c.cert != nil {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.files[0], c.files[1])
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w; give PEM files that belong together", c.files[0], c.files[1], err)
	}
	if c.files[2] != "" {
		if c.ca, err = loadPool(c.files[2]); err != nil {
			return err
		}
	}
	c.cert, c.stamp = &cert, stamp
	return nil
}

func loadPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w; name a PEM file that this program may read", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA %s: no PEM certificate is in it; give the certificate of the CA", file)
	}
	return pool, nil
}

// dnsFiles are what the endpoint needs from disk. They are read before anything is started: a mistake in them is found at
// once, and not when the primary has caught up with the log.
type dnsFiles struct {
	tls      *certificate // of DNS over TLS; nil without it
	front    *certificate // of the fronts' listeners; nil without them
	proxyKey []byte
}

func loadDNSFiles(d DNSConfig) (f dnsFiles, err error) {
	if len(d.ListenTLS) > 0 {
		if f.tls, err = loadCertificate(d.TLSCert, d.TLSKey, ""); err != nil {
			return f, fmt.Errorf("dns.tls_cert, dns.tls_key: %w", err)
		}
	}
	if len(d.ListenFront) > 0 {
		if f.front, err = loadCertificate(d.FrontTLSCert, d.FrontTLSKey, d.FrontTLSClientCA); err != nil {
			return f, fmt.Errorf("dns.front_tls_cert, dns.front_tls_key, dns.front_tls_client_ca: %w", err)
		}
	}
	if d.ProxyKeyFile != "" {
		if f.proxyKey, err = readProxyKey(d.ProxyKeyFile); err != nil {
			return f, fmt.Errorf("dns.proxy_key_file: %w", err)
		}
	}
	return f, nil
}

// minProxyKey is what the endpoint accepts; the command that makes a key gives 32.
const minProxyKey = 16

func readProxyKey(path string) ([]byte, error) {
	const remedy = "write 32 random octets in base64: head -c 32 /dev/urandom | base64"
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, remedy)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s: not base64: %w; %s", path, err, remedy)
	}
	if len(key) < minProxyKey {
		return nil, fmt.Errorf("%s: a key of %d octets, at least %d are needed; %s", path, len(key), minProxyKey, remedy)
	}
	return key, nil
}

// adminTLS wraps the admin API's listener in mutual TLS where the configuration has certificates.
func adminTLS(c AdminConfig, l net.Listener) (net.Listener, error) {
	if c.TLSCert == "" {
		return l, nil // a loopback address, as Validate saw to
	}
	cert, err := loadCertificate(c.TLSCert, c.TLSKey, c.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{
				MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert,
				Certificates: []tls.Certificate{*cert.get()}, ClientCAs: cert.pool(),
			}, nil
		},
	}), nil
}

// adminClient makes the HTTP client for the peers' admin APIs: it shows this primary's own certificate.
func adminClient(c AdminConfig) (*http.Client, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, DialContext: (&net.Dialer{Timeout: peerTimeout}).DialContext}
	if c.TLSCert != "" {
		cert, err := loadCertificate(c.TLSCert, c.TLSKey, c.TLSClientCA)
		if err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
		t.TLSClientConfig = &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: cert.pool(), // read once: peers keep their CA, or this primary starts anew
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert.get(), nil },
		}
	}
	return &http.Client{Transport: t}, nil
}
