package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// visible bounds the time until a secondary shows a change. It is milliseconds, and more on a machine with other work.
const visible = 15 * time.Second

// TestSecondaries is the life of two secondaries: zones come, go and change, processes and disks are lost, on either side.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Secondaries = 2
		cfg.AdjustSecondary = func(s *secondary.Config) { // both releases
			if s.Name == "secondary-1" {
				s.Named.Path = namedtest.Get(t, "9.20").Named
			}
		}
	})
	t.Run("a change is served", func(t *testing.T) { changeServed(t, c.For(t)) })
	t.Run("zones come while one is down", func(t *testing.T) { cameWhileDown(t, c.For(t)) })
	t.Run("a hidden zone is absent", func(t *testing.T) { hiddenAbsent(t, c.For(t)) })
	t.Run("an empty disk", func(t *testing.T) { emptySecondary(t, c.For(t)) })
	t.Run("a damaged zone file", func(t *testing.T) { damagedFile(t, c.For(t)) })
	t.Run("verify finds a copy that differs", func(t *testing.T) { verifyFinds(t, c.For(t)) })
	t.Run("no primary", func(t *testing.T) { noPrimary(t, c.For(t)) })
	c.Verified()
	c.CheckLogs()
}

// served waits until secondaries, all when none is named, answer with this address alone.
func served(t *testing.T, c *harness.Cluster, name, addr string, at ...string) {
	t.Helper()
	if len(at) == 0 {
		at = c.SecondaryNames()
	}
	for _, s := range at {
		c.Until(visible, fmt.Sprintf("%s shows %s of %s", s, addr, name), func(ctx context.Context) error {
			got, err := harness.Answer(ctx, c.Secondary(s).DNS, name, dns.TypeA)
			if err == nil && (len(got) != 1 || !strings.HasSuffix(got[0], "\t"+addr)) {
				err = fmt.Errorf("it answers %q", got)
			}
			return err
		})
	}
}

// absent waits until secondaries, all when none is named, know nothing of a zone.
func absent(t *testing.T, c *harness.Cluster, zone string, at ...string) {
	t.Helper()
	if len(at) == 0 {
		at = c.SecondaryNames()
	}
	for _, s := range at {
		c.Until(visible, s+" does not serve "+zone, func(ctx context.Context) error {
			if rcode := ask(t, nil, c.Secondary(s).DNS, zone, dns.TypeSOA); rcode != dns.RcodeRefused {
				return fmt.Errorf("rcode %d", rcode)
			}
			return nil
		})
	}
}

func addOpenZone(t *testing.T, c *harness.Cluster, name string) {
	t.Helper()
	if _, err := c.Admin[c.Names()[0]].AddZone(t.Context(), adminapi.AddZone{Name: name, Settings: devcluster.OpenTo("dev-key.")}); err != nil {
		t.Fatal(err)
	}
}

// put adds an address through the relay, and gives the RR's name.
func put(t *testing.T, c *harness.Cluster, zoneName, label string, last byte) string {
	t.Helper()
	origin := zone.MustParseName(zoneName)
	mustUpdate(t, c.Info().Endpoint, c.Key(), origin, harness.A(origin, label, 60, [4]byte{192, 0, 2, last}))
	return label + "." + zoneName
}

func changeServed(t *testing.T, c *harness.Cluster) {
	served(t, c, put(t, c, "example.test.", "one", 1), "192.0.2.1")
	for _, s := range c.Info().Secondaries {
		// What the world must not do there.
		key := c.Key()
		if rcode := xfrRCode(t, &key, s.DNS, "example.test.", nil); rcode == dns.RcodeSuccess {
			t.Errorf("%s gives the zone away to a key that is not its own", s.Name)
		}
		if rcode := ask(t, nil, s.DNS, "catalog.zonekeeper.invalid.", dns.TypeSOA); rcode != dns.RcodeRefused {
			t.Errorf("%s shows the catalog to the world: rcode %d", s.Name, rcode)
		}
	}
	for _, s := range c.SecondaryNames() {
		own := c.Own(s)
		if !own.Ready || own.Zones != 1 || len(own.Primaries) != 3 || own.Named.PID != c.Secondary(s).NamedPID {
			t.Errorf("status of %s: %+v", s, own)
		}
	}
}

