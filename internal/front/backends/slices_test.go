package backends

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// patience is for what should take milliseconds, on a machine that has other things to do.
const patience = 30 * time.Second

// api is an API server whose every answer the test gives by hand.
type api struct {
	t     *testing.T
	srv   *httptest.Server
	dir   string // the service account's
	calls chan *call
}

// call is one request that waits for its answer.
type call struct {
	t    *testing.T
	r    *http.Request
	done chan struct{}

	mu   sync.Mutex
	w    http.ResponseWriter
	gone bool // the client has, and w with it
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{t: t, dir: t.TempDir(), calls: make(chan *call)}
	a.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{t: t, r: r, w: w, done: make(chan struct{})}
		select {
		case a.calls <- c:
		case <-r.Context().Done():
			return
		}
		select {
		case <-c.done:
		case <-r.Context().Done():
			c.mu.Lock()
			c.gone = true
			c.mu.Unlock()
		}
	}))
	a.srv.EnableHTTP2 = true
	a.srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	a.srv.StartTLS()
	t.Cleanup(a.srv.Close)
	a.file("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.srv.Certificate().Raw})))
	a.file("token", "first\n")
	a.file("namespace", "dns\n")
	return a
}

func (a *api) file(name, text string) {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil { // at once, as the kubelet does it
		a.t.Fatal(err)
	}
}

func (a *api) env(name string) string {
	host, port, _ := strings.Cut(strings.TrimPrefix(a.srv.URL, "https://"), ":")
	return map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}[name]
}

// next waits for a request: a list when from is "", else a watch from that version.
func (a *api) next(token, from string) *call {
	a.t.Helper()
	select {
	case c := <-a.calls:
		q := c.r.URL.Query()
		if c.r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/dns/endpointslices" || q.Get("labelSelector") != "kubernetes.io/service-name=primaries" {
			a.t.Errorf("asked for %s", c.r.URL)
		}
		if got := c.r.Header.Get("Authorization"); got != "Bearer "+token {
			a.t.Errorf("authorization %q, want the token %q", got, token)
		}
		if (q.Get("watch") == "1") != (from != "") || q.Get("resourceVersion") != from {
			a.t.Fatalf("asked for %s; want a watch from %q", c.r.URL, from)
		}
		return c
	case <-time.After(patience):
		a.t.Fatal("no request")
		return nil
	}
}

// send writes text, which arrives at once.
func (c *call) send(format string, args ...any) {
	c.t.Helper()
	c.write(0, format, args...)
}

// write writes text, after a status unless that is 0. A client may leave when it has read what it wanted.
func (c *call) write(status int, format string, args ...any) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	if status != 0 {
		c.w.WriteHeader(status)
	}
	if _, err := fmt.Fprintf(c.w, format, args...); err != nil {
		c.t.Fatal(err)
	}
	c.w.(http.Flusher).Flush()
}

func (c *call) end() { close(c.done) }

func (c *call) answer(status int, format string, args ...any) {
	c.t.Helper()
	c.write(status, format, args...)
	c.end()
}

// sliceJSON makes an EndpointSlice of "pod=address" words; "!" before one makes it not ready, and "-" terminating.
func sliceJSON(name, version, words string) string {
	s := map[string]any{"metadata": map[string]any{"name": name, "resourceVersion": version}, "addressType": "IPv4"}
	var endpoints []any
	for _, w := range strings.Fields(words) {
		pod, addr, _ := strings.Cut(strings.TrimLeft(w, "!-"), "=")
		endpoints = append(endpoints, map[string]any{
			"addresses":  []string{addr},
			"conditions": map[string]any{"ready": !strings.HasPrefix(w, "!") && !strings.HasPrefix(w, "-"), "terminating": strings.HasPrefix(w, "-")},
			"targetRef":  map[string]any{"kind": "Pod", "name": pod},
		})
	}
	s["endpoints"] = endpoints
	b, _ := json.Marshal(s) // of strings and booleans
	return string(b)
}

// source runs a Slices against the API server; lists are events.
func (a *api) source(cfg SlicesConfig) (s Source, lists chan []Primary) {
	a.t.Helper()
	cfg.Service, cfg.Logger, cfg.RetryMin, cfg.RetryMax = "primaries", quiet(), time.Millisecond, time.Millisecond
	s, lists = Slices(cfg), make(chan []Primary, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(l []Primary) { lists <- l }) }()
	a.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			a.t.Errorf("Run: %v", err)
		}
	})
	return s, lists
}

