package log

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/porttest"
)

// freeURLs gives n URLs on loopback for servers to come.
func freeURLs(t testing.TB, n int) []string {
	t.Helper()
	var urls []string
	for range n {
		urls = append(urls, "http://"+porttest.Addr(t).String())
	}
	return urls
}

// testLogger writes warnings to the test's log while the test runs.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
}

// memberConfigs describes a new cluster of n members m0, m1 ….
func memberConfigs(t testing.TB, n int) []MemberConfig {
	peers, clients := freeURLs(t, n), freeURLs(t, n)
	dir := t.TempDir()
	cfgs := make([]MemberConfig, n)
	for i := range cfgs {
		c := DefaultMemberConfig()
		c.Name = fmt.Sprint("m", i)
		c.DataDir = filepath.Join(dir, c.Name)
		c.PeerURL, c.ClientURL = peers[i], clients[i]
		c.InitialCluster, c.Peers = map[string]string{}, map[string]string{}
		for j := range n {
			c.InitialCluster[fmt.Sprint("m", j)] = peers[j]
			c.Peers[fmt.Sprint("m", j)] = clients[j]
		}
		c.Token, c.Bootstrap = "test", true
		c.Logger = testLogger(t)
		cfgs[i] = c
	}
	return cfgs
}

// startAll starts the members at the same time, as a first start needs.
func startAll(t testing.TB, cfgs []MemberConfig) []*Member {
	t.Helper()
	members := make([]*Member, len(cfgs))
	errs := make([]error, len(cfgs))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i, c := range cfgs {
		wg.Go(func() { members[i], errs[i] = Start(ctx, c) })
	}
	wg.Wait()
	for _, m := range members {
		if m != nil {
			t.Cleanup(func() { m.Close() })
		}
	}
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return members
}

func startMembers(t testing.TB, n int) []*Member { return startAll(t, memberConfigs(t, n)) }

// openOn opens handles on the members in turn.
func openOn(members []*Member) func(*testing.T, func(*Config), string) Log {
	var mu sync.Mutex
	next := 0
	return func(t *testing.T, change func(*Config), replica string) Log {
		t.Helper()
		mu.Lock()
		m := members[next%len(members)]
		next++
		mu.Unlock()
		return openMember(t, m, change, replica)
	}
}

func openMember(t testing.TB, m *Member, change func(*Config), replica string) *EtcdLog {
	t.Helper()
	l, err := m.Open(testConfig(t, change, replica))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func testConfig(t testing.TB, change func(*Config), replica string) Config {
	c := DefaultConfig()
	c.Replica, c.Logger = replica, testLogger(t)
	c.AppendTimeout, c.AttemptTimeout = 2*time.Second, 2*time.Second // the race detector on a busy machine is slow
	if change != nil {
		change(&c)
	}
	return c
}
