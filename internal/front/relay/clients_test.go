package relay

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/endpoint"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	patience = 20 * time.Second
	// tries of an external client, whose own clock gives up on a loaded machine.
	tries = 3
)

var secret = []byte("0123456789abcdef0123456789abcdef")

func testKey(t testing.TB) tsig.Key {
	t.Helper()
	k, err := tsig.NewKey(tsig.Key{Name: zone.MustParseName("key."), Algorithm: tsig.HMACSHA256, Secret: secret, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// updateMsg is an unsigned UPDATE that adds one address.
func updateMsg(t testing.TB, owner string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate("example.test.")
	rr, err := dns.NewRR(owner + ".example.test. 60 IN A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	m.Insert([]dns.RR{rr})
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func signedUpdate(t testing.TB, owner string) []byte {
	t.Helper()
	return tsig.SignRequest(updateMsg(t, owner), testKey(t), time.Now())
}

func queryMsg(t testing.TB, name string) []byte {
	t.Helper()
	b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// strip passes datagrams on without their PROXY header, and answers back: for servers that know no such header. It serves one
// request at a time.
func strip(t *testing.T, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	in, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	out, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, maxDatagram)
		for {
			n, client, err := in.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			h, err := proxyproto.Parse(b[:n], nil, proxyproto.Keys{proxyKey}, time.Now())
			if err != nil || !h.Proven {
				t.Errorf("the relay's header: %v, proven: %v", err, h.Proven)
			}
			if _, err = out.Write(b[h.Length:n]); err != nil {
				return
			}
			if n, err = out.Read(b); err != nil {
				return
			}
			if _, err = in.WriteToUDPAddrPort(b[:n], client); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { in.Close(); out.Close(); <-done })
	return in.LocalAddr().(*net.UDPAddr).AddrPort()
}

// client sends a signed update or query in its own way, and is content only when the answer's signature verifies.
type client struct {
	name string
	send func(t *testing.T, to netip.AddrPort) error
}

func clients() []client {
	script := func(to netip.AddrPort) string {
		return fmt.Sprintf("server %s %d\nzone example.test.\nupdate add h.example.test. 60 A 192.0.2.1\nsend\n", to.Addr(), to.Port())
	}
	encoded := base64.StdEncoding.EncodeToString(secret)
	return []client{
		{"package tsig", func(t *testing.T, to netip.AddrPort) error {
			return askSigned(t, to, updateMsg(t, "h"))
		}},
		{"package tsig, with another original ID", func(t *testing.T, to netip.AddrPort) error {
			// As a client behind another relay of this kind sends it.
			k := testKey(t)
			msg := tsig.SignRequest(updateMsg(t, "h"), k, time.Now())
			binary.BigEndian.PutUint16(msg, binary.BigEndian.Uint16(msg)+1)
			reply, err := ask(t, to, msg)
			if err == nil {
				err = tsig.VerifyResponse(reply, msg, k, time.Now())
			}
			return err
		}},
		{"miekg/dns", func(t *testing.T, to netip.AddrPort) error {
			m := new(dns.Msg)
			if err := m.Unpack(updateMsg(t, "h")); err != nil {
				return err
			}
			m.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
			c := dns.Client{TsigSecret: map[string]string{"key.": encoded}, Timeout: patience}
			reply, _, err := c.ExchangeContext(t.Context(), m, to.String())
			if err == nil && (reply.Rcode != 0 || reply.IsTsig() == nil) {
				err = fmt.Errorf("RCODE %d, TSIG RR %v", reply.Rcode, reply.IsTsig())
			}
			return err
		}},
		{"package tsig, a query", func(t *testing.T, to netip.AddrPort) error {
			return askSigned(t, to, queryMsg(t, "ns.example.test."))
		}},
		{"miekg/dns, a query", func(t *testing.T, to netip.AddrPort) error {
			m := new(dns.Msg).SetQuestion("ns.example.test.", dns.TypeA)
			m.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
			c := dns.Client{TsigSecret: map[string]string{"key.": encoded}, Timeout: patience}
			reply, _, err := c.ExchangeContext(t.Context(), m, to.String())
			if err == nil && (len(reply.Answer) != 1 || reply.IsTsig() == nil) {
				err = fmt.Errorf("RCODE %d, TSIG RR %v", reply.Rcode, reply.IsTsig())
			}
			return err
		}},
		{"dig", func(t *testing.T, to netip.AddrPort) error {
			return run(t, "", "dig", "@"+to.Addr().String(), "-p", fmt.Sprint(to.Port()), "-y", "hmac-sha256:key:"+encoded, "+tries=1", "+timeout=10", "ns.example.test.")
		}},
		{"nsupdate", func(t *testing.T, to netip.AddrPort) error {
			return run(t, script(to), "nsupdate", "-y", "hmac-sha256:key:"+encoded, "-t", "10", "-u", "5")
		}},
		{"knsupdate", func(t *testing.T, to netip.AddrPort) error {
			return run(t, script(to)+"answer\n", "knsupdate", "-y", "hmac-sha256:key:"+encoded, "-t", "10", "-r", "2")
		}},
	}
}

// complaint is what programs say that end with exit code 0 nevertheless.
var complaint = regexp.MustCompile(`(?i)\berror\b|could\x20?n.t verify|failure`)

// run runs a program, which must say nothing of errors.
func run(t *testing.T, input, name string, args ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err == nil && complaint.Match(out) {
		err = fmt.Errorf("%s complains", name)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return err
}

// askSigned asks with package tsig; the answer must be signed as well, and NOERROR.
func askSigned(t testing.TB, to netip.AddrPort, msg []byte) error {
	t.Helper()
	k := testKey(t)
	msg = tsig.SignRequest(msg, k, time.Now())
	reply, err := ask(t, to, msg)
	if err == nil {
		err = tsig.VerifyResponse(reply, msg, k, time.Now())
	}
	if err == nil && rcodeOf(reply) != 0 {
		err = fmt.Errorf("RCODE %d", rcodeOf(reply))
	}
	return err
}

func ask(t testing.TB, to netip.AddrPort, msg []byte) ([]byte, error) {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	b := make([]byte, maxDatagram)
	n, err := c.Read(b)
	return b[:n], err
}

func rcodeOf(msg []byte) int { return int(msg[3] & 0xf) }

// startNamed runs a named with one zone and one key until the test ends.
func startNamed(t *testing.T, rel namedtest.Release) netip.AddrPort {
	t.Helper()
	dir, addr := namedtest.Dir(t), namedtest.FreePort(t)
	conf := fmt.Sprintf(`key "key" { algorithm hmac-sha256; secret %q; };
controls { };
options { directory %q; pid-file none; session-keyfile none; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; notify no; empty-zones-enable no; dnssec-validation no; };
zone "example.test" { type primary; file "db"; allow-update { key "key"; }; };
`, base64.StdEncoding.EncodeToString(secret), dir, addr.Port())
	for name, text := range map[string]string{"named.conf": conf, "db": "$ORIGIN example.test.\n$TTL 60\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(rel.Named, "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: the error is expected
	})
	query := queryMsg(t, "ns.example.test.")
	for deadline := time.Now().Add(patience); ; {
		c, err := net.Dial("udp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = c.Write(query)
		b := make([]byte, 512)
		n, err := c.Read(b)
		c.Close()
		if err == nil && n > 3 && rcodeOf(b) == 0 {
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("named %s does not answer: %v", rel.Version, err)
		}
	}
}

// primary is everything behind an endpoint, in memory: a zone that a key may update, and a log that says yes.
type primary struct {
	tsig.Ring
	zone     endpoint.Zone
	proposed chan<- proposal // nil: all are applied
}

type proposal struct {
	update fsm.Update
	done   func(fsm.Result, error)
}

func (p *primary) Propose(c fsm.Command, _ time.Time, done func(fsm.Result, error)) {
	if p.proposed == nil {
		done(fsm.Result{}, nil)
		return
	}
	u := *c.(*fsm.Update)
	u.Wire = nil // it is the caller's
	p.proposed <- proposal{u, done}
}

func (p *primary) Barrier(context.Context, fsm.ZoneID) (endpoint.Permit, error) {
	return func() bool { return true }, nil
}
func (p *primary) Serving(fsm.ZoneID) (endpoint.Permit, error) {
	return func() bool { return true }, nil
}
func (p *primary) Refresh(context.Context) error             { return nil }
func (p *primary) Generation() uint64                        { return 1 }
func (p *primary) Secondary(zone.Name) bool                  { return false }
func (p *primary) Rate(zone.Name) (string, int)              { return "", 0 }
func (p *primary) Zone(n zone.Name) (endpoint.Zone, bool)    { return p.zone, n == p.zone.ID.Name }
func (p *primary) Enclosing(zone.Name) (endpoint.Zone, bool) { return p.zone, true }

// errNotApplied is the log's word that an update is not in it and never will be.
var errNotApplied = errors.New("no quorum")

// startPrimary runs an endpoint until the test ends.
func startPrimary(t testing.TB, proposed chan<- proposal, edit func(*endpoint.Config)) netip.AddrPort {
	t.Helper()
	ring, err := tsig.NewRing(testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	acl := func(text string) *policy.ACL {
		a, err := policy.ParseACL(text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	p := &primary{Ring: ring, proposed: proposed, zone: endpoint.Zone{
		ID: fsm.ZoneOf(zone.MustParseName("example.test.")), AllowUpdate: acl(`key "key"; 192.0.2.0/24;`), AllowQuery: acl("any;"), AllowTransfer: acl("none;"),
	}}
	cfg := endpoint.DefaultConfig()
	cfg.Listen = []netip.AddrPort{namedtest.FreePort(t)}
	cfg.Named = netip.MustParseAddrPort("127.0.0.1:1") // nobody
	cfg.Writer, cfg.Reader = p, p
	cfg.ProxyFrom, cfg.ProxyKeys = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, proxyproto.Fixed(proxyKey)
	cfg.NotApplied = []error{errNotApplied}
	cfg.Settings = func() endpoint.Settings { return p }
	if edit != nil {
		edit(&cfg)
	}
	s, err := endpoint.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s.Addrs()[0]
}

// TestReplacedID: signatures survive that the relay replaces the message ID. A MAC is computed over the original ID, which the
// TSIG RR carries (RFC 8945 section 4.3.2); servers answer with the header's ID, and clients go by the original ID of the answer.
func TestReplacedID(t *testing.T) {
	try := func(t *testing.T, to netip.AddrPort) {
		r := startRelay(t, nil, Upstream{Name: "primary", DNS: to})
		for _, c := range clients() {
			t.Run(c.name, func(t *testing.T) {
				var err error
				for range tries {
					if err = c.send(t, r.Addrs()[0]); err == nil {
						return
					}
				}
				t.Error(err)
			})
		}
	}
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		named := startNamed(t, rel)
		t.Run("named", func(t *testing.T) { try(t, strip(t, named)) })
		t.Run("endpoint", func(t *testing.T) {
			try(t, startPrimary(t, nil, func(c *endpoint.Config) { c.Named = named }))
		})
	})
}
