package endpoint

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
)

var (
	proxyKey   = []byte("a key shared by fronts and primaries")
	clientAddr = netip.MustParseAddrPort("192.0.2.77:40000")
	serverAddr = netip.MustParseAddrPort("198.51.100.1:53")
	loopback   = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

// addressWorld has a zone that 192.0.2.0/24 may update and query without a key.
func addressWorld(t *testing.T) *world {
	w := newWorld(t)
	w.set(func(s *testSettings) {
		z := testZone(t, "example.test.", "key")
		z.AllowUpdate = acl(t, `192.0.2.0/24;`)
		s.zones[z.ID.Name] = z
	})
	return w
}

// TestProxySpoofing defends D4 and I6: an address is authority only when a front
// proves it; headers from elsewhere get no hearing at all.
func TestProxySpoofing(t *testing.T) {
	plain := updateMsg(t, "example.test.", "h.example.test.")
	now := time.Now()
	header := func(udp bool, key []byte) []byte {
		var payload []byte
		if udp {
			payload = plain
		}
		return proxyproto.Append(nil, clientAddr, serverAddr, udp, key, now, payload)
	}
	for _, tc := range []struct {
		name  string
		from  []netip.Prefix
		key   []byte // of the header; nil: no MAC
		proxy bool
		want  int // -1: closed or silent
		why   string
	}{
		{name: "proven by a front", from: loopback, key: proxyKey, proxy: true, want: 0},
		{name: "reported by a front", from: loopback, proxy: true, want: 5},
		{name: "forged behind a front's address", from: loopback, key: []byte("not the key that the primaries have"), proxy: true, want: -1, why: "the same key"},
		{name: "from elsewhere", key: proxyKey, proxy: true, want: -1, why: "dns.proxy_from"},
		{name: "a front without a header", from: loopback, want: -1, why: "header"},
		{name: "a client without a header", want: 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := addressWorld(t)
			reg := prometheus.NewRegistry()
			said := new(logged)
			s := w.start(func(c *Config) {
				c.ProxyFrom, c.ProxyKeys, c.Registerer, c.Logger = tc.from, proxyproto.Fixed(proxyKey), reg, slog.New(slog.NewTextHandler(said, nil))
			})
			udp, tcp := plain, []byte(nil)
			if tc.proxy {
				udp, tcp = append(header(true, tc.key), plain...), header(false, tc.key)
			}
			c := tcpDial(t, s.Addrs()[0])
			if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(tcp); err != nil {
				t.Fatal(err)
			}
			_ = xfr.WriteFrame(c, plain) // may meet a closed connection
			reply, err := xfr.ReadFrame(c, nil)
			if tc.want < 0 {
				if err == nil {
					t.Errorf("TCP: answered with RCODE %d", rcodeOf(reply))
				}
				if _, err = udpTry(s.Addrs()[0], udp, 300*time.Millisecond); err == nil {
					t.Error("UDP: answered")
				}
				if counter(t, reg, "drops_total", dropProxy) < 2 {
					t.Error("not counted")
				}
				for _, via := range []string{"tcp", "udp"} {
					if !said.has("level=WARN", "PROXY header refused", "client=127.0.0.1:", "transport="+via, tc.why) {
						t.Errorf("%s: the log does not say who and why (%s): %s", via, tc.why, said)
					}
				}
				return
			}
			if err != nil || rcodeOf(reply) != tc.want {
				t.Errorf("TCP: %v, want RCODE %d", err, tc.want)
			}
			if got := rcodeOf(udpAsk(t, s.Addrs()[0], udp)); got != tc.want {
				t.Errorf("UDP: RCODE %d, want %d", got, tc.want)
			}
			for _, u := range w.updates() {
				if u.Addr != clientAddr.Addr() || !u.AddrProven {
					t.Errorf("proposed %+v", u)
				}
			}
		})
	}
}