// cameWhileDown: what came, went and changed while a secondary was down is there when it is back.
func cameWhileDown(t *testing.T, c *harness.Cluster) {
	addOpenZone(t, c, "leaves.test.")
	served(t, c, put(t, c, "leaves.test.", "a", 9), "192.0.2.9")
	c.Kill("secondary-1")
	addOpenZone(t, c, "comes.test.")
	name := put(t, c, "comes.test.", "a", 2)
	if err := c.Admin[c.Names()[0]].DeleteZone(t.Context(), "leaves.test.", "leaves.test."); err != nil {
		t.Fatal(err)
	}
	changed := put(t, c, "example.test.", "meanwhile", 3)
	served(t, c, name, "192.0.2.2", "secondary-0")
	absent(t, c, "leaves.test.", "secondary-0")
	c.Restart("secondary-1")
	served(t, c, name, "192.0.2.2", "secondary-1")
	served(t, c, changed, "192.0.2.3", "secondary-1")
	absent(t, c, "leaves.test.", "secondary-1")
}

// hiddenAbsent: a zone that the primaries do not show to everyone is not on a secondary, which shows everything to everyone.
func hiddenAbsent(t *testing.T, c *harness.Cluster) {
	api := c.Admin[c.Names()[0]]
	open, hidden := devcluster.OpenTo("dev-key."), devcluster.OpenTo("dev-key.")
	hidden.AllowQuery = `key "dev-key";`
	if _, err := api.AddZone(t.Context(), adminapi.AddZone{Name: "hidden.test.", Settings: hidden}); err != nil {
		t.Fatal(err)
	}
	name := put(t, c, "hidden.test.", "a", 4)
	// What came after it is there, so it would be there as well.
	addOpenZone(t, c, "after.test.")
	served(t, c, put(t, c, "after.test.", "a", 5), "192.0.2.5")
	for _, s := range c.Info().Secondaries {
		if rcode := ask(t, nil, s.DNS, "hidden.test.", dns.TypeSOA); rcode != dns.RcodeRefused {
			t.Errorf("%s has the hidden zone: rcode %d", s.Name, rcode)
		}
	}
	set := func(s adminapi.ZoneSettings) {
		t.Helper()
		if _, err := api.SetZone(t.Context(), "hidden.test.", s); err != nil {
			t.Fatal(err)
		}
	}
	set(open)
	served(t, c, name, "192.0.2.4")
	set(hidden)
	absent(t, c, "hidden.test.")
}

// emptySecondary: a secondary that lost its disk gets everything anew.
func emptySecondary(t *testing.T, c *harness.Cluster) {
	c.Kill("secondary-0")
	c.EmptyDisk("secondary-0")
	c.Restart("secondary-0")
	own := c.Own("secondary-0")
	if own.Transfers.AXFR < uint64(own.Zones)+1 || own.Zones != 3 {
		t.Errorf("after an empty disk: %d zones, %+v", own.Zones, own.Transfers)
	}
	served(t, c, "one.example.test.", "192.0.2.1", "secondary-0")
	served(t, c, "a.comes.test.", "192.0.2.2", "secondary-0")
}

