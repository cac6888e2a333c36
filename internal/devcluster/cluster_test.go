package devcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/primary"
)

// roleEnv makes this test binary play another program of a cluster.
const roleEnv = "ZONEKEEPER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "named":
		select {}
	case "server":
		config, fake := os.Args[len(os.Args)-1], fakePrimary
		if filepath.Base(config) == "secondary.json" {
			fake = fakeSecondary
		}
		if err := fake(config); err != nil {
			fmt.Fprintln(os.Stderr, "fake server:", err)
			os.Exit(1)
		}
	case "dev":
		if err := fakeDev(os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, "fake dev:", err)
			os.Exit(1)
		}
	}
}

// fakePrimary has a primary's processes and sockets, and none of its insides: what
// it is told stays in memory, and it answers DNS with its own name.
func fakePrimary(config string) error {
	cfg, err := primary.LoadConfig(config)
	if err != nil {
		return err
	}
	if err := fakeNamed(filepath.Join(cfg.Dir, "..")); err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp", cfg.DNS.Listen[0])
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append(bytes.Clone(buf[:min(n, 12)]), cfg.Name...), from)
		}
	}()

	known := map[string]bool{}
	var zones []adminapi.Zone
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathReady, func(http.ResponseWriter, *http.Request) {})
	add := func(w http.ResponseWriter, what, name string) bool {
		if known[what+name] {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(adminapi.Error{Code: adminapi.CodeConflict, Message: what + " exists"})
			return false
		}
		known[what+name] = true
		return true
	}
	mux.HandleFunc("POST "+adminapi.PathKeys, func(w http.ResponseWriter, r *http.Request) {
		var k adminapi.AddKey
		_ = json.NewDecoder(r.Body).Decode(&k)
		if add(w, "key", k.Name) {
			_ = json.NewEncoder(w).Encode(adminapi.Key{Name: k.Name})
		}
	})
	mux.HandleFunc("POST "+adminapi.PathZones, func(w http.ResponseWriter, r *http.Request) {
		var z adminapi.AddZone
		_ = json.NewDecoder(r.Body).Decode(&z)
		if add(w, "zone", z.Name) {
			zones = append(zones, adminapi.Zone{Name: z.Name, Settings: z.Settings})
			_ = json.NewEncoder(w).Encode(zones[len(zones)-1])
		}
	})
	mux.HandleFunc("GET "+adminapi.PathZones, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(zones) })
	handleRegistry(mux, filepath.Join(cfg.Dir, "..", registryCalls))
	return serveFake(cfg.Admin.Listen, mux)
}

// fakeNamed runs a process that is called named, unless the server in home is broken on purpose.
func fakeNamed(home string) error {
	if _, err := os.Stat(filepath.Join(home, "broken")); err == nil {
		return fmt.Errorf("%s is broken on purpose", filepath.Base(home))
	}
	link := filepath.Join(home, "named-link", "named")
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		return err
	}
	_ = os.Remove(link)
	if err := os.Symlink(os.Args[0], link); err != nil {
		return err
	}
	named := exec.Command(link)
	named.Env = append(os.Environ(), roleEnv+"=named")
	return named.Start()
}

