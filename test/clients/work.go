package clients

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// client is one real client: what it is, and the work that it does in a zone of its own, with a key of its own.
type client struct {
	name      string
	what      string // it does, for the table
	format    string // of `zonekeeper key export`
	algorithm string
	zones     []string // the first is the client's, more are further ones; empty: NAME.test.
	version   func(*site) string
	begin     func(*work) error
	// step does the nth piece of work. It is repeated when it fails, as a user or a supervisor does, so a repetition must do no harm. It
	// tells by want and gone which records are right afterwards.
	step func(ctx context.Context, w *work, n int) error
	// only selects the records that are compared, nil: all but those the zone began with.
	only func(dns.RR) bool
	// anyTTL: the client decides about TTLs.
	anyTTL bool
}

// work is a client at work.
type work struct {
	*client
	s      *site
	dir    string
	config string // what key export printed
	key    tsig.Key

	records map[string]bool // that have to be there
	left    map[string]bool // owners of records that the client itself says it could not remove
	steps   int
	repeats int
	longest time.Duration
	why     map[string]int // what repetitions were for
}

// stepLimit is how long one piece of work may take with its repetitions: no fault of this campaign lasts half as long.
const stepLimit = 90 * time.Second

// begin makes a client's zones and its key.
func begin(s *site, c *client) *work {
	s.t.Helper()
	w := &work{client: c, s: s, dir: s.t.TempDir(), records: map[string]bool{}, left: map[string]bool{}, why: map[string]int{}}
	if len(c.zones) == 0 {
		c.zones = []string{c.name + ".test."}
	}
	ctx := s.t.Context()
	admin := s.c.Admin[s.c.Names()[0]]
	name := c.name + "-key"
	key, err := admin.AddKey(ctx, adminapi.AddKey{Name: name, Algorithm: c.algorithm})
	if err != nil {
		s.t.Fatal(err)
	}
	if key, err = admin.Key(ctx, key.Name, true); err != nil {
		s.t.Fatal(err)
	}
	w.key = harness.MustKey(s.t, key.Name, c.algorithm, key.Versions[0].Secret)
	settings := devcluster.OpenTo(key.Name)
	// An answer means that both secondaries have the change: what a CA asks them is never too early.
	settings.Guarantee = &adminapi.Guarantee{Secondaries: 2}
	args := []string{"key", "export", name, "--format", c.format, "--server", endpoint, "--admin", admin.Base()}
	for _, z := range c.zones {
		text := fmt.Sprintf("$ORIGIN %s\n$TTL 60\n@ SOA primary hostmaster 1 3600 600 86400 60\n@ NS ns1\n@ NS ns2\n"+
			"primary A %s\nns1 A %s\nns2 A %s\n", z, endpoint, ns1, ns2)
		if _, err := admin.ImportZone(ctx, z, strings.NewReader(text), adminapi.ImportOptions{Settings: settings}); err != nil {
			s.t.Fatal(err)
		}
		args = append(args, "--zone", z)
	}
	out, err := exec.Command(harness.Program(s.t), args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("zonekeeper %v: %v\n%s", args, err, out)
	}
	w.config = string(out)
	if c.begin != nil {
		if err := c.begin(w); err != nil {
			s.t.Fatalf("%s: %v", c.name, err)
		}
	}
	return w
}

// zone is the client's first zone, with its final dot.
func (w *work) zone() string { return w.zones[0] }

// rr is the text of a record as it is compared.
func (w *work) rr(rr dns.RR) string {
	h := *rr.Header()
	if w.anyTTL {
		h.Ttl = 0
	}
	h.Name = strings.ToLower(h.Name)
	return h.String() + strings.TrimPrefix(rr.String(), rr.Header().String())
}

// want and gone take records in the form of a zone file, with owner names relative to the client's zone unless they end in a dot.
func (w *work) want(format string, args ...any) {
	w.records[w.rr(w.parse(fmt.Sprintf(format, args...)))] = true
}

func (w *work) gone(format string, args ...any) {
	delete(w.records, w.rr(w.parse(fmt.Sprintf(format, args...))))
}

func (w *work) parse(text string) dns.RR {
	zp := dns.NewZoneParser(strings.NewReader(text), w.zone(), "")
	zp.SetDefaultTTL(60)
	rr, ok := zp.Next()
	if !ok {
		panic(fmt.Sprintf("%q: %v", text, zp.Err())) // of this package
	}
	return rr
}

// go on until the time is over: one step after another, each repeated until it succeeds.
func (w *work) goOn(ctx context.Context, until time.Time) error {
	for n := 0; time.Now().Before(until); n++ {
		if err := w.one(ctx, n); err != nil {
			return fmt.Errorf("%s, step %d: %w", w.name, n, err)
		}
	}
	return nil
}

func (w *work) one(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	start := time.Now()
	for {
		err := w.step(ctx, w, n)
		if err == nil {
			w.steps++
			w.longest = max(w.longest, time.Since(start))
			return nil
		}
		if ctx.Err() != nil || errors.As(err, new(wrong)) {
			return err
		}
		w.again(err.Error())
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// again counts what the client did not do at the first attempt.
func (w *work) again(why string) {
	w.repeats++
	w.why[why]++
}

// wrong is an error that no repetition mends: an answer or a state that must not be.
type wrong struct{ error }

// check compares the client's zones with what has to be in them, as the endpoint transfers them.
func (w *work) check(ctx context.Context) error {
	found := map[string]bool{}
	for _, z := range w.zones {
		rrs, err := harness.Asker{Key: &w.key, Timeout: 20 * time.Second}.Transfer(ctx, w.s.c.Info().Endpoint, z, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		for _, rr := range rrs {
			if w.isBase(z, rr) || w.left[rr.Header().Name] || w.only != nil && !w.only(rr) {
				continue
			}
			found[w.rr(rr)] = true
		}
	}
	var errs []error
	for _, text := range slices.Sorted(maps.Keys(w.records)) {
		if !found[text] {
			errs = append(errs, fmt.Errorf("%s: missing: %s", w.name, text))
		}
	}
	for _, text := range slices.Sorted(maps.Keys(found)) {
		if !w.records[text] {
			errs = append(errs, fmt.Errorf("%s: too much: %s", w.name, text))
		}
	}
	return errors.Join(errs...)
}

func (w *work) isBase(z string, rr dns.RR) bool {
	switch h := rr.Header(); h.Rrtype {
	case dns.TypeSOA, dns.TypeNS:
		return h.Name == z
	case dns.TypeA:
		return h.Name == "ns1."+z || h.Name == "ns2."+z || h.Name == "primary."+z
	}
	return false
}
