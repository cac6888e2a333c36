// Package clientconf writes a TSIG key as the configuration of the clients that use it: nsupdate, BIND, external-dns, cert-manager, Kea. It is
// pure.
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
	ExternalDNS = "external-dns"
	CertManager = "cert-manager"
	Kea         = "kea"
)

// Formats are the names of all formats.
func Formats() []string { return []string{Nsupdate, BIND, ExternalDNS, CertManager, Kea} }

// Write gives the text of a format.
func Write(format string, t Target) (string, error) {
	switch format {
	case Nsupdate:
		return nsupdate(t)
	case BIND:
		return bind(t)
	case ExternalDNS:
		return externalDNS(t)
	case CertManager:
		return certManager(t)
	case Kea:
		return kea(t)
	}
	return "", fmt.Errorf("format %q; use one of %s", format, strings.Join(Formats(), ", "))
}

// nsupdate is the head of an nsupdate script.
func nsupdate(t Target) (string, error) {
	return fmt.Sprintf("server %s %d\nkey %s:%s %s\nzone %s\n", t.Host, t.Port, t.Algorithm, t.Name, t.Secret, t.firstZone()), nil
}

// bind is for named.conf, and for nsupdate -k and dig -k.
func bind(t Target) (string, error) {
	return fmt.Sprintf("key %q {\n\talgorithm %s;\n\tsecret %q;\n};\n", t.Name, t.Algorithm, t.Secret), nil
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

// certManager is a Secret and a ClusterIssuer's solver. cert-manager writes
// algorithms in its own way, and holds the base64 text itself as the secret.
func certManager(t Target) (string, error) {
	alg := strings.ToUpper(strings.ReplaceAll(t.Algorithm, "-", ""))
	var selector strings.Builder
	for _, z := range t.zones() {
		fmt.Fprintf(&selector, "            - %s\n", z)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata:
  name: rfc2136-%[1]s
  namespace: cert-manager
stringData:
  tsig-secret: %[2]s
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata:
  name: letsencrypt
spec:
  acme:
    server: https://acme-v02.api.letsencrypt.org/directory
    privateKeySecretRef:
      name: letsencrypt-account
    solvers:
      - selector:
          dnsZones:
%[3]s        dns01:
          rfc2136:
            nameserver: %[4]s
            tsigKeyName: %[5]s
            tsigAlgorithm: %[6]s
            tsigSecretSecretRef:
              name: rfc2136-%[1]s
              key: tsig-secret
`, strings.ToLower(strings.ReplaceAll(t.Name, ".", "-")), t.Secret, selector.String(),
		net.JoinHostPort(t.Host, strconv.Itoa(t.Port)), t.Name, alg), nil
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
