package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
)

// Wrap runs each primary behind the words that prefix gives for its name, such as those of Network.Enter and SlowSync.
// The words must end in the same process that they were started as: signals are meant for the primary.
func Wrap(t testing.TB, cfg *devcluster.Config, prefix func(name string) []string) {
	t.Helper()
	var script strings.Builder
	script.WriteString("#!/bin/sh\n# Called with --config DIR/NAME/primary.json\ncase $2 in\n")
	for i := range cfg.Primaries {
		name := fmt.Sprintf("primary-%d", i)
		words := append(append([]string(nil), prefix(name)...), cfg.Command...)
		for j, w := range words {
			words[j] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		fmt.Fprintf(&script, "*/%s/*) exec %s \"$@\" ;;\n", name, strings.Join(words, " "))
	}
	script.WriteString("esac\necho \"no primary has the configuration $2\" >&2\nexit 2\n")
	path := filepath.Join(t.TempDir(), "run-primary")
	if err := os.WriteFile(path, []byte(script.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.Command = []string{path}
}

// SlowSync is what to put before a command to make its fdatasync slow: each one, or from the first-th on every step-th
// (first and step 0: all). What was delayed is noted in the file trace; see CountDelayed.
//
// It is strace that holds the calling thread back before the system call. A seccomp filter lets all other system calls
// pass at full speed, and -D makes strace the child, so that the process is the command itself. etcd's write-ahead log
// and store use fdatasync; named uses fsync, and lives on a tmpfs in production.
func SlowSync(trace string, delay time.Duration, first, step int) []string {
	inject := fmt.Sprintf("inject=fdatasync:delay_enter=%d", delay.Microseconds())
	if step > 0 {
		inject += fmt.Sprintf(":when=%d+%d", first, step)
	}
	return []string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-A", "-o", trace, "-e", "trace=fdatasync", "-e", "signal=none", "-e", inject}
}

// CountDelayed counts the delayed system calls so far.
func CountDelayed(t testing.TB, trace string) int {
	t.Helper()
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "(DELAYED)")
}
