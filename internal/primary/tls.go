package primary

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

// dnsFiles are what the endpoint needs from disk. They are read before anything is started: a mistake in them is found at
// once, and not when the primary has caught up with the log.
type dnsFiles struct {
	tls       *conf.Certificate   // of DNS over TLS; nil without it
	front     *conf.Certificate   // of the fronts' listeners; nil without them
	proxyKeys *proxyproto.KeyFile // nil without
}

func loadDNSFiles(d DNSConfig, log *slog.Logger) (f dnsFiles, err error) {
	if len(d.ListenTLS) > 0 {
		if f.tls, err = conf.LoadCertificate(d.TLSCert, d.TLSKey, ""); err != nil {
			return f, fmt.Errorf("dns.tls_cert, dns.tls_key: %w", err)
		}
	}
	if len(d.ListenFront) > 0 {
		if f.front, err = conf.LoadCertificate(d.FrontTLSCert, d.FrontTLSKey, d.FrontTLSClientCA); err != nil {
			return f, fmt.Errorf("dns.front_tls_cert, dns.front_tls_key, dns.front_tls_client_ca: %w", err)
		}
	}
	if d.ProxyKeyFile != "" {
		if f.proxyKeys, err = proxyproto.OpenKeys(d.ProxyKeyFile, log); err != nil {
			return f, fmt.Errorf("dns.proxy_key_file: %w", err)
		}
	}
	return f, nil
}

// adminTrust decides who reaches the admin API by mutual TLS, and tells fronts from administrators. nil: no TLS, on loopback.
type adminTrust struct {
	own   *conf.Certificate // shown to clients; its CA signed those who may ask anything
	front *conf.Certificate // its CA signed fronts; nil without listeners for them
}

// loadAdminTrust reads the certificates where the configuration has some. front is what the fronts' listeners use, or nil.
func loadAdminTrust(c AdminConfig, front *conf.Certificate) (*adminTrust, error) {
	if c.TLSCert == "" {
		return nil, nil //nolint:nilnil // a loopback address, as Validate saw to
	}
	cert, err := conf.LoadCertificate(c.TLSCert, c.TLSKey, c.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return &adminTrust{own: cert, front: front}, nil
}

// listen wraps the admin API's listener in TLS.
func (t *adminTrust) listen(l net.Listener) net.Listener {
	if t == nil {
		return l
	}
	if t.front == nil {
		return tls.NewListener(l, t.own.Mutual())
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*t.own.Get()},
				// Two CAs that are replaced independently can't be one pool, so the chain is verified here; resumed sessions too.
				ClientAuth: tls.RequireAnyClientCert,
				VerifyConnection: func(s tls.ConnectionState) error {
					err := verifyClient(s.PeerCertificates, t.own.Pool())
					if err != nil && verifyClient(s.PeerCertificates, t.front.Pool()) == nil {
						return nil
					}
					return err
				},
			}, nil
		},
	})
}

// verifyClient checks what a client showed as crypto/tls does it.
func verifyClient(shown []*x509.Certificate, roots *x509.CertPool) error {
	if len(shown) == 0 {
		return errors.New("admin: the client has shown no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

// frontUnit is the organizational unit in the subject of a front's certificate, for clusters in which one CA signs everything.
const frontUnit = conf.FrontUnit

// frontOf gives the name of the front whose certificate a request came with; false when it is not a front's. A front is whoever has the
// unit, or a certificate that only the fronts' CA vouches for.
func (t *adminTrust) frontOf(r *http.Request) (name string, ok bool) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", false
	}
	subject := r.TLS.PeerCertificates[0].Subject
	if slices.Contains(subject.OrganizationalUnit, frontUnit) {
		return subject.CommonName, true
	}
	if t == nil || t.front == nil {
		return "", false // the handshake has verified it
	}
	return subject.CommonName, verifyClient(r.TLS.PeerCertificates, t.own.Pool()) != nil
}

// adminClient makes the HTTP client for the peers' admin APIs: it shows this primary's own certificate.
func adminClient(c AdminConfig) (*http.Client, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, DialContext: (&net.Dialer{Timeout: peerTimeout}).DialContext}
	if c.TLSCert != "" {
		cert, err := conf.LoadCertificate(c.TLSCert, c.TLSKey, c.TLSClientCA)
		if err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
		t.DialTLSContext = cert.Dial(&net.Dialer{Timeout: peerTimeout}, peerTimeout)
	}
	return &http.Client{Transport: t}, nil
}

// secondaryUnit is the organizational unit in the subject of a secondary's certificate. Secondaries are public, so they are the
// likeliest to be broken into: with such a certificate the admin API can be asked what a secondary must know, and nothing else.
const secondaryUnit = conf.SecondaryUnit

// secondaryOf gives the name of the secondary whose certificate a request came with; false when it is not a secondary's.
func secondaryOf(r *http.Request) (name string, ok bool) { return adminapi.HasUnit(secondaryUnit)(r) }

// noSecondary turns a secondary's certificate away from the fronts' listeners. Where one CA signs everything it would do there, and
// whoever has broken into a secondary could tell a primary any client address.
func noSecondary(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("dns.listen_front: the client has shown no certificate")
	}
	if subject := s.PeerCertificates[0].Subject; slices.Contains(subject.OrganizationalUnit, secondaryUnit) {
		return fmt.Errorf("dns.listen_front: the certificate is that of secondary %q; use one that was issued for a front", subject.CommonName)
	}
	return nil
}
