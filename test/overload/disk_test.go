package overload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// volume is a file system of limited size for what a primary must not lose.
type volume struct {
	t      testing.TB
	dir    string
	filler string
}

// mountVolume makes one in memory. Where mounting is not allowed it fails: the tests of full disks are about nothing else.
func mountVolume(t testing.TB, mib int) *volume {
	t.Helper()
	v := &volume{t: t, dir: t.TempDir()}
	v.filler = filepath.Join(v.dir, "filler")
	mount := []string{"mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=0777", mib), "tmpfs", v.dir}
	if err := asRoot(mount...); err != nil {
		t.Fatalf("a file system of limited size: %v; run this test as root, or allow sudo, or run it by unshare -rm", err)
	}
	t.Cleanup(func() {
		if err := asRoot("umount", "-l", v.dir); err != nil {
			t.Log(err)
		}
	})
	return v
}

// asRoot runs a program, with sudo when it is not allowed otherwise.
func asRoot(command ...string) error {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil && os.Geteuid() != 0 {
		out, err = exec.Command("sudo", append([]string{"-n"}, command...)...).CombinedOutput()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}

// fill leaves as many MiB free as it is told.
func (v *volume) fill(leave int64) {
	v.t.Helper()
	f, err := os.Create(v.filler)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			v.t.Fatal(err)
		}
		if int64(st.Bavail)*st.Bsize <= leave<<20 {
			return
		}
		if _, err := f.Write(block); err != nil && !errors.Is(err, unix.ENOSPC) { // others write too
			v.t.Fatal(err)
		}
	}
}

func (v *volume) empty() {
	v.t.Helper()
	if err := os.Remove(v.filler); err != nil {
		v.t.Fatal(err)
	}
}

// leave is how many MiB a full disk has: less than the primaries want free, enough for the log to go on for a while.
const leave = 16

// volumes starts a cluster of which some primaries have a volume each.
func volumes(t *testing.T, mib int, of ...string) (*harness.Cluster, map[string]*volume) {
	t.Helper()
	vols := map[string]*volume{}
	for _, name := range of {
		vols[name] = mountVolume(t, mib)
	}
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Adjust = func(p *primary.Config) {
			p.MinFreeBytes = 2 * leave << 20
			if v := vols[p.Name]; v != nil {
				p.Dir, p.Etcd.DataDir = filepath.Join(v.dir, "data"), filepath.Join(v.dir, "etcd")
			}
		}
	})
	return c, vols
}

// TestDiskFull fills the disk of one replica, then of another one too: one leaves service and the others go on; with two full,
// updates are refused with a reason and reads go on; with space again all is as before.
func TestDiskFull(t *testing.T) {
	t.Parallel() // it waits more than it works
	c, vols := volumes(t, 256, "primary-1", "primary-2")
	key := c.Key()
	ctl := startControl(t, c.Info().Endpoint, origin, key)
	ctl.written(20, 20*time.Second)

	ctl.enter("one disk full")
	vols["primary-1"].fill(leave)
	c.Until(20*time.Second, "primary-1 leaves service", func(ctx context.Context) error {
		err := c.Admin["primary-1"].Ready(ctx)
		if err == nil {
			return errors.New("it is ready")
		}
		if !strings.Contains(err.Error(), "disk of this primary is full") {
			return fmt.Errorf("its reason is %w", err)
		}
		return nil
	})
	ctl.written(100, 30*time.Second)
	for _, name := range []string{"primary-0", "primary-2"} {
		c.Ready(name)
	}
	s, err := c.Admin["primary-0"].Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Healthy || !strings.Contains(s.Summary, "primary-1") || !strings.Contains(s.Summary, "full") {
		t.Errorf("status says: healthy %v, %s", s.Healthy, s.Summary)
	}
	wire := update(t, key, "direct")
	rcode, text := answerTo(t, c.Primary("primary-1").DNS, wire)
	if rcode != dns.RcodeServerFailure || !strings.Contains(text, "full") {
		t.Errorf("an update at primary-1 was answered %s, %q", dns.RcodeToString[rcode], text)
	}
	// The clients that it had when its disk filled up got an explicit answer, others nothing but waiting.
	ctl.mu.Lock()
	if n := ctl.silent["one disk full"]; n > 0 {
		t.Errorf("%d updates had no answer", n)
	}
	t.Logf("one disk full: %d writes, %d SERVFAIL", len(ctl.writes["one disk full"]), ctl.refused["one disk full"])
	ctl.mu.Unlock()

	ctl.enter("two disks full")
	vols["primary-2"].fill(leave)
	c.Until(20*time.Second, "updates are refused with a reason", func(context.Context) error {
		for _, p := range c.Info().Primaries {
			rcode, text := answerTo(t, p.DNS, update(t, key, "refused"))
			if rcode != dns.RcodeServerFailure || !strings.Contains(text, "majority of the primaries are full") {
				return fmt.Errorf("%s answers %s, %q", p.Name, dns.RcodeToString[rcode], text)
			}
		}
		return nil
	})
	ctl.enter("two disks full, known")
	ctl.await(20*time.Second, "reads and refusals while two disks are full", func() bool {
		return len(ctl.reads[ctl.phase]) > 100 && ctl.refused[ctl.phase] > 20
	})
	for _, p := range c.Info().Primaries {
		c.Ready(p.Name)
		resp, err := (harness.Asker{Timeout: 5 * time.Second}).Ask(t.Context(), "udp", p.DNS, "c0."+origin, dns.TypeA)
		if err != nil || len(resp.Answer) != 1 {
			t.Errorf("%s answers no queries: %v", p.Name, err)
		}
	}

	ctl.enter("space again")
	vols["primary-1"].empty()
	vols["primary-2"].empty()
	ctl.written(100, 30*time.Second)
	c.Verified()
	ctl.check(c.Primary("primary-0").DNS, c.Primary("primary-1").DNS, c.Primary("primary-2").DNS)
}

