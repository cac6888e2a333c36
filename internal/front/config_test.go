package front

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/test/harness/isolated"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// Everything here runs in a network namespace of its own. keepalived runs this program as its probe, and the guard's test as process 1.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 5 && os.Args[2] == "probe":
		os.Exit(probe(os.Args[4]))
	case os.Getenv(guarded) != "":
		os.Exit(guardMain())
	}
	os.Exit(isolated.Main(m))
}

// probe is the command of that name.
func probe(socket string) int {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://front"+adminapi.PathLive, http.NoBody)
	if err != nil {
		return 2
	}
	resp, err := c.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		return 1
	}
	_ = resp.Body.Close() // it was read for its status
	return 0
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shell executes commands of the system, one a line.
func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// device makes an interface for one test, and its other end, with a p behind the name.
func device(t *testing.T, name string) string {
	t.Helper()
	shell(t, "ip link add "+name+" type veth peer name "+name+"p; ip link set "+name+" up; ip link set "+name+"p up; ip addr add 192.0.2.11/24 dev "+name)
	t.Cleanup(func() { shell(t, "ip link del "+name) })
	return name
}

// TestExamples: what the documents show is a valid configuration.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../docs/examples/front/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if _, err := LoadConfig(f); err != nil {
			t.Error(err)
		}
	}
}

