package secondary_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const patience = 60 * time.Second

// process is one secondary of a test.
type process struct {
	t     *testing.T
	cfg   secondary.Config
	admin *adminapi.Client
	cmd   *exec.Cmd
	ended chan struct{}
}

// register makes a secondary known to the cluster and returns it, not started.
func register(t *testing.T, c *harness.Cluster, name string, r namedtest.Release) *process {
	t.Helper()
	ctx := t.Context()
	a := c.Admin[c.Names()[0]]
	key, err := a.AddKey(ctx, adminapi.AddKey{Name: name + ".", Algorithm: "hmac-sha256"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.PutSecondary(ctx, adminapi.Secondary{Name: name, Key: key.Name}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := secondary.DefaultConfig()
	cfg.Name, cfg.Dir = name, dir
	cfg.DNS.Listen = []string{namedtest.FreePort(t).String()}
	cfg.Admin.Listen = namedtest.FreePort(t).String()
	cfg.Named.Path, cfg.Named.Listen, cfg.Named.ControlPort = r.Named, namedtest.FreePort(t).String(), int(namedtest.FreePort(t).Port())
	cfg.Key.Name, cfg.Key.SecretFile = key.Name, filepath.Join(dir, "key")
	if err := os.WriteFile(cfg.Key.SecretFile, []byte(key.Versions[0].Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Info().Primaries {
		cfg.Primaries = append(cfg.Primaries, secondary.PrimaryConfig{Name: p.Name, DNS: p.DNS, Admin: p.Admin})
	}
	p := &process{t: t, cfg: cfg}
	if p.admin, err = adminapi.NewClient(cfg.Admin.Listen, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs it until the test ends.
func (p *process) start() {
	p.t.Helper()
	file := filepath.Join(p.cfg.Dir, "secondary.json")
	b, err := json.Marshal(p.cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		p.t.Fatal(err)
	}
	out, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(harness.Program(p.t), "secondary", "--config", file) //nolint:noctx // ended in order
	p.cmd.Stderr = out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // the test says how it shall end
		close(ended)
	}(p.cmd, p.ended)
	p.t.Cleanup(func() {
		began := time.Now()
		p.signal(syscall.SIGTERM)
		select {
		case <-p.ended:
			p.t.Logf("%s stopped after %s", p.cfg.Name, time.Since(began).Round(time.Millisecond))
		case <-time.After(patience):
			p.t.Errorf("%s does not stop", p.cfg.Name)
			p.signal(syscall.SIGKILL)
		}
		if p.t.Failed() {
			b, _ := os.ReadFile(p.log())
			p.t.Logf("log of %s:\n%s", p.cfg.Name, b[max(0, len(b)-12000):])
		}
	})
}

func (p *process) log() string { return filepath.Join(p.cfg.Dir, "log") }

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // fails only when it has ended

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

func (p *process) until(limit time.Duration, what string, check func(context.Context) error) time.Duration {
	p.t.Helper()
	began := time.Now()
	if err := harness.Retry(limit, check); err != nil {
		p.t.Fatalf("%s: %s: not within %s: %v", p.cfg.Name, what, limit, err)
	}
	return time.Since(began)
}

func (p *process) ready() {
	p.t.Helper()
	took := p.until(patience, "ready", p.admin.Ready)
	p.t.Logf("%s: ready after %s", p.cfg.Name, took.Round(time.Millisecond))
}

func (p *process) status() *adminapi.SecondaryStatus {
	p.t.Helper()
	st, err := p.admin.Own(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

// reports waits until its status is as it should be.
func (p *process) reports(what string, check func(*adminapi.SecondaryStatus) error) time.Duration {
	p.t.Helper()
	return p.until(patience, what, func(ctx context.Context) error {
		st, err := p.admin.Own(ctx)
		if err != nil {
			return err
		}
		return check(st)
	})
}

// answers waits until the public address answers a question for an address record in this way; "" is REFUSED.
func (p *process) answers(name, want string) time.Duration {
	p.t.Helper()
	return p.until(patience, name+" is "+want, func(ctx context.Context) error { return p.answer(ctx, name, want) })
}

func (p *process) answer(ctx context.Context, name, want string) error {
	m, err := harness.Asker{Timeout: time.Second}.Ask(ctx, "udp", p.cfg.DNS.Listen[0], name, dns.TypeA)
	if err != nil {
		return err
	}
	switch {
	case want == "":
		if m.Rcode != dns.RcodeRefused {
			return fmt.Errorf("answer %s instead of REFUSED", dns.RcodeToString[m.Rcode])
		}
		return nil
	case len(m.Answer) != 1 || !m.Authoritative:
		return fmt.Errorf("answer %s with %v", dns.RcodeToString[m.Rcode], m.Answer)
	}
	if a, ok := m.Answer[0].(*dns.A); !ok || a.A.String() != want {
		return fmt.Errorf("answer %v", m.Answer)
	}
	return nil
}

// writer changes zones through the cluster's relay.
type writer struct {
	t *testing.T
	c *harness.Client
	n byte
}

func newWriter(t *testing.T, c *harness.Cluster) *writer {
	return &writer{t: t, c: harness.Dial(t, c.Info().Endpoint, c.Key())}
}

// write adds a name with an address and returns both.
func (w *writer) write(origin string) (name, addr string) {
	w.t.Helper()
	w.n++
	label := fmt.Sprintf("h%d", w.n)
	rr := harness.A(zone.MustParseName(origin), label, 60, [4]byte{192, 0, 2, w.n})
	if err := harness.Retry(patience, func(context.Context) error {
		rcode, err := w.c.Update(zone.MustParseName(origin), nil, []zone.RR{rr})
		if err == nil && rcode != 0 {
			err = fmt.Errorf("RCODE %d", rcode)
		}
		return err
	}); err != nil {
		w.t.Fatalf("update %s: %v", origin, err)
	}
	return label + "." + origin + ".", fmt.Sprintf("192.0.2.%d", w.n)
}

// TestSecondariesFollow: real primaries, secondaries on both releases of BIND, and what may happen to them.
func TestSecondariesFollow(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Secondaries = 0 })
	var all []*process
	for i, r := range namedtest.Releases(t) {
		p := register(t, c, fmt.Sprintf("secondary-%d", i), r)
		p.start()
		all = append(all, p)
	}
	for _, p := range all {
		p.ready()
	}
	w := newWriter(t, c)
	follow := func(what, origin string) {
		t.Helper()
		name, addr := w.write(origin)
		for _, p := range all {
			t.Logf("%s: %s sees it after %s", what, p.cfg.Name, p.answers(name, addr).Round(time.Millisecond))
		}
	}
	for range 5 {
		follow("update", "example.test")
	}

	first := c.Admin[c.Names()[0]]
	if _, err := first.AddZone(t.Context(), adminapi.AddZone{Name: "added.test.", Settings: devcluster.OpenTo(c.Info().Key.Name)}); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		took := p.until(patience, "the new zone is served", func(ctx context.Context) error {
			m, err := harness.Asker{Timeout: time.Second}.Ask(ctx, "udp", p.cfg.DNS.Listen[0], "added.test.", dns.TypeSOA)
			if err == nil && (m.Rcode != 0 || !m.Authoritative) {
				err = errors.New(dns.RcodeToString[m.Rcode])
			}
			return err
		})
		t.Logf("zone added: %s serves it after %s", p.cfg.Name, took.Round(time.Millisecond))
		p.ready()
	}
	follow("update of the new zone", "added.test")
	if err := first.DeleteZone(t.Context(), "added.test.", "added.test."); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		t.Logf("zone deleted: %s refuses it after %s", p.cfg.Name, p.answers("h1.added.test.", "").Round(time.Millisecond))
	}

	// Each copy is what the primaries have.
	for _, p := range all {
		p.until(patience, "the copies are equal", func(ctx context.Context) error {
			copied, err := p.admin.Copy(ctx, "example.test.")
			if err != nil {
				return err
			}
			right, err := first.Digest(ctx, "example.test.", copied.Serial)
			if err == nil && right.Digest != copied.Digest {
				err = fmt.Errorf("digest %s instead of %s", copied.Digest, right.Digest)
			}
			return err
		})
	}
	// And the primaries know what is served.
	c.Until(patience, "the primaries know what is served", func(ctx context.Context) error {
		served, err := first.Propagation(ctx, "example.test.")
		if err != nil {
			return err
		}
		for _, s := range served {
			if s.Error != "" || s.Serial != s.Current {
				return fmt.Errorf("%+v", s)
			}
		}
		if len(served) != len(all) {
			return fmt.Errorf("%d secondaries", len(served))
		}
		return nil
	})

	for _, p := range all {
		pid := p.status().Named.PID
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		took := p.until(patience, "another named serves", func(ctx context.Context) error {
			if now := p.status().Named; now.PID == pid || !now.Running {
				return fmt.Errorf("%+v", now)
			}
			return p.answer(ctx, "h1.example.test.", "192.0.2.1")
		})
		t.Logf("named killed: %s serves again after %s", p.cfg.Name, took.Round(time.Millisecond))
	}
	follow("after named was killed", "example.test")

	c.Kill(c.Names()[2])
	follow("a primary was killed", "example.test")
	for _, p := range all {
		p.ready()
	}

	// With no primary left a secondary starts from its disk, serves, and says how old that is.
	for _, n := range c.Names()[:2] {
		c.Kill(n)
	}
	for _, p := range all {
		before := p.status()
		p.kill()
		p.start()
		took := p.answers("h1.example.test.", "192.0.2.1")
		t.Logf("all primaries and %s killed: it serves from disk after %s", p.cfg.Name, took.Round(time.Millisecond))
		p.ready()
		st := p.status()
		if st.AsOf.Before(before.AsOf.Add(-15*time.Second)) || time.Since(st.AsOf) > time.Minute || !strings.Contains(strings.Join(st.Problems, "\n"), "stale since") {
			t.Errorf("%s: as of %s (before: %s), problems %q", p.cfg.Name, st.AsOf, before.AsOf, st.Problems)
		}
	}
	c.RestartDead()
	for _, p := range all {
		p.reports("primaries are heard again", func(st *adminapi.SecondaryStatus) error {
			for _, l := range st.Primaries {
				if !l.Live || !l.Ready {
					return fmt.Errorf("%+v", l)
				}
			}
			return nil
		})
	}
	follow("all is back", "example.test")
	for _, p := range all {
		st := p.status()
		t.Logf("%s: transfers %+v, named %s", p.cfg.Name, st.Transfers, st.Named.Version)
		if st.Transfers.AXFR != 0 {
			t.Errorf("%s: %d whole zones were transferred after a restart with everything on disk", p.cfg.Name, st.Transfers.AXFR)
		}
	}
}

// TestMassRemovalIsHeld: the zones stay until somebody says that it is meant, also at a secondary that starts meanwhile.
func TestMassRemovalIsHeld(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Primaries, cfg.Secondaries = 1, 0 })
	p := register(t, c, "secondary-0", namedtest.Get(t, "9.20"))
	a := c.Admin[c.Names()[0]]
	const members = 12
	zoneName := func(i int) string { return fmt.Sprintf("z%d.test.", i) }
	for i := range members {
		if _, err := a.AddZone(t.Context(), adminapi.AddZone{Name: zoneName(i), Settings: devcluster.OpenTo(c.Info().Key.Name)}); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	p.reports("all zones", func(st *adminapi.SecondaryStatus) error {
		if st.Zones != members+1 || !st.Ready {
			return fmt.Errorf("%d zones, %s", st.Zones, st.Reason)
		}
		return nil
	})
	w := newWriter(t, c)
	for i := range members {
		if err := a.DeleteZone(t.Context(), zoneName(i), zoneName(i)); err != nil {
			t.Fatal(err)
		}
	}
	var held *adminapi.CatalogHold
	isHeld := func(st *adminapi.SecondaryStatus) error {
		catalog, err := a.Catalog(t.Context())
		if err != nil {
			return err
		}
		if held = st.Held; held == nil || held.Serial != catalog.Serial {
			return fmt.Errorf("held is %+v, the catalog has serial %d", held, catalog.Serial)
		}
		return nil
	}
	p.reports("the removal is held", isHeld)
	if held.Removed <= held.Members/2 {
		t.Errorf("held although only %d of %d zones would be gone", held.Removed, held.Members)
	}
	st := p.status()
	if !st.Ready || !strings.Contains(strings.Join(st.Problems, "\n"), fmt.Sprintf("zonekeeper catalog confirm --serial %d", held.Serial)) {
		t.Errorf("ready %v (%s), problems %q", st.Ready, st.Reason, st.Problems)
	}
	before := st.Zones
	if before < members/2 {
		t.Errorf("%d zones are left", before)
	}
	p.answers(w.write("example.test")) // what stays is updated

	// A restart is no confirmation.
	p.kill()
	p.start()
	p.reports("the removal is held after a restart", isHeld)
	if st := p.status(); st.Zones != before {
		t.Errorf("%d zones after the restart, %d before", st.Zones, before)
	}

	if err := a.ConfirmCatalog(t.Context(), held.Serial); err != nil {
		t.Fatal(err)
	}
	took := p.reports("the removal is obeyed", func(st *adminapi.SecondaryStatus) error {
		if st.Held != nil || st.Zones != 1 || !st.Ready {
			return fmt.Errorf("%d zones, held %+v", st.Zones, st.Held)
		}
		return nil
	})
	t.Logf("confirmed: obeyed after %s", took.Round(time.Millisecond))
	p.answers("h1.example.test.", "192.0.2.1")
	for i := range members {
		p.answers("x."+zoneName(i), "")
	}
}

// TestWrongSecret: nothing is served, and the status says why; the right secret in the file is enough to mend it.
func TestWrongSecret(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Primaries, cfg.Secondaries = 1, 0 })
	p := register(t, c, "secondary-0", namedtest.Get(t, "9.18"))
	right, err := os.ReadFile(p.cfg.Key.SecretFile)
	if err != nil {
		t.Fatal(err)
	}
	write := func(secret string) {
		if err := os.WriteFile(p.cfg.Key.SecretFile, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc=")
	p.start()
	p.reports("the problem is told", func(st *adminapi.SecondaryStatus) error {
		if st.Ready || !strings.Contains(strings.Join(st.Problems, "\n"), "BADSIG") {
			return fmt.Errorf("ready %v, problems %q", st.Ready, st.Problems)
		}
		return nil
	})
	write(string(right))
	p.ready()
	p.answers(newWriter(t, c).write("example.test"))
}
