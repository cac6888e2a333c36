package devcluster

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// registryCalls is where a fake primary notes what it was told about secondaries, a call a line.
const registryCalls = "registry-calls"

// handleRegistry plays the registry of secondaries.
func handleRegistry(mux *http.ServeMux, calls string) {
	var mu sync.Mutex
	registered := map[string]bool{}
	note := func(r *http.Request) {
		f, err := os.OpenFile(calls, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		fmt.Fprintln(f, r.Method, r.PathValue("name"))
	}
	mux.HandleFunc("PUT "+adminapi.PathSecondary, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		note(r)
		registered[r.PathValue("name")] = true
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE "+adminapi.PathSecondary, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		note(r)
		if !registered[r.PathValue("name")] {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(adminapi.Error{Code: adminapi.CodeNotFound, Message: "it is not registered"})
			return
		}
		delete(registered, r.PathValue("name"))
		w.WriteHeader(http.StatusNoContent)
	})
}

// fakeSecondary has a secondary's processes and its admin socket.
func fakeSecondary(config string) error {
	cfg, err := secondary.LoadConfig(config)
	if err != nil {
		return err
	}
	secret, err := os.ReadFile(cfg.Key.SecretFile)
	if err != nil {
		return err
	}
	if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(secret))); err != nil || len(b) != secretSize {
		return fmt.Errorf("secret of %d octets: %w", len(b), err)
	}
	if err := fakeNamed(filepath.Join(cfg.Dir, "..")); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathReady, func(http.ResponseWriter, *http.Request) {})
	return serveFake(cfg.Admin.Listen, mux)
}

func withSecondaries(dir string, n int) Config {
	cfg := testConfig(dir)
	cfg.Secondaries = n
	return cfg
}