// damagedFile: BIND can't see that a zone file was changed on the disk. The secondary finds it, says so, and gets the zone anew.
func damagedFile(t *testing.T, c *harness.Cluster) {
	const right, wrong = "written as it is meant", "written as it is wrong"
	text := fmt.Sprintf("$ORIGIN damaged.test.\n@ 60 SOA a. b. 7 3600 600 86400 60\n@ 60 NS a.\nt 60 TXT %q\n", right)
	if _, err := c.Admin[c.Names()[0]].ImportZone(t.Context(), "damaged.test.", strings.NewReader(text), adminapi.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	shows := func(want string) func(context.Context) error {
		return func(ctx context.Context) error {
			got, err := harness.Answer(ctx, c.Secondary("secondary-1").DNS, "t.damaged.test.", dns.TypeTXT)
			if err == nil && (len(got) != 1 || !strings.Contains(got[0], want)) {
				err = fmt.Errorf("it answers %q", got)
			}
			return err
		}
	}
	c.Until(visible, "the zone is served", shows(right))
	var file string
	c.Until(visible, "the zone is on the disk", func(context.Context) error {
		files, err := filepath.Glob(filepath.Join(c.SecondaryConfig("secondary-1").Named.Dir, "members", "*damaged.test.db"))
		if err == nil && len(files) != 1 {
			err = fmt.Errorf("files %q", files)
		}
		file = strings.Join(files, "")
		return err
	})
	c.Kill("secondary-1")
	b, err := os.ReadFile(file)
	if err != nil || bytes.Count(b, []byte(right)) != 1 {
		t.Fatalf("%s: %q, %v", file, b, err)
	}
	if err := os.WriteFile(file, bytes.Replace(b, []byte(right), []byte(wrong), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Restart("secondary-1")
	const mismatches = "zonekeeper_secondary_digest_mismatches_total"
	c.Until(visible, "the damage is found", func(context.Context) error {
		if n := c.Metric("secondary-1", mismatches); n < 1 {
			return fmt.Errorf("%s is %v", mismatches, n)
		}
		return nil
	})
	c.Until(visible, "the damage is mended", shows(right))
	if own := c.Own("secondary-1"); !strings.Contains(strings.Join(own.Problems, "\n"), "damaged.test.") {
		t.Errorf("its status does not tell of the damage: %q", own.Problems)
	}
}

// verifyFinds: a secondary, played by this test, whose copy differs is named by verify.
func verifyFinds(t *testing.T, c *harness.Cluster) {
	const name = "secondary-x"
	addKey(t, c, name+".")
	primary := c.Names()[0]
	api := c.Admin[primary]
	if err := api.PutSecondary(t.Context(), adminapi.Secondary{Name: name, Key: name + "."}); err != nil {
		t.Fatal(err)
	}
	problem := func(when string) string {
		t.Helper()
		rep, err := api.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, z := range rep.Zones {
			if z.OK {
				continue
			}
			for _, copied := range z.Copies {
				if copied.Server == name {
					out = append(out, copied.Error)
				} else if copied.Error != "" || !copied.Confirmed {
					t.Errorf("%s: the copy of %s: %+v", when, copied.Server, copied)
				}
			}
			out = append(out, z.Differences...)
		}
		if rep.OK != (len(out) == 0) {
			t.Errorf("%s: OK %v, and %q", when, rep.OK, out)
		}
		return strings.Join(out, "\n")
	}
	if got := problem("not connected"); !strings.Contains(got, "it is not connected") {
		t.Errorf("not connected: %q", got)
	}
	// Its copies are what the replicated state says, and with a little more on request.
	var mu sync.Mutex
	alter := func(*adminapi.VerifyCopy) {}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		i := slices.Index(parts, "zones")
		out, err := api.Copy(r.Context(), parts[i+1])
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		mu.Lock()
		alter(out)
		mu.Unlock()
		_ = json.NewEncoder(w).Encode(out)
	}))
	defer srv.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	heard := make(chan struct{}, 1)
	wg.Go(func() {
		_ = api.Changes(ctx, name, func(adminapi.Changes) error { // it ends with ctx
			select {
			case heard <- struct{}{}:
			default:
			}
			return nil
		})
	})
	<-heard
	c.Until(visible, "the report is taken", func(ctx context.Context) error {
		return api.Report(ctx, name, adminapi.Report{Instance: "x", Full: true, Status: adminapi.SecondaryStatus{Admin: strings.TrimPrefix(srv.URL, "http://")}})
	})
	if got := problem("the same"); got != "" {
		t.Errorf("the same copies: %q", got)
	}
	mu.Lock()
	alter = func(v *adminapi.VerifyCopy) {
		if v.Serial == 7 { // damaged.test, which was imported with it
			v.Digest = strings.Repeat("0", len(v.Digest))
		}
	}
	mu.Unlock()
	if got := problem("another content"); !strings.Contains(got, name+" differs from the replicated state at serial 7") {
		t.Errorf("another content: %q", got)
	}
	stop()
	wg.Wait()
	if err := api.DeleteSecondary(t.Context(), name); err != nil {
		t.Error(err)
	}
}

