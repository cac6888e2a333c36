package named

import (
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

func secondaryConfig() Config {
	c := goldenConfig()
	c.TCPClients = 1000
	c.Secondary = &SecondaryConf{Proxy: netip.MustParseAddrPort("127.0.0.54:5355"), Key: zone.MustParseName("secondary-0"), Catalog: zone.MustParseName("catalog.zonekeeper.invalid")}
	return c
}

// TestRenderSecondaryGolden keeps the rendered file under review, and lets named-checkconf of the release accept it.
func TestRenderSecondaryGolden(t *testing.T) {
	name := zone.MustParseName
	keys := renderKeys([]tsig.Key{
		{Name: name(PublishKeyName), Algorithm: tsig.HMACSHA256, Secret: []byte("publish")},
		{Name: name(controlKeyName), Algorithm: tsig.HMACSHA256, Secret: []byte("control")},
		{Name: name("secondary-0"), Algorithm: tsig.HMACSHA256, Secret: []byte("secondary")},
		{Name: name("downstream"), Algorithm: tsig.HMACSHA256, Secret: []byte("downstream")},
	})
	full := secondaryConfig()
	full.Listen = append(full.Listen, netip.MustParseAddrPort("192.0.2.7:53"), netip.MustParseAddrPort("[::]:53"))
	full.ListenProxy = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:5354")}
	full.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	full.Secondary.RateLimit, full.Secondary.AllowTransfer = true, `key "downstream."`
	for version, b := range map[string]Build{"9.20": {Major: 9, Minor: 20, LMDB: true}, "9.18": {Major: 9, Minor: 18, LMDB: true}} {
		for kind, c := range map[string]Config{"plain": secondaryConfig(), "full": full} {
			t.Run(version+"/"+kind, func(t *testing.T) {
				text := renderSecondary(c, b)
				golden(t, filepath.Join("testdata", "secondary-"+version+"-"+kind+".conf"), text)
				dir := t.TempDir()
				for file, text := range map[string][]byte{"named.conf": text, keysFile: keys} {
					local := strings.ReplaceAll(string(text), c.Dir, dir)
					if err := os.WriteFile(filepath.Join(dir, file), []byte(local), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				out, err := exec.CommandContext(t.Context(), namedtest.Get(t, version).CheckConf, filepath.Join(dir, "named.conf")).CombinedOutput()
				for l := range strings.Lines(string(out)) {
					// The one remark that there is no way around.
					if !strings.Contains(l, "'allow-proxy' is experimental") {
						t.Errorf("named-checkconf of %s: %s", version, l)
					}
				}
				if err != nil {
					t.Errorf("named-checkconf of %s: %v", version, err)
				}
			})
		}
	}
}

func TestSecondaryConfIsChecked(t *testing.T) {
	c := secondaryConfig()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c.Secondary = &SecondaryConf{Proxy: netip.MustParseAddrPort("192.0.2.1:53")}
	err := c.Validate()
	for _, want := range []string{"127.0.0.0/8", "key for transfers", "catalog zone"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q: %v", want, err)
		}
	}
}

// TestDoubt: the directory is set aside once, and put back when that was not it.
func TestDoubt(t *testing.T) {
	type end struct {
		answered, zones bool
		want            remedy
	}
	f := func(zones bool, want remedy) end { return end{false, zones, want} }
	for name, ends := range map[string][]end{
		"damaged":           {f(true, leave), f(true, leave), f(true, setAside), {true, true, leave}, f(true, leave), f(true, leave), f(true, setAside)},
		"nothing to blame":  {f(false, leave), f(false, leave), f(false, leave), f(false, leave)},
		"not the directory": {f(true, leave), f(true, leave), f(true, setAside), f(false, leave), f(false, leave), f(false, putBack), f(true, leave), f(true, leave), f(true, leave)},
		"it answered once":  {f(true, leave), f(true, leave), {true, true, leave}, f(true, leave), f(true, leave), f(true, setAside)},
	} {
		t.Run(name, func(t *testing.T) {
			var d doubt
			for i, e := range ends {
				if got := d.after(e.answered, e.zones); got != e.want {
					t.Errorf("end %d: remedy %d, want %d", i+1, got, e.want)
				}
			}
		})
	}
}

func TestSetAsideAndPutBack(t *testing.T) {
	own := owner{dir: filepath.Join(t.TempDir(), "named")}
	if err := os.Mkdir(own.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if own.hasZones() {
		t.Error("an empty directory holds zones")
	}
	if err := own.keep(); err != nil {
		t.Fatal(err)
	}
	if err := own.write(catalogFile, []byte("old")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second one replaces what the first has kept
		if err := own.setAside(); err != nil {
			t.Fatal(err)
		}
		if own.hasZones() {
			t.Error("the new directory holds zones")
		}
		if err := own.putBack(); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(own.dir, catalogFile)); err != nil || string(b) != "old" {
		t.Errorf("after it was put back: %q, %v", b, err)
	}
}
