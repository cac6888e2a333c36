package conf_test

import (
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestCertificateIsReplaced: a new file is used without a restart, half a replacement is not.
func TestCertificateIsReplaced(t *testing.T) {
	a := harness.NewAuthority(t, "ca")
	certFile, keyFile, first := a.Issue("x")
	c, err := conf.LoadCertificate(certFile, keyFile, "")
	if err != nil {
		t.Fatal(err)
	}
	serial := func(der []byte) int64 {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	expect := func(what string, want int64) {
		t.Helper()
		c.Expire()
		if got := serial(c.Get().Certificate[0]); got != want {
			t.Errorf("%s: serial %d, want %d", what, got, want)
		}
	}
	before := serial(first.Certificate[0])
	expect("at first", before)
	old, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	_, _, second := a.Issue("x")
	next, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(certFile, old, 0o600); err != nil { // the new key is there, the new certificate not yet
		t.Fatal(err)
	}
	expect("half a replacement", before)
	if err := os.WriteFile(certFile, next, 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, certFile)
	expect("after the replacement", serial(second.Certificate[0]))
}

// TestCAIsReplaced: from the next handshake on the new CA decides.
func TestCAIsReplaced(t *testing.T) {
	before, after := harness.NewAuthority(t, "before"), harness.NewAuthority(t, "after")
	certFile, keyFile, _ := before.Issue("x")
	c, err := conf.LoadCertificate(certFile, keyFile, before.CA)
	if err != nil {
		t.Fatal(err)
	}
	old := c.Pool()
	b, err := os.ReadFile(after.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(before.CA, b, 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, before.CA)
	c.Expire()
	if c.Pool().Equal(old) {
		t.Error("the old CA is still in use")
	}
}

// touch gives a file a later time, however coarse the file system's clock is.
func touch(t *testing.T, path string) {
	t.Helper()
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
}