// noPrimary: without any primary a secondary goes on, also after it was killed, serves at once, and says how old its data is.
func noPrimary(t *testing.T, c *harness.Cluster) {
	served(t, c, put(t, c, "example.test.", "last", 6), "192.0.2.6")
	for _, p := range c.Names() {
		c.Signal(p, syscall.SIGKILL)
	}
	for _, p := range c.Names() {
		c.Gone(p)
	}
	lost := time.Now()
	served(t, c, "last.example.test.", "192.0.2.6")
	c.Kill("secondary-0")
	started := time.Now()
	c.Until(20*time.Second, "secondary-0 starts", func(ctx context.Context) error { return c.StartProcess(ctx, "secondary-0") })
	served(t, c, "last.example.test.", "192.0.2.6", "secondary-0")
	served(t, c, "a.comes.test.", "192.0.2.2", "secondary-0")
	c.Ready("secondary-0")
	took := time.Since(started)
	t.Logf("started without a primary: it is ready and serves after %v", took.Round(time.Millisecond))
	if took > 10*time.Second { // it takes less than one
		t.Errorf("started without a primary it serves after %v only", took)
	}

	own := c.Own("secondary-0")
	stale := "stale since " + own.AsOf.UTC().Format(time.RFC3339)
	if !own.Ready || own.AsOf.IsZero() || own.AsOf.After(lost) || lost.Sub(own.AsOf) > time.Minute || !strings.Contains(strings.Join(own.Problems, "\n"), stale) {
		t.Errorf("its status: ready %v (%s), as of %v, the primaries were lost at %v, problems %q", own.Ready, own.Reason, own.AsOf, lost, own.Problems)
	}
	const age = "zonekeeper_secondary_data_age_seconds"
	before := c.Metric("secondary-0", age)
	c.Until(visible, "the age grows", func(context.Context) error {
		if now := c.Metric("secondary-0", age); now < before+0.5 {
			return fmt.Errorf("%v, then %v", before, now)
		}
		return nil
	})
	c.RestartDead()
	served(t, c, put(t, c, "example.test.", "again", 7), "192.0.2.7")
	c.Until(visible, "the data is no longer old", func(context.Context) error {
		if s := c.Own("secondary-0"); !s.AsOf.After(lost) {
			return fmt.Errorf("as of %v", s.AsOf)
		}
		return nil
	})
}

