package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/primary"
)

// Cluster is a running cluster. It is stopped, and its directory removed, when the test ends.
type Cluster struct {
	*devcluster.Cluster
	t testing.TB
	// Admin has every primary and every secondary by its name.
	Admin map[string]*adminapi.Client
}

var build struct {
	sync.Once
	path string
	err  error
}

// Program builds cmd/zonekeeper once for the whole test binary and gives its path.
func Program(t testing.TB) string {
	t.Helper()
	build.Do(func() {
		if build.err = noteSources(); build.err != nil {
			return
		}
		dir, err := buildDir()
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "zonekeeper")
		out, err := exec.Command("go", "build", "-o", build.path, "github.com/zonekeeper/zonekeeper/cmd/zonekeeper").CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("build cmd/zonekeeper: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// buildDir makes a directory for this process's program, and removes those of processes that have ended: a test binary has
// no moment at which it could remove its own.
func buildDir() (string, error) {
	base := filepath.Join(os.TempDir(), "zonekeeper-test-programs")
	own := filepath.Join(base, strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(own, 0o755); err != nil {
		return "", err
	}
	dirs, err := os.ReadDir(base)
	if err != nil {
		return "", err
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(filepath.Join(base, d.Name())) // it only takes space
		}
	}
	return own, nil
}

// noteSources looks at every file that the program is made of. The go command repeats a test whose files have changed, and
// knows of the program's only what the test itself looks at.
func noteSources() error {
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return errors.New("the sources of this package are not known")
	}
	root := filepath.Join(filepath.Dir(here), "..", "..")
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			_, err = os.Stat(path)
			return err
		})
		if err != nil {
			return fmt.Errorf("look at the program's sources: %w", err)
		}
	}
	_, err := os.Stat(filepath.Join(root, "go.sum"))
	return err
}

