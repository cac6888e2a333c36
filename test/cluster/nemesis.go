package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// nemesis hurts a cluster in one way after another, each time such that a majority survives (or comes back).
type nemesis struct {
	t     *testing.T
	c     *harness.Cluster
	links *harness.Links
	load  *load
	disk  *disk // of the primary diskOf, when this machine lets us mount one
	rnd   *rand.Rand
	n     int
}

// diskOf is the primary whose data lie on a disk that can stand still.
const diskOf = "primary-2"

// fault is one way of hurting, and of healing. It ends when every primary is ready again.
type fault struct {
	name string
	do   func(*nemesis)
}

// faults lists all ways. The order of a run is the seed's.
func faults() []fault {
	leader := func(n *nemesis) string { return n.c.Leader() }
	follower := func(n *nemesis) string { return n.c.Follower() }
	whom := func(name string, who func(*nemesis) string, do func(*nemesis, string)) fault {
		return fault{name, func(n *nemesis) {
			victim := who(n)
			n.t.Logf("%s: %s", name, victim)
			do(n, victim)
		}}
	}
	return []fault{
		whom("kill -9 of the leader", leader, (*nemesis).kill),
		whom("kill -9 of a follower", follower, (*nemesis).kill),
		whom("kill -9 of two", leader, (*nemesis).killTwo),
		whom("kill -9 of all", leader, func(n *nemesis, _ string) { n.killAll() }),
		whom("planned restart of the leader", leader, (*nemesis).restart),
		whom("SIGSTOP of the leader", leader, (*nemesis).stop),
		whom("SIGSTOP of a follower", follower, (*nemesis).stop),
		whom("kill -9 of the leader's named", leader, (*nemesis).killNamed),
		whom("kill -9 of a follower's named", follower, (*nemesis).killNamed),
		whom("SIGSTOP of a follower's named", follower, (*nemesis).stopNamed),
		whom("connections of the leader break", leader, (*nemesis).cut),
		whom("packets of the leader are lost", leader, (*nemesis).hole),
		whom("packets of a follower are lost", follower, (*nemesis).hole),
		whom("packets from the leader are lost", leader, (*nemesis).deaf),
		whom("no two hear one another", leader, func(n *nemesis, _ string) { n.split() }),
		whom("empty disk of the leader", leader, (*nemesis).empty),
		whom("empty disk of a follower", follower, (*nemesis).empty),
		whom("the disk stands still", func(*nemesis) string { return diskOf }, (*nemesis).freeze),
		whom("key rotation", follower, (*nemesis).rotate),
		whom("zone added and deleted", follower, (*nemesis).zone),
	}
}

// run goes through every fault once, and on at random until the time is over.
func (n *nemesis) run(duration time.Duration) {
	end := time.Now().Add(duration)
	list := faults()
	n.rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, f := range list {
		n.suffer(f)
	}
	for time.Now().Before(end) {
		n.suffer(list[n.rnd.IntN(len(list))])
	}
}

// suffer carries out one fault and waits until clients get on again.
func (n *nemesis) suffer(f fault) {
	began := time.Now()
	f.do(n)
	for _, name := range n.c.Names() {
		n.c.Ready(name)
	}
	n.load.goesOn(30*time.Second, "writes go on after "+f.name)
	n.n++
	n.t.Logf("%s: over after %s", f.name, time.Since(began).Round(100*time.Millisecond))
}

// lasts is how long a fault goes on: around the times that matter, those of a heartbeat, an election, a retransmission, and
// now and then longer than an update may take to get into the log (C2).
func (n *nemesis) lasts() {
	ms := 200 + n.rnd.IntN(2500)
	if n.rnd.IntN(4) == 0 {
		ms = 4000 + n.rnd.IntN(2000)
	}
	n.c.Pause(time.Duration(ms) * time.Millisecond)
}

func (n *nemesis) kill(victim string) {
	n.c.Kill(victim)
	n.lasts()
	n.c.Restart(victim)
}

// killTwo leaves a minority, which must not go on alone: the victim and another are gone for a while.
func (n *nemesis) killTwo(victim string) {
	n.c.Kill(victim)
	for _, other := range n.c.Names() {
		if other != victim {
			n.c.Kill(other)
			break
		}
	}
	n.lasts()
	n.c.RestartDead()
}

// killAll is the loss of power of all machines at once: what was acknowledged is on their disks.
func (n *nemesis) killAll() {
	for _, name := range n.c.Names() {
		n.c.Signal(name, syscall.SIGKILL)
	}
	for _, name := range n.c.Names() {
		n.c.Gone(name)
	}
	n.c.RestartDead()
}

func (n *nemesis) restart(victim string) {
	n.c.Signal(victim, syscall.SIGTERM)
	n.c.Gone(victim)
	n.c.Restart(victim)
}

func (n *nemesis) stop(victim string) {
	n.c.Signal(victim, syscall.SIGSTOP)
	n.lasts()
	n.c.Signal(victim, syscall.SIGCONT)
}

func (n *nemesis) killNamed(victim string) {
	before := n.named(victim).PID
	n.c.SignalNamed(victim, syscall.SIGKILL)
	n.c.Until(20*time.Second, "another named runs at "+victim, func(context.Context) error {
		if s := n.named(victim); !s.Running || s.PID == before {
			return fmt.Errorf("named: %+v", s)
		}
		return nil
	})
}

func (n *nemesis) named(name string) (out adminapi.NamedStatus) {
	n.c.Until(10*time.Second, "the status of "+name, func(ctx context.Context) error {
		s, err := n.c.Admin[name].Replica(ctx)
		if err == nil {
			out = s.Named
		}
		return err
	})
	return out
}

