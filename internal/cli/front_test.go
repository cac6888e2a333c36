package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/front"
)

// frontConfig writes a front's configuration whose directory is dir.
func frontConfig(t *testing.T, dir string) (path string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/examples/front/vip.json")
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	c["dir"] = dir
	if b, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "front.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fakeFront is a front's socket with canned answers.
func fakeFront(t *testing.T, status adminapi.FrontStatus, live int) (config, socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "zkf-") // short, for the socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", front.SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(status) }
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathFront, answer)
	mux.HandleFunc("POST "+adminapi.PathFrontDrain, answer)
	mux.HandleFunc("GET "+adminapi.PathLive, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(live) })
	mux.HandleFunc("GET "+adminapi.PathReady, func(w http.ResponseWriter, _ *http.Request) {
		adminapi.WriteError(w, &adminapi.Error{Code: adminapi.CodeUnavailable, Message: "drain: it was drained"})
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return frontConfig(t, dir), front.SocketPath(dir)
}

func TestFrontStatus(t *testing.T) {
	s := adminapi.FrontStatus{
		Name: "node-a", Version: "v1.2.3", Mode: "vip", Healthy: true, Summary: "this node works; 2 of 3 primaries are ready", Score: 2,
		VIP: &adminapi.FrontVIP{State: "master", Since: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Held: []string{"192.0.2.100", "2001:db8::100"}},
		Primaries: []adminapi.FrontPrimary{
			{Name: "primary-0", Address: "198.51.100.10", State: "ready", HAProxy: "UP"},
			{Name: "primary-1", Address: "198.51.100.11", State: "ready", HAProxy: "DOWN", HAProxyReason: "L4TOUT"},
			{Name: "primary-2", Address: "198.51.100.12", State: "alive", Reason: "no quorum"},
		},
		Children: []adminapi.FrontChild{{Name: "haproxy", PID: 12}, {Name: "keepalived", PID: 13, Restarts: 1}},
	}
	config, _ := fakeFront(t, s, http.StatusOK)
	r := run(t, nil, "", "front", "status", "--config", config)
	if r.code != ExitOK {
		t.Errorf("%+v", r)
	}
	golden(t, "front-healthy.txt", r.out)

	s.Healthy, s.Summary, s.Score = false, "haproxy: it ended", 1
	s.Faults = []adminapi.FrontFault{{Part: "haproxy", Reason: "it ended"}}
	s.VIP.State, s.VIP.Held, s.VIP.Strangers, s.VIP.StrangersFrom = "fault", nil, 4, []string{"192.0.2.66"}
	s.Children[0].PID = 0
	s.Stale, s.Limits = "since 2026-11-23T12:00:00Z: no answer", map[string]int64{"udp rate": 12, "tcp": 3}
	config, _ = fakeFront(t, s, http.StatusOK)
	r = run(t, nil, "", "front", "status", "--config", config)
	if r.code != ExitFailed || r.err != "" {
		t.Errorf("%+v", r)
	}
	golden(t, "front-fault.txt", r.out)

	r = run(t, nil, "", "front", "drain", "--config", config)
	if r.code != ExitOK || !strings.Contains(r.out, "node-a is drained") {
		t.Errorf("%+v", r)
	}
	s.VIP.Held = []string{"192.0.2.100"}
	config, _ = fakeFront(t, s, http.StatusOK)
	if r = run(t, nil, "", "front", "drain", "--config", config); r.code != ExitFailed || !strings.Contains(r.err, "192.0.2.100 is still here") {
		t.Errorf("%+v", r)
	}
	for _, command := range []string{"status", "drain"} {
		r = run(t, nil, "", "front", command, "--config", frontConfig(t, "/nowhere"))
		if r.code != ExitFailed || !strings.Contains(r.err, "is the front running on this machine") {
			t.Errorf("%s: %+v", command, r)
		}
	}
}

func TestFrontProbe(t *testing.T) {
	for _, tc := range []struct {
		live int
		args []string
		code int
		want string
	}{
		{http.StatusOK, nil, ExitOK, ""},
		{http.StatusInternalServerError, nil, ExitFailed, "500"},
		{http.StatusOK, []string{"--ready"}, ExitFailed, "it was drained"},
	} {
		_, socket := fakeFront(t, adminapi.FrontStatus{}, tc.live)
		r := run(t, nil, "", append([]string{"front", "probe", "--socket", socket}, tc.args...)...)
		if r.code != tc.code || !strings.Contains(r.err, tc.want) {
			t.Errorf("%v: %+v", tc, r)
		}
	}
	// One that hangs does not keep the prober.
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if r := run(t, nil, "", "front", "probe", "--socket", l.Addr().String()); r.code != ExitFailed || !strings.Contains(r.err, "deadline exceeded") {
		t.Errorf("%+v", r)
	}
}

func TestFrontRun(t *testing.T) {
	config := frontConfig(t, "/run/nowhere")
	for want, tc := range map[error]int{
		nil:                   ExitOK,
		errors.New("it fell"): ExitFailed,
		fmt.Errorf("%w: no such interface", front.ErrConfig): ExitUsage,
	} {
		var errb bytes.Buffer
		p := Program{Version: "v1.2.3", Getenv: func(string) string { return "" }, In: strings.NewReader(""), Out: &errb, Err: &errb,
			RunFront: func(_ context.Context, cfg front.Config, version string, _ *slog.Logger) error {
				if cfg.Name != "node-a" || version != "v1.2.3" {
					t.Errorf("%s, %s", cfg.Name, version)
				}
				return want
			}}
		if code := p.Run(t.Context(), []string{"front", "--config", config}); code != tc || (want != nil && !strings.Contains(errb.String(), "node-a: "+want.Error())) {
			t.Errorf("%v: exit %d: %s", want, code, &errb)
		}
	}
	for _, args := range [][]string{{"front", "check"}, {"front", "render"}, {"front", "status"}, {"front", "drain"}} {
		if r := run(t, nil, "", args...); r.code != ExitUsage || !strings.Contains(r.err, "--config is missing") {
			t.Errorf("%v: %+v", args, r)
		}
		if r := run(t, nil, "", append(args, "--config", "/nowhere.json")...); r.code != ExitUsage || !strings.Contains(r.err, "/nowhere.json") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	// The example's certificate is not on this machine.
	for _, command := range []string{"check", "render"} {
		if r := run(t, nil, "", "front", command, "--config", config); r.code != ExitUsage || !strings.Contains(r.err, "/etc/zonekeeper/") {
			t.Errorf("%s: %+v", command, r)
		}
	}
	if r := run(t, nil, "", "front", "frobnicate"); r.code != ExitUsage || !strings.Contains(r.err, `unknown command "frobnicate"`) {
		t.Errorf("%+v", r)
	}
}