// TestDiskOverrun fills the disk of a replica to the last octet at once. Its member of the log can't write: its process ends
// and says why, the quorum goes on, and with space again the replica comes back.
func TestDiskOverrun(t *testing.T) {
	t.Parallel() // it waits more than it works
	c, vols := volumes(t, 256, "primary-1")
	ctl := startControl(t, c.Primary("primary-0").DNS, origin, c.Key())
	ctl.written(20, 20*time.Second)
	ctl.enter("overrun")
	vols["primary-1"].fill(0)
	c.Gone("primary-1")
	b, err := os.ReadFile(filepath.Join(c.Dir(), "primary-1", "log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "no space left on device") {
		t.Errorf("its last words: %s", last)
	}
	ctl.written(50, 20*time.Second)
	ctl.unharmed("overrun", patience)
	vols["primary-1"].empty()
	c.Restart("primary-1")
	c.Verified()
	ctl.check(c.Primary("primary-0").DNS, c.Primary("primary-1").DNS)
}

// TestLogFull keeps two replicas from writing checkpoints until the log is near its quota: updates are refused with a reason
// and reads go on. When they can write them again, the log shrinks and updates go on.
func TestLogFull(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Adjust = func(p *primary.Config) { p.Etcd.QuotaBytes = 64 << 20 }
	})
	ctl := startControl(t, c.Info().Endpoint, origin, c.Key())
	ctl.written(20, 20*time.Second)
	checkpoints := func(name string) string { return filepath.Join(c.Dir(), name, "data", "checkpoints") }
	broken := []string{"primary-1", "primary-2"}
	for _, name := range broken {
		if err := os.RemoveAll(checkpoints(name)); err != nil {
			t.Fatal(err)
		}
	}
	ctl.enter("the log grows")
	sent := bulk(t, c, func() bool { return refusedOnce(ctl) })
	t.Logf("the log had no room after %d MB", sent>>20)
	ctl.enter("the log is full")
	ctl.await(20*time.Second, "reads and refusals while the log is full", func() bool {
		return len(ctl.reads[ctl.phase]) > 100 && ctl.refused[ctl.phase] > 20
	})
	ctl.mu.Lock()
	if n, ok := ctl.unread["the log is full"], len(ctl.reads["the log is full"]); n > ok/10 {
		t.Errorf("%d reads were answered, %d not", ok, n)
	}
	ctl.mu.Unlock()
	if rcode, text := answerTo(t, c.Info().Endpoint, update(t, c.Key(), "refused")); rcode != dns.RcodeServerFailure || !strings.Contains(text, "near its quota") {
		t.Errorf("an update was answered %s, %q", dns.RcodeToString[rcode], text)
	}
	s, err := c.Admin["primary-1"].Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Healthy || !strings.Contains(s.Summary, "primary-1: checkpoint: ") {
		t.Errorf("status says: healthy %v, %s", s.Healthy, s.Summary)
	}

	ctl.enter("checkpoints again")
	for _, name := range broken {
		if err := os.Mkdir(checkpoints(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctl.written(100, 60*time.Second)
	c.Verified()
	ctl.check(c.Primary("primary-0").DNS, c.Primary("primary-1").DNS, c.Primary("primary-2").DNS)
}

// refusedOnce says whether the control client has been refused an update in the present phase.
func refusedOnce(ctl *control) bool {
	ctl.mu.Lock()
	defer ctl.mu.Unlock()
	return ctl.refused[ctl.phase] > 0
}

// bulk writes large records with a few clients until it is told that it is enough, and returns how many octets those were.
func bulk(t *testing.T, c *harness.Cluster, enough func() bool) int64 {
	t.Helper()
	const clients, most = 4, 200 << 20
	text := strings.Repeat("\xfa"+strings.Repeat("x", 250), 60)
	var sent atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		client := harness.Dial(t, c.Info().Endpoint, c.Key())
		name := zone.MustParseName(fmt.Sprintf("bulk-%d.%s", i, origin))
		wg.Go(func() {
			for n := 0; !enough(); n++ {
				rr := zone.RR{Name: name, Type: zone.TypeTXT, Class: zone.ClassIN, TTL: 60, Data: fmt.Sprintf("\x08%08d", n) + text}
				rcode, err := client.Update(zone.MustParseName(origin), nil, []zone.RR{{Name: name, Type: rr.Type, Class: zone.ClassANY}, rr})
				if sent.Add(int64(len(text))); err != nil || (rcode != dns.RcodeSuccess && rcode != dns.RcodeServerFailure) || sent.Load() > most {
					t.Errorf("after %d octets: rcode %d, %v", sent.Load(), rcode, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return sent.Load()
}

// update makes a signed update with EDNS, so that its answer has room for a reason.
func update(t *testing.T, key tsig.Key, label string) []byte {
	t.Helper()
	msg := named.AppendUpdate(nil, 99, zone.MustParseName(origin), nil, []zone.RR{harness.A(zone.MustParseName(origin), label, 60, [4]byte{192, 0, 2, 1})})
	return tsig.SignRequest(withEDNS(msg), key, time.Now())
}

// answerTo sends a message and returns the response code and the text of the extended DNS error, "" when there is none.
func answerTo(t *testing.T, addr string, wire []byte) (rcode int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	resp, err := harness.Bytes(ctx, "udp", addr, wire)
	if err != nil {
		return -1, err.Error()
	}
	_, text, err = extendedError(resp)
	if err != nil && !errors.Is(err, errNoText) {
		t.Errorf("%v in the answer %x", err, resp)
	}
	return int(resp[3] & 15), text
}
