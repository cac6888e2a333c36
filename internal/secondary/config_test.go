package secondary

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/secondary/guard"
)

func validConfig() Config {
	c := DefaultConfig()
	c.Name, c.Dir = "secondary-0", "/var/lib/zonekeeper"
	c.DNS.Listen = []string{"192.0.2.1:53", "[2001:db8::1]:53"}
	c.Admin.Listen = "127.0.0.1:5402"
	c.Named.Listen, c.Named.ControlPort = "127.0.0.1:5353", 9953
	c.Primaries = []PrimaryConfig{{Name: "primary-0", DNS: "primary-0.zonekeeper:53", Admin: "http://127.0.0.1:5401"}}
	c.Key = KeyConfig{Name: "secondary-0.", Algorithm: "hmac-sha256", SecretFile: "/etc/zonekeeper/key"}
	return c
}

func TestConfigValidate(t *testing.T) {
	if err := validConfig().Validate(); err != nil {
		t.Fatalf("the valid configuration: %v", err)
	}
	for name, tc := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"no name":                 {func(c *Config) { c.Name = "" }, "name: "},
		"no directory":            {func(c *Config) { c.Dir = "" }, "dir: "},
		"no address":              {func(c *Config) { c.DNS.Listen = nil }, "dns.listen: "},
		"no port":                 {func(c *Config) { c.DNS.Listen = []string{"192.0.2.1"} }, "dns.listen: \"192.0.2.1\""},
		"PROXY from nobody":       {func(c *Config) { c.DNS.ListenProxy = []string{"192.0.2.1:5300"} }, "dns.proxy_from: "},
		"client addresses":        {func(c *Config) { c.DNS.ClientAddresses = "maybe" }, "dns.client_addresses: "},
		"transfer key":            {func(c *Config) { c.DNS.TransferKeys = []KeyConfig{{}} }, "dns.transfer_keys.name: "},
		"admin open to all":       {func(c *Config) { c.Admin.Listen = "192.0.2.1:80" }, "admin.listen: "},
		"advertised, no port":     {func(c *Config) { c.Admin.Advertise = "secondary-0" }, "admin.advertise: "},
		"half of mutual TLS":      {func(c *Config) { c.Admin.TLSCert = "c" }, "mutual TLS"},
		"no primaries":            {func(c *Config) { c.Primaries = nil }, "primaries: "},
		"a primary twice":         {func(c *Config) { c.Primaries = append(c.Primaries, c.Primaries[0]) }, "is there twice"},
		"endpoint without a port": {func(c *Config) { c.Primaries[0].DNS = "primary-0" }, "dns of primary-0"},
		"admin without a port":    {func(c *Config) { c.Primaries[0].Admin = "http://http://127.0.0.1:80" }, "has no port"},
		"no secret":               {func(c *Config) { c.Key.SecretFile = "" }, "key.secret_file: "},
		"algorithm":               {func(c *Config) { c.Key.Algorithm = "rot13" }, "key.algorithm: "},
		"catalog":                 {func(c *Config) { c.Catalog = "." }, "catalog: "},
		"named open to all":       {func(c *Config) { c.Named.Listen = "192.0.2.1:53" }, "named.listen: "},
		"control port":            {func(c *Config) { c.Named.ControlPort = 0 }, "named.control_port: "},
		"proxy at named's":        {func(c *Config) { c.Proxy = "127.0.0.1:0" }, "proxy: "},
		"proxy open to all":       {func(c *Config) { c.Proxy = "192.0.2.1:53" }, "proxy: "},
		"lag":                     {func(c *Config) { c.MaxLag = 0 }, "max_lag: "},
		"log level":               {func(c *Config) { c.LogLevel = "loud" }, "log_level: "},
	} {
		t.Run(name, func(t *testing.T) {
			c := validConfig()
			tc.edit(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestLoadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secondary.json")
	b, err := json.Marshal(validConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(path)
	if err != nil || !reflect.DeepEqual(got, validConfig()) {
		t.Errorf("read back: %+v, %v", got, err)
	}
	if got.namedDir() != "/var/lib/zonekeeper/named" {
		t.Errorf("named's directory is %s", got.namedDir())
	}
}

func TestKeyIsRead(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct{ text, want string }{
		"good":       {"MDEyMzQ1Njc4OWFiY2RlZg==\n", ""},
		"not base64": {"secret!", "not base64"},
		"missing":    {"", "zonekeeper key export"},
	} {
		path := filepath.Join(dir, name)
		if tc.text != "" {
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k, err := KeyConfig{Name: "Secondary-0.", Algorithm: "hmac-sha256", SecretFile: path}.load()
		switch {
		case tc.want == "":
			if err != nil || string(k.Secret) != "0123456789abcdef" {
				t.Errorf("%s: %q, %v", name, k.Secret, err)
			}
		case err == nil || !strings.Contains(err.Error(), tc.want):
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

func TestState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if st, err := readState(path); err != nil || !reflect.DeepEqual(st, state{}) {
		t.Errorf("without a file: %+v, %v", st, err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := state{AsOf: at, Removals: []guard.Removal{{At: at, To: 7, N: 1, Base: 9}}}
	for range 2 {
		if err := writeState(path, want); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := readState(path); err != nil || !reflect.DeepEqual(st, want) {
		t.Errorf("read back: %+v, %v", st, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readState(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestProblems(t *testing.T) {
	var p problems
	now := time.Unix(1000, 0)
	if !p.note("a", "one", now) || p.note("a", "one", now) || !p.note("a", "two", now) {
		t.Error("a new text is news, the same one is not")
	}
	p.note("b", "another", now.Add(problemFor/2))
	if got := p.list(now.Add(problemFor)); !reflect.DeepEqual(got, []string{"another", "two"}) {
		t.Errorf("%q", got)
	}
	if got := p.list(now.Add(problemFor + time.Second)); !reflect.DeepEqual(got, []string{"another"}) {
		t.Errorf("later: %q", got)
	}
}
