package overload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// settled is a cluster of one that has written a checkpoint and been stopped.
type settled struct {
	dir string // of the cluster
}

// config is where a copy's primary reads its configuration.
func config(dir string) string { return filepath.Join(dir, "primary-0", "primary.json") }

// TestFiles starts a primary on files that are not right. It ends at once with one error that names the file and the remedy,
// and with exit code 2, and nothing is overwritten.
func TestFiles(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Primaries = 1
		cfg.Adjust = func(p *primary.Config) { p.Etcd.QuotaBytes = 64 << 20 } // checkpoints are frequent then
	})
	bulk(t, c, func() bool {
		s, err := c.Admin["primary-0"].Replica(t.Context())
		return err == nil && s.CheckpointIndex > 0
	})

	t.Run("two processes on one directory", func(t *testing.T) {
		out := refused(t, config(c.Dir()))
		expect(t, out, filepath.Join(c.Dir(), "primary-0", "data"), "in use by another process")
		c.Ready("primary-0")
		rcode, err := harness.Dial(t, c.Info().Endpoint, c.Key()).Update(zone.MustParseName(origin), nil,
			[]zone.RR{harness.A(zone.MustParseName(origin), "after", 60, [4]byte{192, 0, 2, 1})})
		if err != nil || rcode != 0 {
			t.Errorf("the first process does not go on: rcode %d, %v", rcode, err)
		}
	})
	t.Run("two processes on one address", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "primary.json")
		edit(t, config(c.Dir()), path, func(s string) string {
			return replace(t, s, filepath.Join(c.Dir(), "primary-0", "data"), t.TempDir())
		})
		expect(t, refused(t, path), "admin.listen", "address already in use")
		c.Ready("primary-0")
	})

	c.Signal("primary-0", syscall.SIGTERM)
	c.Gone("primary-0")
	pristine := settled{c.Dir()}

	for _, tc := range []struct {
		name   string
		change func(t *testing.T, dir string)
		want   []string
		// runs: the log's member is in order and has started, so that its own files change.
		runs bool
	}{
		{"an unknown field", func(t *testing.T, dir string) {
			edit(t, config(dir), config(dir), func(s string) string { return replace(t, s, `"cluster_key_file"`, `"cluster_keyfile"`) })
		}, []string{"primary.json:4:", `unknown field "cluster_keyfile"`}, false},
		{"no JSON", func(t *testing.T, dir string) {
			edit(t, config(dir), config(dir), func(s string) string { return replace(t, s, `"dns": {`, `"dns": `) })
		}, []string{"primary.json:6:"}, false},
		{"a value of another type", func(t *testing.T, dir string) {
			edit(t, config(dir), config(dir), func(s string) string {
				return replace(t, s, `"control_port": `, `"control_port": "rndc", "threads": `)
			})
		}, []string{"primary.json:", "control_port"}, false},
		{"values that can't be", func(t *testing.T, dir string) {
			edit(t, config(dir), config(dir), func(s string) string {
				s = replace(t, s, `"log_level": "info"`, `"log_level": "loud"`)
				return replace(t, s, `"name": "primary-0",
  "dir"`, `"name": "primary 0",
  "dir"`)
			})
		}, []string{"primary.json", `log_level: "loud"; use debug, info, warn or error`, `name: "primary 0" is not a replica name`}, false},
		{"no configuration", func(t *testing.T, dir string) { remove(t, config(dir)) }, []string{"primary.json", "no such file"}, false},
		{"no cluster key", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "cluster.key")) }, []string{"cluster.key", "no such file"}, false},
		{"half a cluster key", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "cluster.key"), base64.StdEncoding.EncodeToString(make([]byte, 16)))
		}, []string{"cluster.key", "openssl rand -base64 32"}, false},
		{"the key of another cluster", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "cluster.key"), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
		}, []string{"cluster.key", "another cluster's", "use the file that the other primaries have"}, true},
		{"no named", func(t *testing.T, dir string) {
			edit(t, config(dir), config(dir), func(s string) string { return replace(t, s, `"path": "`, `"path": "/nowhere`) })
		}, []string{"named.path", "/nowhere", "install BIND"}, false},
		{"a damaged checkpoint", func(t *testing.T, dir string) {
			damage(t, newest(t, dir, "primary-0/data/checkpoints/checkpoint-*"), func(b []byte) []byte { b[len(b)/2]++; return b })
		}, []string{"primary-0/data/checkpoints/checkpoint-", "move the file away"}, true},
		{"half a checkpoint", func(t *testing.T, dir string) {
			damage(t, newest(t, dir, "primary-0/data/checkpoints/checkpoint-*"), func(b []byte) []byte { return b[:len(b)/2] })
		}, []string{"primary-0/data/checkpoints/checkpoint-", "move the file away"}, true},
		{"a damaged write-ahead log", func(t *testing.T, dir string) {
			damage(t, newest(t, dir, "primary-0/etcd/member/wal/*.wal"), func(b []byte) []byte { copy(b[20:], "garbage!garbage!"); return b })
		}, []string{"primary-0/etcd", "move the directory away"}, false},
		{"a damaged store of the log", func(t *testing.T, dir string) {
			damage(t, newest(t, dir, "primary-0/etcd/member/snap/db"), func(b []byte) []byte { clear(b[:16<<10]); return b })
		}, []string{"primary-0/etcd", "move the directory away"}, false},
		{"the log of another cluster", func(t *testing.T, dir string) {
			edit(t, config(dir), config(dir), func(s string) string { return replace(t, s, `"token": "`, `"token": "another-`) })
		}, []string{"primary-0/etcd", "another cluster", "name the right directory"}, false},
		{"the log of another member", func(t *testing.T, dir string) {
			edit(t, config(dir), config(dir), func(s string) string {
				s = strings.ReplaceAll(s, `"primary-0"`, `"primary-7"`)
				return s
			})
		}, []string{"primary-0/etcd", `belongs to member "primary-0"`, "name the right directory"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := pristine.copy(t)
			tc.change(t, dir)
			what := dir
			if tc.runs {
				what = filepath.Join(dir, "primary-0", "data")
			}
			before := digests(t, what)
			out := refused(t, config(dir))
			expect(t, out, tc.want...)
			if after := digests(t, what); !maps.Equal(before, after) {
				for name := range before {
					if after[name] != before[name] {
						t.Errorf("%s was changed", name)
					}
				}
				for name := range after {
					if before[name] == "" {
						t.Errorf("%s was added", name)
					}
				}
			}
		})
	}

	// And the files of all those copies' original are in order.
	c.Restart("primary-0")
	c.Verified()
}

