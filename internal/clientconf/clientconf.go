// Package clientconf writes a TSIG key as the configuration of the clients that use it. It is pure.
package clientconf

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Target is a key and what a client must know besides it.
type Target struct {
	Name, Algorithm, Secret string // without the final dot; base64
	Host                    string
	Port                    int
	Zones                   []string
}

// SetServer takes address or address:port; nothing becomes a placeholder that no
// client accepts silently.
func (t *Target) SetServer(s string) error {
	t.Host, t.Port = "SERVER-ADDRESS", 53
	if s == "" {
		return nil
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		t.Host, t.Port = ap.Addr().String(), int(ap.Port())
		return nil
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		t.Host = a.String()
		return nil
	}
	host, port := s, ""
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
		if t.Port, err = strconv.Atoi(port); err != nil || t.Port < 1 || t.Port > 65535 {
			return fmt.Errorf("server %q: %q is not a port; use 1 to 65535", s, port)
		}
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`"'/:[]`, r) }) {
		return fmt.Errorf("server %q: %q is neither an address nor a host name", s, host)
	}
	t.Host = host
	return nil
}

// SetZones takes the names of zones.
func (t *Target) SetZones(names []string) error {
	for _, name := range names {
		if _, err := zone.ParseName(name); err != nil {
			return fmt.Errorf("zone %q: %w", name, err)
		}
	}
	t.Zones = names
	return nil
}

// firstZone is for clients that are configured for one zone.
func (t Target) firstZone() string {
	if len(t.Zones) == 0 {
		return "ZONE"
	}
	return strings.TrimSuffix(t.Zones[0], ".")
}

// zones without their final dot, a placeholder when there are none.
func (t Target) zones() []string {
	if len(t.Zones) == 0 {
		return []string{"ZONE"}
	}
	l := make([]string, len(t.Zones))
	for i, z := range t.Zones {
		l[i] = strings.TrimSuffix(z, ".")
	}
	return l
}

// Names of formats.
const (
	Nsupdate    = "nsupdate"
	BIND        = "bind"
	Knsupdate   = "knsupdate"
	Dnspython   = "dnspython"
	Kea         = "kea"
	Certbot     = "certbot"
	Lego        = "lego"
	CertManager = "cert-manager"
	ExternalDNS = "external-dns"
	Gardener    = "gardener"
	Terraform   = "terraform"
)

// formats in the order in which they are listed.
func formats() []format {
	return []format{
		{Nsupdate, nsupdate}, {BIND, bind}, {Knsupdate, nsupdate}, {Dnspython, dnspython}, {Kea, kea}, {Certbot, certbot},
		{Lego, lego}, {CertManager, certManager}, {ExternalDNS, externalDNS}, {Gardener, gardener}, {Terraform, terraform},
	}
}

type format struct {
	name  string
	write func(Target) (string, error)
}

// Formats are the names of all formats.
func Formats() []string {
	var names []string
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

// Write gives the text of a format.
func Write(name string, t Target) (string, error) {
	for _, f := range formats() {
		if f.name == name {
			return f.write(t)
		}
	}
	return "", fmt.Errorf("format %q; use one of %s", name, strings.Join(Formats(), ", "))
}

// nsupdate is the head of a script of nsupdate or knsupdate.
func nsupdate(t Target) (string, error) {
	return fmt.Sprintf("server %s %d\nkey %s:%s %s\nzone %s\n", t.Host, t.Port, t.Algorithm, t.Name, t.Secret, t.firstZone()), nil
}

// bind is for named.conf, and for nsupdate -k and dig -k.
func bind(t Target) (string, error) {
	return fmt.Sprintf("key %q {\n\talgorithm %s;\n\tsecret %q;\n};\n", t.Name, t.Algorithm, t.Secret), nil
}

// dnspython is the beginning of a program: a keyring, and where to send to.
func dnspython(t Target) (string, error) {
	return fmt.Sprintf(`import dns.name, dns.query, dns.tsigkeyring, dns.update

server, port, zone = %q, %d, %q
keyring = dns.tsigkeyring.from_text({"%s.": ("%s.", %q)})
`, t.Host, t.Port, t.firstZone()+".", t.Name, t.Algorithm, t.Secret), nil
}

// externalDNS is its arguments, one a line. It lists all records by AXFR
// with the same key, so the zone must allow that.
func externalDNS(t Target) (string, error) {
	l := []string{
		"--provider=rfc2136",
		"--rfc2136-host=" + t.Host,
		"--rfc2136-port=" + strconv.Itoa(t.Port),
	}
	for _, z := range t.zones() {
		l = append(l, "--rfc2136-zone="+z, "--domain-filter="+z)
	}
	l = append(l,
		"--rfc2136-tsig-keyname="+t.Name,
		"--rfc2136-tsig-secret-alg="+t.Algorithm,
		"--rfc2136-tsig-secret="+t.Secret,
		"--rfc2136-tsig-axfr",
	)
	return strings.Join(l, "\n") + "\n", nil
}

// kea is the body of kea-dhcp-ddns.conf. Reverse zones go to reverse-ddns.
func kea(t Target) (string, error) {
	type server struct {
		Address string `json:"ip-address"`
		Port    int    `json:"port"`
	}
	type domain struct {
		Name    string   `json:"name"`
		Key     string   `json:"key-name"`
		Servers []server `json:"dns-servers"`
	}
	type domains struct {
		Domains []domain `json:"ddns-domains"`
	}
	type key struct {
		Name      string `json:"name"`
		Algorithm string `json:"algorithm"`
		Secret    string `json:"secret"`
	}
	type d2 struct {
		Keys    []key   `json:"tsig-keys"`
		Forward domains `json:"forward-ddns"`
		Reverse domains `json:"reverse-ddns"`
	}
	c := d2{
		Keys:    []key{{t.Name, strings.ToUpper(t.Algorithm), t.Secret}},
		Forward: domains{[]domain{}}, Reverse: domains{[]domain{}},
	}
	for _, z := range t.zones() {
		d := domain{Name: z + ".", Key: t.Name, Servers: []server{{t.Host, t.Port}}}
		if strings.HasSuffix(z, ".arpa") {
			c.Reverse.Domains = append(c.Reverse.Domains, d)
		} else {
			c.Forward.Domains = append(c.Forward.Domains, d)
		}
	}
	b, err := json.MarshalIndent(map[string]d2{"DhcpDdns": c}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("kea: %w", err)
	}
	return string(b) + "\n", nil
}
