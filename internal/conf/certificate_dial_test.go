package conf_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestCAIsReplacedAtBothEnds: a client and a server that keep running go from one CA to another, each file replaced at a moment of its own, and understand each other at every
// step; in the end the old CA is worth nothing. The server has to be the one that is called.
func TestCAIsReplacedAtBothEnds(t *testing.T) {
	old, next := harness.NewAuthority(t, "old"), harness.NewAuthority(t, "next")
	read := func(file string) []byte {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tick := time.Now()
	put := func(file string, parts ...[]byte) {
		t.Helper()
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		tick = tick.Add(time.Second) // two writes of one moment look alike
		if err := os.WriteFile(file, all, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, tick, tick); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	type end struct {
		cert, key, ca string
		c             *conf.Certificate
	}
	start := func(name string) end {
		e := end{cert: dir + "/" + name + ".crt", key: dir + "/" + name + ".key", ca: dir + "/" + name + "-ca.crt"}
		certFile, keyFile, _ := old.Issue(name)
		put(e.cert, read(certFile))
		put(e.key, read(keyFile))
		put(e.ca, read(old.CA))
		var err error
		if e.c, err = conf.LoadCertificate(e.cert, e.key, e.ca); err != nil {
			t.Fatal(err)
		}
		return e
	}
	server, client := start("server"), start("client")
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = server.c.Mutual()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	transport := &http.Transport{DisableKeepAlives: true, DialTLSContext: client.c.Dial(&net.Dialer{Timeout: time.Second}, time.Second)}
	ask := func(url string) error {
		server.c.Expire()
		client.c.Expire()
		resp, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Get(url)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	step := func(what string) {
		t.Helper()
		if err := ask(srv.URL); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	step("at first")
	if err := ask(strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)); err == nil {
		t.Error("a server that was called by another name is believed")
	}
	put(client.ca, read(next.CA), read(old.CA))
	step("the client trusts both")
	put(server.ca, read(old.CA), read(next.CA))
	step("both trust both")
	leaf := func(e end, name string) {
		certFile, keyFile, _ := next.Issue(name)
		put(e.key, read(keyFile))
		put(e.cert, read(certFile))
	}
	leaf(server, "server")
	step("the server shows one of the next CA")
	leaf(client, "client")
	step("both do")
	put(server.ca, read(next.CA))
	step("the server trusts the next alone")
	put(client.ca, read(next.CA))
	step("both do")
	certFile, keyFile, _ := old.Issue("client")
	put(client.key, read(keyFile))
	put(client.cert, read(certFile))
	if err := ask(srv.URL); err == nil {
		t.Error("a certificate of the old CA is still believed")
	}
}
