package log

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

// etcdEnv makes the test binary an etcd server: its own re-execution is the external cluster of the tests.
const etcdEnv = "ZONEKEEPER_TEST_ETCD"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(etcdEnv) != "":
		etcdmain.Main(append([]string{"etcd"}, os.Args[1:]...))
		return
	case os.Getenv(nodeEnv) != "":
		runNode(os.Getenv(nodeEnv))
		return
	}
	os.Exit(m.Run())
}

// startExternal runs a single etcd as a process of its own.
func startExternal(t *testing.T) func(*testing.T, func(*Config), string) Log {
	urls := freeURLs(t, 2)
	out, err := os.Create(filepath.Join(t.TempDir(), "etcd.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "--name", "ext", "--data-dir", filepath.Join(t.TempDir(), "etcd"),
		"--listen-peer-urls", urls[0], "--initial-advertise-peer-urls", urls[0], "--initial-cluster", "ext="+urls[0],
		"--listen-client-urls", urls[1], "--advertise-client-urls", urls[1], "--log-level", "warn")
	cmd.Env = append(os.Environ(), etcdEnv+"=1")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		out.Close()
	})
	d := DialConfig{Endpoints: strings.Split(urls[1], ","), DialTimeout: 30 * time.Second}
	return func(t *testing.T, change func(*Config), replica string) Log {
		t.Helper()
		l, err := Dial(context.Background(), testConfig(t, change, replica), d)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
}

func startMemory(t *testing.T) func(*testing.T, func(*Config), string) Log {
	c := NewMemCluster(MemConfig{
		Fault:   SeededFaults(1, Rates{Doubled: 100}),
		Latency: func(string, uint64) time.Duration { return 300 * time.Microsecond },
		Late:    func(MemAppend) time.Duration { return time.Millisecond },
	})
	return func(t *testing.T, change func(*Config), replica string) Log {
		t.Helper()
		l, err := c.Open(testConfig(t, change, replica))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
}
