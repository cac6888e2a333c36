// Package demo runs what a newcomer runs first, as he does: from a shell.
package demo

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience covers a cold build on two busy cores.
const patience = 5 * time.Minute

// `make run`, the README's first command, works from beginning to end and leaves nothing behind.
func TestMakeRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tmp := t.TempDir()
	cmd := exec.CommandContext(ctx, "make", "run")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "RUN_ONCE=1", "TMPDIR="+tmp)
	// A group of its own, so that a late end takes the whole cluster with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make run: %v\n%s", err, out)
	}
	for _, want := range []string{
		"hello.example.test has address 192.0.2.1",
		"secondary-0 (127.0.0.1:", "secondary-1 (127.0.0.1:",
		"primary-0", "primary-1", "primary-2",
		"all 12 copies of 2 zones are the same",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	left, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}
