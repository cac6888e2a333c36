package cluster

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestFronts defends D4 and I6: an UPDATE without a signature, into a zone that trusts addresses, is taken when a front that
// has authenticated itself says that it comes from such an address, and from nobody else. Over TCP a certificate
// authenticates the front, over UDP a MAC in the PROXY header.
func TestFronts(t *testing.T) {
	ours, foreign := harness.NewAuthority(t, "ours"), harness.NewAuthority(t, "foreign")
	addr := harness.FreeAddrs(t, 1)[0]
	certFile, keyFile, _ := ours.Issue("primary")
	proxyKey := []byte("0123456789abcdef0123456789abcdef")
	proxyKeyFile := filepath.Join(t.TempDir(), "proxy.key")
	if err := os.WriteFile(proxyKeyFile, []byte(base64.StdEncoding.EncodeToString(proxyKey)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Primaries = 1
		cfg.Adjust = func(p *primary.Config) {
			p.DNS.ListenFront = []string{addr}
			p.DNS.FrontTLSCert, p.DNS.FrontTLSKey, p.DNS.FrontTLSClientCA = certFile, keyFile, ours.CA
			p.DNS.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.77/32")}
			p.DNS.ProxyKeyFile = proxyKeyFile
		}
	})
	const origin = "byaddr.test."
	if _, err := c.Admin["primary-0"].AddZone(t.Context(), adminapi.AddZone{Name: origin, Settings: adminapi.ZoneSettings{AllowUpdate: "192.0.2.0/24;", AllowQuery: "any;"}}); err != nil {
		t.Fatal(err)
	}
	trusted, other := netip.MustParseAddrPort("192.0.2.77:40000"), netip.MustParseAddrPort("198.51.100.7:40000")
	front := func() tls.Certificate {
		_, _, cert := ours.Issue("front")
		return cert
	}
	_, _, strangers := foreign.Issue("stranger")
	record := 0
	message := func() []byte {
		record++
		rr := harness.A(zone.MustParseName(origin), fmt.Sprintf("r%d", record), 60, [4]byte{192, 0, 2, byte(record)})
		return named.AppendUpdate(nil, uint16(rand.Uint32()), zone.MustParseName(origin), nil, []zone.RR{rr})
	}
	header := func(src netip.AddrPort) []byte {
		return proxyproto.Append(nil, src, netip.MustParseAddrPort("198.51.100.53:53"), false, nil, time.Now(), nil)
	}
	overTLS := func(certs ...tls.Certificate) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: ours.Pool, Certificates: certs}
	}
	for _, tc := range []struct {
		name   string
		header []byte
		config *tls.Config // nil: no TLS
		want   int
	}{
		{"a front, for a client that the zone trusts", header(trusted), overTLS(front()), dns.RcodeSuccess},
		{"a front, for a client that it does not", header(other), overTLS(front()), dns.RcodeRefused},
		{"a certificate of another CA", header(trusted), overTLS(strangers), noAnswer},
		{"no certificate", header(trusted), overTLS(), noAnswer},
		{"no TLS", header(trusted), nil, noAnswer},
		{"no header", nil, overTLS(front()), noAnswer},
		{"no header, no TLS", nil, nil, noAnswer},
	} {
		t.Run("TCP/"+tc.name, func(t *testing.T) {
			rcode, _, err := throughFront(t.Context(), addr, tc.header, tc.config, message())
			if rcode != tc.want {
				t.Errorf("rcode %d (%v), want %d", rcode, err, tc.want)
			}
		})
	}

	for _, tc := range []struct {
		name string
		from string
		key  []byte
		want int
	}{
		{"a front with the key", "127.0.0.77", proxyKey, dns.RcodeSuccess},
		{"a front without a MAC", "127.0.0.77", nil, dns.RcodeRefused},
		{"another key", "127.0.0.77", []byte("another key of more than 16 octets"), noAnswer},
		{"the key, from elsewhere", "127.0.0.1", proxyKey, noAnswer},
	} {
		t.Run("UDP/"+tc.name, func(t *testing.T) {
			msg := message()
			b := proxyproto.Append(nil, trusted, netip.MustParseAddrPort("198.51.100.53:53"), true, tc.key, time.Now(), msg)
			if rcode := fromAddr(t, tc.from, c.Primary("primary-0").DNS, append(b, msg...), binary.BigEndian.Uint16(msg)); rcode != tc.want {
				t.Errorf("rcode %d, want %d", rcode, tc.want)
			}
		})
	}

	// Certificates are replaced while the primary runs: its own and its key, then the CA, with which the old fronts go.
	before, _, err := serialOf(t.Context(), addr, header(trusted), overTLS(front()), message())
	if err != nil {
		t.Fatal(err)
	}
	ours.Issue("primary")
	c.Until(10*time.Second, "the new certificate is shown", func(ctx context.Context) error {
		now, rcode, err := serialOf(ctx, addr, header(trusted), overTLS(front()), message())
		if err == nil && (now == before || rcode != dns.RcodeSuccess) {
			err = fmt.Errorf("the certificate has number %s, rcode %d", now, rcode)
		}
		return err
	})
	next, err := os.ReadFile(foreign.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ours.CA, next, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Until(10*time.Second, "the new CA decides who is a front", func(ctx context.Context) error {
		if rcode, _, err := throughFront(ctx, addr, header(trusted), overTLS(strangers), message()); rcode != dns.RcodeSuccess {
			return fmt.Errorf("a front of the new CA: rcode %d, %w", rcode, err)
		}
		if rcode, _, _ := throughFront(ctx, addr, header(trusted), overTLS(front()), message()); rcode != noAnswer {
			return fmt.Errorf("a front of the old CA: rcode %d", rcode)
		}
		return nil
	})
	c.Verified()
	c.CheckLogs()
}

