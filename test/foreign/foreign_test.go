package foreign

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	examples = "../../docs/examples/secondary"
	common   = "example.test." // the zone that every example serves
	// soon is far less than what a server waits without a NOTIFY: the refresh of the zone is an hour, of the catalog a minute.
	soon = 15 * time.Second
)

// kind is a foreign server and how its example is put to use: files by the path at which it looks for them, and the command.
type kind struct {
	name    string
	files   map[string]string
	dirs    []string // that it writes to
	user    string
	prepare string // before the first start
	start   string
	catalog bool
	// secretIn is the file with the secret of its key.
	secretIn string
	// renew is what else a new secret needs.
	renew string
}

func kinds() []kind {
	return []kind{{
		name: "bind", files: map[string]string{"named.conf": "/etc/bind/named.conf"}, secretIn: "named.conf", catalog: true,
		dirs: []string{"/var/cache/bind"}, user: "bind", start: "mkdir -p /var/cache/bind/members; chown bind /var/cache/bind/members; exec named -g -u bind -c /etc/bind/named.conf",
	}, {
		name: "knot", files: map[string]string{"knot.conf": "/etc/knot/knot.conf"}, secretIn: "knot.conf", catalog: true,
		dirs: []string{"/var/lib/knot"}, user: "root", start: "exec knotd -c /etc/knot/knot.conf",
	}, {
		name: "nsd", files: map[string]string{"nsd.conf": "/etc/nsd/nsd.conf"}, secretIn: "nsd.conf",
		dirs: []string{"/var/lib/nsd"}, user: "nsd", start: "exec nsd -d -c /etc/nsd/nsd.conf",
	}, {
		name: "pdns", files: map[string]string{"pdns.conf": "/etc/powerdns/pdns.conf", "pdns.sh": "/etc/powerdns/pdns.sh"}, secretIn: "pdns.sh", catalog: true,
		dirs: []string{"/var/lib/powerdns"}, user: "pdns", prepare: "sh /etc/powerdns/pdns.sh; chown pdns /var/lib/powerdns/*",
		start: "exec pdns_server --daemon=no --guardian=no --setuid=pdns --setgid=pdns",
		renew: "pdnsutil delete-tsig-key ns-pdns; pdnsutil import-tsig-key ns-pdns hmac-sha256 %s",
	}}
}

// TestForeign: servers that know nothing of this program follow the cluster with the documented configurations.
func TestForeign(t *testing.T) {
	c := harness.Start(t, nil)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			follow(t, c, k)
		})
	}
}

// follower is one foreign server and the test's means to watch it.
type follower struct {
	t      *testing.T
	c      *harness.Cluster
	k      kind
	site   *site
	door   *door // where the server is asked, and told of changes at first
	other  *door // where it is told of changes in the end
	state  string
	key    tsig.Key
	proc   *harness.Process
	writer *harness.Client
	n      int
}

