package cli

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestProbe: a process is asked with its own certificate, at its own port, and must be itself.
func TestProbe(t *testing.T) {
	ca := harness.NewAuthority(t, "admin")
	cert, key, own := ca.IssueFor("primary-0", "", "primary-0.primary.example")
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathLive, func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET "+adminapi.PathReady, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(adminapi.Error{Code: adminapi.CodeUnavailable, Message: "catching up with the log"})
	})
	srv := httptest.NewUnstartedServer(mux)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: ca.Pool, ClientAuth: tls.RequireAndVerifyClientCert}
	srv.StartTLS()
	defer srv.Close()
	_, port, _ := strings.Cut(srv.Listener.Addr().String(), ":")
	file := func(c map[string]any) string {
		path := filepath.Join(t.TempDir(), "c.json")
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	admin := map[string]any{"listen": "0.0.0.0:" + port, "tls_cert": cert, "tls_key": key, "tls_client_ca": ca.CA}
	good := file(map[string]any{"name": "primary-0", "dir": "/d", "admin": admin})
	otherCert, otherKey, _ := ca.IssueFor("primary-1", "", "primary-1.primary.example")
	other := file(map[string]any{"name": "primary-1", "admin": map[string]any{
		"listen": "0.0.0.0:" + port, "tls_cert": otherCert, "tls_key": otherKey, "tls_client_ca": ca.CA}})
	for _, c := range []struct {
		name string
		env  string
		args []string
		code int
		want string
	}{
		{name: "lives", args: []string{"--config", good}},
		{name: "lives, by the environment", env: good},
		{name: "is not ready", args: []string{"--config", good, "--ready"}, code: ExitFailed, want: "primary-0: catching up with the log"},
		{name: "is somebody else", args: []string{"--config", other}, code: ExitFailed, want: "primary-1.primary.example"},
		{name: "no file named", code: ExitUsage, want: "--config is missing"},
		{name: "no such file", args: []string{"--config", "/nowhere.json"}, code: ExitUsage, want: "/nowhere.json"},
		{name: "another file", args: []string{"--config", file(map[string]any{"mode": "vip"})}, code: ExitUsage, want: `admin.listen "" is not address:port`},
	} {
		r := run(t, map[string]string{envConfig: c.env}, "", append([]string{"probe"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: code %d, %q; want %d, %q", c.name, r.code, r.err, c.code, c.want)
		}
	}
}

// TestInstall: the program arrives whole, over an older one, and can be executed.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	to := filepath.Join(dir, "zonekeeper")
	if err := os.WriteFile(to, []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, nil, "", "install", dir); r.code != ExitOK {
		t.Fatal(r.err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(own)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.Stat(to)
	if err != nil || have.Size() != want.Size() || have.Mode().Perm()&0o111 != 0o111 {
		t.Errorf("%v %v; want %d octets", have, err, want.Size())
	}
	if r := run(t, nil, "", "install", filepath.Join(dir, "nowhere")); r.code != ExitFailed || !strings.Contains(r.err, "a directory that can be written to") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
}
