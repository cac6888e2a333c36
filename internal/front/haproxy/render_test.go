package haproxy

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func addrs(text ...string) (list []netip.AddrPort) {
	for _, t := range text {
		list = append(list, netip.MustParseAddrPort(t))
	}
	return list
}

func prefixes(text ...string) (list []netip.Prefix) {
	for _, t := range text {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

const goldenDir = "/run/zonekeeper-front"

func goldenConfig() Config {
	c := DefaultConfig()
	c.Listen = addrs("192.0.2.100:53", "[2001:db8::100]:53")
	c.Identity = Identity{PEM: goldenDir + "/front.pem", CA: goldenDir + "/primaries.pem", Sum: "0123456789abcdef"}
	c.ServerName = "primary"
	c.Primaries = []Primary{
		{"primary-0", netip.MustParseAddrPort("198.51.100.10:854"), 8443},
		{"primary-1", netip.MustParseAddrPort("198.51.100.11:854"), 8443},
		{"primary-2", netip.MustParseAddrPort("[2001:db8:1::12]:854"), 8443},
	}
	return c
}

// TestGolden: what Render writes is what the files in testdata say, and the real program takes each of them.
func TestGolden(t *testing.T) {
	ca := harness.NewAuthority(t, "primaries")
	cert, key, _ := ca.Issue("front")
	dir := t.TempDir()
	if _, err := Install(dir, cert, key, ca.CA); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"vip": func(*Config) {},
		"loadbalancer": func(c *Config) {
			c.Listen, c.Transparent = addrs("0.0.0.0:53", "[::]:53"), false
			c.ProxyFrom = prefixes("10.250.0.0/16", "2001:db8:2::/64")
		},
		"service": func(c *Config) {
			c.Listen, c.Transparent = addrs("0.0.0.0:53"), false
			c.Metrics = netip.AddrPort{}
			c.ServerName = "" // each certificate its own name
			c.Limits.Exempt = prefixes("100.96.0.0/11", "2001:db8:3::1/128")
		},
		"names": func(c *Config) { // names are addresses (DNS), other times
			for i := range c.Primaries {
				c.Primaries[i].Name = c.Primaries[i].DNS.Addr().String()
			}
			c.Checks = Checks{Every: time.Second, Timeout: 2500 * time.Millisecond, Fall: 3, Rise: 2}
			c.Limits.Connections = 500
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := goldenConfig()
			change(&c)
			got, err := Render(c)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".cfg")
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("not what %s says; look at the difference, then: go test ./internal/front/haproxy -rewrite\n%s", file, got)
			}
			drained, err := draining(want)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range [][]byte{want, drained} {
				path := filepath.Join(dir, name+".cfg")
				if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(goldenDir), []byte(dir)), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := Check(t.Context(), "haproxy", path); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestDraining: one line of the defaults changes, and nothing in other sections.
func TestDraining(t *testing.T) {
	conf, err := Render(goldenConfig())
	if err != nil {
		t.Fatal(err)
	}
	got, err := draining(conf)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(conf), "    timeout client 30s\n", "    # This node is being drained.\n    timeout client 1s\n", 1)
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
	if _, err := draining(got); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := draining([]byte("global\n    maxconn 1\n")); err == nil {
		t.Error("foreign text was taken")
	}
}

// TestValidate: each mistake is refused with its field, because some of them would be lines of their own in the file.
func TestValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"right":               {func(*Config) {}, ""},
		"no directory":        {func(c *Config) { c.Dir = "" }, "Dir"},
		"directory too long":  {func(c *Config) { c.Dir = "/" + strings.Repeat("x", 100) }, "Dir"},
		"space in a path":     {func(c *Config) { c.Identity.PEM = "/a b" }, "Identity.PEM"},
		"new line in a path":  {func(c *Config) { c.Identity.CA = "/a\nglobal" }, "Identity.CA"},
		"sum":                 {func(c *Config) { c.Identity.Sum = "x\nglobal" }, "Identity.Sum"},
		"nobody can connect":  {func(c *Config) { c.Listen = nil }, "Listen"},
		"no port":             {func(c *Config) { c.Listen = addrs("192.0.2.1:0") }, "Listen"},
		"no primary":          {func(c *Config) { c.Primaries = nil }, "Primaries"},
		"name with a space":   {func(c *Config) { c.Primaries[0].Name = "a b" }, `"a b"`},
		"name twice":          {func(c *Config) { c.Primaries[0].Name = "primary-1" }, `"primary-1"`},
		"no admin port":       {func(c *Config) { c.Primaries[0].Admin = 0 }, "primary-0"},
		"server name":         {func(c *Config) { c.ServerName = "a\nb" }, "ServerName"},
		"address as a name":   {func(c *Config) { c.ServerName = "2001:db8::1" }, "ServerName"},
		"time of zero":        {func(c *Config) { c.Checks.Every = 0 }, "Checks.Every"},
		"less than HAProxy's": {func(c *Config) { c.IdleTimeout = time.Microsecond }, "IdleTimeout"},
		"no connections":      {func(c *Config) { c.Limits.ConnectionsPerClient = 0 }, "ConnectionsPerClient"},
	} {
		t.Run(name, func(t *testing.T) {
			c := goldenConfig()
			tc.change(&c)
			_, err := Render(c)
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want one that says %q", err, tc.want)
			}
		})
	}
}

