package log

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newTLSFiles writes a CA and one certificate for 127.0.0.1 that serves in both directions.
func newTLSFiles(t *testing.T) *TLSFiles { return newTLSFilesFor(t, net.IPv4(127, 0, 0, 1)) }

func newTLSFilesFor(t *testing.T, addr net.IP) *TLSFiles {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "member"}, IPAddresses: []net.IP{addr},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	return &TLSFiles{
		CA: write("ca.pem", "CERTIFICATE", caDER), Cert: write("cert.pem", "CERTIFICATE", leafDER), Key: write("key.pem", "PRIVATE KEY", keyDER),
	}
}

// secure turns a cluster's configuration to TLS.
func secure(cfgs []MemberConfig, files *TLSFiles) {
	https := func(u string) string { return strings.Replace(u, "http://", "https://", 1) }
	for i := range cfgs {
		c := &cfgs[i]
		c.TLS, c.PeerURL, c.ClientURL = files, https(c.PeerURL), https(c.ClientURL)
		for name := range c.InitialCluster {
			c.InitialCluster[name] = https(c.InitialCluster[name])
			c.Peers[name] = https(c.Peers[name])
		}
	}
}

// TestTLS: bootstrap, a lost disk, a killed leader, and a client, all over mutual TLS; without a certificate nobody
// gets in.
func TestTLS(t *testing.T) {
	t.Parallel()
	files := newTLSFiles(t)
	cfgs := memberConfigs(t, 3)
	secure(cfgs, files)
	members := startAll(t, cfgs)
	l := openMember(t, members[0], nil, "r")
	mustSettle(t, l)
	mustAppend(t, l, "x")

	d := DialConfig{Endpoints: []string{cfgs[1].ClientURL}, TLS: files}
	remote, err := Dial(testContext(t), testConfig(t, nil, "remote"), d)
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	mustSettle(t, remote)
	mustAppend(t, remote, "y")

	d.TLS, d.DialTimeout = nil, time.Second
	d.Endpoints = []string{strings.Replace(cfgs[1].ClientURL, "https", "http", 1)}
	if l, err := Dial(testContext(t), testConfig(t, nil, "stranger"), d); err == nil {
		l.Close()
		t.Error("a client without a certificate got in")
	}

	members[2].Close()
	if err := os.RemoveAll(filepath.Join(cfgs[2].DataDir, "member")); err != nil {
		t.Fatal(err)
	}
	startOne(t, cfgs[2])
	awaitVoters(t, l, 3)
	mustAppend(t, l, "z")
}

// TestTLSFromAnotherAddress: a member whose certificate names another address than the one it calls from is a member all the same. In
// Kubernetes a pod that was started anew calls from an address that the name in its certificate does not lead to yet.
func TestTLSFromAnotherAddress(t *testing.T) {
	t.Parallel()
	files := newTLSFilesFor(t, net.IPv4(127, 0, 0, 2)) // connections within 127/8 come from 127.0.0.1
	cfgs := memberConfigs(t, 3)
	secure(cfgs, files)
	move := func(u string) string { return strings.Replace(u, "127.0.0.1", "127.0.0.2", 1) }
	for i := range cfgs {
		c := &cfgs[i]
		c.PeerURL, c.ClientURL = move(c.PeerURL), move(c.ClientURL)
		for name := range c.InitialCluster {
			c.InitialCluster[name], c.Peers[name] = move(c.InitialCluster[name]), move(c.Peers[name])
		}
	}
	l := openMember(t, startAll(t, cfgs)[0], nil, "r")
	mustSettle(t, l)
	mustAppend(t, l, "x")
	awaitVoters(t, l, 3)
}

// TestTLSKillLeader: the quick failover works over TLS as well.
func TestTLSKillLeader(t *testing.T) {
	files := newTLSFiles(t)
	nodes := startNodesOf(t, func() []MemberConfig {
		cfgs := memberConfigs(t, 3)
		secure(cfgs, files)
		return cfgs
	}())
	awaitAcks(t, nodes, 50)
	nodes = leaderOf(t, nodes)
	fault := time.Now()
	nodes[0].kill()
	awaitAcks(t, nodes[1:], 100)
	report(t, []time.Duration{gap(nodes[1:], fault)})
	checkHistory(t, nodes[1:], nodes)
}
