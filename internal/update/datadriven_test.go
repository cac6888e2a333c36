package update_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// TestFiles runs testdata/*.txt: zones, and updates in nsupdate's words with the answer, the serial and the change that
// named gives. Run with -rewrite after a change, and read the diff.
//
//	zone origin=NAME [max-ttl=N] [max-records-per-type=N] [max-types-per-name=N] [max-records=N]
//	policy          the inside of update-policy { }; without it everything is allowed
//	acl             the inside of allow-update { }
//	update [key=NAME] [addr=IP] [udp]
//	show
//
// Names are relative to the zone unless they end in a dot.
func TestFiles(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		e := &environment{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return e.run(t, d)
		})
	})
}

type environment struct {
	zone   *zone.Zone
	opt    update.Options
	policy *policy.Policy
	acl    *policy.ACL
}

func (e *environment) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "zone":
		var origin string
		d.ScanArgs(t, "origin", &origin)
		z, err := zone.ReadZone(strings.NewReader(d.Input), zone.MustParseName(origin), zone.ReadOptions{})
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		*e = environment{zone: z, opt: update.DefaultOptions()}
		maxTTL := 0
		for name, n := range map[string]*int{
			"max-ttl": &maxTTL, "max-records-per-type": &e.opt.MaxRecordsPerType, "max-types-per-name": &e.opt.MaxTypesPerName, "max-records": &e.opt.MaxRecords,
		} {
			scan(t, d, name, n)
		}
		e.opt.MaxTTL = uint32(maxTTL)
		return fmt.Sprintf("serial %d\n", z.Serial())
	case "policy":
		p, err := policy.ParsePolicy(d.Input)
		if err != nil {
			return err.Error() + "\n"
		}
		e.policy, e.acl = p, nil
		return "ok\n"
	case "acl":
		a, err := policy.ParseACL(d.Input)
		if err != nil {
			return err.Error() + "\n"
		}
		e.policy, e.acl = nil, a
		return "ok\n"
	case "update":
		return e.update(t, d)
	case "show":
		var b strings.Builder
		for _, rr := range e.zone.RRs() {
			b.WriteString(strings.ReplaceAll(rr.String(), "\t", " ") + "\n")
		}
		return b.String()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

// scan reads an argument that may be missing.
func scan(t *testing.T, d *datadriven.TestData, name string, into any) {
	t.Helper()
	if d.HasArg(name) {
		d.ScanArgs(t, name, into)
	}
}

var rcodes = map[uint16]string{
	update.NoError: "NOERROR", update.FormErr: "FORMERR", update.ServFail: "SERVFAIL", update.NXDomain: "NXDOMAIN", update.NotImp: "NOTIMP",
	update.Refused: "REFUSED", update.YXDomain: "YXDOMAIN", update.YXRRset: "YXRRSET", update.NXRRset: "NXRRSET", update.NotAuth: "NOTAUTH", update.NotZone: "NOTZONE",
}

func (e *environment) update(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	m := &update.Message{Zone: e.zone.Origin(), Class: zone.ClassIN}
	for text := range strings.Lines(d.Input) {
		if text = strings.TrimSpace(text); text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if err := e.line(m, text); err != nil {
			d.Fatalf(t, "%s: %v", text, err)
		}
	}
	before := e.zone.Snapshot()
	out := update.Apply(e.zone, m, e.authorizer(t, d), e.opt)
	if out.RCode != update.NoError && (before.Digest() != e.zone.Digest() || !out.Diff.Empty()) {
		d.Fatalf(t, "the zone changed although the answer is %s", rcodes[out.RCode])
	}
	var b strings.Builder
	b.WriteString(rcodes[out.RCode])
	if out.RCode == update.NoError {
		fmt.Fprintf(&b, ", serial %d", e.zone.Serial())
	}
	if out.Text != "" {
		fmt.Fprintf(&b, "; EDE %d: %s", out.EDE, out.Text)
	}
	b.WriteString("\n")
	writeRRs(&b, "-", out.Diff.Del)
	writeRRs(&b, "+", out.Diff.Add)
	return b.String()
}

// writeRRs leaves out the SOA RR; its serial is printed already.
func writeRRs(b *strings.Builder, sign string, rrs []zone.RR) {
	for _, rr := range rrs {
		if rr.Type != zone.TypeSOA {
			fmt.Fprintf(b, "%s %s\n", sign, strings.ReplaceAll(rr.String(), "\t", " "))
		}
	}
}

func (e *environment) authorizer(t *testing.T, d *datadriven.TestData) update.Authorizer {
	t.Helper()
	s := policy.Subject{TCP: !d.HasArg("udp")}
	var key, addr string
	scan(t, d, "key", &key)
	scan(t, d, "addr", &addr)
	if key != "" {
		s.Signer = zone.MustParseName(key)
	}
	if addr != "" {
		s.Addr = netip.MustParseAddr(addr)
	}
	switch {
	case e.policy != nil:
		return e.policy.For(s, e.zone.Origin())
	case e.acl != nil:
		return e.acl.For(s)
	}
	return everything{}
}

type everything struct{}

func (everything) Admit() bool                                              { return true }
func (everything) Allow(zone.Name, zone.Type, zone.Name) (max int, ok bool) { return 0, true }

// line adds one line of nsupdate's language to m.
func (e *environment) line(m *update.Message, text string) error {
	f := strings.Fields(text)
	at := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	class, t := zone.ClassIN, "ANY"
	rdata := ""
	switch at(0) + " " + at(1) {
	case "prereq nxdomain":
		class = zone.ClassNONE
	case "prereq yxdomain":
		class = zone.ClassANY
	case "prereq nxrrset":
		class, t = zone.ClassNONE, at(3)
	case "prereq yxrrset":
		t, rdata = at(3), strings.Join(f[min(4, len(f)):], " ")
		if rdata == "" {
			class = zone.ClassANY
		}
	case "update delete":
		class = zone.ClassANY
		if at(3) != "" {
			t, rdata = at(3), strings.Join(f[min(4, len(f)):], " ")
		}
		if rdata != "" {
			class = zone.ClassNONE
		}
	case "update add":
		rr, err := e.rr(at(2) + " " + at(3) + " IN " + strings.Join(f[min(4, len(f)):], " "))
		m.Updates = append(m.Updates, rr)
		return err
	default:
		return fmt.Errorf("not a line of nsupdate")
	}
	var rr zone.RR
	var err error
	if rdata != "" {
		rr, err = e.rr(at(2) + " 0 IN " + t + " " + rdata)
	} else {
		if rr, err = e.rr(at(2) + " 0 IN TXT x"); err == nil {
			rr.Data = ""
			rr.Type, err = zone.ParseType(t)
		}
	}
	rr.Class = class
	if at(0) == "prereq" {
		m.Prereqs = append(m.Prereqs, rr)
	} else {
		m.Updates = append(m.Updates, rr)
	}
	return err
}

func (e *environment) rr(text string) (zone.RR, error) {
	rrs, err := zone.ReadFile(strings.NewReader(text+"\n"), e.zone.Origin(), zone.ReadOptions{})
	if err != nil {
		return zone.RR{}, err
	}
	return rrs[0], nil
}