func expect(t *testing.T, lists chan []Primary, words string) {
	t.Helper()
	select {
	case got := <-lists:
		if !slices.Equal(got, list(words)) {
			t.Errorf("%v, want %s", got, words)
		}
	case <-time.After(patience):
		t.Fatalf("no list; want %s", words)
	}
}

func expectStale(t *testing.T, s Source, reason string) {
	t.Helper()
	since, why := s.Stale()
	if (reason == "") != since.IsZero() || (reason != "" && !strings.Contains(why.Error(), reason)) {
		t.Errorf("stale since %v: %v; want %q", since, why, reason)
	}
}

// TestSlices: list, watch, and all that can come between.
func TestSlices(t *testing.T) {
	a := newAPI(t)
	cfg, err := DefaultSlicesConfig().InCluster(a.env, a.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, lists := a.source(cfg)

	a.next("first", "").answer(http.StatusOK, `{"metadata":{"resourceVersion":"10"},"items":[%s]}`, sliceJSON("s1", "7", "primary-1=192.0.2.2 !primary-0=192.0.2.1"))
	expect(t, lists, "primary-0=192.0.2.1 primary-1=192.0.2.2")

	w := a.next("first", "10")
	w.send(`{"type":"MODIFIED","object":%s}`+"\n", sliceJSON("s1", "11", "primary-0=192.0.2.1 primary-1=192.0.2.3"))
	expect(t, lists, "primary-0=192.0.2.1 primary-1=192.0.2.3")
	w.send(`{"type":"ADDED","object":%s}`+"\n", sliceJSON("s2", "12", "primary-2=192.0.2.9"))
	expect(t, lists, "primary-0=192.0.2.1 primary-1=192.0.2.3 primary-2=192.0.2.9")
	w.send(`{"type":"MODIFIED","object":%s}`+"\n", sliceJSON("s2", "13", "!primary-2=192.0.2.9")) // no news: readiness is for the checks
	w.send(`{"type":"DELETED","object":%s}`+"\n", sliceJSON("s2", "14", "primary-2=192.0.2.9"))
	expect(t, lists, "primary-0=192.0.2.1 primary-1=192.0.2.3")
	a.file("token", "second\n")
	w.send(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"20"}}}` + "\n")
	w.end()

	w = a.next("second", "20") // goes on where it was, with the token of now
	expectStale(t, s, "")
	w.send(`{"type":"ERROR","object":{"code":410,"message":"too old resource version"}}` + "\n")
	w.end()
	a.next("second", "").answer(http.StatusOK, `{"metadata":{"resourceVersion":"30"},"items":[]}`)
	w = a.next("second", "30")
	expectStale(t, s, "empty") // and the last list stays
	w.send(`{"type":"ADDED","object":%s}`+"\n", sliceJSON("s3", "31", "primary-0=192.0.2.1"))
	expect(t, lists, "primary-0=192.0.2.1")
	expectStale(t, s, "")
	w.send(`{"type":"DELETED","object":%s}`+"\n", sliceJSON("s3", "32", "primary-0=192.0.2.1"))
	w.end()

	w = a.next("second", "32")
	expectStale(t, s, "empty")
	w.answer(http.StatusGone, `{"code":410,"message":"too old"}`)
	a.next("second", "").answer(http.StatusForbidden, `{"code":403,"message":"no right"}`)
	c := a.next("second", "")
	expectStale(t, s, "no right; let the front's service account list and watch")
	c.answer(http.StatusOK, `{"metadata":{"resourceVersion":"40"},"items":[%s]}`, sliceJSON("s4", "39", "primary-0=192.0.2.1"))
	w = a.next("second", "40") // the list is as the last one: nobody is told
	expectStale(t, s, "")
	w.send(`{"type":"MODIFIED","object":{"metadata":`)
	w.end() // broken off
	c = a.next("second", "")
	expectStale(t, s, "watching endpointslices")
	if err := os.Remove(filepath.Join(a.dir, "token")); err != nil {
		t.Fatal(err)
	}
	c.answer(http.StatusInternalServerError, `not JSON`)
	for {
		if _, why := s.Stale(); why != nil && strings.Contains(why.Error(), "token") {
			break
		}
		if !pause(t.Context(), time.Millisecond) {
			t.Fatal("a missing token is no reason")
		}
	}
	a.file("token", "third")
	a.next("third", "").answer(http.StatusOK, `{"metadata":{"resourceVersion":"50"},"items":[%s]}`, sliceJSON("s5", "49", "primary-5=192.0.2.5"))
	expect(t, lists, "primary-5=192.0.2.5")
	a.next("third", "50").end()
	if len(lists) > 0 {
		t.Errorf("more: %v", <-lists)
	}
}

// TestSlicesCA: an API server that another CA vouches for is not believed, until the CA is replaced.
func TestSlicesCA(t *testing.T) {
	a := newAPI(t)
	right, err := os.ReadFile(filepath.Join(a.dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := os.ReadFile(harness.NewAuthority(t, "another").CA)
	if err != nil {
		t.Fatal(err)
	}
	a.file("ca.crt", string(wrong))
	cfg, err := DefaultSlicesConfig().InCluster(a.env, a.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, lists := a.source(cfg)
	for late := time.Now().Add(patience); ; {
		if _, why := s.Stale(); why != nil && strings.Contains(why.Error(), "certificate") {
			break
		}
		if !pause(t.Context(), time.Millisecond) || time.Now().After(late) {
			t.Fatal("a stranger's certificate is no reason")
		}
	}
	a.file("ca.crt", string(right))
	a.next("first", "").answer(http.StatusOK, `{"metadata":{"resourceVersion":"1"},"items":[%s]}`, sliceJSON("s", "1", "primary-0=192.0.2.1"))
	expect(t, lists, "primary-0=192.0.2.1")
	expectStale(t, s, "")
	a.next("first", "1").end()
}

// TestPrimaries: one pod in several slices is one primary.
func TestPrimaries(t *testing.T) {
	for name, tc := range map[string]struct {
		slices []string
		want   string
	}{
		"two families":            {[]string{"a=2001:db8::1", "a=192.0.2.1"}, "a=192.0.2.1"},
		"only IPv6":               {[]string{"a=2001:db8::1 b=2001:db8::2"}, "a=2001:db8::1 b=2001:db8::2"},
		"made anew":               {[]string{"-a=192.0.2.1", "!a=192.0.2.2"}, "a=192.0.2.2"},
		"made anew, and ready":    {[]string{"!a=192.0.2.1 a=192.0.2.2"}, "a=192.0.2.2"},
		"twice the same":          {[]string{"a=192.0.2.1", "a=192.0.2.1"}, "a=192.0.2.1"},
		"none is ready":           {[]string{"!a=192.0.2.1 !b=192.0.2.2"}, "a=192.0.2.1 b=192.0.2.2"},
		"a name is no address":    {[]string{"a=primary.example b=192.0.2.2"}, "b=192.0.2.2"},
		"an endpoint without one": {[]string{""}, ""},
		"with a zone":             {[]string{"a=fe80::1%eth0 b=192.0.2.2"}, "b=192.0.2.2"},
		"nobody's":                {[]string{"a=0.0.0.0 b=224.0.0.1 c=192.0.2.2"}, "c=192.0.2.2"},
		"a name to be quoted":     {[]string{"a;b=192.0.2.2"}, "192.0.2.2"},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]slice{}
			for i, words := range tc.slices {
				var s slice
				if err := json.Unmarshal([]byte(sliceJSON("s", "1", words)), &s); err != nil {
					t.Fatal(err)
				}
				all[fmt.Sprint(i)] = s
			}
			if got := sorted(primaries(all)); !slices.Equal(got, list(tc.want)) {
				t.Errorf("%v, want %s", got, tc.want)
			}
		})
	}
	var s slice
	if err := json.Unmarshal([]byte(`{"endpoints":[{"addresses":["192.0.2.1"],"hostname":"primary-0"},{"addresses":["192.0.2.2"]},{"addresses":[]}]}`), &s); err != nil {
		t.Fatal(err)
	}
	if got := sorted(primaries(map[string]slice{"s": s})); !slices.Equal(got, list("192.0.2.2 primary-0=192.0.2.1")) {
		t.Errorf("endpoints that are no pods: %v", got)
	}
}

// TestOutsideOfPod: what is missing is named.
func TestOutsideOfPod(t *testing.T) {
	if _, err := DefaultSlicesConfig().InCluster(func(string) string { return "" }, t.TempDir()); err == nil || !strings.Contains(err.Error(), "no pod") {
		t.Errorf("outside of a pod: %v", err)
	}
	inside := func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": "2001:db8::1", "KUBERNETES_SERVICE_PORT": "443"}[name]
	}
	if _, err := DefaultSlicesConfig().InCluster(inside, t.TempDir()); err == nil || !strings.Contains(err.Error(), "name the namespace") {
		t.Errorf("without a service account: %v", err)
	}
	c, err := SlicesConfig{Namespace: "dns", TokenFile: "own"}.InCluster(inside, "/account")
	if err != nil || c.API != "https://[2001:db8::1]:443" || c.TokenFile != "own" || c.CAFile != "/account/ca.crt" {
		t.Errorf("%+v, %v", c, err)
	}
}
