package clients

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

var (
	duration = flag.Duration("duration", 0, "how long the clients work; 0: 20 s, and 3 m in make clients")
	rewrite  = flag.Bool("rewrite", false, "write docs/clients.md anew")
)

const killEvery = 5 * time.Second

// TestClients: clients whose programs are Debian's, for a short time. The others have to be built first.
func TestClients(t *testing.T) {
	clients := append(nsupdates(), dnspython(), kea(), gardener())
	campaign(t, newSite(t, cluster(t)), clients, 20*time.Second)
}

// TestMeasureClients: all of them; with -rewrite it writes the table of docs/clients.md.
func TestMeasureClients(t *testing.T) {
	if os.Getenv("ZONEKEEPER_MEASURE") != "Clients" {
		return
	}
	s := newSite(t, cluster(t))
	s.build()
	clients := append(nsupdates(), dnspython(), kea(), certbot(), lego(startPebble(s)), certManager(), externalDNS(), gardener())
	r := campaign(t, s, clients, 3*time.Minute)
	text := r.String()
	t.Logf("\n%s", text)
	if *rewrite && !t.Failed() {
		if err := rewriteTable(text); err != nil {
			t.Fatal(err)
		}
	}
}

func cluster(t *testing.T) *harness.Cluster {
	return harness.Start(t, func(cfg *devcluster.Config) { cfg.Secondaries = 2 })
}

// campaign lets the clients work while a primary after another is killed.
func campaign(t *testing.T, s *site, clients []*client, d time.Duration) *report {
	if *duration > 0 {
		d = *duration
	}
	r := &report{duration: d}
	for _, c := range clients {
		r.works = append(r.works, begin(s, c))
	}
	for _, name := range s.c.SecondaryNames() {
		s.c.Ready(name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	until := time.Now().Add(d)
	var wg sync.WaitGroup
	for _, w := range r.works {
		wg.Go(func() {
			if err := w.goOn(ctx, until); err != nil {
				t.Error(err)
			}
		})
	}
	names := s.c.Names()
	for time.Now().Add(killEvery).Before(until) {
		s.c.Pause(killEvery)
		name := names[r.kills%len(names)]
		s.c.Kill(name)
		s.c.Pause(time.Second)
		s.c.Restart(name)
		r.kills++
	}
	wg.Wait()
	for _, w := range r.works {
		for why, n := range w.why {
			t.Logf("%s: repeated %d times: %s", w.name, n, why)
		}
		if w.steps == 0 {
			t.Errorf("%s did nothing", w.name)
		}
		if err := harness.Retry(20*time.Second, w.check); err != nil {
			t.Error(err)
		}
	}
	s.c.Verified()
	s.c.CheckLogs()
	r.fill(s)
	for _, row := range r.rows {
		t.Log(fmt.Sprint(row))
	}
	return r
}
