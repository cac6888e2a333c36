package front

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	vip4, vip6 = "192.0.2.100", "2001:db8::100"

	portDNS, portFront, portAdmin = 53, 854, 8443

	// byAddress is a zone that takes unsigned updates from the client's addresses.
	byAddress = "byaddr.test."
	origin    = "example.test."
)

// hosts are the last octets of the addresses.
func hosts() map[string]byte {
	return map[string]byte{
		"client": 1, "stranger": 66,
		"front-a": 11, "front-b": 12, "front-c": 13,
		spareName:   14, // one more front, for what would disturb the three
		"balancer":  9,
		"primary-0": 20, "primary-1": 21, "primary-2": 22,
	}
}

func nodeNames() []string    { return []string{"front-a", "front-b", "front-c"} }
func primaryNames() []string { return []string{"primary-0", "primary-1", "primary-2"} }

// endpoints are the address of the front, by IPv4 and IPv6.
func endpoints() []string { return []string{vip4 + ":53", "[" + vip6 + "]:53"} }

// site is everything on the bridge.
type site struct {
	*harness.Bridge
	whole testing.TB // what it starts lives until this ends
	t     testing.TB // what fails, fails this: a part of it
	c     *harness.Cluster

	servers, fronts *harness.Authority
	proxyKeyFile    string
	nodes           map[string]*node
	streams         int // so far
}

// newSite starts the primaries. Fronts are started by the tests.
func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{
		whole: t, t: t, Bridge: harness.NewBridge(t, hosts()), nodes: map[string]*node{},
		servers: harness.NewAuthority(t, "servers"), fronts: harness.NewAuthority(t, "fronts"),
		proxyKeyFile: filepath.Join(t.TempDir(), "proxy.key"),
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	if err := os.WriteFile(s.proxyKeyFile, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.c = harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Adjust = s.adjust
		cfg.AdminClient = s.HTTPClient("client", s.servers)
		harness.Wrap(t, cfg, func(name string) []string { return s.Host(name).Enter() })
	})
	client := s.Host("client")
	_, err := s.c.Admin["primary-0"].AddZone(t.Context(), adminapi.AddZone{Name: byAddress, Settings: adminapi.ZoneSettings{
		AllowUpdate: fmt.Sprintf("%s; %s;", client.V4, client.V6), AllowQuery: "any;",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// part runs a part of the test. Parts run in order and leave the site as they found it.
func (s *site) part(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		testing, c, bridge := s.t, s.c, s.Bridge
		s.t, s.c, s.Bridge = t, s.c.For(t), s.Bridge.For(t)
		defer func() { s.t, s.c, s.Bridge = testing, c, bridge }()
		f(t)
	})
}

// adjust gives a primary its addresses, certificates and trust in the fronts.
func (s *site) adjust(c *primary.Config) {
	h := s.Host(c.Name)
	s.Bridge.Adjust(c)
	certFile, keyFile := s.certificate(c.Name)
	c.DNS.Listen = []string{addrPort(h.V4, portDNS), addrPort(h.V6, portDNS)}
	c.DNS.ListenFront = []string{addrPort(h.V4, portFront), addrPort(h.V6, portFront)}
	c.DNS.FrontTLSCert, c.DNS.FrontTLSKey, c.DNS.FrontTLSClientCA = certFile, keyFile, s.fronts.CA
	c.DNS.ProxyKeyFile = s.proxyKeyFile
	for _, name := range append(nodeNames(), spareName) {
		f := s.Host(name)
		c.DNS.ProxyFrom = append(c.DNS.ProxyFrom, netip.PrefixFrom(f.V4, 32), netip.PrefixFrom(f.V6, 128))
	}
	c.DNS.AuditUpdates = true
	c.Admin.Listen = addrPort(h.V4, portAdmin)
	c.Admin.TLSCert, c.Admin.TLSKey, c.Admin.TLSClientCA = certFile, keyFile, s.servers.CA
	for name := range c.Admin.Peers {
		c.Admin.Peers[name] = "https://" + addrPort(s.Host(name).V4, portAdmin)
	}
}

// certificate issues a primary's once: devcluster asks for its configuration more than once and wants the same.
func (s *site) certificate(name string) (certFile, keyFile string) {
	h := s.Host(name)
	certFile, keyFile = filepath.Join(filepath.Dir(s.servers.CA), name+".pem"), filepath.Join(filepath.Dir(s.servers.CA), name+".key")
	if _, err := os.Stat(keyFile); err == nil {
		return certFile, keyFile
	}
	certFile, keyFile, _ = s.servers.IssueFor(name, "", h.V4.String(), h.V6.String(), "primary")
	return certFile, keyFile
}

func addrPort(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }

// holders lists the nodes that have the address, by IPv4 or IPv6.
func (s *site) holders() (out []string) {
	s.t.Helper()
	for _, name := range nodeNames() {
		if len(s.held(name)) > 0 {
			out = append(out, name)
		}
	}
	return out
}

// holder waits until one node, and no other, has the address, and gives its name.
func (s *site) holder() string {
	s.t.Helper()
	var name string
	s.until(patient, "one node has the address", func(context.Context) error {
		l := s.holders()
		if len(l) != 1 {
			return fmt.Errorf("these have it: %v", l)
		}
		name = l[0]
		return nil
	})
	return name
}

// quiet fails the test for what must not happen on a machine that has time for us: make front. In make test, which may share two
// cores with others, checks and connections may be late, and the front is right to say so.
func (s *site) quiet(format string, args ...any) {
	s.t.Helper()
	if os.Getenv("ZONEKEEPER_MEASURE") == "Front" {
		s.t.Errorf(format, args...)
		return
	}
	s.t.Logf("no failure on a busy machine: "+format, args...)
}

// still runs a part of a test in which the address must not move by itself. On a machine without time for keepalived it does (a
// backup that hears nothing for three advertisements takes it); then the part is run again, and what it wants to fail with is
// forgotten. What moves the address every time is no accident.
func (s *site) still(what string, f func() error) {
	s.t.Helper()
	var moves []string
	for range 5 {
		s.holder()
		before := s.transitions()
		err := f()
		after := s.transitions()
		if before == after {
			if err != nil {
				s.t.Fatalf("%s: %v", what, err)
			}
			return
		}
		moves = append(moves, fmt.Sprintf("%v (%v)", after-before, err))
	}
	s.t.Fatalf("%s: the address moved in each of 5 attempts; changes of VRRP's state: %s", what, moves)
}

// transitions counts all changes of VRRP's state at the nodes.
func (s *site) transitions() (n float64) {
	s.t.Helper()
	for _, name := range nodeNames() {
		n += sum(s.nodes[name].metrics(), "zonekeeper_front_vip_transitions_total")
	}
	return n
}

func (s *site) until(limit time.Duration, what string, check func(context.Context) error) {
	s.t.Helper()
	s.c.Until(limit, what, check)
}
