package announce

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/apiserver"
)

// server is an API server with one Lease.
type server struct {
	mu      sync.Mutex
	denied  bool
	patches chan map[string]any
}

func (s *server) deny(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = yes
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	denied := s.denied
	s.mu.Unlock()
	if denied {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"message":"no"}`)
		s.patches <- nil
		return
	}
	var p map[string]any
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil || r.Method != http.MethodPatch || r.Header.Get("Content-Type") != "application/merge-patch+json" ||
		r.URL.Path != "/apis/coordination.k8s.io/v1/namespaces/fronts/leases/dns.c-front-vip" || r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, "{}")
	s.patches <- p
}

func start(t *testing.T, adjust func(*Config)) (*server, Config, *bytes.Buffer) {
	t.Helper()
	s := &server{patches: make(chan map[string]any, 100)}
	h := httptest.NewTLSServer(s)
	t.Cleanup(h.Close)
	dir := t.TempDir()
	for name, text := range map[string][]byte{"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), "token": []byte("secret\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var logged bytes.Buffer
	cfg := DefaultConfig()
	cfg.Server = apiserver.Config{API: h.URL, CAFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token")}
	cfg.Namespace, cfg.Lease, cfg.Name, cfg.Logger = "fronts", "dns.c-front-vip", "n1", slog.New(slog.NewTextHandler(&logged, nil))
	adjust(&cfg)
	return s, cfg, &logged
}

// of gives what a patch says of n1: nil when it takes the state away.
func of(t *testing.T, p map[string]any) *State {
	t.Helper()
	m, _ := p["metadata"].(map[string]any)
	a, _ := m["annotations"].(map[string]any)
	v, ok := a[Annotation+"n1"]
	if !ok {
		t.Fatalf("it says nothing of n1: %v", p)
	}
	if v == nil {
		return nil
	}
	text, _ := v.(string)
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return &s
}

// TestRun: news is said at once and once, what is the same only now and then, and an orderly end takes everything back.
func TestRun(t *testing.T) {
	s, cfg, _ := start(t, func(c *Config) { c.Every = time.Hour })
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	now := State{VRRP: "backup", Since: time.Unix(1, 0).UTC(), Ready: true, Score: 2}
	set := func(f func(*State)) { mu.Lock(); defer mu.Unlock(); f(&now) }
	look := func() State { mu.Lock(); defer mu.Unlock(); return now }
	ctx, stop := context.WithCancel(t.Context())
	news, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Run(ctx, news, look) }()
	if got := of(t, <-s.patches); *got != (State{VRRP: "backup", Since: time.Unix(1, 0).UTC(), Ready: true, Score: 2, Beat: 1}) {
		t.Errorf("at first: %+v", got)
	}
	news <- struct{}{} // nothing is new
	set(func(s *State) { s.VRRP, s.Message = "master", strings.Repeat("x", 1000) })
	news <- struct{}{}
	p := <-s.patches
	spec, _ := p["spec"].(map[string]any)
	if got := of(t, p); got.VRRP != "master" || got.Beat != 2 || len(got.Message) != longest || spec["holderIdentity"] != "n1" {
		t.Errorf("as master: %+v, %v", got, p)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := of(t, <-s.patches); got != nil {
		t.Errorf("after the end: %+v", got)
	}
	if len(s.patches) != 0 {
		t.Errorf("%d patches more", len(s.patches))
	}
}

// TestBeatAndFailure: an unchanged state is said again, and who is refused goes on trying, says so once, and with the remedy.
func TestBeatAndFailure(t *testing.T) {
	s, cfg, logged := start(t, func(c *Config) { c.Every, c.Retry = time.Millisecond, time.Millisecond })
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil, func() State { return State{VRRP: "fault"} }) }()
	first, second := of(t, <-s.patches), of(t, <-s.patches)
	if first.Beat != 1 || second.Beat != 2 {
		t.Errorf("beats %d, %d", first.Beat, second.Beat)
	}
	s.deny(true)
	for denied := 0; denied < 3; {
		if <-s.patches == nil {
			denied++
		}
	}
	s.deny(false)
	for <-s.patches == nil {
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(logged.String(), "can't be told"); n != 1 || !strings.Contains(logged.String(), "patch lease dns.c-front-vip in namespace fronts") {
		t.Errorf("%d times: %s", n, logged)
	}
}

func TestParseAndValidate(t *testing.T) {
	if _, err := Parse("{"); err == nil {
		t.Error("half an object is a state")
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "name all three") || !strings.Contains(err.Error(), "TokenFile") {
		t.Errorf("an empty Config: %v", err)
	}
}
