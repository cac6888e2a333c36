// Package namedtest finds the BIND releases that tests run against and hands out free loopback ports and directories on
// a tmpfs.
package namedtest

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/porttest"
)

// Release is one installed BIND.
type Release struct {
	Version   string // "9.18" or "9.20"
	Named     string // path of named
	CheckConf string // path of named-checkconf
	CheckZone string // path of named-checkzone
}

// Releases returns every BIND that the tests drive: the system's own 9.18 and 9.20, the latter from scripts/
// fetch-named-920.sh, which downloads it once. ZONEKEEPER_NAMED_918 and ZONEKEEPER_NAMED_920 name other binaries.
func Releases(t testing.TB) []Release {
	t.Helper()
	return []Release{find(t, "9.20"), find(t, "9.18")}
}

// Each runs f as a subtest for each release.
func Each(t *testing.T, f func(*testing.T, Release)) {
	t.Helper()
	for _, v := range []string{"9.20", "9.18"} {
		t.Run("named="+v, func(t *testing.T) { f(t, find(t, v)) })
	}
}

// Get returns one release, "9.18" or "9.20". The test fails when it can't be had.
func Get(t testing.TB, version string) Release {
	t.Helper()
	return find(t, version)
}

func find(t testing.TB, version string) Release {
	t.Helper()
	r := locate(t, version)
	out, err := exec.CommandContext(t.Context(), r.Named, "-V").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "BIND "+version+".") {
		t.Fatalf("%s is not BIND %s (%v): %.60q; run scripts/install-deps.sh", r.Named, version, err, out)
	}
	return r
}

func locate(t testing.TB, version string) Release {
	t.Helper()
	if path := os.Getenv("ZONEKEEPER_NAMED_" + strings.ReplaceAll(version, ".", "")); path != "" {
		dir := filepath.Dir(path)
		return Release{version, path, beside(t, dir, "named-checkconf"), beside(t, dir, "named-checkzone")}
	}
	if version == "9.20" {
		_, file, _, _ := runtime.Caller(0)
		script := filepath.Join(filepath.Dir(file), "..", "..", "..", "scripts", "fetch-named-920.sh")
		cmd := exec.CommandContext(t.Context(), script)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("fetch BIND 9.20: %v\n%s", err, stderr.String())
		}
		dir := filepath.Join(strings.TrimSpace(string(out)), "bin")
		return Release{version, filepath.Join(dir, "named"), filepath.Join(dir, "named-checkconf"), filepath.Join(dir, "named-checkzone")}
	}
	path := "/usr/sbin/named"
	if p, err := exec.LookPath("named"); err == nil {
		path = p
	}
	dir := filepath.Dir(path)
	return Release{version, path, beside(t, dir, "named-checkconf"), beside(t, dir, "named-checkzone")}
}

// beside looks for a program where named is, and in the bin that belongs to its sbin.
func beside(t testing.TB, dir, name string) string {
	t.Helper()
	for _, d := range []string{dir, filepath.Join(filepath.Dir(dir), "bin")} {
		if p := filepath.Join(d, name); exec.CommandContext(t.Context(), p, "-v").Run() == nil {
			return p
		}
	}
	return name
}

// FreePort is an address on loopback for a server, over TCP and UDP.
func FreePort(t testing.TB) netip.AddrPort {
	t.Helper()
	return porttest.Addr(t)
}

// roomNeeded is what a test may write: journals and logs. The /dev/shm of a container is 64 MB by default, which is less.
const roomNeeded = 1 << 30

// Dir returns a new directory on a tmpfs when there is one with room, deleted after the test.
func Dir(t testing.TB) string {
	t.Helper()
	base := "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(base, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || fs.Bavail*uint64(fs.Bsize) < roomNeeded { //nolint:gosec // a size
		base = ""
	}
	dir, err := os.MkdirTemp(base, "zonekeeper-named-") //nolint:usetesting // t.TempDir is on disk
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // a leftover only takes space
	return dir
}

// SharedDir is Dir for servers that run under other accounts.
func SharedDir(t testing.TB) string {
	t.Helper()
	dir := Dir(t)
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is to be entered
		t.Fatal(err)
	}
	return dir
}
