package front

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mistakes: what a person may get wrong before the start ends with exit code 2 and a message that says what to do, and nothing is
// started.
func mistakes(t *testing.T, s *site) {
	edit := func(path ...string) func(c object, to any) {
		return func(c object, to any) {
			for _, p := range path[:len(path)-1] {
				c = c[p].(object)
			}
			c[path[len(path)-1]] = to
		}
	}
	half := filepath.Join(t.TempDir(), "half.pem")
	for _, tc := range []struct {
		name   string
		change func(c object)
		says   []string
	}{
		{"no primary", func(c object) { edit("primaries", "static")(c, []any{}) }, []string{"primaries", "static"}},
		{"half a certificate", func(c object) {
			whole, err := os.ReadFile(c["primaries"].(object)["tls"].(object)["cert"].(string))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(half, whole[:len(whole)/2], 0o600); err != nil {
				t.Fatal(err)
			}
			edit("primaries", "tls", "cert")(c, half)
		}, []string{"primaries.tls", half}},
		{"another key's certificate", func(c object) {
			_, key, _ := s.fronts.IssueFor("other", "zonekeeper-front")
			edit("primaries", "tls", "key")(c, key)
		}, []string{"primaries.tls", "key"}},
		{"no HAProxy", func(c object) { edit("haproxy")(c, object{"path": "/nowhere/haproxy"}) }, []string{"/nowhere/haproxy"}},
		{"an unknown field", func(c object) { edit("vipp")(c, object{}) }, []string{"vipp"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := s.spare(tc.change)
			for _, args := range [][]string{{"check", "--config", n.config}, {"--config", n.config}} {
				if args[0] == "--config" && tc.name == "no HAProxy" {
					continue // it can be installed while the front runs
				}
				ctx, cancel := context.WithTimeout(t.Context(), patient)
				cmd := n.command(args...)
				limited := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
				limited.Env = cmd.Env
				out, err := limited.CombinedOutput()
				cancel()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != 2 && args[0] != "check" {
					t.Errorf("front %v: %v, not exit code 2:\n%s", args, err, out)
				}
				for _, want := range tc.says {
					if !strings.Contains(string(out), want) {
						t.Errorf("front %v does not say %q:\n%s", args, want, out)
					}
				}
			}
		})
	}
}

// badReload: a configuration that HAProxy does not take, half a certificate, and an answer without primaries change nothing; the
// front goes on with what it had, and says so.
func badReload(t *testing.T, s *site) {
	n := s.spare(func(c object) {
		c["primaries"].(object)["static"] = nil
		c["primaries"].(object)["dns"] = object{"name": resolverName, "every": "100ms"}
		c["haproxy"].(object)["path"] = pickyHAProxy(t)
	})
	r := newResolver(n, s.Host("primary-0").V4, s.Host("primary-1").V4)
	n.start()
	write := func() {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			s.until(patient, "a write over "+network+" passes", func(context.Context) error {
				return s.client(network, s.spareAddr()).nothing()
			})
		}
	}
	write()
	n.shows("zonekeeper_front_backends", 2)

	r.set() // NOERROR, and no address
	n.shows("zonekeeper_front_backends_stale", 1)
	n.shows("zonekeeper_front_backends", 2)
	n.said("WARN", "primaries")
	write()
	r.set(s.Host("primary-0").V4, s.Host("primary-1").V4)
	n.shows("zonekeeper_front_backends_stale", 0)

	refuse := filepath.Join(filepath.Dir(n.object["haproxy"].(object)["path"].(string)), "refuse")
	if err := os.WriteFile(refuse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pids := fmt.Sprint(n.processes("haproxy"))
	r.set(s.Host("primary-0").V4, s.Host("primary-1").V4, s.Host("primary-2").V4)
	n.said("a configuration that I do not like")
	s.until(patient, "the rejected configuration is counted", func(context.Context) error {
		if n.metrics()[`zonekeeper_front_reloads_total{result="rejected"}`] < 1 {
			return errors.New("it is not")
		}
		return nil
	})
	if now := fmt.Sprint(n.processes("haproxy")); now != pids {
		t.Errorf("HAProxy is %s after a configuration that it does not take, was %s", now, pids)
	}
	write()
	if err := os.Remove(refuse); err != nil {
		t.Fatal(err)
	}

	tls := n.object["primaries"].(object)["tls"].(object)
	cert := tls["cert"].(string)
	whole, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	n.said("the certificate is not replaced")
	write()
	if err := n.proc.Alive(); err != nil {
		t.Fatal(err)
	}
	s.fronts.IssueFor(spareName, "zonekeeper-front", s.Host(spareName).V4.String()) // over the old one
	n.said("the certificate is replaced")
	write()
}

// pickyHAProxy is HAProxy, but its check refuses everything while there is a file "refuse" beside it.
func pickyHAProxy(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "haproxy")
	script := fmt.Sprintf(`#!/bin/sh
if [ "$1" = -c ] && [ -e %s ]; then
    echo "[ALERT] a configuration that I do not like" >&2
    exit 1
fi
exec haproxy "$@"
`, filepath.Join(filepath.Dir(path), "refuse"))
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
