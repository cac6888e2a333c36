package clients

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster/relay"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// What clients know: the endpoint, and the two secondaries, which are also their resolvers.
const (
	endpoint = "192.0.2.1"
	ns1      = "192.0.2.53"
	ns2      = "192.0.2.54"
)

// site is where clients live: a network namespace in which the cluster's endpoint and its secondaries have the addresses of a
// documentation prefix and port 53, and /etc/resolv.conf names the secondaries. Needs root.
type site struct {
	t      testing.TB
	c      *harness.Cluster
	ns     *harness.Namespace
	dir    string
	resolv string
	// programs is where those of test/clients/programs are.
	programs string
}

func newSite(t testing.TB, c *harness.Cluster) *site {
	t.Helper()
	s := &site{t: t, c: c, ns: harness.Place(t, endpoint, ns1, ns2), dir: t.TempDir()}
	s.resolv = s.write(s.dir, "resolv.conf", "nameserver "+ns1+"\nnameserver "+ns2+"\n")

	s.ns.Door(t, endpoint, c.Backends())
	for i, addr := range []string{ns1, ns2} {
		sec := c.Info().Secondaries[i]
		s.ns.Door(t, addr, []relay.Backend{{Name: sec.Name, DNS: netip.MustParseAddrPort(sec.DNS), Check: func(context.Context) error { return nil }}})
	}
	return s
}

// write writes a file and gives its path.
func (s *site) write(dir, name, text string) string {
	s.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// command is a program inside.
func (s *site) command(ctx context.Context, env []string, words ...string) *exec.Cmd {
	args := append(s.ns.Enter(), "unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, s.resolv)
	args = append(args, words...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a program inside and gives what it wrote to standard output; the error has what it wrote to the other.
func (s *site) run(ctx context.Context, env []string, stdin string, words ...string) (string, error) {
	cmd := s.command(ctx, env, words...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", filepath.Base(words[0]), err, lastLines(errs.String()+out.String(), 4))
	}
	return out.String(), nil
}

// runAll is run for a program whose messages on standard error matter too: they are in the text.
func (s *site) runAll(ctx context.Context, env []string, stdin string, words ...string) (string, error) {
	return s.run(ctx, env, stdin, append([]string{"sh", "-c", `exec "$@" 2>&1`, words[0]}, words...)...)
}

// dial connects to an address inside.
func (s *site) dial(network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := s.ns.Inside(func() (err error) { conn, err = net.DialTimeout(network, addr, 2*time.Second); return err })
	return conn, err
}

func lastLines(text string, n int) string {
	l := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(l[max(0, len(l)-n):], " | ")
}

// build compiles the clients that are Go packages, and Pebble; once for all.
func (s *site) build() {
	s.t.Helper()
	s.programs = filepath.Join(s.dir, "bin") + "/"
	cmd := exec.Command("go", "build", "-o", s.programs, "./lego", "./externaldns", "./certmanager", "github.com/letsencrypt/pebble/v2/cmd/pebble")
	cmd.Dir = "programs"
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("build test/clients/programs: %v\n%s", err, out)
	}
}

// module is the version of a module that programs are built with.
func (s *site) module(path string) string {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path)
	cmd.Dir = "programs"
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("version of %s: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}

// version runs a program for its version and gives the last word of the first line that has a digit.
func (s *site) version(words ...string) string {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 0 && strings.ContainsAny(line, "0123456789") {
			for _, w := range f {
				if w[0] >= '0' && w[0] <= '9' {
					return strings.TrimRight(w, ",")
				}
			}
			return f[len(f)-1]
		}
	}
	s.t.Fatalf("%v tells no version: %v\n%s", words, err, out)
	return ""
}
