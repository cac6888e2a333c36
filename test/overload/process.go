package overload

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// usage is what a process holds.
type usage struct {
	rss  int // octets
	fds  int
	soft int // limit of open files
	hard int // what soft may be raised to
}

func (u usage) String() string { return fmt.Sprintf("%d MiB, %d files", u.rss>>20, u.fds) }

// usageOf reads it from /proc.
func usageOf(t testing.TB, pid int) (u usage) {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	fields := func(file, name string) []string {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, name); ok {
				return strings.Fields(rest)
			}
		}
		t.Fatalf("%s/%s has no line %q", dir, file, name)
		return nil
	}
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	u.rss = number(fields("status", "VmRSS:")[0]) << 10
	limits := fields("limits", "Max open files")
	u.soft, u.hard = number(limits[0]), number(limits[1])
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	u.fds = len(fds)
	return u
}