// TestFrontDatagrams: on a port for fronts the header proves itself, whatever the address it comes from (I6), and nothing else is heard.
func TestFrontDatagrams(t *testing.T) {
	w := addressWorld(t)
	reg := prometheus.NewRegistry()
	ca := newAuthority(t)
	s := w.start(func(c *Config) {
		c.ListenFront = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		cert := ca.issue(t, 2)
		c.FrontTLS = func() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: ca.pool} }
		c.ProxyKeys, c.Registerer = proxyproto.Fixed(proxyKey), reg
	})
	plain := updateMsg(t, "example.test.", "h.example.test.")
	at := s.FrontAddrs()[0]
	for name, header := range map[string][]byte{
		"no header": nil,
		"no MAC":    proxyproto.Append(nil, clientAddr, serverAddr, true, nil, time.Now(), plain),
		"other key": proxyproto.Append(nil, clientAddr, serverAddr, true, []byte("not the key that the primaries have"), time.Now(), plain),
		"too old":   proxyproto.Append(nil, clientAddr, serverAddr, true, proxyKey, time.Now().Add(-time.Hour), plain),
	} {
		before := counter(t, reg, "drops_total", dropProxy)
		if _, err := udpTry(at, append(header, plain...), 200*time.Millisecond); err == nil {
			t.Errorf("%s: answered", name)
		}
		if counter(t, reg, "drops_total", dropProxy) == before {
			t.Errorf("%s: not counted", name)
		}
	}
	header := proxyproto.Append(nil, clientAddr, serverAddr, true, proxyKey, time.Now(), plain)
	if got := rcodeOf(udpAsk(t, at, append(header, plain...))); got != 0 {
		t.Errorf("RCODE %d", got)
	}
	if l := w.updates(); len(l) != 1 || l[0].Addr != clientAddr.Addr() || !l[0].AddrProven {
		t.Errorf("proposed %+v", l)
	}
	// The usual port wants no header meanwhile.
	if got := rcodeOf(udpAsk(t, s.Addrs()[0], plain)); got != 5 {
		t.Errorf("without a header at the usual port: RCODE %d", got)
	}
}

// TestUnprovenAddressIsRecorded: what a front reports goes into the log as data.
func TestUnprovenAddressIsRecorded(t *testing.T) {
	w := newWorld(t)
	s := w.start(func(c *Config) { c.ProxyFrom = loopback })
	signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), testKey(t, "key.", tsig.HMACSHA256), time.Now())
	reply := udpAsk(t, s.Addrs()[0], append(proxyproto.Append(nil, clientAddr, serverAddr, true, nil, time.Now(), nil), signed...))
	if rcodeOf(reply) != 0 {
		t.Fatalf("RCODE %d", rcodeOf(reply))
	}
	if u := w.updates()[0]; u.Addr != clientAddr.Addr() || u.AddrProven {
		t.Errorf("proposed %+v", u)
	}
}

// authority makes certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) issue(t testing.TB, serial int64) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"zonekeeper.test"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func tlsAsk(t testing.TB, c net.Conn, config *tls.Config, msg []byte) ([]byte, *tls.Conn, error) {
	t.Helper()
	tc := tls.Client(c, config)
	if err := tc.Handshake(); err != nil {
		return nil, nil, err
	}
	if err := xfr.WriteFrame(tc, msg); err != nil {
		return nil, nil, err
	}
	reply, err := xfr.ReadFrame(tc, nil)
	return reply, tc, err
}