func serveFake(listen string, handler http.Handler) error {
	srv := &http.Server{Addr: listen, Handler: handler}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// fakeDev is a foreground process that runs a cluster until it is killed.
func fakeDev(dir string) error {
	cfg := testConfig(dir)
	if err := os.Setenv(roleEnv, "server"); err != nil {
		return err
	}
	if _, err := Start(context.Background(), cfg); err != nil {
		return err
	}
	select {}
}

func testConfig(dir string) Config {
	cfg := DefaultConfig()
	cfg.Dir = dir
	cfg.Port = 0
	cfg.Command = []string{os.Args[0], "-test.run=^$"}
	cfg.SecondaryCommand = cfg.Command
	cfg.ReadyTimeout = 30 * time.Second
	return cfg
}

func startTest(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	t.Setenv(roleEnv, "server")
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// eventually polls a condition of another process.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestStartDescribesTheCluster(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Zones = []string{"example.test", "second.test."}
	c := startTest(t, cfg)
	i, err := ReadInfo(c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if len(i.Primaries) != 3 || len(i.Secondaries) != 0 || fmt.Sprint(i.Zones) != "[example.test second.test]" {
		t.Errorf("dev.json: %+v", i)
	}
	if i.Key.Name != "dev-key" || i.Key.Algorithm != "hmac-sha256" || i.Key.Secret == "" {
		t.Errorf("key: %+v", i.Key)
	}
	for _, p := range i.Primaries {
		if !alive(p.PID) || !alive(p.NamedPID) {
			t.Errorf("%s: process %d and named %d should run", p.Name, p.PID, p.NamedPID)
		}
		for _, a := range []string{p.DNS, p.NamedDNS} {
			if _, err := netip.ParseAddrPort(a); err != nil {
				t.Error(err)
			}
		}
	}
	u, err := net.Dial("udp", i.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	_, _ = u.Write(make([]byte, 12))
	_ = u.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 100)
	if n, err := u.Read(buf); err != nil || !strings.HasPrefix(string(buf[12:n]), "primary-") {
		t.Errorf("through the relay: %q, %v", buf[:n], err)
	}
	if st, err := os.Stat(filepath.Join(c.Dir(), InfoFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("dev.json holds a secret and has mode %v (%v)", st.Mode(), err)
	}
}

func TestAKilledPrimaryStaysDeadUntilItIsStarted(t *testing.T) {
	c := startTest(t, testConfig(t.TempDir()))
	before := c.Info().Primaries[1]
	if err := StartMember(t.Context(), c.Dir(), before.Name); err == nil || !strings.Contains(err.Error(), "is running") {
		t.Errorf("starting a running primary: %v", err)
	}
	if err := StartMember(t.Context(), c.Dir(), "primary-9"); err == nil || !strings.Contains(err.Error(), "primary-0, primary-1, primary-2") {
		t.Errorf("starting an unknown primary: %v", err)
	}
	_ = syscall.Kill(before.PID, syscall.SIGKILL)
	eventually(t, "dev.json says that it is dead", func() bool {
		i, err := ReadInfo(c.Dir())
		return err == nil && i.Primaries[1].PID == 0 && i.Primaries[1].NamedPID == 0
	})
	eventually(t, "its named is gone", func() bool { return !alive(before.NamedPID) })
	if err := StartMember(t.Context(), c.Dir(), before.Name); err != nil {
		t.Fatal(err)
	}
	i, err := ReadInfo(c.Dir())
	if err != nil || i.Primaries[1].PID == 0 || i.Primaries[1].PID == before.PID {
		t.Errorf("dev.json after the start: %+v, %v", i.Primaries[1], err)
	}
}

func TestRestartResumesTheSameCluster(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(roleEnv, "server")
	first, err := Start(t.Context(), testConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	a := first.Info()
	if _, err := Start(t.Context(), testConfig(dir)); err == nil || !strings.Contains(err.Error(), "another `zonekeeper dev`") {
		t.Errorf("a second cluster on the same directory: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Primaries {
		if alive(p.PID) {
			t.Errorf("%s outlived the cluster", p.Name)
		}
		eventually(t, "its named is gone", func() bool { return !alive(p.NamedPID) })
	}
	if _, err := ReadInfo(dir); err == nil {
		t.Error("dev.json describes a cluster that is not running")
	}
	other := testConfig(dir)
	other.Primaries = 5
	if _, err := Start(t.Context(), other); err == nil || !strings.Contains(err.Error(), "--primaries 3") {
		t.Errorf("resuming with another number of primaries: %v", err)
	}

	b := startTest(t, testConfig(dir)).Info()
	if a.Endpoint != b.Endpoint || a.Key != b.Key || a.Primaries[2].DNS != b.Primaries[2].DNS {
		t.Errorf("resumed as another cluster:\n%+v\n%+v", a, b)
	}
	// A member with an empty disk must never create a second cluster.
	cfg, err := primary.LoadConfig(filepath.Join(dir, "primary-0", "primary.json"))
	if err != nil || cfg.Etcd.Bootstrap {
		t.Errorf("bootstrap is still permitted (%v)", err)
	}
}

func TestResumeGoesOnWithoutAMinorityAndNotWithoutAQuorum(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(roleEnv, "server")
	c, err := Start(t.Context(), testConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	breakPrimary := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name, "broken"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	breakPrimary("primary-1")
	c, err = Start(t.Context(), testConfig(dir))
	if err != nil {
		t.Fatalf("one of three is broken: %v", err)
	}
	if i := c.Info(); i.Primaries[1].PID != 0 || i.Primaries[2].PID == 0 {
		t.Errorf("dev.json: %+v", i.Primaries)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	breakPrimary("primary-2")
	_, err = Start(t.Context(), testConfig(dir))
	if err == nil || !strings.Contains(err.Error(), "primary-1 is broken on purpose") {
		t.Errorf("without a quorum the error should quote the log: %v", err)
	}
}

func TestNothingOutlivesAKilledForegroundProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), roleEnv+"=dev")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var info Info
	eventually(t, "the cluster is up", func() bool {
		i, err := ReadInfo(dir)
		info = i
		return err == nil
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, p := range info.Primaries {
		eventually(t, p.Name+" is gone", func() bool { return !alive(p.PID) })
	}
	// The real named dies with its primary by itself; the fake one is ours to end.
	for _, p := range info.Primaries {
		_ = syscall.Kill(p.NamedPID, syscall.SIGKILL)
	}
}

func TestConfigValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"even":        {func(c *Config) { c.Primaries = 2 }, "--primaries 2"},
		"secondaries": {func(c *Config) { c.Secondaries = 9 }, "--secondaries 9: use 0 to 8"},
		"port":        {func(c *Config) { c.Port = 65535 }, "--port 65535"},
		"zone":        {func(c *Config) { c.Zones = []string{"a..b"} }, `--zone "a..b"`},
		"dir":         {func(c *Config) { c.Dir = "" }, "--dir"},
		"etcd":        {func(c *Config) { c.Etcd = "elsewhere" }, `--etcd "elsewhere"`},
		"endpoints":   {func(c *Config) { c.EtcdEndpoints = []string{"http://127.0.0.1:2379"} }, "say --etcd external too"},
		"endpoint": {func(c *Config) {
			c.Etcd, c.EtcdEndpoints = EtcdExternal, []string{"127.0.0.1:2379"}
		}, `--etcd-endpoints "127.0.0.1:2379"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig("/nowhere")
			tc.edit(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// A user whose $PATH lacks the sbin folders still finds named.
func TestProgramLooksWhereServersAre(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if got := Program("named"); !filepath.IsAbs(got) {
		t.Errorf("named is not found: %q", got)
	}
	for _, name := range []string{"./named", "no-such-program"} {
		if got := Program(name); got != name {
			t.Errorf("%q became %q", name, got)
		}
	}
}

func TestPortsInUseAreNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := testConfig(t.TempDir())
	cfg.Port = int(netip.MustParseAddrPort(l.Addr().String()).Port())
	_, err = Start(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "choose another --port") {
		t.Errorf("got %v", err)
	}
}