// dev.json and the configuration of a secondary, as scripts and the program read them.
func TestSecondariesGolden(t *testing.T) {
	p := plan{Base: 5300, Listen: "127.0.0.1", Primaries: 3, Secondaries: 2, Token: "t", Secret: "c2VjcmV0", Formed: true}
	cfg := testConfig("/var/lib/dev")
	cfg.Named = "/usr/sbin/named"
	cfg.Adjust = func(pc *primary.Config) { // secondaries follow primaries where they are, not where the plan puts them
		if pc.Name == "primary-1" {
			pc.DNS.Listen[0], pc.Admin.Listen = "127.64.0.2:5320", "127.64.0.2:5321"
		}
	}
	cfg.AdjustSecondary = func(sc *secondary.Config) { sc.DNS.ClientAddresses = "preserved" }
	c := &Cluster{cfg: cfg, plan: p, zones: []string{"example.test"}, processes: map[string]*process{}}
	c.members = p.members(cfg)
	c.secondaries = p.secondaries(cfg, c.members)
	golden(t, "dev.json", c.describe())
	golden(t, "secondary-1.json", c.secondaries[1].config)
	for _, s := range c.secondaries {
		if err := s.config.Validate(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != string(got) {
		t.Errorf("%s (%v): run with -rewrite if this is meant:\n%s", path, err, got)
	}
}

// No two sockets of a cluster of the greatest size share a port, and all are in its range.
func TestPortsDiffer(t *testing.T) {
	const base = 20000
	seen := map[int]string{base: "relay"}
	note := func(port int, what string) {
		if other := seen[port]; other != "" || port <= base || port >= base+portsPerCluster {
			t.Errorf("port %d of %s: %q has it, or it is out of the range of %d", port, what, other, portsPerCluster)
		}
		seen[port] = what
	}
	for i := range 5 {
		for o := range portsPerPrimary {
			note(primaryPort(base, i, o), fmt.Sprintf("primary-%d, %d", i, o))
		}
	}
	for i := range maxSecondaries {
		for o := range portsPerSecondary {
			note(secondaryPort(base, i, o), fmt.Sprintf("secondary-%d, %d", i, o))
		}
	}
}

func TestAKilledSecondaryStaysDeadUntilItIsStarted(t *testing.T) {
	c := startTest(t, withSecondaries(t.TempDir(), 2))
	before := c.Info().Secondaries
	if len(before) != 2 || !alive(before[1].PID) || !alive(before[1].NamedPID) {
		t.Fatalf("dev.json: %+v", before)
	}
	if err := StartMember(t.Context(), c.Dir(), "secondary-2"); err == nil || !strings.Contains(err.Error(), "primary-2, secondary-0, secondary-1") {
		t.Errorf("starting an unknown secondary: %v", err)
	}
	_ = syscall.Kill(before[1].PID, syscall.SIGKILL)
	eventually(t, "dev.json says that it is dead", func() bool {
		i, err := ReadInfo(c.Dir())
		return err == nil && i.Secondaries[1].PID == 0 && i.Secondaries[1].NamedPID == 0
	})
	if err := StartMember(t.Context(), c.Dir(), "secondary-1"); err != nil {
		t.Fatal(err)
	}
	i, err := ReadInfo(c.Dir())
	if err != nil || i.Secondaries[1].PID == 0 || i.Secondaries[1].PID == before[1].PID || i.Secondaries[0] != before[0] {
		t.Errorf("dev.json after the start: %+v, %v", i.Secondaries, err)
	}
}

// A cluster is resumed with another number of secondaries; one that comes back has the key that it had.
func TestResumeWithAnotherNumberOfSecondaries(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(roleEnv, "server")
	run := func(n int, want string) []SecondaryInfo {
		t.Helper()
		c, err := Start(t.Context(), withSecondaries(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		i := c.Info()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for _, s := range i.Secondaries {
			if alive(s.PID) {
				t.Errorf("%s outlived the cluster", s.Name)
			}
		}
		calls := filepath.Join(dir, "primary-0", registryCalls)
		b, err := os.ReadFile(calls)
		if err != nil && want != "" || string(b) != want {
			t.Errorf("with %d secondaries the primaries were told %q (%v), want %q", n, b, err, want)
		}
		_ = os.Remove(calls)
		if primaries, secondaries, ok := Made(dir); primaries != 3 || secondaries != n || !ok {
			t.Errorf("made with %d primaries and %d secondaries, %v", primaries, secondaries, ok)
		}
		return i.Secondaries
	}
	secret := func(i int) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, secondaryName(i), secretFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	run(0, "")
	first := run(2, "PUT secondary-0\nPUT secondary-1\n")
	old := secret(1)
	if l := run(1, "PUT secondary-0\nDELETE secondary-1\n"); len(l) != 1 {
		t.Errorf("one secondary: %+v", l)
	}
	if l := run(3, "PUT secondary-0\nPUT secondary-1\nPUT secondary-2\n"); len(l) != 3 || l[1].DNS != first[1].DNS {
		t.Errorf("three secondaries: %+v; of before: %+v", l, first)
	}
	if secret(1) != old || secret(2) == old {
		t.Error("the secret of a secondary changed, or is another's too")
	}

	// The ports of those that are new must be free.
	p, err := loadPlan(withSecondaries(dir, 3))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(secondaryPort(p.Base, 3, offsetAdmin))))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Start(t.Context(), withSecondaries(dir, 4)); err == nil || !strings.Contains(err.Error(), "or say --secondaries 3") {
		t.Errorf("a port of a new secondary is taken: %v", err)
	}
}

// The first start needs every secondary; later the others go on without one that is broken.
func TestBrokenSecondary(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(roleEnv, "server")
	broken := filepath.Join(dir, "secondary-0", "broken")
	if err := os.MkdirAll(filepath.Dir(broken), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), withSecondaries(dir, 1)); err == nil || !strings.Contains(err.Error(), "secondary-0 is broken on purpose") {
		t.Errorf("the error should quote the log: %v", err)
	}
	c := startTest(t, withSecondaries(dir, 1))
	if i := c.Info(); i.Secondaries[0].PID != 0 || i.Primaries[0].PID == 0 {
		t.Errorf("dev.json: %+v", i)
	}
}
