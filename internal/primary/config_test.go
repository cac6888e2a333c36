package primary

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func validConfig() Config {
	c := DefaultConfig()
	c.Name = "primary-0"
	c.Dir = "/var/lib/zonekeeper"
	c.ClusterKeyFile = "/etc/zonekeeper/cluster.key"
	c.DNS.Listen = []string{"127.0.0.1:5301", "[::1]:5301"}
	c.Admin.Listen = "127.0.0.1:5401"
	c.Named.Listen = "127.0.0.1:5501"
	c.Named.ControlPort = 5601
	c.Etcd.PeerURL = "http://127.0.0.1:5701"
	c.Etcd.ClientURL = "http://127.0.0.1:5801"
	c.Etcd.InitialCluster = map[string]string{"primary-0": "http://127.0.0.1:5701"}
	c.Etcd.Token = "t"
	c.Etcd.Bootstrap = true
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
		"no name":             {func(c *Config) { c.Name = "" }, "name: "},
		"name is a path":      {func(c *Config) { c.Name = "../x" }, "name: "},
		"no port":             {func(c *Config) { c.DNS.Listen = []string{"127.0.0.1"} }, "dns.listen: "},
		"no listen":           {func(c *Config) { c.DNS.Listen = nil }, "dns.listen: "},
		"tls without files":   {func(c *Config) { c.DNS.ListenTLS = []string{"127.0.0.1:853"} }, "dns.listen_tls: "},
		"tls without port":    {func(c *Config) { c.DNS.ListenTLS = []string{"127.0.0.1"} }, "dns.listen_tls: \"127.0.0.1\""},
		"front without files": {func(c *Config) { c.DNS.ListenFront = []string{"127.0.0.1:854"} }, "dns.front_tls_client_ca"},
		"front without port":  {func(c *Config) { c.DNS.ListenFront = []string{"127.0.0.1"} }, "dns.listen_front: \"127.0.0.1\""},
		"front on the port of clients": {func(c *Config) {
			c.DNS.ListenFront = []string{"127.0.0.1:5301"}
			c.DNS.FrontTLSCert, c.DNS.FrontTLSKey, c.DNS.FrontTLSClientCA = "c", "k", "a"
		}, "is in dns.listen already"},
		"files without front":     {func(c *Config) { c.DNS.FrontTLSCert = "c" }, "dns.listen_front: empty"},
		"proxy key for nobody":    {func(c *Config) { c.DNS.ProxyKeyFile = "k" }, "set dns.proxy_from"},
		"admin open to all":       {func(c *Config) { c.Admin.Listen = "0.0.0.0:80" }, "no authentication"},
		"admin half TLS":          {func(c *Config) { c.Admin.TLSCert = "x" }, "mutual TLS"},
		"named open to all":       {func(c *Config) { c.Named.Listen = "0.0.0.0:53" }, "named.listen: "},
		"control port":            {func(c *Config) { c.Named.ControlPort = 70000 }, "named.control_port: "},
		"forward from outside":    {func(c *Config) { c.DNS.ForwardFrom = netip.MustParseAddr("192.0.2.1") }, "dns.forward_from: "},
		"not in the cluster":      {func(c *Config) { c.Etcd.InitialCluster = map[string]string{"b": "http://127.0.0.1:1"} }, "has no entry"},
		"even bootstrap":          {func(c *Config) { c.Etcd.InitialCluster["b"] = "http://127.0.0.1:1" }, "has 2 members"},
		"peer URL differs":        {func(c *Config) { c.Etcd.PeerURL = "http://127.0.0.1:9" }, "make them equal"},
		"no token":                {func(c *Config) { c.Etcd.Token = "" }, "etcd.token: "},
		"external and embedded":   {func(c *Config) { c.Etcd.Endpoints = []string{"http://127.0.0.1:2379"} }, "excludes"},
		"log level":               {func(c *Config) { c.LogLevel = "loud" }, "log_level: "},
		"publish lag too short":   {func(c *Config) { c.PublishLagLimit = 1 }, "publish_lag_limit, publish_queue_limit: the limit of the publish lag is 1ns"},
		"publish queue too short": {func(c *Config) { c.PublishQueueLimit = 1 }, "use 0 (none) or at least"},
		"stop grace":              {func(c *Config) { c.StopGrace = 0 }, "stop_grace: "},
	} {
		t.Run(name, func(t *testing.T) {
			c := validConfig()
			tc.edit(&c)
			err := c.Validate()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		p := filepath.Join(dir, "primary.json")
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	b, err := json.MarshalIndent(validConfig(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(write(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if c.Etcd.Name != "primary-0" || c.Etcd.DataDir != "/var/lib/zonekeeper/etcd" || c.Named.Dir != "/var/lib/zonekeeper/named" {
		t.Errorf("derived values: %+v", c)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"unknown field": {"{\n \"name\": \"a\",\n \"nmae\": 1\n}", "primary.json:3: "},
		"syntax":        {"{\n \"name\": \"a\"\n \"dir\": 1\n}", "primary.json:3: "},
		"wrong type":    {"{\n \"name\": 7\n}", "primary.json:2: "},
		"trailing text": {string(b) + "\n{}", "remove it"},
		"not valid":     {"{}", "name: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadConfig(write(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}
