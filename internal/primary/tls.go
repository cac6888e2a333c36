package primary

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
)

// dnsFiles are what the endpoint needs from disk. They are read before anything is started: a mistake in them is found at
// once, and not when the primary has caught up with the log.
type dnsFiles struct {
	tls      *conf.Certificate // of DNS over TLS; nil without it
	front    *conf.Certificate // of the fronts' listeners; nil without them
	proxyKey []byte
}

func loadDNSFiles(d DNSConfig) (f dnsFiles, err error) {
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
	cert, err := conf.LoadCertificate(c.TLSCert, c.TLSKey, c.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return tls.NewListener(l, cert.Mutual()), nil
}

// adminClient makes the HTTP client for the peers' admin APIs: it shows this primary's own certificate.
func adminClient(c AdminConfig) (*http.Client, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, DialContext: (&net.Dialer{Timeout: peerTimeout}).DialContext}
	if c.TLSCert != "" {
		cert, err := conf.LoadCertificate(c.TLSCert, c.TLSKey, c.TLSClientCA)
		if err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
		t.TLSClientConfig = cert.Client()
	}
	return &http.Client{Transport: t}, nil
}

// secondaryUnit is the organizational unit in the subject of a secondary's certificate. Secondaries are public, so they are the
// likeliest to be broken into: with such a certificate the admin API can be asked what a secondary must know, and nothing else.
const secondaryUnit = "zonekeeper-secondary"

// secondaryOf gives the name of the secondary whose certificate a request came with; false when it is not a secondary's.
func secondaryOf(r *http.Request) (name string, ok bool) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", false
	}
	subject := r.TLS.PeerCertificates[0].Subject
	return subject.CommonName, slices.Contains(subject.OrganizationalUnit, secondaryUnit)
}

// secondaryOnly lets the certificates of secondaries ask for what matches one of the patterns of mux, and for nothing else.
func secondaryOnly(mux *http.ServeMux, patterns ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, ok := secondaryOf(r); ok {
			if _, pattern := mux.Handler(r); !slices.Contains(patterns, pattern) {
				writeError(w, &adminapi.Error{Code: adminapi.CodeForbidden,
					Message: fmt.Sprintf("%s %s: the certificate is that of secondary %q, which may not ask this", r.Method, r.URL.Path, name),
					Remedy:  "use an administrator's certificate, whose subject has no organizational unit " + secondaryUnit})
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}
