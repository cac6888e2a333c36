package propagation

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	victim  = "secondary-0" // where one is enough
	patient = 60 * time.Second
)

// input is a cluster whose secondaries, one of each release of BIND, are given what no primary would.
type input struct {
	*harness.Cluster
	t      *testing.T
	origin zone.Name
	writer *harness.Client
	n      int
}

// TestBadInput: a log line and the status say what is wrong, what is served stays right, and all goes on once it is mended.
func TestBadInput(t *testing.T) {
	in := &input{t: t, origin: zone.MustParseName("example.test.")}
	in.Cluster = harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Secondaries = 2
		cfg.AdjustSecondary = func(s *secondary.Config) {
			s.Named.Path = namedtest.Get(t, map[string]string{"secondary-0": "9.20", "secondary-1": "9.18"}[s.Name]).Named
		}
	})
	in.writer = harness.Dial(t, in.Info().Endpoint, in.Key())
	in.change()
	in.shown(10 * time.Second)

	for _, name := range in.SecondaryNames() {
		t.Run("NOTIFY to "+name, in.in(func(in *input) { in.foreignNotify(name) }))
	}
	t.Run("wrong secret", in.in((*input).wrongSecret))
	t.Run("clocks", in.in((*input).clocks))
	for _, d := range damages() {
		t.Run(d.name, in.in(func(in *input) { in.damaged(d) }))
	}
	in.Verified()
}

// in runs one sort of bad input as a test of its own.
func (in *input) in(f func(*input)) func(*testing.T) {
	return func(t *testing.T) {
		sub := *in
		sub.t, sub.Cluster = t, in.For(t)
		f(&sub)
		in.n = sub.n
	}
}

// change adds a record that shown looks for.
func (in *input) change() {
	in.t.Helper()
	in.n++
	rcode, err := in.writer.Update(in.origin, nil, []zone.RR{harness.A(in.origin, fmt.Sprintf("n%d", in.n), 60, [4]byte{192, 0, 2, byte(in.n)})})
	if err != nil || rcode != 0 {
		in.t.Fatalf("update: rcode %d, %v", rcode, err)
	}
}

// shown waits until the secondaries show every change.
func (in *input) shown(limit time.Duration) {
	in.t.Helper()
	for _, name := range in.SecondaryNames() {
		in.Until(limit, "all changes are served by "+name, func(ctx context.Context) error { return in.right(ctx, name, in.n) })
	}
}

// right fails unless the first n changes are served as they were made.
func (in *input) right(ctx context.Context, name string, n int) error {
	for i := 1; i <= n; i++ {
		got, err := harness.Answer(ctx, in.Secondary(name).DNS, fmt.Sprintf("n%d.%s", i, in.origin), dns.TypeA)
		if err != nil {
			return err
		}
		if len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprintf("192.0.2.%d", byte(i))) {
			return fmt.Errorf("change %d: %q", i, got)
		}
	}
	return nil
}

// told waits until a secondary's status has a text.
func (in *input) told(name, text string) {
	in.t.Helper()
	in.Until(patient, "the status of "+name+" tells of "+text, func(ctx context.Context) error {
		own, err := in.Admin[name].Own(ctx)
		if err != nil {
			return err
		}
		all := strings.Join(append(own.Problems, own.Reason), "\n")
		if !strings.Contains(all, text) {
			return fmt.Errorf("it says %q", all)
		}
		return nil
	})
}

// logged waits until a secondary's log has, after the mark, a line of level WARN or ERROR with a text.
func (in *input) logged(name string, mark int, text string) {
	in.t.Helper()
	line := regexp.MustCompile(`level=(WARN|ERROR) .*` + regexp.QuoteMeta(text))
	in.Until(patient, "the log of "+name+" tells of "+text, func(context.Context) error {
		b, err := os.ReadFile(in.log(name))
		if err == nil && !line.Match(b[mark:]) {
			err = fmt.Errorf("it says:\n%s", b[mark:])
		}
		return err
	})
}

func (in *input) log(name string) string { return filepath.Join(in.Dir(), name, "log") }

// mark is the present end of a secondary's log.
func (in *input) mark(name string) int {
	in.t.Helper()
	info, err := os.Stat(in.log(name))
	must(in.t, err)
	return int(info.Size())
}

