package differential

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Config is what one zone's run needs.
type Config struct {
	Seed     uint64
	Messages int
	// Transfer is after how many messages contents are compared; they are too whenever anything else differs.
	Transfer int
	Options  update.Options
	// MaxDifferences ends the run early.
	MaxDifferences int
	// Goals are how often rows are to be hit; they are aimed at first.
	Goals map[string]int
}

// Plan spreads messages over the zones so that, with room to spare, every row can be hit the given number of times.
func Plan(specs []ZoneSpec, messages, hits int) []Config {
	zonesOf := map[string]int{}
	for _, s := range specs {
		for _, r := range rowsFor(s) {
			zonesOf[r.name]++
		}
	}
	configs := make([]Config, len(specs))
	weights, sum := make([]int, len(specs)), 0
	for i, s := range specs {
		configs[i].Goals = map[string]int{}
		weights[i] = hits // for what is random
		for _, r := range rowsFor(s) {
			n := (hits + zonesOf[r.name] - 1) / zonesOf[r.name]
			configs[i].Goals[r.name] = n
			weights[i] += n
		}
		sum += weights[i]
	}
	for i := range configs {
		configs[i].Messages = (messages*weights[i] + sum - 1) / sum
	}
	return configs
}

// Report is the result of a run.
type Report struct {
	Sent        int
	Transfers   int
	Skipped     int // requests of intended differences, which were not sent
	Again       int // repetitions of updates that a cluster had answered SERVFAIL
	RCodes      map[uint16]int
	Coverage    map[string]int // hits by row
	Differences []string
}

// Merge adds what o found.
func (r *Report) Merge(o Report) {
	r.Sent += o.Sent
	r.Transfers += o.Transfers
	r.Skipped += o.Skipped
	r.Again += o.Again
	if r.RCodes == nil {
		r.RCodes, r.Coverage = map[uint16]int{}, map[string]int{}
	}
	for k, n := range o.RCodes {
		r.RCodes[k] += n
	}
	for k, n := range o.Coverage {
		r.Coverage[k] += n
	}
	r.Differences = append(r.Differences, o.Differences...)
}

// String prints the counts by row and response code.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages, %d transfers compared, %d not sent (intended differences), %d sent again (SERVFAIL), %d differences\n",
		r.Sent, r.Transfers, r.Skipped, r.Again, len(r.Differences))
	for rcode := range uint16(16) {
		if n := r.RCodes[rcode]; n > 0 {
			fmt.Fprintf(&b, "%7d  response code %d\n", n, rcode)
		}
	}
	for _, name := range Rows() {
		fmt.Fprintf(&b, "%7d  %s\n", r.Coverage[name], name)
	}
	return b.String()
}

// Rows returns the names of all rows.
func Rows() []string {
	var names []string
	for _, r := range slices.Concat(rows, policyRows) {
		names = append(names, r.name)
	}
	return names
}

// Compare runs requests against the model of spec and against the targets, which must all hold the same content z, and
// returns what differed from the model. After a difference the model goes on from the content of the target that differed,
// so with several targets the first difference is the one to look at.
func Compare(ctx context.Context, cfg Config, spec ZoneSpec, z *zone.Zone, targets ...Target) (Report, error) {
	c := &comparison{cfg: cfg, spec: spec, targets: targets}
	c.report.Merge(Report{})
	if err := c.reset(z, cfg.Seed); err != nil {
		return c.report, err
	}
	for c.report.Sent < cfg.Messages && len(c.report.Differences) < max(cfg.MaxDifferences, 1) {
		if err := c.step(ctx); err != nil {
			return c.report, fmt.Errorf("zone %s, seed %d, message %d: %w\n%s", spec.Origin, cfg.Seed, c.report.Sent, err, c.describe())
		}
	}
	return c.report, c.transfer(ctx)
}

type comparison struct {
	cfg     Config
	spec    ZoneSpec
	targets []Target
	model   *Model
	gen     *Generator
	report  Report
	// since are the requests since contents were last equal, last among them the current one.
	since []string
	// before is the model's content before the current request.
	before *zone.Zone
	wire   []byte // of the current request
	form   string // of the first target's answer to it
}