// frontPatience is how long an answer may take that should not come.
const frontPatience = 3 * time.Second

// throughFront sends a message as a front does, and gives the response code.
func throughFront(ctx context.Context, addr string, header []byte, config *tls.Config, msg []byte) (int, *tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, frontPatience)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return noAnswer, nil, err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(frontPatience)); err != nil {
		return noAnswer, nil, err
	}
	if _, err := raw.Write(header); err != nil {
		return noAnswer, nil, err
	}
	conn := raw
	var secure *tls.Conn
	if config != nil {
		config = config.Clone()
		config.ServerName = "127.0.0.1"
		secure = tls.Client(raw, config)
		conn = secure
	}
	co := dns.Conn{Conn: conn}
	if _, err := co.Write(msg); err != nil {
		return noAnswer, secure, err
	}
	buf := make([]byte, dns.MaxMsgSize)
	n, err := co.Read(buf)
	if err != nil || n < 12 {
		return noAnswer, secure, errors.Join(err, fmt.Errorf("%d octets", n))
	}
	return int(binary.BigEndian.Uint16(buf[2:]) & 15), secure, nil
}

// serialOf gives the serial number of the certificate that the primary shows.
func serialOf(ctx context.Context, addr string, header []byte, config *tls.Config, msg []byte) (string, int, error) {
	rcode, conn, err := throughFront(ctx, addr, header, config, msg)
	if err != nil {
		return "", rcode, err
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), rcode, nil
}

// fromAddr sends a datagram from a loopback address and gives the answer's response code.
func fromAddr(t *testing.T, from, to string, b []byte, id uint16) int {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(t.Context(), "udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(frontPatience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, dns.MaxMsgSize)
	n, err := conn.Read(buf)
	if err != nil {
		return noAnswer
	}
	if n < 12 || binary.BigEndian.Uint16(buf) != id {
		t.Fatalf("% x is no answer to %d", buf[:n], id)
	}
	return int(binary.BigEndian.Uint16(buf[2:]) & 15)
}