// foreignNotify sends what a forger would: announcements of a newer serial, unsigned, signed with a key that nobody knows, and with
// the secondary's own key but another secret. Each is counted; the log and the status name who sent it.
func (in *input) foreignNotify(name string) {
	const forger = "127.0.0.77"
	mark := in.mark(name)
	m := new(dns.Msg)
	m.SetNotify(in.origin.String())
	soa, err := dns.NewRR(in.origin.String() + " 60 SOA a. b. 4000000000 1 1 1 1")
	must(in.t, err)
	m.Answer = []dns.RR{soa}
	unsigned, err := m.Pack()
	must(in.t, err)
	signed := func(key string) []byte {
		return tsig.SignRequest(unsigned, harness.MustKey(in.t, key, "hmac-sha256", plainSecret), time.Now())
	}
	for _, forged := range []struct {
		what, kind, logged, told string
		msg                      []byte
	}{
		{"unsigned", "notify", "received notify for zone 'example.test'", "a NOTIFY was refused, because it is not its own proxy's; the last came from " + forger, unsigned},
		{"of a stranger", "bad_signature", "(BADKEY)", "TSIG stranger: ", signed("stranger.")},
		{"with a wrong secret", "bad_signature", "(BADSIG)", "TSIG " + name + ": ", signed(name + ".")},
	} {
		counter := fmt.Sprintf("zonekeeper_secondary_sightings_total{kind=%q}", forged.kind)
		before := in.Metric(name, counter)
		rcode, err := sendFrom(forger, in.Secondary(name).DNS, forged.msg)
		must(in.t, err)
		if rcode == dns.RcodeSuccess {
			in.t.Errorf("a NOTIFY %s was accepted", forged.what)
		}
		in.logged(name, mark, forged.logged)
		in.told(name, forged.told)
		if n := in.Metric(name, counter) - before; n != 1 {
			in.t.Errorf("a NOTIFY %s: %s went up by %v", forged.what, counter, n)
		}
	}
	if in.Own(name).Named.Version[:4] == "9.20" {
		in.logged(name, mark, "refused notify from non-primary")
	}
	must(in.t, in.right(in.t.Context(), name, in.n))
	in.change() // what its own proxy tells is believed, and counts as nobody else's
	refused := in.Metric(name, `zonekeeper_secondary_sightings_total{kind="notify"}`)
	in.shown(10 * time.Second)
	if n := in.Metric(name, `zonekeeper_secondary_sightings_total{kind="notify"}`); n != refused {
		in.t.Errorf("of its own proxy's NOTIFYs %v counted as foreign", n-refused)
	}
}

// sendFrom sends a message over UDP from an address, and gives the response code.
func sendFrom(from, to string, msg []byte) (rcode int, err error) {
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("udp", to)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := conn.Write(msg); err != nil {
		return 0, err
	}
	buf := make([]byte, dns.MaxMsgSize)
	n, err := conn.Read(buf)
	if err == nil && n < 12 {
		err = fmt.Errorf("an answer of %d octets", n)
	}
	return int(buf[3] & 0xf), err
}

// wrongSecret: the secondary's secret is not the one that the primaries have.
func (in *input) wrongSecret() {
	const wrong = "primary finds the signature wrong (BADSIG)"
	mark, before := in.mark(victim), in.n
	file := in.SecondaryConfig(victim).Key.SecretFile
	right, err := os.ReadFile(file)
	must(in.t, err)
	must(in.t, os.WriteFile(file, []byte(plainSecret+"\n"), 0o600))
	in.Until(patient, "a change is refused", func(ctx context.Context) error {
		in.change() // until the file has been read again, changes still arrive
		own, err := in.Admin[victim].Own(ctx)
		if err == nil && !strings.Contains(strings.Join(own.Problems, "\n"), wrong) {
			err = fmt.Errorf("problems %q", own.Problems)
		}
		return err
	})
	in.logged(victim, mark, wrong)
	must(in.t, in.right(in.t.Context(), victim, before))
	must(in.t, os.WriteFile(file, right, 0o600))
	in.shown(patient)
	in.Ready(victim)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
