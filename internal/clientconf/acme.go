package clientconf

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// This file has the clients that answer ACME's DNS-01 challenges, and those that keep records as code.

// certbot is the credentials file of certbot-dns-rfc2136. The address must be one: certbot resolves no name.
func certbot(t Target) (string, error) {
	return fmt.Sprintf(`dns_rfc2136_server = %s
dns_rfc2136_port = %d
dns_rfc2136_name = %s.
dns_rfc2136_secret = %s
dns_rfc2136_algorithm = %s
`, t.Host, t.Port, t.Name, t.Secret, strings.ToUpper(t.Algorithm)), nil
}

// lego is the environment of lego 3 to 5 and of Traefik, a variable a line.
func lego(t Target) (string, error) {
	return fmt.Sprintf("RFC2136_NAMESERVER=%s\nRFC2136_TSIG_KEY=%s.\nRFC2136_TSIG_ALGORITHM=%s.\nRFC2136_TSIG_SECRET=%s\n",
		t.address(), t.Name, t.Algorithm, t.Secret), nil
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
`, t.objectName(), t.Secret, selector.String(), t.address(), t.Name, alg), nil
}

// gardener is the Secret of a DNSProvider of Gardener's external-dns-management (type rfc2136), which knows one zone.
func gardener(t Target) (string, error) {
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata:
  name: rfc2136-%s
type: Opaque
stringData:
  Server: %q
  TSIGKeyName: %s.
  TSIGSecret: %s
  TSIGSecretAlgorithm: %s
  Zone: %s.
`, t.objectName(), t.address(), t.Name, t.Secret, t.Algorithm, t.firstZone()), nil
}

// terraform is the block of Terraform's and OpenTofu's provider "dns".
func terraform(t Target) (string, error) {
	return fmt.Sprintf(`provider "dns" {
  update {
    server        = %q
    port          = %d
    key_name      = "%s."
    key_algorithm = %q
    key_secret    = %q
  }
}
`, t.Host, t.Port, t.Name, t.Algorithm, t.Secret), nil
}

// address of the server, with its port.
func (t Target) address() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

// objectName is the key's name as part of the name of an object of Kubernetes.
func (t Target) objectName() string { return strings.ToLower(strings.ReplaceAll(t.Name, ".", "-")) }