// TestTLS: DNS over TLS with ALPN "dot", and a certificate that is replaced while
// the endpoint runs.
func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	w := newWorld(t)
	var config atomic.Pointer[tls.Config]
	s := w.start(func(c *Config) {
		c.ListenTLS = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		c.TLS = config.Load
	})
	k := testKey(t, "key.", tsig.HMACSHA256)
	signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), k, time.Now())
	for serial := int64(2); serial <= 3; serial++ {
		config.Store(&tls.Config{Certificates: []tls.Certificate{ca.issue(t, serial)}})
		reply, tc, err := tlsAsk(t, tcpDial(t, s.TLSAddrs()[0]), &tls.Config{RootCAs: ca.pool, ServerName: "zonekeeper.test", NextProtos: []string{"dot"}}, signed)
		if err != nil {
			t.Fatal(err)
		}
		if err := tsig.VerifyResponse(reply, signed, k, time.Now()); err != nil || rcodeOf(reply) != 0 {
			t.Errorf("RCODE %d, %v", rcodeOf(reply), err)
		}
		state := tc.ConnectionState()
		if state.NegotiatedProtocol != "dot" || state.PeerCertificates[0].SerialNumber.Int64() != serial {
			t.Errorf("ALPN %q, certificate %d", state.NegotiatedProtocol, state.PeerCertificates[0].SerialNumber)
		}
	}
	if u := w.updates()[0]; !u.TCP {
		t.Error("TLS does not count as TCP")
	}
	// Cleartext on the TLS port is closed, not answered.
	c := tcpDial(t, s.TLSAddrs()[0])
	tcpSend(t, c, signed)
	if b, err := xfr.ReadFrame(c, nil); err == nil {
		t.Errorf("cleartext answered: % x", b)
	}
}

// TestFrontTLS: a front's client certificate proves the addresses it reports.
func TestFrontTLS(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	w := addressWorld(t)
	s := w.start(func(c *Config) {
		c.ListenFront = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		c.FrontTLS = func() *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{ca.issue(t, 2)}, ClientCAs: ca.pool}
		}
	})
	ask := func(cert []tls.Certificate, header []byte) ([]byte, error) {
		c := tcpDial(t, s.FrontAddrs()[0])
		if _, err := c.Write(header); err != nil {
			return nil, err
		}
		reply, _, err := tlsAsk(t, c, &tls.Config{RootCAs: ca.pool, ServerName: "zonekeeper.test", Certificates: cert}, updateMsg(t, "example.test.", "h.example.test."))
		return reply, err
	}
	header := proxyproto.Append(nil, clientAddr, serverAddr, false, nil, time.Now(), nil)
	if reply, err := ask([]tls.Certificate{ca.issue(t, 3)}, header); err != nil || rcodeOf(reply) != 0 {
		t.Errorf("front: %v", err)
	}
	if u := w.updates(); len(u) != 1 || !u[0].AddrProven || u[0].Addr != clientAddr.Addr() {
		t.Errorf("proposed %+v", u)
	}
	for name, cert := range map[string][]tls.Certificate{"no certificate": nil, "a stranger's": {stranger.issue(t, 4)}} {
		if reply, err := ask(cert, header); err == nil {
			t.Errorf("%s: answered % x", name, reply)
		}
	}
	if reply, err := ask([]tls.Certificate{ca.issue(t, 5)}, nil); err == nil {
		t.Errorf("no header: answered % x", reply)
	}
}

// TestReplyLeavesFromWhereTheRequestCame asks a wildcard socket at an address
// that is not the one the kernel would choose.
func TestReplyLeavesFromWhereTheRequestCame(t *testing.T) {
	w := newWorld(t)
	s := w.start(func(c *Config) {
		c.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0"), netip.MustParseAddrPort("[::1]:0")}
	})
	query := queryMsg(t, "elsewhere.", dns.TypeA)
	// A connected socket takes datagrams from that very address only.
	if got := rcodeOf(udpAsk(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.99"), s.Addrs()[0].Port()), query)); got != 5 {
		t.Errorf("RCODE %d", got)
	}
	for _, ask := range []func(testing.TB, netip.AddrPort, []byte) []byte{udpAsk, tcpAsk} {
		if got := rcodeOf(ask(t, s.Addrs()[1], query)); got != 5 {
			t.Errorf("IPv6: RCODE %d", got)
		}
	}
}
