package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestPowerLoss takes the power from one primary, from two, and from all at once, under load, or makes their disks fail. Each has a file
// system of its own, which the kernel shuts down: with the power gone, without writing its journal, so that what was not flushed to the
// disk by then is gone when the machine is back. With a failed disk the programs go on for a moment in which every write and every fsync
// gives EIO, and must not acknowledge what they can't store.
func TestPowerLoss(t *testing.T) {
	seed, duration := campaignOf(t)
	dir := t.TempDir()
	disks := map[string]*journaled{}
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Dir = dir
		cfg.Zones = []string{"example.test", "second.test"}
		cfg.Adjust = func(p *primary.Config) {
			d := disks[p.Name]
			if d == nil {
				d = newJournaled(t)
				disks[p.Name] = d
			}
			p.Dir, p.Etcd.DataDir = filepath.Join(d.at, "data"), filepath.Join(d.at, "etcd")
		}
	})
	l := startLoad(t, c, seed)
	rnd := rand.New(rand.NewPCG(seed, 1<<34))
	end := time.Now().Add(duration)
	for n := 0; n < 6 || time.Now().Before(end); n++ {
		victims := slices.Clone(c.Names())
		rnd.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
		victims = victims[:1+n%3]
		c.Pause(time.Duration(300+rnd.IntN(700)) * time.Millisecond)
		what := "power back"
		if rnd.IntN(3) == 0 {
			what = "disk back"
			for _, v := range victims {
				disks[v].shutDown(flushed)
			}
			c.Pause(time.Duration(rnd.IntN(600)) * time.Millisecond)
		}
		// First the programs: after a shutdown that flushes nothing, ext4 has an fsync that was under way succeed whose transaction
		// it has thrown away (jbd2_complete_transaction, Linux 6.18). With the power gone nobody hears of it.
		for _, v := range victims {
			if pid := c.Primary(v).PID; pid != 0 { // it may have ended by itself: its disk takes nothing
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		for _, v := range victims {
			if what == "power back" {
				disks[v].shutDown(asItIs)
			}
			c.Gone(v)
			disks[v].back()
		}
		c.RestartDead()
		for _, v := range c.Names() {
			c.Ready(v)
		}
		l.goesOn(60*time.Second, "writes go on")
		t.Logf("%s at %v", what, victims)
	}
	l.stop()
	l.check(t)
}

// journaled is a file system with a journal, in a file.
type journaled struct {
	t         testing.TB
	image, at string
	times     int // it was mounted again
}

func newJournaled(t testing.TB) *journaled {
	t.Helper()
	image, at, err := fileSystem(t)
	if err != nil {
		t.Fatal(err)
	}
	d := &journaled{t: t, image: image, at: at}
	t.Cleanup(func() { _ = run("umount", d.at) })
	return d
}

// Ways to shut a file system down (Linux, fs/ext4/ext4.h, EXT4_GOING_FLAGS_…).
const (
	flushed = 0 // all that was written so far reaches the disk
	asItIs  = 2 // nothing more does, the journal's neither
)

// shutDown ends all input and output: EXT4_IOC_SHUTDOWN (Linux, fs/ext4/ioctl.c).
func (d *journaled) shutDown(how int) {
	d.t.Helper()
	f, err := os.Open(d.at)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	const request = 0x8004587d
	if err := unix.IoctlSetPointerInt(int(f.Fd()), request, how); err != nil {
		d.t.Fatalf("shut the file system %s down: %v", d.at, err)
	}
}

// back mounts it anew; the kernel replays the journal. It is a copy: where another mount namespace still has the file system, mounting the
// same image would give the one that is shut down.
func (d *journaled) back() {
	d.t.Helper()
	// A killed process keeps its files open until the kernel has cleaned up after it.
	if err := harness.Retry(20*time.Second, func(context.Context) error { return run("umount", d.at) }); err != nil {
		d.t.Fatal(err)
	}
	d.times++
	old := d.image
	d.image = fmt.Sprintf("%s-%d", filepath.Join(filepath.Dir(old), "image"), d.times)
	if err := errors.Join(run("cp", "--sparse=always", old, d.image), os.Remove(old), mount(d.image, d.at)); err != nil {
		d.t.Fatal(err)
	}
}
