package haproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Primary is one server behind HAProxy.
type Primary struct {
	Name  string         // as HAProxy shows it: letters, digits, '-', '_', '.' and ':'
	DNS   netip.AddrPort // a primary's dns.listen_front: PROXY header, then mutual TLS
	Admin uint16         // port of its admin API, on the same address, for /readyz
}

// Config is what a configuration file is made of. Start from [DefaultConfig].
type Config struct {
	// Dir holds the sockets that the file names: see SocketPath and ServfailPath.
	Dir string
	// Listen are the addresses that clients use. With Transparent they need not be on this node: only who holds them gets packets.
	Listen      []netip.AddrPort
	Transparent bool
	// ProxyFrom are load balancers: connections from there, and from nowhere else, begin with a PROXY header. What such a load
	// balancer sends without one is refused.
	ProxyFrom []netip.Prefix

	Primaries []Primary
	// Identity is the front's certificate and whom it trusts: see [Install].
	Identity Identity
	// ServerName is in the certificate of every primary; "" means that each one's has its own name. HAProxy knows names only: an
	// address in a certificate is nothing to it.
	ServerName string

	Checks Checks
	Limits Limits
	// IdleTimeout ends a connection on which the client is silent, ServerTimeout one on which the primary owes an answer, and
	// FirstOctets one on which nothing came since it was opened.
	IdleTimeout, ServerTimeout, FirstOctets time.Duration
	// ConnectTimeout is what a primary that swallows packets costs a client, once.
	ConnectTimeout time.Duration
	// HardStop ends a replaced process that still has connections.
	HardStop time.Duration

	// Metrics is where HAProxy's own Prometheus exporter listens; the zero value: nowhere.
	Metrics netip.AddrPort
}

// Checks is how HAProxy asks a primary whether it is ready.
type Checks struct {
	Every   time.Duration // between two checks; twice as often while the state is changing
	Timeout time.Duration // of the answer
	Fall    int           // failures in a row that take a primary out
	Rise    int           // successes in a row that take it in
}

// Limits bound what clients can take.
type Limits struct {
	Connections          int            // at the same time, of all clients
	ConnectionsPerClient int            // of one address at the same time
	ConnectionsPerSecond int            // new ones of one address
	Exempt               []netip.Prefix // addresses without the limits of one address
}

// Identity is what the TLS to the primaries needs: made by [Install].
type Identity struct {
	PEM string // certificate and key in one file
	CA  string // signed the primaries' certificates
	// Sum stands for the content of the files. It is written into the configuration, so that other content is another
	// configuration and the running HAProxy is replaced.
	Sum string
}

// DefaultConfig has every value that has a sensible default.
func DefaultConfig() Config {
	return Config{
		Dir: "/run/zonekeeper-front", Transparent: true,
		Checks:      Checks{Every: 200 * time.Millisecond, Timeout: 800 * time.Millisecond, Fall: 2, Rise: 1},
		Limits:      Limits{Connections: 10000, ConnectionsPerClient: 200, ConnectionsPerSecond: 100},
		IdleTimeout: 30 * time.Second, ServerTimeout: 30 * time.Second, FirstOctets: 5 * time.Second,
		ConnectTimeout: 300 * time.Millisecond, HardStop: 30 * time.Second,
		Metrics: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 8405),
	}
}

// SocketPath is HAProxy's stats socket: states are read there, and listening sockets handed over.
func SocketPath(dir string) string { return filepath.Join(dir, "haproxy.sock") }

// StatePath is where a process that replaces another one reads what that one knew of the primaries.
func StatePath(dir string) string { return filepath.Join(dir, "haproxy.state") }

// ServfailPath is where the front itself answers when no primary can be reached.
func ServfailPath(dir string) string { return filepath.Join(dir, "servfail.sock") }

// maxSocketPath is what Linux and HAProxy's temporary names beside the socket leave of the 107 octets of a UNIX address.
const maxSocketPath = 90

// Validate reports every mistake at once, each with field, value and remedy.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("haproxy: %s: %s", field, fmt.Sprintf(format, args...)))
	}
	checkPath(bad, "Dir", c.Dir)
	if n := len(SocketPath(c.Dir)); n > maxSocketPath {
		bad("Dir", "%q makes socket paths of %d octets; use a path of at most %d", c.Dir, n, maxSocketPath-len("/haproxy.sock"))
	}
	checkPath(bad, "Identity.PEM", c.Identity.PEM)
	checkPath(bad, "Identity.CA", c.Identity.CA)
	if strings.ContainsFunc(c.Identity.Sum, notName) {
		bad("Identity.Sum", "%q; use letters and digits", c.Identity.Sum)
	}
	if len(c.Listen) == 0 {
		bad("Listen", "empty; give at least one address and port")
	}
	for _, a := range c.Listen {
		if !a.IsValid() || a.Port() == 0 {
			bad("Listen", "%s is not an address with a port", a)
		}
	}
	if len(c.Primaries) == 0 {
		bad("Primaries", "empty; HAProxy is told the last list that was not")
	}
	seen := map[string]bool{}
	for _, p := range c.Primaries {
		if p.Name == "" || strings.ContainsFunc(p.Name, notName) || seen[p.Name] {
			bad("Primaries", "%q is not a name of its own; use letters, digits, '-', '_', '.' and ':', each name once", p.Name)
		}
		seen[p.Name] = true
		if !p.DNS.IsValid() || p.DNS.Addr().Zone() != "" || p.DNS.Port() == 0 || p.Admin == 0 {
			bad("Primaries", "%s: %s and admin port %d; both need an address and a port", p.Name, p.DNS, p.Admin)
		}
	}
	if strings.ContainsFunc(c.ServerName, notName) {
		bad("ServerName", "%q is not a name in a certificate", c.ServerName)
	}
	if _, err := netip.ParseAddr(c.ServerName); err == nil {
		bad("ServerName", "%s is an address, which HAProxy does not look for in certificates; give a name", c.ServerName)
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"IdleTimeout", c.IdleTimeout}, {"ServerTimeout", c.ServerTimeout}, {"FirstOctets", c.FirstOctets}, {"ConnectTimeout", c.ConnectTimeout},
		{"HardStop", c.HardStop}, {"Checks.Every", c.Checks.Every}, {"Checks.Timeout", c.Checks.Timeout},
	} {
		if d.value < time.Millisecond {
			bad(d.field, "%s; use at least 1ms", d.value)
		}
	}
	for _, n := range []struct {
		field string
		value int
	}{
		{"Checks.Fall", c.Checks.Fall}, {"Checks.Rise", c.Checks.Rise}, {"Limits.Connections", c.Limits.Connections},
		{"Limits.ConnectionsPerClient", c.Limits.ConnectionsPerClient}, {"Limits.ConnectionsPerSecond", c.Limits.ConnectionsPerSecond},
	} {
		if n.value < 1 {
			bad(n.field, "%d; use 1 or more", n.value)
		}
	}
	return errors.Join(errs...)
}

func checkPath(bad func(string, string, ...any), field, path string) {
	// HAProxy would read a quotation mark, a '$' or a space as the end or as something else.
	if !filepath.IsAbs(path) || strings.ContainsAny(path, " \t\r\n\"'\\#$") {
		bad(field, "%q; use an absolute path without spaces, quotation marks, '\\', '#' and '$'", path)
	}
}

func notName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:", r)
}
