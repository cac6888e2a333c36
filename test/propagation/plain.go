package propagation

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// plainSecret is that of the key of plain BIND.
const plainSecret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// tuned are the options that make BIND tell and ask as fast as it can.
const tuned = `
	notify-delay 0;
	notify-rate 10000;
	startup-notify-rate 10000;
	serial-query-rate 10000;
	transfers-in 100;
	transfers-out 1000;
	transfers-per-ns 100;
	min-refresh-time 1;
	min-retry-time 1;
	tcp-clients 1000;
`

// plain is a BIND primary with BIND secondaries and nothing else, each with its files on the disk of the test's directory.
type plain struct {
	t           testing.TB
	key         tsig.Key
	primary     netip.AddrPort
	secondaries []server
}

// startPlain runs them and waits until the secondaries serve the zones. The options go to all of them; ahead are addresses
// that the secondaries know as primaries before the real one.
func startPlain(t testing.TB, zones []zone.Name, secondaries int, options string, ahead ...string) *plain {
	t.Helper()
	p := &plain{t: t, key: harness.MustKey(t, "plain.", "hmac-sha256", plainSecret), primary: namedtest.FreePort(t)}
	var also strings.Builder
	for i := range secondaries {
		at := namedtest.FreePort(t)
		p.secondaries = append(p.secondaries, server{fmt.Sprintf("plain-%d", i), at.String()})
		fmt.Fprintf(&also, "%s port %d; ", at.Addr(), at.Port())
	}
	var text strings.Builder
	for _, z := range zones {
		fmt.Fprintf(&text, "zone \"%s\" { type primary; file \"%[1]s\"; allow-update { key plain.; }; notify explicit; also-notify { %s}; };\n", z, &also)
	}
	p.run("primary", p.primary, options, text.String(), zones)
	from := ""
	for _, a := range ahead {
		from += a + " key plain.; "
	}
	from += fmt.Sprintf("%s port %d key plain.; ", p.primary.Addr(), p.primary.Port())
	for _, s := range p.secondaries {
		text.Reset()
		for _, z := range zones {
			fmt.Fprintf(&text, "zone \"%s\" { type secondary; file \"%[1]s\"; primaries { %s}; notify no; };\n", z, from)
		}
		p.run(s.name, netip.MustParseAddrPort(s.addr), options, text.String(), nil)
	}
	return p
}

// run starts one named, which ends with the test. Zones get a file each.
func (p *plain) run(name string, at netip.AddrPort, options, text string, zones []zone.Name) {
	p.t.Helper()
	dir := filepath.Join(p.t.TempDir(), name)
	write := func(file, content string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	for _, z := range zones {
		write(z.String(), "$TTL 300\n@ SOA ns hostmaster 1000 3600 600 1209600 300\n@ NS ns\nns A 127.0.0.1\n")
	}
	write("named.conf", fmt.Sprintf(`key plain. { algorithm hmac-sha256; secret "%s"; };
options {
	directory "%s";
	pid-file none;
	session-keyfile none;
	listen-on port %d { %s; };
	listen-on-v6 { none; };
	recursion no;
	empty-zones-enable no;
	dnssec-validation no;
	minimal-responses yes;
	allow-transfer { key plain.; };
%s};
controls { };
%s`, plainSecret, dir, at.Port(), at.Addr(), options, text))
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer logFile.Close()
	cmd := exec.Command("named", "-g", "-c", filepath.Join(dir, "named.conf")) //nolint:noctx // ended below
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("plain BIND: %v; install it with scripts/install-deps.sh test", err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		if p.t.Failed() {
			if b, err := os.ReadFile(logFile.Name()); err == nil {
				lines := strings.Split(string(b), "\n")
				p.t.Logf("%s, its end:\n%s", name, strings.Join(lines[max(0, len(lines)-20):], "\n"))
			}
		}
	})
}
