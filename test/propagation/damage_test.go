package propagation

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// damage is what a disk may do to a file of the zone example.test.
type damage struct {
	name string
	file string
	do   func(*testing.T, []byte) []byte
}

func damages() []damage {
	const zoneFile, journal = "*example.test.db", "*example.test.db.jnl"
	half := func(_ *testing.T, b []byte) []byte { return b[:len(b)/2] }
	garble := func(_ *testing.T, b []byte) []byte {
		for i := range b {
			b[i] ^= byte(i*7 + 1)
		}
		return b
	}
	flip := func(_ *testing.T, b []byte) []byte { b[len(b)-1] ^= 1; return b } // the end of the last record's data
	return []damage{
		{name: "zone file truncated", file: zoneFile, do: half},
		{name: "zone file cut after a record", file: zoneFile, do: withoutLast},
		{name: "zone file garbled", file: zoneFile, do: garble},
		{name: "zone file with a bit flipped", file: zoneFile, do: flip},
		{name: "journal truncated", file: journal, do: half},
		{name: "journal garbled", file: journal, do: garble},
		{name: "journal with a bit flipped", file: journal, do: flip},
	}
}

// withoutLast takes the last RRset off a zone file in BIND's raw format: a header of 24 octets, then RRsets that each begin with
// their length (lib/dns/masterdump.c).
func withoutLast(t *testing.T, b []byte) []byte {
	t.Helper()
	at, last := 24, 0
	for at < len(b) {
		last = at
		at += int(binary.BigEndian.Uint32(b[at:]))
	}
	if at != len(b) || last == 0 {
		t.Fatalf("the zone file of %d octets is not in the raw format", len(b))
	}
	return b[:last]
}

// damaged changes a file at every secondary while none runs. The log and the status say so, nothing wrong is ever answered, not even
// what BIND can load, and what is right is served soon after the start.
func (in *input) damaged(d damage) {
	in.change() // so that there is a journal
	in.shown(10 * time.Second)
	want := in.content()
	names := in.SecondaryNames()
	marks := map[string]int{}
	for _, name := range names {
		st := in.Own(name)
		in.Kill(name)
		_ = syscall.Kill(st.Named.PID, syscall.SIGKILL) // it may have gone with its parent
		files, err := filepath.Glob(filepath.Join(in.SecondaryConfig(name).Named.Dir, "members", d.file))
		must(in.t, err)
		if len(files) != 1 {
			in.t.Fatalf("files of the zone, %s: %q", d.file, files)
		}
		b, err := os.ReadFile(files[0])
		must(in.t, err)
		must(in.t, os.WriteFile(files[0], d.do(in.t, b), 0o600))
		marks[name] = in.mark(name)
	}
	for _, name := range names {
		a := in.audit(name, want)
		in.Restart(name)
		in.logged(name, marks[name], "example.test")
		in.told(name, "zone example.test")
		a.rounds(in.t, 1)
		wrong, right := a.end()
		in.t.Logf("%s: %d right answers", name, right)
		if len(wrong) > 0 {
			in.t.Errorf("%s gave %d wrong answers, the first: %s", name, len(wrong), wrong[0])
		}
		again := in.audit(name, want)
		again.rounds(in.t, 2)
		if wrong, _ := again.end(); len(wrong) > 0 {
			in.t.Errorf("%s gave %d wrong answers after the damage was mended, the first: %s", name, len(wrong), wrong[0])
		}
	}
	in.change()
	in.shown(10 * time.Second)
}

// question is one that the zone has an answer to.
type question struct {
	name  string
	qtype uint16
}

// content is every RRset of the zone, as the cluster has it.
func (in *input) content() map[question][]string {
	in.t.Helper()
	key := in.Key()
	rrs, err := harness.Asker{Key: &key, Timeout: 5 * time.Second}.Transfer(in.t.Context(), in.Primary(in.Names()[0]).DNS, in.origin.String(), nil)
	must(in.t, err)
	out := map[question][]string{}
	for _, rr := range rrs[:len(rrs)-1] { // the SOA comes twice
		q := question{rr.Header().Name, rr.Header().Rrtype}
		out[q] = append(out[q], rr.String())
		slices.Sort(out[q])
	}
	return out
}

// audit asks a secondary's public address for a whole zone over and over, from before it starts, and notes what is not right.
// No answer, SERVFAIL and REFUSED are: nothing false is said.
type audit struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	wrong []string
	right int
	whole int // rounds over the zone in which all was answered right
}

func (in *input) audit(name string, want map[question][]string) *audit {
	ctx, cancel := context.WithCancel(in.t.Context())
	a := &audit{cancel: cancel}
	addr := in.Secondary(name).DNS
	a.wg.Go(func() {
		for ctx.Err() == nil {
			good := 0
			for q, rrs := range want {
				answered, right := a.ask(ctx, addr, q, rrs)
				if right {
					good++
				}
				if !answered {
					break // nobody listens, or nothing is said: begin again a little later
				}
			}
			if good == len(want) {
				a.mu.Lock()
				a.whole++
				a.mu.Unlock()
			}
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	return a
}

// ask asks once. answered: there was an answer of substance.
func (a *audit) ask(ctx context.Context, addr string, q question, want []string) (answered, right bool) {
	resp, err := harness.Asker{Timeout: 500 * time.Millisecond}.Ask(ctx, "udp", addr, q.name, q.qtype)
	if err != nil || resp.Rcode == dns.RcodeServerFailure || resp.Rcode == dns.RcodeRefused {
		return false, false
	}
	var got []string
	for _, rr := range resp.Answer {
		got = append(got, rr.String())
	}
	slices.Sort(got)
	a.mu.Lock()
	defer a.mu.Unlock()
	if resp.Rcode == dns.RcodeSuccess && resp.Authoritative && slices.Equal(got, want) {
		a.right++
		return true, true
	}
	a.wrong = append(a.wrong, fmt.Sprintf("%s %s: %s %q instead of %q", q.name, dns.TypeToString[q.qtype], dns.RcodeToString[resp.Rcode], got, want))
	return true, false
}

// rounds waits until the whole zone has been answered right so many times.
func (a *audit) rounds(t *testing.T, n int) {
	t.Helper()
	must(t, harness.Retry(patient, func(context.Context) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.whole < n {
			return fmt.Errorf("all of the zone was answered right %d times; of the wrong answers: %q", a.whole, a.wrong[:min(3, len(a.wrong))])
		}
		return nil
	}))
}

// end stops it.
func (a *audit) end() (wrong []string, right int) {
	a.cancel()
	a.wg.Wait()
	return a.wrong, a.right
}