// TestDefaults: every default value, as a file would have it. docs/front.md has them too.
func TestDefaults(t *testing.T) {
	b, err := json.MarshalIndent(DefaultConfig(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/defaults.json"
	if *rewrite {
		write(t, file, string(b)+"\n")
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(b)+"\n" != string(want) {
		t.Errorf("%s is different (go test ./internal/front -rewrite):\n%s", file, b)
	}
}

// TestMistakes: each mistake is named with its field, its value and what to do; all at once.
func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"name":              {func(c *Config) { c.Name = "a b" }, `name: "a b" is no node's name`},
		"dir":               {func(c *Config) { c.Dir = "run" }, `dir: "run"; use an absolute path`},
		"dir, characters":   {func(c *Config) { c.Dir = "/run/ä" }, `dir: "/run/ä"`},
		"dir, length":       {func(c *Config) { c.Dir = "/" + strings.Repeat("a", 75) }, "at most 75"},
		"mode":              {func(c *Config) { c.Mode = "cluster" }, `mode: "cluster"; use "vip"`},
		"port":              {func(c *Config) { c.Listen.Port = 0 }, "listen.port: 0 is not a port"},
		"sockets":           {func(c *Config) { c.Listen.UDPSockets = 65 }, "listen.udp_sockets: 65"},
		"addresses":         {func(c *Config) { c.Listen.Addresses = []string{"192.0.2.11"} }, "in mode vip the addresses are those of vip.addresses"},
		"proxy_from":        {func(c *Config) { c.Listen.ProxyFrom = []string{"10.0.0.0/8"} }, "use mode loadbalancer"},
		"interface":         {func(c *Config) { c.VIP.Interface = "eth0/1" }, `vip.interface: "eth0/1"`},
		"router_id":         {func(c *Config) { c.VIP.RouterID = 256 }, "vip.router_id: 256"},
		"node_address":      {func(c *Config) { c.VIP.NodeAddress = "node-a" }, `vip.node_address: "node-a" is not an IPv4 or IPv6 address`},
		"node, loopback":    {func(c *Config) { c.VIP.NodeAddress = "127.0.0.1" }, "the address by which the other front nodes reach this one"},
		"node, zone":        {func(c *Config) { c.VIP.NodeAddress = "fe80::1%eth0" }, "vip.node_address"},
		"no peers":          {func(c *Config) { c.VIP.Peers = nil }, "vip.peers: empty"},
		"own peer":          {func(c *Config) { c.VIP.Peers = []string{"192.0.2.11"} }, "is this node itself"},
		"peer twice":        {func(c *Config) { c.VIP.Peers = []string{"192.0.2.12", "192.0.2.12"} }, "is there twice"},
		"peer's family":     {func(c *Config) { c.VIP.Peers = []string{"2001:db8::12"} }, "VRRP uses one family"},
		"vip, no length":    {func(c *Config) { c.VIP.Addresses = []string{"192.0.2.100"} }, "write it as 192.0.2.100/32"},
		"vip, a node's":     {func(c *Config) { c.VIP.Addresses = []string{"192.0.2.12/32"} }, "is a node's own address"},
		"vip, loopback":     {func(c *Config) { c.VIP.Addresses = []string{"127.0.0.2/32"} }, "can't move between nodes"},
		"vip twice":         {func(c *Config) { c.VIP.Addresses = []string{"192.0.2.100/32", "192.0.2.100/24"} }, "is there twice"},
		"vip, families":     {func(c *Config) { c.VIP.Addresses = []string{"2001:db8::100/128"} }, "at least one must be of the family of vip.node_address 192.0.2.11"},
		"no vip":            {func(c *Config) { c.VIP.Addresses = nil }, "vip.addresses"},
		"advert":            {func(c *Config) { c.VIP.AdvertInterval = conf.Duration(15 * time.Millisecond) }, "vip.advert_interval: 15ms"},
		"arp":               {func(c *Config) { c.VIP.ARPRefresh = conf.Duration(1500 * time.Millisecond) }, "vip.arp_refresh: 1.5s"},
		"keepalived":        {func(c *Config) { c.Keepalived.Path = "" }, "keepalived.path: empty"},
		"no primaries":      {func(c *Config) { c.Primaries.Static = nil }, "primaries: "},
		"two sources":       {func(c *Config) { c.Primaries.DNS.Name = "primary.test" }, "primaries: "},
		"primary's name":    {func(c *Config) { c.Primaries.Static[0].Name = "" }, "primaries.static"},
		"primary twice":     {func(c *Config) { c.Primaries.Static[0].Name = "primary-1" }, "primary-1"},
		"primary's address": {func(c *Config) { c.Primaries.Static[0].Address = "primary-0.test" }, `"primary-0.test" is not an IPv4 or IPv6 address`},
		"address twice":     {func(c *Config) { c.Primaries.Static[0].Address = c.Primaries.Static[1].Address }, "is there twice"},
		"primaries' ports":  {func(c *Config) { c.Primaries.Ports = PortsConfig{} }, "primaries.ports.admin: 0"},
		"certificate":       {func(c *Config) { c.Primaries.TLS.Cert = "" }, "primaries.tls.cert: empty"},
		"key of headers":    {func(c *Config) { c.Primaries.ProxyKeyFile = "" }, "primaries.proxy_key_file: empty"},
		"server name": {func(c *Config) {
			c.Primaries.Static, c.Primaries.DNS.Name, c.Primaries.TLS.ServerName = nil, "p.test", ""
		}, "primaries.tls.server_name: empty"},
		"dns every": {func(c *Config) { c.Primaries.Static, c.Primaries.DNS = nil, DNSConfig{"p.test", 0} }, "primaries.dns.every"},
		"slices outside": {func(c *Config) {
			c.Primaries.Static, c.Primaries.EndpointSlices = nil, SlicesConfig{Service: "p", API: "https://x:1"}
		}, "namespace, ca and token_file"},
		"times":            {func(c *Config) { c.Checks.Timeout = 0 }, "checks.timeout: 0s"},
		"retry":            {func(c *Config) { c.Retry.After = conf.Duration(3 * time.Second) }, "use less than 3s"},
		"retries":          {func(c *Config) { c.Retry.Max = 5 }, "retry.max: 5; use 0 to 4"},
		"budget":           {func(c *Config) { c.Retry.Budget = 1.5 }, "retry.budget: 1.5"},
		"limit":            {func(c *Config) { c.Limits.Burst = 0 }, "limits.burst: 0"},
		"exempt":           {func(c *Config) { c.Limits.Exempt = []string{"10.0.0.1"} }, `limits.exempt: "10.0.0.1" is not a prefix`},
		"haproxy":          {func(c *Config) { c.HAProxy.Path = "" }, "haproxy.path: empty"},
		"stats":            {func(c *Config) { c.HAProxy.Stats = "8405" }, `haproxy.stats: "8405" is not address:port`},
		"admin":            {func(c *Config) { c.Admin.Listen = "0.0.0.0:8406" }, "use a loopback address"},
		"admin, port":      {func(c *Config) { c.Admin.Listen = "8406" }, "admin.listen"},
		"log":              {func(c *Config) { c.LogLevel = "loud" }, `log_level: "loud"`},
		"listen":           {func(c *Config) { c.Mode = ModeService }, "listen.addresses"},
		"listen, address":  {func(c *Config) { c.Mode, c.Listen.Addresses = ModeService, []string{"x"} }, "listen.addresses"},
		"no load balancer": {func(c *Config) { c.Mode, c.Listen.Addresses = ModeLoadBalancer, []string{"0.0.0.0"} }, "listen.proxy_from"},
		"balancer, prefix": {func(c *Config) {
			c.Mode, c.Listen = ModeLoadBalancer, ListenConfig{53, []string{"::"}, 0, []string{"10.0.0.1"}}
		}, `listen.proxy_from: "10.0.0.1"`},
	} {
		c, _ := testConfig(t)
		tc.edit(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
	c, _ := testConfig(t)
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	var none Config
	if lines := strings.Count(fmt.Sprint(none.Validate()), "\n"); lines < 10 {
		t.Errorf("of an empty configuration only %d mistakes are named", lines+1)
	}
}

// TestLoadConfig: a misspelt field is a mistake, with its line.
func TestLoadConfig(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "f.json"), "{\n\"name\": \"a\",\n\"vips\": {}\n}")
	if _, err := LoadConfig(file); err == nil || !strings.Contains(err.Error(), file+":3: ") || !strings.Contains(err.Error(), `"vips"`) {
		t.Errorf("got %v", err)
	}
}

// TestSettings: what is text in the configuration is read.
func TestSettings(t *testing.T) {
	c, _ := testConfig(t)
	c.Limits.Exempt, c.Listen.UDPSockets = []string{"10.0.0.0/8"}, 3
	s, err := c.settings()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.listen, s.vips, s.node, s.peers, s.exempt, s.stats, s.sockets); got !=
		"[192.0.2.100:53 [2001:db8::100]:53] [192.0.2.100/32 2001:db8::100/128] 192.0.2.11 [192.0.2.12] [10.0.0.0/8] 127.0.0.1:8405 3" {
		t.Error(got)
	}
	c.Mode, c.Listen = ModeLoadBalancer, ListenConfig{5353, []string{"0.0.0.0", "::"}, 0, []string{"10.0.0.0/8"}}
	c.HAProxy.Stats = ""
	if s, err = c.settings(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.listen, s.vipAddrs, s.node.IsValid(), s.proxyFrom, s.stats.IsValid(), s.sockets > 0); got != "[0.0.0.0:5353 [::]:5353] [] false [10.0.0.0/8] false true" {
		t.Error(got)
	}
}