// TestInstall: half a replacement changes nothing; a whole one is another configuration.
func TestInstall(t *testing.T) {
	ca, other := harness.NewAuthority(t, "primaries"), harness.NewAuthority(t, "other")
	dir := t.TempDir()
	cert, key, _ := ca.Issue("front")
	first, err := Install(dir, cert, key, ca.CA)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Install(dir, cert, key, ca.CA); err != nil || again != first {
		t.Errorf("the same files: %+v, %v", again, err)
	}
	before, err := os.ReadFile(first.PEM)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(first.PEM); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file with the key: %v, %v", st.Mode(), err)
	}
	_, foreignKey, _ := other.Issue("front")
	for name, files := range map[string][3]string{
		"another's key":  {cert, foreignKey, ca.CA},
		"no certificate": {cert + ".missing", key, ca.CA},
		"no key":         {cert, key + ".missing", ca.CA},
		"no CA":          {cert, key, ca.CA + ".missing"},
		"CA is a key":    {cert, key, key},
	} {
		if id, err := Install(dir, files[0], files[1], files[2]); err == nil {
			t.Errorf("%s: was installed: %+v", name, id)
		}
	}
	if after, err := os.ReadFile(first.PEM); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a mistake changed what is installed: %v", err)
	}
	cert, key, _ = ca.Issue("front")
	if id, err := Install(dir, cert, key, ca.CA); err != nil || id.Sum == first.Sum || id.PEM != first.PEM {
		t.Errorf("a new certificate: %+v, %v", id, err)
	}
}

// TestParseStat: columns are found by their names; an answer that is something else is an error.
func TestParseStat(t *testing.T) {
	const head = "# pxname,svname,scur,stot,dcon,econ,dses,status,check_status,check_code,last_chk,\n"
	for name, tc := range map[string]struct {
		text string
		want []Server
		err  string
	}{
		"servers": {head + Backend + ",primary-0,3,70,,2,,UP,* L7OK,200,OK,\n" + Backend + ",primary-1,0,7,,,,DOWN,L7STS,503,\"said \"\"no\"\"\",\n",
			[]Server{
				{Backend: Backend, Name: "primary-0", Status: "UP", Reason: "L7OK 200 OK", Connections: 3, TotalConnections: 70, Failed: 2},
				{Backend: Backend, Name: "primary-1", Status: "DOWN", Reason: "L7STS 503 said \"no\"", TotalConnections: 7},
			}, ""},
		"the clients' frontend": {head + Frontend + ",FRONTEND,5,9,1,,2,OPEN,,,,\nmetrics,FRONTEND,1,1,,,,OPEN,,,,\n" + Backend + ",BACKEND,1,1,,,,UP,,,,\n",
			[]Server{{Backend: Frontend, Status: "OPEN", Connections: 5, TotalConnections: 9, Failed: 3}}, ""},
		"a short line":   {head + Backend + ",primary-0\n", []Server{{Backend: Backend, Name: "primary-0"}}, ""},
		"older HAProxy":  {"# pxname,svname,status\n", nil, "has no column scur"},
		"not statistics": {"Unknown command\n", nil, "Unknown command"},
		"nothing":        {"", nil, "not with"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat(tc.text)
			if !slices.Equal(got, tc.want) || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestStateFor: what is known of a server is kept while it stays where it is.
func TestStateFor(t *testing.T) {
	conf, err := Render(goldenConfig())
	if err != nil {
		t.Fatal(err)
	}
	line := func(server, addr, port string) string {
		return "3 " + Backend + " 1 " + server + " " + addr + " 0 0 1 1 5 8 2 0 6 0 0 0 - " + port + " - 1 8443 - - 0\n"
	}
	stays := line("primary-0", "198.51.100.10", "854") + line("primary-2", "2001:db8:1::12", "854")
	got := stateFor("1\n# be_id be_name srv_id …\n"+line("primary-1", "198.51.100.99", "854")+stays+line("primary-1", "198.51.100.11", "853")+
		line("primary-9", "198.51.100.10", "854")+line("mary-0", "198.51.100.10", "854")+"short\n\n", conf)
	if got != noState+stays {
		t.Errorf("%q, want %q", got, noState+stays)
	}
}