func follow(t *testing.T, c *harness.Cluster, k kind) {
	s := newSite(t, c)
	f := &follower{t: t, c: c, k: k, site: s, door: s.newDoor(), other: s.newDoor(), state: namedtest.SharedDir(t), writer: harness.Dial(t, c.Info().Endpoint, c.Key())}
	f.key = f.exampleKey()
	ctx := t.Context()
	admin := c.Admin[c.Names()[0]]
	must(t, second(admin.AddKey(ctx, adminapi.AddKey{Name: f.key.Name.String(), Algorithm: "hmac-sha256", Secret: base64.StdEncoding.EncodeToString(f.key.Secret)})))
	registered := adminapi.Secondary{Name: "ns-" + k.name, Key: f.key.Name.String(), Foreign: true, Notify: []string{f.door.addr()}}
	must(t, admin.PutSecondary(ctx, registered))

	f.copyExamples()
	f.begin(k.prepare + "\n" + k.start)
	f.serves(common, 60*time.Second)

	f.refuses("an unsigned NOTIFY", nil)
	wrong := harness.MustKey(t, f.key.Name.String(), "hmac-sha256", randomSecret(t))
	f.refuses("a NOTIFY signed with a wrong secret", &wrong)

	// A change is told, whatever address the telling comes from.
	for range 2 * len(sources()) {
		f.change(common)
	}
	if got := f.door.accepted(common); got != len(sources()) {
		t.Errorf("NOTIFY was accepted from %d addresses, it came from %d", got, len(sources()))
	}

	if k.catalog {
		added := "added-" + k.name + ".test."
		must(t, second(admin.AddZone(ctx, adminapi.AddZone{Name: added, Settings: devcluster.OpenTo(c.Info().Key.Name + ".")})))
		f.serves(added, 2*soon)
		f.change(added)
		must(t, admin.DeleteZone(ctx, added, added))
		f.until(2*soon, k.name+" serves no "+added, func(ctx context.Context) error {
			if _, err := f.serial(ctx, added); err == nil {
				return fmt.Errorf("it does")
			}
			return nil
		})
	}

	// A new secret: both work, then only the new one, and no change is missed.
	text := randomSecret(t)
	must(t, second(admin.RotateKey(ctx, f.key.Name.String(), adminapi.RotateKey{Secret: text})))
	f.change(common)
	f.proc.Stop()
	f.replaceSecret(text)
	renew := k.renew
	if renew != "" {
		renew = fmt.Sprintf(renew, text)
	}
	f.begin(renew + "\n" + k.start)
	must(t, second(admin.RetireKey(ctx, f.key.Name.String())))
	f.serves(common, soon)
	f.change(common)

	// Whom to tell is changed while all run: not the registered address any more, but that of the zone's own settings.
	own := common
	if k.catalog {
		own = "own-" + k.name + ".test."
		must(t, second(admin.AddZone(ctx, adminapi.AddZone{Name: own, Settings: devcluster.OpenTo(c.Info().Key.Name + ".")})))
		f.serves(own, soon)
	}
	registered.Notify = nil
	must(t, admin.PutSecondary(ctx, registered))
	settings := devcluster.OpenTo(c.Info().Key.Name + ".")
	settings.AlsoNotify = []string{f.other.addr() + " key " + f.key.Name.String()}
	must(t, second(admin.SetZone(ctx, own, settings)))
	first := f.change(own)
	if f.other.accepted(own) == 0 {
		t.Errorf("%s followed %s without a NOTIFY through the zone's also-notify", k.name, own)
	}
	// Each primary tells of each change, those that do not lead some time after the one that does: what they had to say about the
	// first one has been said when they all have spoken about the next.
	f.allTold(own, first)
	f.allTold(own, f.change(own))
	for _, n := range f.door.heard(own, first) {
		t.Errorf("an address that is registered no more was still told of %s: serial %d, the first change without it has %d", own, n.serial, first)
	}
	must(t, f.proc.Alive())
}

// allTold waits until every primary has told the other address of a serial.
func (f *follower) allTold(name string, serial uint32) {
	f.t.Helper()
	f.until(soon, fmt.Sprintf("all primaries tell of serial %d of %s", serial, name), func(context.Context) error {
		if n := f.other.senders(name, serial); n != len(f.c.Names()) {
			return fmt.Errorf("%d of %d have", n, len(f.c.Names()))
		}
		return nil
	})
}

// until repeats a check until it gives nil. It ends this server's test, not that of the cluster.
func (f *follower) until(limit time.Duration, what string, check func(context.Context) error) {
	f.t.Helper()
	if err := harness.Retry(limit, check); err != nil {
		f.t.Fatalf("%s: not within %s: %v", what, limit, err)
	}
}

// begin starts the server with the files in state.
func (f *follower) begin(script string) {
	f.t.Helper()
	dirs := f.k.dirs
	var etc string
	for _, at := range f.k.files {
		etc = filepath.Dir(at)
	}
	f.proc = f.site.run(f.state, append([]string{etc}, dirs...), f.k.user, script)
}

func (f *follower) copyExamples() {
	f.t.Helper()
	for name, at := range f.k.files {
		b, err := os.ReadFile(filepath.Join(examples, name))
		must(f.t, err)
		f.write(at, b)
	}
}

// write makes a file that the server finds at a path.
func (f *follower) write(at string, content []byte) {
	f.t.Helper()
	dir := filepath.Join(f.state, strings.ReplaceAll(filepath.Dir(at), "/", "-"))
	must(f.t, os.MkdirAll(dir, 0o755))
	must(f.t, os.WriteFile(filepath.Join(dir, filepath.Base(at)), content, 0o644))
}

var secretText = regexp.MustCompile(`[A-Za-z0-9+/]{43}=`)

// exampleKey is the key in the example.
func (f *follower) exampleKey() tsig.Key {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(examples, f.k.secretIn))
	must(f.t, err)
	return harness.MustKey(f.t, "ns-"+f.k.name+".", "hmac-sha256", string(secretText.Find(b)))
}