func (n *nemesis) stopNamed(victim string) {
	n.c.SignalNamed(victim, syscall.SIGSTOP)
	n.lasts()
	n.c.ContinueNamed(victim)
}

func (n *nemesis) cut(victim string)  { n.partition(victim, harness.Refuse) }
func (n *nemesis) hole(victim string) { n.partition(victim, harness.Lose) }

func (n *nemesis) partition(victim string, how harness.Link) {
	n.links.Isolate(n.c.Names(), []string{victim}, how)
	n.lasts()
	n.links.Heal()
}

// split leaves no majority anywhere.
func (n *nemesis) split() {
	for _, name := range n.c.Names() {
		n.links.Isolate(n.c.Names(), []string{name}, harness.Lose)
	}
	n.lasts()
	n.links.Heal()
}

// deaf loses what the victim sends and lets through what it is sent.
func (n *nemesis) deaf(victim string) {
	for _, other := range n.c.Names() {
		if other != victim {
			n.links.Set(victim, other, harness.Lose)
		}
	}
	n.lasts()
	n.links.Heal()
}

// empty loses a primary's disk. It comes back as a new member; the old one could vote for what it had forgotten.
func (n *nemesis) empty(victim string) {
	before := n.member(victim)
	n.c.Kill(victim)
	n.c.EmptyDisk(victim)
	n.c.Restart(victim)
	if after := n.member(victim); after.ID == before.ID {
		n.t.Errorf("%s came back from an empty disk as the member that it was, %s", victim, after.ID)
	}
}

// member waits until a primary has a vote, and gives its member of the log.
func (n *nemesis) member(name string) (out adminapi.Member) {
	n.c.Until(60*time.Second, name+" has a vote", func(ctx context.Context) error {
		members, err := n.c.Admin[n.c.Names()[0]].Members(ctx)
		if err != nil {
			return err
		}
		for _, m := range members {
			if m.Name == name && !m.Learner {
				out = m
				return nil
			}
		}
		return fmt.Errorf("members: %+v", members)
	})
	return out
}

func (n *nemesis) freeze(string) {
	if n.disk == nil {
		n.t.Log("this machine lets nobody mount a disk here: nothing stood still")
		return
	}
	n.disk.freeze()
	n.lasts()
	n.disk.thaw()
}

// rotate gives the clients' key a new secret and, when all use it, retires the old one.
func (n *nemesis) rotate(string) {
	api := n.c.Admin[n.c.Follower()]
	name := n.load.signer.key().Name.String()
	var key *adminapi.Key
	n.c.Until(20*time.Second, "the key is rotated", func(ctx context.Context) (err error) {
		key, err = api.RotateKey(ctx, name, adminapi.RotateKey{})
		return err
	})
	n.lasts() // both secrets are valid, and the clients still use the old one
	next := harness.MustKey(n.t, name, key.Versions[0].Algorithm, key.Versions[0].Secret)
	next.Version = key.Versions[0].Version
	n.load.signer.current.Store(&next)
	n.lasts()
	n.c.Until(20*time.Second, "the old secret is retired", func(ctx context.Context) error {
		_, err := api.RetireKey(ctx, name)
		return err
	})
}

// zone adds a zone, and deletes it, while others are written.
func (n *nemesis) zone(string) {
	name := fmt.Sprintf("added-%d.test.", n.n)
	settings := devcluster.OpenTo(n.load.signer.key().Name.String())
	any := func() *adminapi.Client { return n.c.Admin[n.c.Names()[n.rnd.IntN(len(n.c.Names()))]] }
	n.c.Until(20*time.Second, "a zone is added", func(ctx context.Context) error {
		_, err := any().AddZone(ctx, adminapi.AddZone{Name: name, Settings: settings})
		if adminapi.IsCode(err, adminapi.CodeConflict) {
			return nil
		}
		return err
	})
	n.lasts()
	n.c.Until(20*time.Second, "the zone is deleted", func(ctx context.Context) error {
		err := any().DeleteZone(ctx, name, name)
		if adminapi.IsCode(err, adminapi.CodeNotFound) {
			return nil
		}
		return err
	})
}

// disk is a file system of its own that can be made to stand still: writes and fsync wait.
type disk struct {
	t   testing.TB
	dir string
}

// fileSystem makes an ext4 in a file, and mounts it.
func fileSystem(t testing.TB, options ...string) (image, at string, err error) {
	t.Helper()
	dir := t.TempDir()
	image, at = filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 512<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run(append(append([]string{"mkfs.ext4", "-q"}, options...), image)...); err != nil {
		return "", "", err
	}
	return image, at, mount(image, at)
}

func mount(image, at string) error { return run("mount", "-o", "loop", image, at) }

// mountDisk makes one in a file; nil where that is not allowed.
func mountDisk(t testing.TB) *disk {
	_, at, err := fileSystem(t, "-O", "^has_journal")
	if err != nil {
		t.Logf("no disk of our own: %v", err)
		return nil
	}
	d := &disk{t, at}
	t.Cleanup(func() {
		_ = run("fsfreeze", "-u", at) // it thawed, unless the test ended early
		if err := run("umount", at); err != nil {
			t.Logf("unmount: %v", err)
		}
	})
	return d
}

func (d *disk) freeze() {
	if err := run("fsfreeze", "-f", d.dir); err != nil {
		d.t.Error(err)
	}
}

func (d *disk) thaw() {
	if err := run("fsfreeze", "-u", d.dir); err != nil {
		d.t.Error(err)
	}
}

// run runs a program of the system.
func run(command ...string) error {
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}
