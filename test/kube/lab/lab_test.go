package lab

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLives: what an ended process has left is told from what belongs to one that runs, even if the number is used again.
func TestLives(t *testing.T) {
	own, err := identity(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	other, err := identity(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !lives(own) || !lives(other) {
		t.Errorf("%s or %s does not live", own, other)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	number, start, _ := strings.Cut(own, "-")
	for _, id := range []string{other, number + "-" + start + "0", "", "x-1"} {
		if lives(id) {
			t.Errorf("%q lives", id)
		}
	}
}

// TestCertificates: each kubelet is itself in the API server's eyes, and the API server is who its clients look for.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	p, err := newPKI(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.issueAll("127.0.0.1:6443", 2); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.cert)
	for file, want := range map[string]struct{ user, group, host string }{
		"apiserver":  {"kube-apiserver", "", "kubernetes.default.svc.cluster.local"},
		"n2":         {"system:node:n2", "system:nodes", ""},
		"n2-serving": {"system:node:n2", "system:nodes", "10.250.0.12"},
		"admin":      {"admin", "system:masters", ""},
	} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, file+".crt"), filepath.Join(dir, file+".key"))
		if err != nil {
			t.Fatal(err)
		}
		usage := []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: want.host, KeyUsages: usage}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if s := pair.Leaf.Subject; s.CommonName != want.user || strings.Join(s.Organization, " ") != want.group {
			t.Errorf("%s is %s", file, s)
		}
	}
}

func TestValidate(t *testing.T) {
	for what, change := range map[string]func(*Config){
		"absolute path":         func(c *Config) { c.Dir = "x" },
		"build-kube.sh":         func(c *Config) { c.Programs = "/no/such" },
		"address on loopback":   func(c *Config) { c.Listen = "0.0.0.0:1" },
		"Nodes is 10; use 1 to": func(c *Config) { c.Nodes = 10 },
		"no such file":          func(c *Config) { c.Images = []string{"/no/such.tar"} },
	} {
		c := DefaultConfig()
		c.Dir, c.Programs = "/x", t.TempDir()
		if err := os.WriteFile(filepath.Join(c.Programs, "kubelet"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err != nil && os.Geteuid() == 0 {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q: %v", what, err)
		}
	}
}

// TestCheckHierarchies: what is missing is named with the command that brings it; what is there is tried and left as it was.
func TestCheckHierarchies(t *testing.T) {
	dir := t.TempDir()
	var all []string
	for _, c := range controllers() {
		h := filepath.Join(dir, c)
		if err := os.Mkdir(h, 0o755); err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	if err := checkHierarchies(all); err != nil {
		t.Error(err)
	}
	for _, h := range all {
		if left, err := os.ReadDir(h); err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v", h, left, err)
		}
	}
	want := "mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer"
	if err := checkHierarchies(append(slices.Delete(all, 3, 4), "/no/such")); err == nil || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), "no control group can be made") {
		t.Errorf("want %q: %v", want, err)
	}
}