func (c *comparison) reset(z *zone.Zone, seed uint64) error {
	model, err := NewModel(c.spec, z, c.cfg.Options)
	if err != nil {
		return err
	}
	c.model, c.since = model, nil
	if c.gen == nil {
		c.gen = NewGenerator(seed, c.spec, z)
		c.gen.aim(c.cfg.Goals)
	}
	c.gen.zone = z
	return nil
}

func (c *comparison) step(ctx context.Context) error {
	k := c.gen.Next()
	if Intended(k.Request.Wire, c.spec) {
		c.report.Skipped++
		return nil
	}
	before := c.model.zone.Snapshot()
	c.before, c.wire = before, k.Request.Wire
	c.since = append(c.since, Describe(k.Request))
	want, err := c.model.Send(ctx, k.Request)
	if err != nil {
		return err
	}
	c.report.Sent++
	c.report.RCodes[want.RCode]++
	if k.Row != "" && k.Hit(before, c.model.zone, want.RCode) {
		c.report.Coverage[k.Row]++
	}
	for i, target := range c.targets {
		if same, err := c.send(ctx, i, target, k.Request, want); !same || err != nil {
			return err
		}
	}
	if c.report.Sent%max(c.cfg.Transfer, 1) == 0 {
		return c.transfer(ctx)
	}
	return nil
}

// send gives a request to a target and compares answer and serial with the model's.
func (c *comparison) send(ctx context.Context, i int, target Target, r Request, want Answer) (same bool, err error) {
	got, err := c.ask(ctx, target, r, want)
	if err != nil {
		return false, fmt.Errorf("target %d: %w", i, err)
	}
	serial, err := target.Serial(ctx, c.spec.Origin)
	if err != nil {
		return false, fmt.Errorf("target %d: %w", i, err)
	}
	if i == 0 {
		c.form = got.Form
	}
	want.Form = c.form
	if got == want && serial == c.model.zone.Serial() {
		return true, nil
	}
	rrs, err := target.Zone(ctx, c.spec.Origin)
	if err != nil {
		return false, fmt.Errorf("target %d: %w", i, err)
	}
	c.differ("target %d: %+v, serial %d wanted; got %+v and %d (model says %q)\nit lacks of the content before:\n%s\nit has:\n%s",
		i, want, c.model.zone.Serial(), got, serial, c.model.Last.Text,
		strings.Join(subtract(c.before.RRs(), rrs), "\n"), strings.Join(subtract(rrs, c.before.RRs()), "\n"))
	return false, c.adopt(rrs)
}

// ask gives a request to a target and returns its answer; a cluster's to an update that can be carried out is not SERVFAIL.
func (c *comparison) ask(ctx context.Context, target Target, r Request, want Answer) (Answer, error) {
	r.Time = time.Now()
	cluster, ok := target.(*Cluster)
	if !ok || want.RCode == update.ServFail {
		return target.Send(ctx, r)
	}
	got, again, err := cluster.SendAgain(ctx, r)
	c.report.Again += again
	return got, err
}

// transfer compares contents.
func (c *comparison) transfer(ctx context.Context) error {
	c.report.Transfers++
	for i, target := range c.targets {
		rrs, err := target.Zone(ctx, c.spec.Origin)
		if err != nil {
			return fmt.Errorf("target %d: %w", i, err)
		}
		if missing, extra := subtract(c.model.zone.RRs(), rrs), subtract(rrs, c.model.zone.RRs()); len(missing)+len(extra) > 0 {
			c.differ("target %d: content differs\nmodel only:\n%s\ntarget only:\n%s", i, strings.Join(missing, "\n"), strings.Join(extra, "\n"))
			return c.adopt(rrs)
		}
	}
	if err := rebuilt(c.model.zone); err != nil {
		c.differ("the content does not survive: %v", err)
	}
	c.since = nil
	return nil
}

// rebuilt checks that what updates have made of z can be built anew from its RRs, as when a checkpoint is restored, and from
// a zone file.
func rebuilt(z *zone.Zone) error {
	again, err := zone.FromRRs(z.Origin(), z.RRs())
	if err != nil {
		return fmt.Errorf("from RRs: %w", err)
	}
	var file bytes.Buffer
	if err := zone.WriteFile(&file, z); err != nil {
		return fmt.Errorf("to a file: %w", err)
	}
	read, err := zone.ReadZone(&file, z.Origin(), zone.ReadOptions{})
	if err != nil {
		return fmt.Errorf("from a file: %w", err)
	}
	if again.Digest() != z.Digest() || read.Digest() != z.Digest() {
		return fmt.Errorf("digest %x, rebuilt from RRs %x, from a file %x", z.Digest(), again.Digest(), read.Digest())
	}
	return nil
}

