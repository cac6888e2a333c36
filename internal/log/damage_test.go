package log

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDamagedData: a member whose files are damaged says so in one error that names the directory and the remedy, and
// changes nothing.
func TestDamagedData(t *testing.T) {
	t.Parallel()
	cfgs := memberConfigs(t, 1)
	m := startOne(t, cfgs[0])
	l := openMember(t, m, nil, "r")
	mustSettle(t, l)
	for range 50 {
		mustAppend(t, l, strings.Repeat("x", 1000))
	}
	m.Close()
	pristine := t.TempDir()
	if err := os.CopyFS(filepath.Join(pristine, "d"), os.DirFS(cfgs[0].DataDir)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, glob string
		damage     func(t *testing.T, path string)
	}{
		{"a record of the write-ahead log changed", "member/wal/*.wal", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			i := bytes.Index(b, []byte("xxxxxxxx"))
			b[i]++
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"write-ahead log overwritten at its start", "member/wal/*.wal", func(t *testing.T, path string) { overwrite(t, path, 4) }},
		{"store overwritten", "member/snap/db", func(t *testing.T, path string) { overwrite(t, path, 0) }},
		{"store truncated", "member/snap/db", func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := cfgs[0]
			cfg.DataDir = filepath.Join(t.TempDir(), "d")
			if err := os.CopyFS(cfg.DataDir, os.DirFS(filepath.Join(pristine, "d"))); err != nil {
				t.Fatal(err)
			}
			paths, err := filepath.Glob(filepath.Join(cfg.DataDir, tc.glob))
			if err != nil || len(paths) == 0 {
				t.Fatalf("no %s: %v", tc.glob, err)
			}
			tc.damage(t, paths[0])
			damaged, err := os.ReadFile(paths[0])
			if err != nil {
				t.Fatal(err)
			}
			// A process of its own: a failed etcd leaves goroutines and files behind until its process ends.
			n := startNode(t, nodeConfig{Member: cfg})
			got := strings.Join(n.expect("config"), " ")
			if !strings.Contains(got, cfg.DataDir) || !strings.Contains(got, "move the directory away") {
				t.Errorf("error %q: want the directory and the remedy", got)
			}
			if after, err := os.ReadFile(paths[0]); err != nil || !bytes.Equal(after, damaged) {
				t.Errorf("%s was changed (%v): it is what a person has to look at", paths[0], err)
			}
		})
	}
}

func overwrite(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("garbage!", 4000)), off); err != nil {
		t.Fatal(err)
	}
}

// TestStartGivesUp: a member that finds no quorum waits as long as its context lasts, and then lets go of everything.
func TestStartGivesUp(t *testing.T) {
	t.Parallel()
	cfgs := memberConfigs(t, 3)
	for _, m := range startAll(t, cfgs) {
		m.Close()
	}
	for range 2 { // the second time proves that the first one released its sockets and its files
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		_, err := Start(ctx, cfgs[0])
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "majority") {
			t.Fatalf("Start alone = %v, want a deadline and what to do", err)
		}
	}
	alone := memberConfigs(t, 3)[0]
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := Start(ctx, alone); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "m1") {
		t.Errorf("a first start alone = %v, want the missing members' names", err)
	}
}