// Start runs a cluster. adjust changes the configuration before; nil for none.
func Start(t testing.TB, adjust func(*devcluster.Config)) *Cluster {
	t.Helper()
	cfg := devcluster.DefaultConfig()
	cfg.Dir = t.TempDir()
	cfg.Port = 0
	cfg.Command = []string{Program(t), "primary"}
	cfg.SecondaryCommand = []string{Program(t), "secondary"}
	cfg.EtcdCommand = []string{Program(t), "etcd"}
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.NamedDir = namedtest.SharedDir(t) // on a tmpfs, as in production
	if adjust != nil {
		adjust(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), cfg.ReadyTimeout)
	defer cancel()
	dc, err := devcluster.Start(ctx, cfg)
	if err != nil {
		dumpLogs(t, cfg.Dir)
		t.Fatalf("start a cluster: %v", err)
	}
	c := &Cluster{Cluster: dc, t: t, Admin: map[string]*adminapi.Client{}}
	t.Cleanup(func() {
		if t.Failed() {
			dumpLogs(t, cfg.Dir)
		}
		if err := dc.Close(); err != nil {
			t.Logf("stop the cluster: %v", err)
		}
	})
	for _, p := range dc.Info().Primaries {
		if c.Admin[p.Name], err = adminapi.NewClient(p.Admin, cfg.AdminClient); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range dc.Info().Secondaries {
		if c.Admin[s.Name], err = adminapi.NewClient(s.Admin, nil); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// For is the cluster as a part of the test that started it sees it: what fails there fails that part.
func (c *Cluster) For(t testing.TB) *Cluster {
	part := *c
	part.t = t
	return &part
}

// dumpLogs shows the ends of the logs of all processes.
func dumpLogs(t testing.TB, dir string) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(dir, "*", "log"))
	for _, f := range logs {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		t.Logf("%s, its end:\n%s", f, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
}

// CheckLogs fails the test when the log of a primary or a secondary has what a sound program never writes. (With GOFLAGS=-race the program
// reports data races there.)
func (c *Cluster) CheckLogs() {
	c.t.Helper()
	for _, name := range append(c.Names(), c.SecondaryNames()...) {
		path := filepath.Join(c.Dir(), name, "log")
		b, err := os.ReadFile(path)
		if err != nil {
			c.t.Error(err)
			continue
		}
		for _, bad := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine 1 ["} {
			if i := strings.Index(string(b), bad); i >= 0 {
				c.t.Errorf("%s: %q:\n%s", path, bad, b[i:min(i+4000, len(b))])
			}
		}
		errs := map[string]int{}
		for _, line := range strings.Split(string(b), "\n") {
			if _, msg, ok := strings.Cut(line, "level=ERROR "); ok {
				errs[msg]++
			}
		}
		for msg, n := range errs {
			c.t.Logf("%s, %d times: %s", name, n, msg)
		}
	}
}

// Primary gives what dev.json says of a primary.
func (c *Cluster) Primary(name string) devcluster.PrimaryInfo {
	c.t.Helper()
	for _, p := range c.Info().Primaries {
		if p.Name == name {
			return p
		}
	}
	c.t.Fatalf("there is no primary %q", name)
	return devcluster.PrimaryInfo{}
}

// Names lists the primaries.
func (c *Cluster) Names() []string {
	var out []string
	for _, p := range c.Info().Primaries {
		out = append(out, p.Name)
	}
	return out
}

// Leader gives the primary whose member leads the log, asked of any that answers.
func (c *Cluster) Leader() string {
	c.t.Helper()
	var leader string
	c.Until(10*time.Second, "the log has a leader", func(ctx context.Context) error {
		for _, n := range c.Names() {
			// A primary that is stopped accepts connections and says nothing.
			actx, cancel := context.WithTimeout(ctx, time.Second)
			s, err := c.Admin[n].Status(actx)
			cancel()
			if err == nil && s.Leader != "" {
				leader = s.Leader
				return nil
			}
		}
		return fmt.Errorf("no primary knows one")
	})
	return leader
}

// Follower gives a primary that does not lead.
func (c *Cluster) Follower() string {
	c.t.Helper()
	leader := c.Leader()
	for _, n := range c.Names() {
		if n != leader {
			return n
		}
	}
	c.t.Fatal("a cluster of one has no follower")
	return ""
}

// Signal sends a signal to a primary's or a secondary's process. Its named is another process.
func (c *Cluster) Signal(name string, sig syscall.Signal) {
	c.t.Helper()
	pid := c.pid(name)
	if pid == 0 { // it would be sent to ourselves
		c.t.Fatalf("signal %v to %s: it does not run", sig, name)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		c.t.Fatalf("signal %v to %s: %v", sig, name, err)
	}
}

// SignalNamed sends a signal to a primary's named.
func (c *Cluster) SignalNamed(name string, sig syscall.Signal) {
	c.t.Helper()
	s, err := c.Admin[name].Replica(context.Background())
	if err != nil {
		c.t.Fatalf("the named of %s: %v", name, err)
	}
	if s.Named.PID == 0 {
		c.t.Fatalf("%s has no named", name)
	}
	if err := syscall.Kill(s.Named.PID, sig); err != nil {
		c.t.Fatalf("signal %v to the named of %s: %v", sig, name, err)
	}
}

// ContinueNamed sends SIGCONT to a primary's named, if it was not replaced meanwhile.
func (c *Cluster) ContinueNamed(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := c.Admin[name].Replica(ctx)
	if err != nil || s.Named.PID == 0 {
		return
	}
	_ = syscall.Kill(s.Named.PID, syscall.SIGCONT) // it may just have ended
}

// EmptyDisk removes everything that a primary or a secondary, which does not run, has on its disk: log, checkpoints, state,
// named's files.
func (c *Cluster) EmptyDisk(name string) {
	c.t.Helper()
	if slices.Contains(c.SecondaryNames(), name) {
		c.emptySecondary(name)
		return
	}
	cfg, err := primary.LoadConfig(filepath.Join(c.Dir(), name, "primary.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, dir := range []string{cfg.Dir, cfg.Etcd.DataDir, cfg.Named.Dir} {
		if dir == "" {
			continue // the log is somebody else's
		}
		if err := os.RemoveAll(dir); err != nil {
			c.t.Fatal(err)
		}
	}
}

// RestartDead starts all primaries that do not run, at the same time, and waits until they are ready: without a quorum none
// of them gets ready alone.
func (c *Cluster) RestartDead() {
	c.t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, len(c.Names()))
	for _, name := range c.Names() {
		if pid := c.Primary(name).PID; pid != 0 && syscall.Kill(pid, 0) == nil {
			continue
		}
		wg.Go(func() {
			// A killed process is gone only when its parent has noticed; and one that was started waits for the others.
			if err := Retry(90*time.Second, func(ctx context.Context) error { return c.StartProcess(ctx, name) }); err != nil {
				errs <- fmt.Errorf("start %s: %w", name, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		c.t.Fatal(err)
	}
}

// Pause lets a time pass that is part of what is tested: how long a fault lasts, how late an update may be.
func (c *Cluster) Pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.t.Context().Done():
	}
}

// Restart starts a primary or a secondary that has ended, and waits until it is ready.
func (c *Cluster) Restart(name string) {
	c.t.Helper()
	// A killed process is gone only when its parent has noticed.
	c.Until(60*time.Second, "start "+name, func(ctx context.Context) error { return c.StartProcess(ctx, name) })
	c.Ready(name)
}

// Kill ends a primary or a secondary as a power loss would, and waits until it is gone.
func (c *Cluster) Kill(name string) {
	c.t.Helper()
	c.Signal(name, syscall.SIGKILL)
	c.Gone(name)
}

// Gone waits until the process of a primary or a secondary has ended.
func (c *Cluster) Gone(name string) {
	c.t.Helper()
	pid := c.pid(name)
	c.Until(60*time.Second, name+" ends", func(context.Context) error {
		if pid != 0 && syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("process %d lives", pid)
		}
		return nil
	})
}

// Ready waits until a primary takes requests, or a secondary serves all zones.
func (c *Cluster) Ready(name string) {
	c.t.Helper()
	c.Until(60*time.Second, name+" is ready", c.Admin[name].Ready)
}

// Until repeats a check until it gives nil, and fails the test with its last error otherwise.
func (c *Cluster) Until(limit time.Duration, what string, check func(context.Context) error) {
	c.t.Helper()
	if err := Retry(limit, check); err != nil {
		c.t.Fatalf("%s: not within %s: %v", what, limit, err)
	}
}

// Retry repeats a check until it gives nil, and returns its last error when that was not within the limit.
func Retry(limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Verified waits until every primary is ready and verify finds every named, also the secondaries', identical to the
// replicated state.
func (c *Cluster) Verified() *adminapi.VerifyReport {
	c.t.Helper()
	for _, n := range c.Names() {
		c.Ready(n)
	}
	var rep *adminapi.VerifyReport
	c.Until(60*time.Second, "all primaries agree", func(ctx context.Context) error {
		var err error
		if rep, err = c.Admin[c.Names()[0]].Verify(ctx); err != nil {
			return err
		}
		if !rep.OK {
			return fmt.Errorf("they differ: %+v", rep)
		}
		return nil
	})
	return rep
}
