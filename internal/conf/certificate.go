package conf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Certificate is what one side of a TLS connection needs from disk: its certificate and key, and, where the other side must
// show one too, the CA that signed that. The files may be replaced while they are in use; they are looked at again at most
// once a second.
type Certificate struct {
	files [3]string // certificate, key, CA; the last may be ""

	mu      sync.Mutex
	checked time.Time
	stamp   [3]time.Time // modification times of what is loaded
	cert    *tls.Certificate
	ca      *x509.CertPool
}

// Organizational units in the subject of a certificate, by which primaries tell
// what it is for.
const (
	FrontUnit     = "zonekeeper-front"
	SecondaryUnit = "zonekeeper-secondary"
	// MonitorUnit may read metrics, of primaries and secondaries, and nothing else.
	MonitorUnit = "zonekeeper-monitor"
	// OperatorUnit may do everything, as the administrators do it, and what it does is marked as the operator's.
	OperatorUnit = "zonekeeper-operator"
)

const certificateRecheck = time.Second

// LoadCertificate reads the files; caFile is "" where the other side shows no certificate.
func LoadCertificate(certFile, keyFile, caFile string) (*Certificate, error) {
	c := &Certificate{files: [3]string{certFile, keyFile, caFile}}
	if err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Get gives the newest certificate that could be loaded: half a replacement (the key before the certificate) keeps the old.
func (c *Certificate) Get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c.cert
}

// Pool gives the newest CA in the same way; nil without one.
func (c *Certificate) Pool() *x509.CertPool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c.ca
}

func (c *Certificate) refresh() {
	if time.Since(c.checked) > certificateRecheck {
		_ = c.reload() // what was loaded before stays in use
	}
}

func (c *Certificate) reload() error {
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

// Mutual is the server's side of mutual TLS: whoever connects shows a certificate that
// the CA signed.
func (c *Certificate) Mutual() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{
				MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert,
				Certificates: []tls.Certificate{*c.Get()}, ClientCAs: c.Pool(),
			}, nil
		},
	}
}

// Dial gives a [net/http.Transport.DialTLSContext]: each connection is opened with the certificate and the CA of that moment, so
// that either can be replaced, and the server has to be the one that address names. handshake bounds that part.
func (c *Certificate) Dial(d *net.Dialer, handshake time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("address %s: %w", address, err)
		}
		config := c.Client()
		config.ServerName = host
		raw, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, config)
		ctx, cancel := context.WithTimeout(ctx, handshake)
		defer cancel()
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = raw.Close() // it is the handshake that failed
			return nil, fmt.Errorf("TLS with %s: %w", address, err)
		}
		return conn, nil
	}
}

// Client is the client's side of one connection, with the CA of this moment; for many there is [Certificate.Dial].
func (c *Certificate) Client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: c.Pool(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Get(), nil },
	}
}