// TestMassRemoval: a catalog that suddenly loses most of its members is not obeyed until somebody confirms it; also a
// secondary that was down then obeys it.
func TestMassRemoval(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Primaries, cfg.Secondaries, cfg.Zones = 1, 2, nil
		for i := range 12 {
			cfg.Zones = append(cfg.Zones, fmt.Sprintf("z%d.test", i))
		}
	})
	api := c.Admin["primary-0"]
	const stays, lost = 4, 12 // z0 … z3 stay
	for i := range lost {
		served(t, c, put(t, c, fmt.Sprintf("z%d.test.", i), "a", byte(i)), fmt.Sprintf("192.0.2.%d", i))
	}
	c.Kill("secondary-1")
	for i := stays; i < lost; i++ {
		z := fmt.Sprintf("z%d.test.", i)
		if err := api.DeleteZone(t.Context(), z, z); err != nil {
			t.Fatal(err)
		}
	}
	var hold *adminapi.CatalogHold
	held := func(s string) {
		t.Helper()
		c.Until(visible, s+" holds the catalog", func(context.Context) error {
			catalog, err := api.Catalog(t.Context())
			if err != nil {
				return err
			}
			if hold = c.Own(s).Held; hold == nil || hold.Serial != catalog.Serial {
				return fmt.Errorf("held %+v, the catalog has %+v", hold, catalog)
			}
			return nil
		})
	}
	held("secondary-0")
	if hold.Members != lost || hold.Removed != lost-stays {
		t.Errorf("held: %+v", hold)
	}
	remaining := func(s string) (n int) {
		t.Helper()
		for i := range lost {
			if rcode := ask(t, nil, c.Secondary(s).DNS, fmt.Sprintf("z%d.test.", i), dns.TypeSOA); rcode == dns.RcodeSuccess {
				n++
			} else if rcode != dns.RcodeRefused || i < stays {
				t.Errorf("z%d.test at %s: rcode %d", i, s, rcode)
			}
		}
		return n
	}
	if n := remaining("secondary-0"); n < lost/2 {
		t.Errorf("held, and %d of %d zones are left", n, lost)
	}
	// It lives on: zones change, and a restart opens no new window.
	served(t, c, put(t, c, "z0.test.", "held", 77), "192.0.2.77", "secondary-0")
	c.Kill("secondary-0")
	c.Restart("secondary-0")
	held("secondary-0")
	if n := remaining("secondary-0"); n < lost/2 {
		t.Errorf("held and restarted, and %d of %d zones are left", n, lost)
	}
	c.Restart("secondary-1")
	held("secondary-1")
	if n := remaining("secondary-1"); n != lost {
		t.Errorf("at the one that was down %d of %d zones are left", n, lost)
	}
	served(t, c, "held.z0.test.", "192.0.2.77", "secondary-1")
	c.Until(visible, "the cluster's status tells of it", func(ctx context.Context) error {
		status, err := api.Status(ctx)
		if err == nil && (status.Healthy || !strings.Contains(status.Summary, fmt.Sprintf("catalog confirm --serial %d", hold.Serial))) {
			err = fmt.Errorf("healthy %v: %s", status.Healthy, status.Summary)
		}
		return err
	})
	c.Kill("secondary-1")
	if err := api.ConfirmCatalog(t.Context(), hold.Serial); err != nil {
		t.Fatal(err)
	}
	for i := stays; i < lost; i++ {
		absent(t, c, fmt.Sprintf("z%d.test.", i), "secondary-0")
	}
	c.Restart("secondary-1")
	for i := stays; i < lost; i++ {
		absent(t, c, fmt.Sprintf("z%d.test.", i), "secondary-1")
	}
	for _, s := range c.SecondaryNames() {
		if n := remaining(s); n != stays {
			t.Errorf("confirmed, and %s has %d zones", s, n)
		}
		c.Until(visible, s+" holds nothing", func(context.Context) error {
			if own := c.Own(s); own.Held != nil || own.Zones != stays {
				return fmt.Errorf("%d zones, held %+v", own.Zones, own.Held)
			}
			return nil
		})
	}
	c.Verified()
	c.CheckLogs()
}

