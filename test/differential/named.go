package differential

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// StartNamed runs release as a primary for the zones and returns its address. It ends with the test; a named that ends
// before that fails it.
func StartNamed(t testing.TB, release namedtest.Release, specs []ZoneSpec, zones []*zone.Zone) netip.AddrPort {
	t.Helper()
	dir := namedtest.Dir(t)
	addr := namedtest.FreePort(t)
	for i, z := range zones {
		var b bytes.Buffer
		if err := zone.WriteFile(&b, z); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, zoneFile(i)), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "named.conf")
	if err := os.WriteFile(conf, []byte(namedConf(dir, addr, specs)), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "named.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), release.Named, "-g", "-n", "1", "-c", conf)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", release.Named, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tail := func() string {
		text, _ := os.ReadFile(log.Name()) // only to explain a failure
		return string(text[max(0, len(text)-4000):])
	}
	t.Cleanup(func() {
		select {
		case err := <-ended:
			t.Errorf("named ended by itself: %v\n%s", err, tail())
		default:
			_ = cmd.Process.Kill() // it holds nothing worth saving
			<-ended
		}
		_ = log.Close() // written by named
	})
	c := Dial(addr)
	defer c.Close()
	for start := time.Now(); ; {
		_, err := c.Serial(t.Context(), specs[len(specs)-1].Origin)
		if err == nil {
			return addr
		}
		select {
		case <-ended:
			ended <- nil
			t.Fatalf("named did not start:\n%s", tail())
		case <-time.After(20 * time.Millisecond): // a poll, bounded below
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("named does not answer: %v\n%s", err, tail())
		}
	}
}

func zoneFile(i int) string { return fmt.Sprintf("zone%d.db", i) }

func namedConf(dir string, addr netip.AddrPort, specs []ZoneSpec) string {
	var b strings.Builder
	fmt.Fprintf(&b, `options {
	directory %q; pid-file none; session-keyfile none;
	listen-on port %d { %s; }; listen-on-v6 { none; };
	recursion no; notify no; dnssec-validation no; empty-zones-enable no;
	allow-query { any; }; allow-transfer { key k; };
};
controls { };
logging { category update { null; }; category update-security { null; }; category security { null; }; category xfer-out { null; }; };
`, dir, addr.Port(), addr.Addr())
	seen := map[string]bool{}
	for _, s := range specs {
		for _, k := range s.Keys {
			if !seen[k] {
				seen[k] = true
				fmt.Fprintf(&b, "key %q { algorithm hmac-sha256; secret %q; };\n", k, base64.StdEncoding.EncodeToString([]byte(Secret)))
			}
		}
	}
	for i, s := range specs {
		fmt.Fprintf(&b, "zone %q { type primary; file %q; ", s.Origin, zoneFile(i))
		if s.MaxTTL != 0 {
			fmt.Fprintf(&b, "max-zone-ttl %d; ", s.MaxTTL)
		}
		if s.ACL != "" {
			fmt.Fprintf(&b, "allow-update { %s }; };\n", s.ACL)
		} else {
			fmt.Fprintf(&b, "update-policy { %s }; };\n", s.Policy)
		}
	}
	return b.String()
}