// adopt goes on from a target's content.
func (c *comparison) adopt(rrs []zone.RR) error {
	z, err := zone.FromRRs(c.spec.Origin, rrs)
	if err != nil {
		return fmt.Errorf("content of the target: %w", err)
	}
	return c.reset(z, 0)
}

func (c *comparison) differ(format string, args ...any) {
	c.report.Differences = append(c.report.Differences, fmt.Sprintf("zone %s, seed %d, message %d: %s\n%s",
		c.spec.Origin, c.cfg.Seed, c.report.Sent, fmt.Sprintf(format, args...), c.describe()))
}

func (c *comparison) describe() string {
	last := c.since[max(0, len(c.since)-30):]
	content := make([]string, 0, c.before.Records())
	for _, rr := range c.before.RRs() {
		content = append(content, "  "+rr.String())
	}
	return fmt.Sprintf("the last request: %x\nrequests since contents were last equal:\n%s\nthe model's content before the last one:\n%s",
		c.wire, strings.Join(last, "\n"), strings.Join(content, "\n"))
}

// subtract returns the RRs of a that b lacks. Owners count with their case, RDATA as DNS compares it.
func subtract(a, b []zone.RR) []string {
	key := func(rr zone.RR) string {
		rr.Data = zone.CanonicalData(rr.Type, rr.Data)
		return string(zone.AppendRR(nil, rr))
	}
	in := map[string]bool{}
	for _, rr := range b {
		in[key(rr)] = true
	}
	var only []string
	for _, rr := range a {
		if !in[key(rr)] {
			only = append(only, "  "+rr.String())
		}
	}
	return only
}

// Intended reports whether a request asks for what is refused on purpose (docs/differences.md), so that a named cannot be
// compared with, or cannot be trusted to live through it.
func Intended(wire []byte, spec ZoneSpec) bool {
	m, err := update.Parse(wire)
	if err != nil {
		return false
	}
	for _, rr := range m.Updates {
		if rr.Class != zone.ClassIN {
			continue
		}
		if rr.TTL >= 1<<31 && spec.MaxTTL == 0 || len(rr.Data) > zone.MaxDataLen {
			return true
		}
		switch rr.Type {
		case zone.TypeDNSKEY, zone.TypeNSEC3PARAM:
			return true
		case zone.TypeRRSIG, zone.TypeCDS, zone.TypeCDNSKEY:
			if rr.Name.Equal(spec.Origin) {
				return true
			}
		default:
		}
	}
	return false
}

// Describe prints a request in nsupdate's words, as far as they reach.
func Describe(r Request) string {
	var b strings.Builder
	signer := "unsigned"
	if r.Signer != "" {
		signer = "key " + r.Signer.String()
	}
	if r.UDP {
		signer += ", UDP"
	}
	m, err := update.Parse(r.Wire)
	if err != nil {
		return fmt.Sprintf("[%s] %v: %x", signer, err, r.Wire)
	}
	fmt.Fprintf(&b, "[%s] zone %s", signer, m.Zone)
	for _, rr := range m.Prereqs {
		fmt.Fprintf(&b, "\n    prereq %s", line(rr))
	}
	for i, rr := range m.Updates {
		if i == 12 {
			fmt.Fprintf(&b, "\n    … %d more", len(m.Updates)-i)
			break
		}
		fmt.Fprintf(&b, "\n    update %s", line(rr))
	}
	return b.String()
}

func line(rr zone.RR) string {
	switch {
	case rr.Data == "":
		return fmt.Sprintf("%s %d %s %s", rr.Name, rr.TTL, rr.Class, rr.Type)
	case zone.CheckData(rr.Type, zone.ClassIN, rr.Data) != nil: // of another class
		return fmt.Sprintf("%s %d %s %s %x", rr.Name, rr.TTL, rr.Class, rr.Type, rr.Data)
	}
	in := rr
	in.Class = zone.ClassIN
	return fmt.Sprintf("(%s) %s", rr.Class, in.String())
}