// TestExpiry: with no primary left a zone is served until its SOA says that it is too old, restarts or not, and no longer; the
// others go on. It is back with the first primary.
func TestExpiry(t *testing.T) {
	t.Parallel() // it waits most of the time
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Primaries, cfg.Secondaries = 1, 1 })
	const text = "$ORIGIN %s.\n@ 60 SOA a. b. 7 1 1 %d 60\n@ 60 NS a.\na 60 A 192.0.2.1\n"
	// BIND takes an expire for no less than refresh and retry together, which are 30 s and 15 s at the least here.
	for name, expire := range map[string]int{"short.test": 5, "long.test": 86400} {
		zoneText := strings.NewReader(fmt.Sprintf(text, name, expire))
		if _, err := c.Admin["primary-0"].ImportZone(t.Context(), name+".", zoneText, adminapi.ImportOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	both := func() {
		t.Helper()
		served(t, c, "a.short.test.", "192.0.2.1")
		served(t, c, "a.long.test.", "192.0.2.1")
	}
	both()
	c.Kill("primary-0")
	lost := time.Now()
	c.Kill("secondary-0")
	c.Until(visible, "secondary-0 starts", func(ctx context.Context) error { return c.StartProcess(ctx, "secondary-0") })
	both()
	c.Until(90*time.Second, "the zone expires", func(context.Context) error {
		if rcode := ask(t, nil, c.Secondary("secondary-0").DNS, "a.short.test.", dns.TypeA); rcode != dns.RcodeServerFailure {
			return fmt.Errorf("rcode %d", rcode)
		}
		return nil
	})
	t.Logf("expired %v after the last primary was lost", time.Since(lost).Round(time.Millisecond))
	served(t, c, "a.long.test.", "192.0.2.1")
	c.Until(visible, "its status tells of it", func(context.Context) error {
		if own := c.Own("secondary-0"); own.ZonesNotServed != 1 {
			return fmt.Errorf("%+v", own)
		}
		return nil
	})
	c.Restart("primary-0")
	back := time.Now()
	both()
	t.Logf("back %v after the primary", time.Since(back).Round(time.Millisecond))
	c.Verified()
	c.CheckLogs()
}

// TestResumedSecondaries: a cluster that is started again on its directory has its secondaries with their data, as many as it
// is told to have.
func TestResumedSecondaries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(secondaries int) *harness.Cluster {
		t.Helper()
		return harness.Start(t, func(cfg *devcluster.Config) { cfg.Dir, cfg.Primaries, cfg.Secondaries = dir, 1, secondaries })
	}
	c := start(1)
	name := put(t, c, "example.test.", "a", 1)
	served(t, c, name, "192.0.2.1")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = start(2)
	served(t, c, name, "192.0.2.1")
	if n := c.Own("secondary-0").Transfers.AXFR; n != 0 {
		t.Errorf("secondary-0, which had everything on its disk, was sent %d whole zones", n)
	}
	served(t, c, put(t, c, "example.test.", "b", 2), "192.0.2.2")
	c.Verified()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = start(0)
	left, err := c.Admin["primary-0"].Secondaries(t.Context())
	if err != nil || len(left) != 0 {
		t.Errorf("without secondaries these are registered: %+v, %v", left, err)
	}
	if s, err := c.Admin["primary-0"].Status(t.Context()); err != nil || !s.Healthy {
		t.Errorf("status: %+v, %v", s, err)
	}
	c.Verified()
}

// TestVerifyBesideSilence: a secondary that accepts connections and answers nothing is asked once for a report, not for each zone,
// and the report says so of every zone.
func TestVerifyBesideSilence(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Primaries, cfg.Secondaries = 1, 2
		for i := range 20 {
			cfg.Zones = append(cfg.Zones, fmt.Sprintf("z%d.test.", i))
		}
	})
	c.Verified()
	c.Signal("secondary-0", syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	rep, err := c.Admin["primary-0"].Verify(ctx)
	if err != nil {
		t.Fatalf("verify: %v after %v", err, time.Since(began))
	}
	t.Logf("verify took %v", time.Since(began))
	if rep.OK || len(rep.Zones) < 20 {
		t.Errorf("all of %d zones are said to be equal beside a secondary that says nothing", len(rep.Zones))
	}
	for _, z := range rep.Zones {
		for _, cp := range z.Copies {
			switch {
			case cp.Server == "secondary-0" && !strings.Contains(cp.Error, "it did not answer") && !strings.Contains(cp.Error, "it is not connected"):
				t.Errorf("%s at secondary-0: %+v", z.Name, cp)
			case cp.Server != "secondary-0" && (cp.Error != "" || !cp.Confirmed):
				t.Errorf("%s: %+v", z.Name, cp)
			}
		}
	}
	c.Signal("secondary-0", syscall.SIGCONT)
	c.Verified()
}