// TestCertificateDoubt: a node says at its start what primaries may have against its certificate, and nothing of one that is right.
func TestCertificateDoubt(t *testing.T) {
	for unit, want := range map[string]string{
		"zonekeeper-front":     "",
		"":                     "lacks the organizational unit zonekeeper-front",
		"DNS":                  "lacks the organizational unit zonekeeper-front",
		"zonekeeper-secondary": "turn it away from dns.listen_front",
	} {
		cfg, a := testConfig(t)
		cfg.Primaries.TLS.Cert, cfg.Primaries.TLS.Key, _ = a.IssueFor("front", unit)
		f, _ := faked(t, cfg)
		var said bytes.Buffer
		f.log = slog.New(slog.NewTextHandler(&said, nil))
		if _, err := f.newChecker(); err != nil {
			t.Fatal(err)
		}
		switch text := said.String(); {
		case want == "" && text != "":
			t.Errorf("%q: logged: %s", unit, text)
		case want != "" && (!strings.Contains(text, "level=WARN") || !strings.Contains(text, want) || !strings.Contains(text, cfg.Primaries.TLS.Cert)):
			t.Errorf("%q: logged: %s, want %s", unit, text, want)
		}
	}
}

// TestUnknownField: the remedy names the page that lists a front's fields.
func TestUnknownField(t *testing.T) {
	for text, want := range map[string]string{
		`{"vipp": {}}`:                        "docs/front.md lists all",
		`{"listen": {"port": "fifty-three"}}`: "as docs/front.md shows it",
	} {
		if _, err := LoadConfig(write(t, t.TempDir()+"/front.json", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestOpenKeys(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"QUJDREVGR0hJSktMTU5PUA==\n": "",
		"QUJD":                       "a key of 3 octets, at least 16",
		"?":                          "not base64",
	} {
		key, err := openKeys(write(t, dir+"/key", text), quiet(t))
		if want == "" && (err != nil || string(key.Keys()[0]) != "ABCDEFGHIJKLMNOP") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, %v", text, key.Keys(), err)
		}
	}
	if _, err := openKeys(dir+"/none", quiet(t)); err == nil || !strings.Contains(err.Error(), "head -c 32") {
		t.Errorf("got %v", err)
	}
	if key, err := openKeys("", quiet(t)); key != nil || err != nil {
		t.Errorf("%v, %v", key, err)
	}
}

// TestRenderAndCheck: HAProxy and keepalived accept what is made of a configuration, in each mode; and a mistake that only they see is told.
func TestRenderAndCheck(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"vip": func(c *Config) { c.VIP.Interface = device(t, "check0") },
		"loadbalancer": func(c *Config) {
			c.Mode, c.VIP, c.Listen.Addresses, c.Listen.ProxyFrom = ModeLoadBalancer, VIPConfig{}, []string{"0.0.0.0", "::"}, []string{"10.0.0.0/8"}
		},
		"service": func(c *Config) {
			c.Mode, c.VIP, c.Listen.Addresses, c.Primaries.ProxyKeyFile = ModeService, VIPConfig{}, []string{"127.0.0.1"}, ""
			c.Primaries.Static, c.Primaries.DNS.Name = nil, "primary.test"
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := testConfig(t)
			c.Limits.Connections = 100
			edit(&c)
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			if err := Check(t.Context(), c); err != nil {
				t.Error(err)
			}
			files, err := Render(c)
			if err != nil {
				t.Fatal(err)
			}
			if len(files) != map[bool]int{true: 2, false: 1}[c.Mode == ModeVIP] {
				t.Errorf("%d files", len(files))
			}
			for _, f := range files {
				if !strings.Contains(string(f.Text), c.Dir) {
					t.Errorf("%s does not name %s:\n%s", f.Name, c.Dir, f.Text)
				}
			}
			left, err := os.ReadDir(c.Dir)
			if err != nil || len(left) != 0 {
				t.Errorf("in the directory: %v, %v", left, err)
			}
			c.HAProxy.Path = "/nonexistent/haproxy"
			if err := Check(t.Context(), c); err == nil || !strings.Contains(err.Error(), "/nonexistent/haproxy") {
				t.Errorf("no HAProxy: %v", err)
			}
		})
	}
	c, _ := testConfig(t)
	c.VIP.Interface = "nowhere0"
	if err := Check(t.Context(), c); err == nil || !strings.Contains(err.Error(), "nowhere0") {
		t.Errorf("no such interface: %v", err)
	}
	for _, edit := range []func(*Config){
		func(c *Config) { c.Primaries.TLS.Cert += "x" },
		func(c *Config) { c.Primaries.ProxyKeyFile += "x" },
	} {
		c, _ := testConfig(t)
		edit(&c)
		if err := Check(t.Context(), c); err == nil {
			t.Error("a missing file is no mistake")
		}
		if _, err := Render(c); err == nil {
			t.Error("a missing file is no mistake")
		}
	}
}

// TestEveryFieldIsDocumented: docs/front.md names every field of the configuration.
func TestEveryFieldIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/front.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			tag := f.Tag.Get("json")
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type)
			} else if !strings.Contains(string(b), tag+"`") {
				t.Errorf("docs/front.md does not say what %s is", tag)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}
