package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestOverlappingFaults hurts all primaries at once, each in its own way, beginning and ending at random: one is killed while
// the named of another hangs and the third is cut off. Followers transfer from all of them meanwhile: every serial has one
// content, whoever shows it (I2), and none goes back (I3). SEED repeats the schedule, DURATION makes it longer.
func TestOverlappingFaults(t *testing.T) {
	seed, duration := campaignOf(t)

	dir := t.TempDir()
	links := harness.NewLinks(t, dir)
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Dir = dir
		cfg.Zones = []string{"example.test", "second.test"}
		cfg.Adjust = func(p *primary.Config) {
			links.Adjust(p)
			if p.Name == otherBIND {
				p.Named.Path = namedtest.Get(t, "9.20").Named
			}
		}
	})
	l := startLoad(t, c, seed)
	seen := newVersions()
	ctx, stop := context.WithCancel(context.Background())
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()
	for _, z := range l.zones {
		roaming := &follower{zone: z, key: l.signer.key, primaries: l.primaries, versions: seen}
		followers.Go(func() { roaming.follow(ctx, 100*time.Millisecond) })
		for _, p := range l.primaries { // and one that stays
			loyal := &follower{zone: z, key: l.signer.key, primaries: []string{p}, versions: seen}
			followers.Go(func() { loyal.follow(ctx, 250*time.Millisecond) })
		}
	}
	n := &overlap{t: t, c: c, links: links, rnd: rand.New(rand.NewPCG(seed, 1<<33))}
	end := time.Now().Add(duration)
	for round := 0; round < 5 || time.Now().Before(end); round++ {
		n.round()
		l.goesOn(60*time.Second, "writes go on")
	}
	l.stop()
	l.check(t)
	stop()
	followers.Wait()
	for _, p := range seen.problems {
		t.Error(p)
	}
	t.Logf("%d versions seen, %d steps of IXFRs, %d zones transferred whole", len(seen.seen), seen.incremental, seen.whole)
	if seen.incremental < 10*len(l.zones) {
		t.Errorf("only %d steps were transferred incrementally", seen.incremental)
	}
}

// overlap makes faults that overlap.
type overlap struct {
	t     *testing.T
	c     *harness.Cluster
	links *harness.Links
	rnd   *rand.Rand
	back  sync.WaitGroup // primaries that start again
}

// moment is something that happens in a round.
type moment struct {
	after time.Duration
	what  string
	do    func()
}

// round hurts every primary once, and ends when all are ready again.
func (n *overlap) round() {
	names := slices.Clone(n.c.Names())
	n.rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var plan []moment
	hurt := func(what string, do, undo func()) {
		begins := time.Duration(n.rnd.IntN(1500)) * time.Millisecond
		lasts := time.Duration(300+n.rnd.IntN(4000)) * time.Millisecond
		plan = append(plan, moment{begins, what, do}, moment{begins + lasts, what + " ends", undo})
	}
	killed, hung, cut := names[0], names[1], names[2]
	how := []harness.Link{harness.Lose, harness.Refuse}[n.rnd.IntN(2)]
	hurt("kill -9 of "+killed, func() { n.c.Kill(killed) }, func() { n.start(killed) })
	named := n.named(hung) // asked now: a primary that stands still does not tell
	signal := func(sig syscall.Signal) func() {
		return func() { _ = syscall.Kill(named, sig) } // it may have been replaced meanwhile
	}
	hurt("SIGSTOP of the named of "+hung, signal(syscall.SIGSTOP), signal(syscall.SIGCONT))
	if n.rnd.IntN(2) == 0 { // now and then the one whose named hangs stands still itself
		hurt("SIGSTOP of "+hung, func() { n.c.Signal(hung, syscall.SIGSTOP) }, func() { n.c.Signal(hung, syscall.SIGCONT) })
	}
	hurt("partition of "+cut, func() { n.links.Isolate(n.c.Names(), []string{cut}, how) }, n.links.Heal)
	slices.SortStableFunc(plan, func(a, b moment) int { return int(a.after - b.after) })
	began := time.Now()
	for _, m := range plan {
		n.c.Pause(time.Until(began.Add(m.after)))
		n.t.Logf("%s: %s", time.Since(began).Round(time.Millisecond), m.what)
		m.do()
	}
	n.back.Wait()
	for _, name := range n.c.Names() {
		n.c.Ready(name)
	}
	n.t.Logf("all are ready after %s", time.Since(began).Round(100*time.Millisecond))
}

// named gives the process of a primary's named.
func (n *overlap) named(name string) (pid int) {
	n.c.Until(20*time.Second, "the named of "+name, func(ctx context.Context) error {
		s, err := n.c.Admin[name].Replica(ctx)
		if err == nil && s.Named.PID == 0 {
			err = errors.New("it does not run")
		}
		if err == nil {
			pid = s.Named.PID
		}
		return err
	})
	return pid
}

// start lets a killed primary come back while other faults go on.
func (n *overlap) start(name string) {
	n.back.Go(func() {
		err := harness.Retry(90*time.Second, func(ctx context.Context) error { return n.c.StartProcess(ctx, name) })
		if err != nil {
			n.t.Errorf("start %s: %v", name, err)
		}
	})
}
