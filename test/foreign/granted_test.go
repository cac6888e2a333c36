package foreign

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestGranted: a server that is nobody's registered secondary follows one zone by a grant of that zone. The grant is taken away
// and given back while all runs, and every primary knows it from the next question on.
func TestGranted(t *testing.T) {
	c := harness.Start(t, nil)
	before := processes(t, c)
	k := kind{
		name: "provider", files: map[string]string{"one-zone.conf": "/etc/bind/named.conf"}, secretIn: "one-zone.conf",
		dirs: []string{"/var/cache/bind"}, user: "bind", start: "exec named -g -u bind -c /etc/bind/named.conf",
	}
	s := newSite(t, c)
	f := &follower{t: t, c: c, k: k, site: s, door: s.newDoor(), other: s.newDoor(), state: namedtest.SharedDir(t), writer: harness.Dial(t, c.Info().Endpoint, c.Key())}
	f.key = f.exampleKey()
	ctx := t.Context()
	admin := c.Admin[c.Names()[0]]
	must(t, second(admin.AddKey(ctx, adminapi.AddKey{Name: f.key.Name.String(), Algorithm: "hmac-sha256", Secret: base64.StdEncoding.EncodeToString(f.key.Secret)})))
	settings := devcluster.OpenTo(c.Info().Key.Name + ".")
	others := settings.AllowTransfer
	settings.AlsoNotify = []string{f.door.addr() + " key " + f.key.Name.String()}

	f.admitted(dns.RcodeRefused) // a key alone is no grant
	settings.AllowTransfer = others + fmt.Sprintf(" key %q;", f.key.Name.String())
	must(t, second(admin.SetZone(ctx, common, settings)))
	f.admitted(dns.RcodeSuccess)
	f.copyExamples()
	f.begin(k.start)
	f.serves(common, 2*soon)
	f.change(common)

	// Another primary takes the grant away than the one that gave it.
	settings.AllowTransfer = others
	must(t, second(c.Admin[c.Names()[2]].SetZone(ctx, common, settings)))
	f.admitted(dns.RcodeRefused)
	had, err := f.serial(ctx, common)
	must(t, err)
	f.update(common)
	f.until(soon, "the server is told, asks, and is refused", func(context.Context) error {
		if log := f.proc.Tail(1000); !strings.Contains(log, "failed while receiving responses: REFUSED") {
			return fmt.Errorf("it says:\n%s", log)
		}
		return nil
	})
	if has, err := f.serial(ctx, common); err != nil || has != had {
		t.Errorf("without a grant the server went from serial %d to %d, %v", had, has, err)
	}

	settings.AllowTransfer = others + fmt.Sprintf(" key %q;", f.key.Name.String())
	must(t, second(admin.SetZone(ctx, common, settings)))
	f.admitted(dns.RcodeSuccess)
	f.change(common)
	f.serves(common, soon) // and what it had missed

	if after := processes(t, c); after != before {
		t.Errorf("processes were %s, and are %s", before, after)
	}
	must(t, f.proc.Alive())
	c.Verified()
	c.CheckLogs()
}

// admitted fails unless every primary answers the key's transfers with a response code, at once: what the admin API has
// confirmed holds everywhere.
func (f *follower) admitted(want int) {
	f.t.Helper()
	since := uint32(1)
	for _, p := range f.c.Info().Primaries {
		for what, from := range map[string]*uint32{"AXFR": nil, "IXFR": &since} {
			got := dns.RcodeSuccess
			_, err := harness.Asker{Key: &f.key, Timeout: patience}.Transfer(f.t.Context(), p.DNS, common, from)
			var refused harness.RCodeError
			if errors.As(err, &refused) {
				got = int(refused)
			} else if err != nil {
				f.t.Errorf("%s: %v", p.Name, err)
				continue
			}
			if got != want {
				f.t.Errorf("%s answers an %s with %s, wanted %s", p.Name, what, dns.RcodeToString[got], dns.RcodeToString[want])
			}
		}
	}
}

// processes tells those of a cluster apart from later ones.
func processes(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	var out []string
	for _, p := range c.Info().Primaries {
		st, err := c.Admin[p.Name].Replica(t.Context())
		must(t, err)
		out = append(out, fmt.Sprintf("%s %d, named %d", p.Name, p.PID, st.Named.PID))
	}
	return strings.Join(out, "; ")
}
