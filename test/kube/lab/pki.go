package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime of everything that is signed here. A cluster lives for hours.
const lifetime = 30 * 24 * time.Hour

// pki makes the keys of a cluster. Its files are NAME.crt, NAME.key and NAME.kubeconfig.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newPKI makes a CA, and the key that signs the tokens of ServiceAccounts.
func newPKI(dir string) (*pki, error) {
	p := &pki{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := p.newKey("ca")
	if err != nil {
		return nil, err
	}
	if _, err := p.newKey("service-accounts"); err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	p.key = key
	return p, p.write("ca.crt", "CERTIFICATE", der)
}

func (p *pki) path(file string) string { return filepath.Join(p.dir, file) }

func (p *pki) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, p.write(name+".key", "EC PRIVATE KEY", der)
}

func (p *pki) write(file, kind string, der []byte) error {
	return os.WriteFile(p.path(file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// issue makes a certificate for both ends of connections. The API server takes user and group from its subject.
func (p *pki) issue(file, user, group string, hosts ...string) error {
	key, err := p.newKey(file)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: user}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime)}
	if group != "" {
		template.Subject.Organization = []string{group}
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, key.Public(), p.key)
	if err != nil {
		return err
	}
	return p.write(file+".crt", "CERTIFICATE", der)
}

// kubeconfig makes a client of the API server, and its file, which holds everything.
func (p *pki) kubeconfig(name, user, group, server string) error {
	if err := p.issue(name, user, group); err != nil {
		return err
	}
	var encoded [3]string
	for i, file := range []string{"ca.crt", name + ".crt", name + ".key"} {
		b, err := os.ReadFile(p.path(file))
		if err != nil {
			return err
		}
		encoded[i] = base64.StdEncoding.EncodeToString(b)
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, `apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "%s", certificate-authority-data: %s}}]
users: [{name: %s, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: lab, context: {cluster: lab, user: %[3]s}}]
current-context: lab
`, server, encoded[0], name, encoded[1], encoded[2])
	return os.WriteFile(p.path(name+".kubeconfig"), text.Bytes(), 0o600)
}

// issueAll makes what a cluster needs. api is where the machine reaches the API server.
func (p *pki) issueAll(api string, nodes int) error {
	const masters = "system:masters"
	local, hub := fmt.Sprintf("https://127.0.0.1:%d", portAPI), fmt.Sprintf("https://%s:%d", hubAddr, portAPI)
	steps := []func() error{
		func() error {
			return p.issue("apiserver", "kube-apiserver", "", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc."+clusterName, "127.0.0.1", hubAddr, serviceAPI)
		},
		func() error { return p.issue("kubelet-client", "kube-apiserver-kubelet-client", masters) },
		func() error { return p.issue("aggregator", "aggregator", "") },
		func() error { return p.kubeconfig("admin", "admin", masters, "https://"+api) },
		func() error { return p.kubeconfig("provisioner", "storage-provisioner", masters, local) },
		func() error { return p.kubeconfig("controllers", "system:kube-controller-manager", "", local) },
		func() error { return p.kubeconfig("scheduler", "system:kube-scheduler", "", local) },
		func() error { return p.kubeconfig("proxy", "system:kube-proxy", "", hub) },
		func() error { return p.kubeconfig("policies", "network-policies", masters, hub) },
	}
	for i := 1; i <= nodes; i++ {
		name := NodeName(i)
		steps = append(steps,
			func() error { return p.kubeconfig(name, "system:node:"+name, "system:nodes", hub) },
			func() error { return p.issue(name+"-serving", "system:node:"+name, "system:nodes", name, nodeAddr(i)) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("lab: certificates: %w", err)
		}
	}
	return nil
}