// replaceSecret does what an administrator does who was given a new one.
func (f *follower) replaceSecret(text string) {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(examples, f.k.secretIn))
	must(f.t, err)
	f.write(f.k.files[f.k.secretIn], secretText.ReplaceAll(b, []byte(text)))
}

// update makes one, which adds the name that it gives.
func (f *follower) update(name string) (added string) {
	f.t.Helper()
	f.n++
	origin := zone.MustParseName(name)
	label := fmt.Sprintf("%s-%d", f.k.name, f.n)
	rcode, err := f.writer.Update(origin, nil, []zone.RR{harness.A(origin, label, 60, [4]byte{192, 0, 2, byte(f.n)})})
	if err != nil || rcode != 0 {
		f.t.Fatalf("update of %s: rcode %d, %v", name, rcode, err)
	}
	return label + "." + name
}

// change makes one update, waits until the server shows it, and gives a serial with it.
func (f *follower) change(name string) (serial uint32) {
	f.t.Helper()
	before := f.current(name)
	added := f.update(name)
	at := time.Now()
	f.until(soon, fmt.Sprintf("%s shows %s", f.k.name, added), func(ctx context.Context) error {
		m, err := harness.Asker{Timeout: patience}.Ask(ctx, "udp", f.door.addr(), added, dns.TypeA)
		if err != nil {
			return err
		}
		if len(m.Answer) != 1 {
			return fmt.Errorf("%s", m)
		}
		return nil
	})
	shown := time.Since(at)
	when := "without NOTIFY: it was transferring the zone" // for another change
	if heard := append(f.door.heard(name, before+1), f.other.heard(name, before+1)...); len(heard) > 0 {
		when = "told after " + heard[0].at.Sub(at).Round(time.Millisecond).String()
	}
	f.t.Logf("%s shows change %d of %s after %v, %s", f.k.name, f.n, name, shown.Round(time.Millisecond), when)
	return f.current(name)
}

// serves waits until the server has the cluster's serial of a zone.
func (f *follower) serves(name string, limit time.Duration) {
	f.t.Helper()
	f.until(limit, f.k.name+" serves "+name, func(ctx context.Context) error {
		if err := f.proc.Alive(); err != nil {
			return err
		}
		got, err := f.serial(ctx, name)
		if err != nil {
			return err
		}
		want, err := f.clusterSerial(ctx, name)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("serial %d, the cluster has %d", got, want)
		}
		return nil
	})
}

// current is the serial that the cluster has of a zone.
func (f *follower) current(name string) (serial uint32) {
	f.t.Helper()
	f.until(soon, "the cluster answers for "+name, func(ctx context.Context) (err error) {
		serial, err = f.clusterSerial(ctx, name)
		return err
	})
	return serial
}

// clusterSerial is what the cluster answers.
func (f *follower) clusterSerial(ctx context.Context, name string) (uint32, error) {
	m, err := harness.Asker{Timeout: patience}.Ask(ctx, "udp", f.c.Info().Endpoint, name, dns.TypeSOA)
	if err != nil {
		return 0, err
	}
	return soaSerial(m), nil
}

// serial is what the server answers with authority.
func (f *follower) serial(ctx context.Context, name string) (uint32, error) {
	m, err := harness.Asker{Timeout: patience}.Ask(ctx, "udp", f.door.addr(), name, dns.TypeSOA)
	if err != nil {
		return 0, err
	}
	if !m.Authoritative || soaSerial(m) == 0 {
		return 0, fmt.Errorf("no authoritative SOA: %s", dns.RcodeToString[m.Rcode])
	}
	return soaSerial(m), nil
}

// refuses sends a NOTIFY that nobody may believe.
func (f *follower) refuses(what string, key *tsig.Key) {
	f.t.Helper()
	m := new(dns.Msg)
	m.SetNotify(common)
	wire, err := m.Pack()
	must(f.t, err)
	if key != nil {
		wire = tsig.SignRequest(wire, *key, time.Now())
	}
	answer, err := f.site.exchange(wire, sources()[0])
	must(f.t, err)
	if rcode := int(answer[3] & 0xf); rcode == dns.RcodeSuccess {
		f.t.Errorf("%s accepted %s", f.k.name, what)
	}
}

// randomSecret is one in base64.
func randomSecret(t *testing.T) string {
	t.Helper()
	b := make([]byte, 32)
	_, err := rand.Read(b)
	must(t, err)
	return base64.StdEncoding.EncodeToString(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }
