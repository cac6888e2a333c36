package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestE2EKilled: nothing of a cluster whose process is killed goes on, and the next one in its directory removes what it has left.
func TestE2EKilled(t *testing.T) {
	parts, run := parts(t)
	if !run {
		return
	}
	s := &site{t: t}
	dir := filepath.Join(t.TempDir(), "kube")
	p := s.run(parts, dir, 1)
	groups := func() []string {
		found, err := filepath.Glob("/sys/fs/cgroup/*/zonekeeper-lab-" + s.Process)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if len(groups()) == 0 {
		t.Fatalf("the cluster of %s has no control groups", s.Process)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	for _, pid := range []int{s.Hub, s.Nodes["n1"]} {
		s.until("its machines have ended", func() error {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 { // nobody has waited for it yet
				return nil
			}
			return fmt.Errorf("%d is %q: %w", pid, b, err)
		})
	}
	left := groups()
	s.run(parts, dir, 1)
	for _, g := range left {
		if _, err := os.Stat(g); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", g, err)
		}
	}
}
