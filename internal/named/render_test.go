package named

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func goldenConfig() Config {
	c := DefaultConfig()
	c.Dir = "/run/zonekeeper/named"
	c.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5353")}
	c.Control = netip.MustParseAddrPort("127.0.0.1:9953")
	return c
}

// TestRenderGolden keeps the rendered files under review, and lets named-checkconf of the release accept them.
func TestRenderGolden(t *testing.T) {
	name := zone.MustParseName
	keys := []tsig.Key{
		{Name: name(PublishKeyName), Algorithm: tsig.HMACSHA256, Secret: []byte("publish")},
		{Name: name(controlKeyName), Algorithm: tsig.HMACSHA256, Secret: []byte("control")},
		{Name: name("tenant.example"), Algorithm: tsig.HMACSHA512, Secret: []byte("new"), Version: 2},
		{Name: name("tenant.example"), Algorithm: tsig.HMACSHA256, Secret: []byte("old"), Version: 1},
		{Name: name("short.example"), Algorithm: tsig.HMACSHA256, Secret: []byte("short"), MACSize: 16},
		{Name: name(`we"ird\;.example`), Algorithm: tsig.HMACMD5, Secret: []byte("weird"), AllowMD5: true},
	}
	zones := []ZoneConf{
		{Name: name("example.com")},
		{Name: name(`o\"dd\;{.example`), AllowQuery: `any`, AllowTransfer: `key "tenant.example."; !192.0.2.1; 192.0.2.0/24`},
		{Name: zone.Root},
	}
	var files []string
	for i, z := range zones {
		files = append(files, zoneFile(z.Name, uint64(i+1)))
	}
	full := goldenConfig()
	full.Listen = append(full.Listen, netip.MustParseAddrPort("192.0.2.7:53"), netip.MustParseAddrPort("[::1]:5353"), netip.MustParseAddrPort("[::]:53"))
	full.ListenProxy = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5354")}
	full.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	full.Forwarders = append(full.Forwarders, netip.MustParseAddr("::1"))
	builds := map[string]Build{"9.20": {Major: 9, Minor: 20, LMDB: true}, "9.18": {Major: 9, Minor: 18, LMDB: true}}
	for version, b := range builds {
		for kind, c := range map[string]Config{"plain": goldenConfig(), "full": full} {
			t.Run(version+"/"+kind, func(t *testing.T) {
				dir := t.TempDir()
				var conf string
				for file, text := range map[string][]byte{
					"named.conf": renderConf(c, b),
					"keys.conf":  renderKeys(keys),
					"zones.conf": renderNewZones(c, zones, files),
				} {
					golden(t, filepath.Join("testdata", version+"-"+kind+"-"+file), text)
					// Where the golden file names the working directory, the check reads its own.
					local := strings.ReplaceAll(string(text), c.Dir, dir)
					if file != "keys.conf" {
						conf += local
						continue
					}
					if err := os.WriteFile(filepath.Join(dir, file), []byte(local), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				path := filepath.Join(dir, "named.conf")
				if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command(namedtest.Get(t, version).CheckConf, path).CombinedOutput()
				for line := range strings.Lines(string(out)) {
					// The one remark that there is no way around.
					if !strings.Contains(line, "'allow-proxy' is experimental") {
						t.Errorf("named-checkconf of %s: %s", version, line)
					}
				}
				if err != nil {
					t.Errorf("named-checkconf of %s: %v\n%s", version, err, out)
				}
			})
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -rewrite", err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is stale; run the test with -rewrite and read the difference. Now:\n%s", path, got)
	}
}

func TestReferencedKeys(t *testing.T) {
	got := referencedKeys([]ZoneConf{
		{AllowQuery: `key a.test; !key "B.test."; keyed.test`, AllowTransfer: "{ key\tc.test; }"},
	})
	var names []string
	for _, n := range got {
		names = append(names, n.String())
	}
	if s := strings.Join(names, " "); s != "a.test. b.test. c.test." {
		t.Errorf("referenced keys: %s", s)
	}
}

func TestParseBuild(t *testing.T) {
	for out, want := range map[string]string{
		"BIND 9.20.23-1~deb13u1~bpo12+1-Debian (Stable Release) <id:>\nlinked to LMDB": "9.20.23",
		"BIND 9.18.49-1~deb12u3-Debian (Extended Support Version) <id:>":               "9.18.49",
	} {
		if b, err := ParseBuild(out); err != nil || b.String() != want {
			t.Errorf("ParseBuild(%.20q) = %v, %v; want %s", out, b, err, want)
		}
	}
	for _, out := range []string{"", "BIND 9.16.50", "BIND 9.21.4 (Development)", "BIND 10.0.0"} {
		if b, err := ParseBuild(out); err == nil {
			t.Errorf("ParseBuild(%q) = %v, want an error", out, b)
		}
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	c := Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:53")}, Control: netip.MustParseAddrPort("192.0.2.1:953"),
		Forwarders: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	err := c.Validate()
	if err == nil {
		t.Fatal("an empty configuration is valid")
	}
	for _, want := range []string{"path", "absolute", "wildcard", "control address", "forwarder", "tcp-clients", "tcp-idle-timeout", "max-journal-size", "start timeout", "probe failures"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q: %v", want, err)
		}
	}
}

func FuzzDecodeControl(f *testing.F) {
	secret := []byte("secret")
	f.Add(encodeControl(table{{"_ctrl", table{{"_ser", "1"}}}, {"_data", table{{"type", "status"}}}}, secret)[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeControl(b, secret); err == nil && m.text("_auth", "hsha") == "" {
			if again, err := decodeControl(encodeControl(m, secret)[4:], secret); err != nil || again.text("_ctrl", "_ser") != m.text("_ctrl", "_ser") {
				t.Errorf("does not survive a round trip: %v", err)
			}
		}
	})
}