// copy makes a cluster's directory again elsewhere.
func (s settled) copy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cluster")
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, s.dir))
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// etcd allocates its files long before it writes them: most of each is zero.
		if err := os.WriteFile(to, bytes.TrimRight(b, "\x00"), 0o600); err != nil {
			return err
		}
		return os.Truncate(to, int64(len(b)))
	})
	if err != nil {
		t.Fatal(err)
	}
	edit(t, config(dir), config(dir), func(s2 string) string { return strings.ReplaceAll(s2, s.dir, dir) })
	return dir
}

// refused runs a primary and returns its last words. It must end by itself with exit code 2.
func refused(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Program(t), "primary", "--config", path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("it ended with %v, want exit code 2 by itself; it said:\n%s", err, &out)
	}
	if s := out.String(); strings.Contains(s, "goroutine ") {
		t.Errorf("it panicked:\n%s", s)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "error: ") {
			return strings.Join(lines[i:], "\n")
		}
	}
	return lines[len(lines)-1]
}

func expect(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("the error lacks %q:\n%s", w, out)
		}
	}
	t.Log(out)
}

// digests are those of all files below a directory.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		sum := sha256.Sum256(bytes.TrimRight(b, "\x00"))
		out[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%x and %d octets", sum, len(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newest(t *testing.T, dir, glob string) string {
	t.Helper()
	l, err := filepath.Glob(filepath.Join(dir, glob))
	if err != nil || len(l) == 0 {
		t.Fatalf("no %s: %v", glob, err)
	}
	return slices.Max(l)
}

func damage(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, string(change(b)))
}

func edit(t *testing.T, from, to string, change func(string) string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	put(t, to, change(string(b)))
}

// replace insists that there is something to replace.
func replace(t *testing.T, s, from, to string) string {
	t.Helper()
	if !strings.Contains(s, from) {
		t.Fatalf("no %s in\n%s", from, s)
	}
	return strings.Replace(s, from, to, 1)
}

func put(t *testing.T, path, s string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
