package keepalived_test

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/test/harness/isolated"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// Everything here runs in a network namespace of its own: keepalived judges a configuration by the interfaces it finds.
func TestMain(m *testing.M) { os.Exit(isolated.Main(m)) }

func addresses(t *testing.T, list ...string) (out []netip.Addr) {
	t.Helper()
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func prefixes(t *testing.T, list ...string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// run executes commands of the system, one a line.
func run(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// device makes an interface for one test; with a name of its own, because tests share the namespace.
func device(t *testing.T, name string) string {
	t.Helper()
	run(t, "ip link add "+name+" type veth peer name "+name+"p; ip link set "+name+" up; ip link set "+name+"p up")
	t.Cleanup(func() { run(t, "ip link del "+name) })
	return name
}

func base(t *testing.T, dir, iface string) keepalived.Config {
	t.Helper()
	return keepalived.Config{
		Name: "node-a", Dir: dir, Interface: iface, RouterID: 53,
		VIPs:        prefixes(t, "192.0.2.100/32", "2001:db8::100/128"),
		NodeAddress: addresses(t, "192.0.2.11")[0], Peers: addresses(t, "192.0.2.12", "192.0.2.13"),
		AdvertInterval: 200 * time.Millisecond, ARPRefresh: time.Second,
		Probe: "/usr/bin/true --socket " + dir + "/probe.sock",
	}
}

// TestRenderGolden: what is rendered is what an administrator has read, and keepalived accepts it.
func TestRenderGolden(t *testing.T) {
	path, err := exec.LookPath("keepalived")
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*keepalived.Config){
		"both-families": func(*keepalived.Config) {},
		"one-address": func(c *keepalived.Config) {
			c.VIPs, c.Peers, c.Probe = prefixes(t, "192.0.2.100/24"), addresses(t, "192.0.2.12"), ""
			c.AdvertInterval, c.ARPRefresh = time.Second, 10*time.Second
		},
		"ipv6-transport": func(c *keepalived.Config) {
			c.NodeAddress, c.Peers = addresses(t, "2001:db8::11")[0], addresses(t, "2001:db8::12")
			c.VIPs = prefixes(t, "2001:db8::100/128", "fe80::100/128", "192.0.2.100/32")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, iface := t.TempDir(), device(t, "golden")
			c := base(t, dir, iface)
			edit(&c)
			got, err := keepalived.Render(c)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "keepalived.conf")
			if err := os.WriteFile(file, got, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := keepalived.Check(t.Context(), path, file); err != nil {
				t.Error(err)
			}
			text := strings.NewReplacer(dir, "/run/zonekeeper-front", iface, "eth0").Replace(string(got))
			golden := filepath.Join("testdata", name+".conf")
			if *rewrite {
				if err := os.WriteFile(golden, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("%s differs (go test -rewrite):\n%s", golden, text)
			}
		})
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*keepalived.Config)
		want string
	}{
		"a space in the directory": {func(c *keepalived.Config) { c.Dir = "/run/a b" }, `directory "/run/a b"`},
		"a brace in the interface": {func(c *keepalived.Config) { c.Interface = "eth0}" }, "interface"},
		"a comment in the name":    {func(c *keepalived.Config) { c.Name = "a#b" }, "name"},
		"a quote in the probe":     {func(c *keepalived.Config) { c.Probe = `x" y` }, "probe"},
		"no VIP of the family":     {func(c *keepalived.Config) { c.VIPs = prefixes(t, "2001:db8::100/128") }, "192.0.2.11"},
	} {
		t.Run(name, func(t *testing.T) {
			c := base(t, "/run/x", "eth0")
			tc.edit(&c)
			if _, err := keepalived.Render(c); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// TestCheckSaysWhatIsWrong: the line of keepalived reaches the administrator, and a missing program is named.
func TestCheckSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(file, []byte("vrrp_instance vip {\n    state SOMETIMES\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keepalived.Check(t.Context(), "keepalived", file); err == nil || !strings.Contains(err.Error(), "SOMETIMES") {
		t.Errorf("a mistake: %v", err)
	}
	if err := keepalived.Check(t.Context(), "/nonexistent/keepalived", file); err == nil || !strings.Contains(err.Error(), "keepalived.path") {
		t.Errorf("no program: %v", err)
	}
}
