package propagation

import (
	"context"
	"fmt"
	"os"
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
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	victim  = "secondary-0"
	patient = 60 * time.Second
)

// input is a cluster whose only secondary is given what no primary would.
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
		cfg.Secondaries = 1
		// BIND 9.18 says nothing of a NOTIFY that it refuses, but at a level at which it says too much.
		cfg.AdjustSecondary = func(s *secondary.Config) { s.Named.Path = namedtest.Get(t, "9.20").Named }
	})
	in.writer = harness.Dial(t, in.Info().Endpoint, in.Key())
	in.change()
	in.shown(10 * time.Second)

	t.Run("NOTIFY", in.in((*input).foreignNotify))
	t.Run("wrong secret", in.in((*input).wrongSecret))
	t.Run("clocks", in.in((*input).clocks))
	for _, d := range damages() {
		t.Run("zone file "+d.name, in.in(func(in *input) { in.damaged("*example.test.db", d) }))
		t.Run("journal "+d.name, in.in(func(in *input) { in.damaged("*example.test.db.jnl", d) }))
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

// shown waits until the secondary shows every change.
func (in *input) shown(limit time.Duration) {
	in.t.Helper()
	in.Until(limit, "all changes are served", func(ctx context.Context) error { return in.right(ctx, in.n) })
}

// right fails unless the first n changes are served as they were made.
func (in *input) right(ctx context.Context, n int) error {
	for i := 1; i <= n; i++ {
		got, err := harness.Answer(ctx, in.Secondary(victim).DNS, fmt.Sprintf("n%d.%s", i, in.origin), dns.TypeA)
		if err != nil {
			return err
		}
		if len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprintf("192.0.2.%d", i)) {
			return fmt.Errorf("change %d: %q", i, got)
		}
	}
	return nil
}

// told waits until the secondary's status has a text.
func (in *input) told(text string) {
	in.t.Helper()
	in.Until(patient, "the status tells of "+text, func(ctx context.Context) error {
		own, err := in.Admin[victim].Own(ctx)
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

// logged waits until the secondary's log has a line with a text after the mark.
func (in *input) logged(mark int, text string) {
	in.t.Helper()
	in.Until(patient, "the log tells of "+text, func(context.Context) error {
		b, err := os.ReadFile(in.log())
		if err == nil && !strings.Contains(string(b[mark:]), text) {
			err = fmt.Errorf("it says:\n%s", b[mark:])
		}
		return err
	})
}

func (in *input) log() string { return filepath.Join(in.Dir(), victim, "log") }

// mark is the present end of the log.
func (in *input) mark() int {
	in.t.Helper()
	info, err := os.Stat(in.log())
	must(in.t, err)
	return int(info.Size())
}

// foreignNotify sends what a forger would: announcements of a newer serial, unsigned, and signed with a key that nobody knows.
func (in *input) foreignNotify() {
	mark := in.mark()
	m := new(dns.Msg)
	m.SetNotify(in.origin.String())
	soa, err := dns.NewRR(in.origin.String() + " 60 SOA a. b. 4000000000 1 1 1 1")
	must(in.t, err)
	m.Answer = []dns.RR{soa}
	unsigned, err := m.Pack()
	must(in.t, err)
	stranger := harness.MustKey(in.t, "stranger.", "hmac-sha256", plainSecret)
	for name, msg := range map[string][]byte{"unsigned": unsigned, "of a stranger": tsig.SignRequest(unsigned, stranger, time.Now())} {
		answer, err := harness.Bytes(in.t.Context(), "udp", in.Secondary(victim).DNS, msg)
		must(in.t, err)
		if rcode := int(answer[3] & 0xf); rcode == dns.RcodeSuccess {
			in.t.Errorf("a NOTIFY %s was accepted", name)
		}
	}
	in.logged(mark, "refused notify from non-primary")
	must(in.t, in.right(in.t.Context(), in.n))
	in.change()
	in.shown(10 * time.Second)
}

// wrongSecret: the secondary's secret is not the one that the primaries have.
func (in *input) wrongSecret() {
	mark, before := in.mark(), in.n
	file := in.SecondaryConfig(victim).Key.SecretFile
	right, err := os.ReadFile(file)
	must(in.t, err)
	must(in.t, os.WriteFile(file, []byte(plainSecret+"\n"), 0o600))
	in.Until(patient, "a change is refused", func(ctx context.Context) error {
		in.change() // until the file has been read again, changes still arrive
		own, err := in.Admin[victim].Own(ctx)
		if err == nil && !strings.Contains(strings.Join(own.Problems, "\n"), "BADSIG") {
			err = fmt.Errorf("problems %q", own.Problems)
		}
		return err
	})
	in.logged(mark, "BADSIG")
	must(in.t, in.right(in.t.Context(), before))
	must(in.t, os.WriteFile(file, right, 0o600))
	in.shown(patient)
	in.Ready(victim)
}

// damage is what a disk may do to a file.
type damage struct {
	name string
	do   func([]byte) []byte
}

func damages() []damage {
	return []damage{
		{"truncated", func(b []byte) []byte { return b[:len(b)/2] }},
		{"garbled", func(b []byte) []byte {
			for i := range b {
				b[i] ^= byte(i*7 + 1)
			}
			return b
		}},
		{"with a bit flipped", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }}, // the end of the last record's data
	}
}

// damaged changes a file while nothing runs. Whatever BIND makes of it, what is right is served soon after the start.
func (in *input) damaged(pattern string, d damage) {
	in.change() // so that there is a journal
	in.shown(10 * time.Second)
	st := in.Own(victim)
	in.Kill(victim)
	_ = syscall.Kill(st.Named.PID, syscall.SIGKILL) // it may have gone with its parent
	files, err := filepath.Glob(filepath.Join(in.SecondaryConfig(victim).Named.Dir, "members", pattern))
	must(in.t, err)
	if len(files) != 1 {
		in.t.Fatalf("files of the zone, %s: %q", pattern, files)
	}
	b, err := os.ReadFile(files[0])
	must(in.t, err)
	must(in.t, os.WriteFile(files[0], d.do(b), 0o600))
	in.Restart(victim)
	in.shown(patient)
	in.change()
	in.shown(10 * time.Second)
	must(in.t, second(in.Admin[victim].Own(in.t.Context())))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func second(_ *adminapi.SecondaryStatus, err error) error { return err }
