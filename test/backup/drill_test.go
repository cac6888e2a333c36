package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const origin = zone.Name("\x07example\x04test\x00")

// zonekeeper runs the program as a person would.
func zonekeeper(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(harness.Program(t), args...).CombinedOutput()
	return string(out), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := zonekeeper(t, args...)
	if err != nil {
		t.Fatalf("zonekeeper %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// startSecondary runs BIND as a secondary of the primaries, by their addresses and the cluster's key, and nothing else.
func startSecondary(t *testing.T, c *harness.Cluster) netip.AddrPort {
	t.Helper()
	at := namedtest.FreePort(t)
	dir := namedtest.Dir(t)
	key := c.Info().Key
	var from strings.Builder
	for _, p := range c.Info().Primaries {
		a := netip.MustParseAddrPort(p.DNS)
		fmt.Fprintf(&from, "%s port %d key \"%s\"; ", a.Addr(), a.Port(), key.Name)
	}
	text := fmt.Sprintf(`
key "%s" { algorithm %s; secret "%s"; };
controls { };
options {
	directory "%s"; pid-file "%[4]s/named.pid"; session-keyfile "%[4]s/session.key"; managed-keys-directory "%[4]s";
	listen-on port %[5]d { %[6]s; }; listen-on-v6 { none; }; recursion no; allow-notify { any; }; notify no; dnssec-validation no;
};
zone "example.test" { type secondary; file "example.test"; primaries { %[7]s}; };
`, key.Name, key.Algorithm, key.Secret, dir, at.Port(), at.Addr(), from.String())
	conf := filepath.Join(dir, "named.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(namedtest.Releases(t)[0].Named, "-g", "-c", conf)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("log of the secondary:\n%s", b)
		}
		_ = log.Close()
	})
	return at
}

// serves waits until a server has a zone at a serial.
func serves(t *testing.T, at netip.AddrPort, serial uint32) {
	t.Helper()
	if err := harness.Retry(30*time.Second, func(ctx context.Context) error {
		got, err := harness.Serial(ctx, at.String(), "example.test.")
		if err == nil && got != serial {
			err = fmt.Errorf("it serves serial %d, want %d", got, serial)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func current(t *testing.T, a *adminapi.Client) *adminapi.Zone {
	t.Helper()
	z, err := a.Zone(t.Context(), "example.test.")
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func add(t *testing.T, c *harness.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		rcode, err := c.Update(origin, nil, []zone.RR{harness.A(origin, fmt.Sprintf("h%d", i), 60, [4]byte{192, 0, 2, byte(i)})})
		if err != nil || rcode != 0 {
			t.Fatalf("update %d: rcode %d, %v", i, rcode, err)
		}
	}
}

// body is a zone file without the SOA.
func body(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

// TestDisaster: every primary is lost with its disk. The secondary serves on; a new cluster gets the backup, and the secondary takes the
// restored zone without being told, although it served a serial beyond the backup's (C3).
func TestDisaster(t *testing.T) {
	old := harness.Start(t, nil)
	primary0 := old.Names()[0]
	secondary := startSecondary(t, old)
	if err := old.Admin[primary0].PutSecondary(t.Context(), adminapi.Secondary{Name: "site", Key: "dev-key.", Notify: []string{secondary.String()}, Foreign: true}); err != nil {
		t.Fatal(err)
	}
	client := harness.Dial(t, old.Primary(primary0).DNS, old.Key())
	add(t, client, 0, 20)

	file := filepath.Join(t.TempDir(), "dns.tar.gz")
	must(t, "backup", file, "--admin", old.Admin[old.Names()[1]].Base(), "--recipient", "cluster")
	must(t, "backup", "verify", file)
	bare := filepath.Join(t.TempDir(), "bare.tar.gz")
	must(t, "backup", bare, "--admin", old.Admin[primary0].Base())
	saved := must(t, "backup", "extract", file, "example.test")
	if !strings.Contains(saved, "h19.example.test.") {
		t.Fatalf("the last update before it is not in the backup:\n%s", saved)
	}
	add(t, client, 100, 120) // after the backup
	lost := current(t, old.Admin[primary0])
	serves(t, secondary, lost.Serial)

	listen := map[string]string{}
	for _, name := range old.Names() {
		listen[name] = old.Primary(name).DNS
		old.Kill(name)
	}
	for _, name := range old.Names() {
		old.Gone(name)
	}
	serves(t, secondary, lost.Serial) // it serves on

	began := time.Now()
	fresh := harness.Start(t, func(c *devcluster.Config) {
		c.Zones = nil
		c.Adjust = func(p *primary.Config) { p.DNS.Listen = append(p.DNS.Listen, listen[p.Name]) } // the addresses that the secondary knows
	})
	started := time.Since(began)
	admin := fresh.Admin[fresh.Names()[2]]

	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{file}, "no key that was given opens the secrets"},
		{[]string{file, "--cluster-key-file", filepath.Join(fresh.Dir(), "cluster.key")}, "no key that was given opens the secrets"},
		{[]string{bare}, "--new-secrets"},
		{[]string{cut(t, file)}, "damaged or cut short"},
	} {
		out, err := zonekeeper(t, append([]string{"restore", "--admin", admin.Base()}, tc.args...)...)
		if err == nil || !strings.Contains(out, tc.want) || !strings.Contains(out, "nothing was changed") {
			t.Errorf("restore %v: %v\n%s", tc.args, err, out)
		}
	}
	if zones, err := admin.Zones(t.Context()); err != nil || len(zones) != 0 {
		t.Fatalf("what was refused left %v, %v", zones, err)
	}

	restoring := time.Now()
	out := must(t, "restore", file, "--admin", admin.Base(), "--cluster-key-file", filepath.Join(old.Dir(), "cluster.key"), "-o", "json")
	var r adminapi.Restored
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	restored := time.Since(restoring)
	if len(r.Zones) != 1 || !zone.SerialGT(r.Zones[0].Serial, lost.Serial) {
		t.Fatalf("restored %+v; the secondary serves %d", r.Zones, lost.Serial)
	}
	serves(t, secondary, r.Zones[0].Serial)
	t.Logf("new cluster ready after %s, restore took %s, the secondary served it %s after its beginning", started, restored, time.Since(restoring))

	var text strings.Builder
	if err := admin.ExportZone(t.Context(), "example.test.", &text); err != nil {
		t.Fatal(err)
	}
	if body(text.String()) != body(saved) {
		t.Errorf("restored:\n%s\nsaved:\n%s", text.String(), saved)
	}
	z := current(t, admin)
	if z.ManagedBy != lost.ManagedBy || fmt.Sprint(z.Settings) != fmt.Sprint(lost.Settings) {
		t.Errorf("settings: got %+v, want %+v", z, lost)
	}
	// The clients' keys are what they were, and updates reach the secondary.
	again := harness.Dial(t, fresh.Primary(fresh.Names()[0]).DNS, old.Key())
	if err := harness.Retry(10*time.Second, func(context.Context) error { // what was signed in the second of the restore is refused (C1)
		rcode, err := again.Update(origin, nil, []zone.RR{harness.A(origin, "h200", 60, [4]byte{192, 0, 2, 200})})
		if err == nil && rcode != 0 {
			err = harness.RCodeError(rcode)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	add(t, again, 201, 203)
	serves(t, secondary, current(t, admin).Serial)
	// One zone alone comes back from the file, past what is served.
	one := filepath.Join(t.TempDir(), "example.test.zone")
	if err := os.WriteFile(one, []byte(saved), 0o600); err != nil {
		t.Fatal(err)
	}
	before := current(t, admin).Serial
	must(t, "zone", "import", "example.test", one, "--replace", "--move-serial", "--admin", admin.Base())
	if now := current(t, admin); !zone.SerialGT(now.Serial, before) || now.Records != r.Zones[0].Records {
		t.Errorf("after the import: %+v; the serial was %d", now, before)
	}
	if out, err := zonekeeper(t, "restore", file, "--admin", admin.Base(), "--cluster-key-file", filepath.Join(old.Dir(), "cluster.key")); err == nil || !strings.Contains(out, "not empty") {
		t.Errorf("a second restore: %v\n%s", err, out)
	}
}

// cut gives a file without its last octet.
func cut(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short.tar.gz")
	if err := os.WriteFile(short, b[:len(b)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	return short
}
