package primary

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
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
func (a *authority) issue(name string, serial int64, units ...string) (certFile, keyFile string) {
	a.t.Helper()
	key := newECKey(a.t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, OrganizationalUnit: units}, NotAfter: time.Now().Add(time.Hour),
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
	trust, err := loadAdminTrust(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	l = trust.listen(l)
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

// TestSecondaryIsNoAdministrator: with a secondary's certificate one may ask what a secondary must know, as that secondary, and
// nothing else.
func TestSecondaryIsNoAdministrator(t *testing.T) {
	r := newHubRig(t)
	r.add("shown.test", fsm.ZoneSettings{})
	r.add("hidden.test", fsm.ZoneSettings{AllowQuery: "none;"})
	r.p.opened = make(chan struct{})
	close(r.p.opened)
	a := &admin{p: r.p, log: r.p.log}
	ours := newAuthority(t, "ours")
	server := AdminConfig{TLSClientCA: ours.pool()}
	server.TLSCert, server.TLSKey = ours.issue("primary-0", 2)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	trust, err := loadAdminTrust(server, nil)
	if err != nil {
		t.Fatal(err)
	}
	l = trust.listen(l)
	srv := &http.Server{Handler: a.handler(prometheus.NewRegistry(), trust), ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	client := func(name string, serial int64, units ...string) *http.Client {
		c := AdminConfig{TLSClientCA: ours.pool()}
		c.TLSCert, c.TLSKey = ours.issue(name, serial, units...)
		hc, err := adminClient(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(hc.CloseIdleConnections)
		return hc
	}
	secondary, person := client("s0", 3, "other", secondaryUnit), client("somebody", 4)
	for _, c := range []struct {
		who          *http.Client
		method, path string
		want         int
	}{
		{person, "GET", adminapi.PathLive, http.StatusOK},
		{person, "GET", "/v1/replica/zones/hidden.test./digest?serial=1", http.StatusOK},
		{person, "POST", "/v1/secondaries/s0/report", http.StatusBadRequest}, // looked at
		{secondary, "GET", "/v1/replica/zones/shown.test./digest?serial=1", http.StatusOK},
		{secondary, "GET", "/v1/replica/zones/hidden.test./digest?serial=1", http.StatusNotFound},
		{secondary, "POST", "/v1/secondaries/s0/report", http.StatusBadRequest},
		{secondary, "POST", "/v1/secondaries/s1/report", http.StatusForbidden},
		{secondary, "GET", "/v1/secondaries/s1/changes", http.StatusForbidden},
		{secondary, "POST", "/v1/secondaries/s0/changes", http.StatusForbidden},
		{secondary, "GET", "/v1/secondaries/s0", http.StatusForbidden},
		{secondary, "DELETE", "/v1/secondaries/s0", http.StatusForbidden},
		{secondary, "GET", "/v1/replica/zones/shown.test.", http.StatusForbidden},
		{secondary, "GET", adminapi.PathLive, http.StatusForbidden},
		{secondary, "GET", adminapi.PathMetrics, http.StatusForbidden},
		{secondary, "GET", adminapi.PathStatus, http.StatusForbidden},
		{secondary, "GET", adminapi.PathKeys, http.StatusForbidden},
		{secondary, "GET", adminapi.PathCheckpoint, http.StatusForbidden},
		{secondary, "GET", adminapi.PathClock, http.StatusForbidden},
		{secondary, "GET", "/debug/pprof/heap", http.StatusForbidden},
		{secondary, "GET", "/v1/secondaries/s0/../../status", http.StatusForbidden},
		{secondary, "GET", "/nowhere", http.StatusForbidden},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+addr+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.who.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s: %s, want %d", c.method, c.path, resp.Status, c.want)
		}
	}
	own, err := adminapi.NewClient("https://"+addr, secondary)
	if err != nil {
		t.Fatal(err)
	}
	heard := errors.New("heard")
	if err := own.Changes(t.Context(), "s0", func(adminapi.Changes) error { return heard }); !errors.Is(err, heard) {
		t.Errorf("the stream of its own name: %v", err)
	}
}

// recorder is a router that only remembers what was added.
type recorder []string

func (r *recorder) Handle(pattern string, _ http.Handler) { *r = append(*r, pattern) }
func (r *recorder) HandleFunc(pattern string, _ func(http.ResponseWriter, *http.Request)) {
	*r = append(*r, pattern)
}

// TestFrontIsNoAdministrator: a front asks whether a primary is ready, and nothing else, whether it is known by its unit or by its CA.
// Every path that the API has is tried.
func TestFrontIsNoAdministrator(t *testing.T) {
	ours, fronts, foreign := newAuthority(t, "ours"), newAuthority(t, "fronts"), newAuthority(t, "foreign")
	frontCert := func() *conf.Certificate {
		certFile, keyFile := ours.issue("primary-front", 9)
		c, err := conf.LoadCertificate(certFile, keyFile, fronts.pool())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}()
	var patterns recorder
	(&admin{log: slog.New(slog.DiscardHandler)}).routes(&patterns, prometheus.NewRegistry())
	if !slices.Contains(patterns, patternReady) || !slices.Contains(patterns, "GET "+adminapi.PathCheckpoint) {
		t.Fatalf("these are not all paths: %q", patterns)
	}
	const turnedAway = 0
	for name, tc := range map[string]struct {
		by         *authority
		units      []string
		withFronts bool // the primary has listeners for fronts
		ready, any int
	}{
		"front by its CA":                      {fronts, nil, true, http.StatusOK, http.StatusForbidden},
		"front by its CA and unit":             {fronts, []string{frontUnit}, true, http.StatusOK, http.StatusForbidden},
		"front by its unit":                    {ours, []string{"other", frontUnit}, true, http.StatusOK, http.StatusForbidden},
		"front by its unit, without fronts":    {ours, []string{frontUnit}, false, http.StatusOK, http.StatusForbidden},
		"the fronts' CA, without fronts":       {fronts, nil, false, turnedAway, turnedAway},
		"administrator":                        {ours, nil, true, http.StatusOK, http.StatusOK},
		"administrator, without fronts":        {ours, nil, false, http.StatusOK, http.StatusOK},
		"secondary":                            {ours, []string{secondaryUnit}, true, http.StatusForbidden, http.StatusForbidden},
		"a secondary's unit by the fronts' CA": {fronts, []string{secondaryUnit}, true, http.StatusOK, http.StatusForbidden},
		"monitor":                              {ours, []string{conf.MonitorUnit}, true, http.StatusForbidden, http.StatusForbidden},
		"operator":                             {ours, []string{conf.OperatorUnit}, true, http.StatusOK, http.StatusOK},
		"stranger":                             {foreign, nil, true, turnedAway, turnedAway},
		"stranger with a front's unit":         {foreign, []string{frontUnit}, true, turnedAway, turnedAway},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHubRig(t)
			a := &admin{p: r.p, log: r.p.log}
			r.p.opened = make(chan struct{})
			close(r.p.opened)
			server := AdminConfig{TLSClientCA: ours.pool()}
			server.TLSCert, server.TLSKey = ours.issue("primary-0", 2)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var front *conf.Certificate
			if tc.withFronts {
				front = frontCert
			}
			trust, err := loadAdminTrust(server, front)
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{Handler: a.handler(prometheus.NewRegistry(), trust), ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
			addr := l.Addr().String()
			go func() { _ = srv.Serve(trust.listen(l)) }()
			t.Cleanup(func() { _ = srv.Close() })

			c := AdminConfig{TLSClientCA: ours.pool()}
			c.TLSCert, c.TLSKey = tc.by.issue("client", 3, tc.units...)
			hc, err := adminClient(c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(hc.CloseIdleConnections)
			want := map[string]int{"HEAD " + adminapi.PathLive: tc.ready}
			for _, pattern := range patterns {
				switch {
				case pattern == patternReady: // whether it is ready is another matter than whether one may ask; below
				case pattern == patternLive:
					want[pattern] = tc.ready
				case name == "secondary" && slices.Contains([]string{patternChanges, patternReport, patternDigest}, pattern):
					// TestSecondaryIsNoAdministrator
				case name == "monitor" && pattern == patternMetrics:
					want[pattern] = http.StatusOK
				case tc.any != http.StatusOK || pattern == "GET "+adminapi.PathMetrics:
					want[pattern] = tc.any // with an administrator's other requests one would get to parts that this primary has not
				}
			}
			if tc.any != http.StatusOK {
				for _, request := range []string{"POST " + adminapi.PathLive, "GET /debug/pprof/heap", "GET /nowhere", "GET /livez/../v1/keys"} {
					want[request] = tc.any
				}
			}
			for request, status := range want {
				method, path, _ := strings.Cut(strings.ReplaceAll(request, "{name}", "x"), " ")
				req, err := http.NewRequestWithContext(t.Context(), method, "https://"+addr+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				got := turnedAway
				resp, err := hc.Do(req)
				if err == nil {
					_ = resp.Body.Close()
					got = resp.StatusCode
				}
				if got != status {
					t.Errorf("%s: %d, want %d", request, got, status)
				}
			}
			resp, err := hc.Get("https://" + addr + adminapi.PathReady)
			if (err != nil) != (tc.ready == turnedAway) {
				t.Fatalf("/readyz: %v", err)
			}
			if err == nil {
				_ = resp.Body.Close()
				if (resp.StatusCode == http.StatusForbidden) != (tc.ready == http.StatusForbidden) {
					t.Errorf("/readyz: %s", resp.Status)
				}
			}
		})
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
			_, err := loadDNSFiles(tc.cfg, slog.New(slog.DiscardHandler))
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

// TestSecondaryIsNoFront: a secondary's certificate opens no fronts' listener, whoever signed it.
func TestSecondaryIsNoFront(t *testing.T) {
	ca := newAuthority(t, "everything")
	for name, tc := range map[string]struct {
		units []string
		want  string
	}{
		"front":             {[]string{frontUnit}, ""},
		"without a unit":    {nil, ""},
		"secondary":         {[]string{secondaryUnit}, "secondary \"client\""},
		"both, so to speak": {[]string{frontUnit, secondaryUnit}, "secondary \"client\""},
	} {
		certFile, keyFile := ca.issue("client", 3, tc.units...)
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		err = noSecondary(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if noSecondary(tls.ConnectionState{}) == nil {
		t.Error("nobody's certificate was enough")
	}
}
