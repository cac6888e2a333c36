package fsm

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// The scenarios in testdata/*.txt are histories in words. Run with -rewrite to record what they give now. Commands:
//
//	zone NAME [change] [by=…] [takeover], settings as name=value lines     PutZone
//	delete-zone NAME [confirm=…]      import begin|chunk|commit|abort …     records are in the input
//	key NAME version=N [rotate] …     delete-key NAME [version=N]
//	update zone=… [key=… version=N] [as=LABEL] [age=S] [fudge=S] [deadline=MS] [addr=…] [proven] [tcp], messages as in updateWire
//	again LABEL      the same request once more
//	tick MS          the proposer's clock goes on
//	cut [NAME]       bump NAME [past=N]
//	limits name=value …
//	show NAME        serials, records, history
//	restore          goes on with a machine restored from a checkpoint
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			return
		}
		s := &scenario{c: newCluster(t, 1), labels: make(map[string]*Update)}
		datadriven.RunTest(t, path, s.run)
	})
}

type scenario struct {
	c      *cluster
	labels map[string]*Update
}

// arg gives the first value of an argument, "" when it is absent.
func arg(d *datadriven.TestData, key string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return strings.Join(a.Vals, " ")
		}
	}
	return ""
}

func number(t *testing.T, d *datadriven.TestData, key string, byDefault int64) int64 {
	text := arg(d, key)
	if text == "" {
		return byDefault
	}
	var n int64
	if _, err := fmt.Sscan(text, &n); err != nil {
		d.Fatalf(t, "%s=%s: %v", key, text, err)
	}
	return n
}

func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	first := ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		first = d.CmdArgs[0].Key
	}
	name := func(text string) zone.Name {
		n, err := zone.ParseName(strings.TrimSuffix(text, ".") + ".")
		if err != nil {
			d.Fatalf(t, "name %q: %v", text, err)
		}
		return n
	}
	actor := Actor{By: arg(d, "by"), TakeOver: d.HasArg("takeover")}
	switch d.Cmd {
	case "zone":
		c := &PutZone{Zone: ZoneOf(name(first)), Create: !d.HasArg("change"), Settings: settingsFrom(t, d), Actor: actor}
		if c.Create {
			c.RRs = NewZoneRRs(c.Zone.Name, name("ns.elsewhere.test"), name("hostmaster.elsewhere.test"), nil)
		}
		return s.propose(c)
	case "delete-zone":
		return s.propose(&DeleteZone{Zone: ZoneOf(name(first)), Confirm: name(arg(d, "confirm")), Actor: actor})
	case "key":
		v := uint64(number(t, d, "version", 0))
		c := &PutKey{Name: name(first), Algorithm: "hmac-sha256", Version: v, Sealed: []byte("sealed"), SecretID: secretID(first, v), Rotate: d.HasArg("rotate"), Actor: actor}
		if d.HasArg("secret") {
			c.SecretID = secretID(arg(d, "secret"))
		}
		return s.propose(c)
	case "delete-key":
		return s.propose(&DeleteKey{Name: name(first), Version: uint64(number(t, d, "version", 0)), Actor: actor})
	case "update":
		u := s.update(t, d)
		if label := arg(d, "as"); label != "" {
			s.labels[label] = u
		}
		return s.propose(u)
	case "again":
		return s.propose(s.labels[first])
	case "tick":
		var ms int64
		fmt.Sscan(first, &ms)
		s.c.tick(ms)
		return ""
	case "cut":
		if first == "" {
			return s.propose(&Cut{})
		}
		return s.propose(&Cut{Zone: ZoneOf(name(first))})
	case "bump":
		return s.propose(&BumpSerial{Zone: ZoneOf(name(first)), Past: uint32(number(t, d, "past", 0)), HasPast: d.HasArg("past")})
	case "import":
		return s.propose(importCommand(t, d, first, name, actor))
	case "limits":
		l := s.c.machines[0].Limits()
		for _, f := range l.fields() {
			*f.value = uint64(number(t, d, f.name, int64(*f.value)))
		}
		return s.propose(&PutLimits{Limits: l})
	case "show":
		return s.show(ZoneOf(name(first)))
	case "restore":
		m, err := Restore(bytes.NewReader(checkpointOf(t, s.c.machines[0])))
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		s.c.machines[0] = m
		return ""
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func settingsFrom(t *testing.T, d *datadriven.TestData) (s ZoneSettings) {
	for line := range strings.Lines(d.Input) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "update-policy":
			s.UpdatePolicy = value
		case "allow-update":
			s.AllowUpdate = value
		case "allow-query":
			s.AllowQuery = value
		case "allow-transfer":
			s.AllowTransfer = value
		case "also-notify":
			s.AlsoNotify = strings.Fields(value)
		case "max-zone-ttl":
			fmt.Sscan(value, &s.MaxTTL)
		default:
			d.Fatalf(t, "unknown setting %q", key)
		}
	}
	return s
}

func (s *scenario) update(t *testing.T, d *datadriven.TestData) *Update {
	wire := updateWire(t, arg(d, "zone"), strings.Split(strings.TrimSpace(d.Input), "\n")...)
	u := &Update{Wire: wire}
	if key := arg(d, "key"); key != "" {
		u = s.c.signed(key+".", uint64(number(t, d, "version", 1)), wire)
		u.TimeSigned -= uint64(number(t, d, "age", 0))
		u.Fudge = uint16(number(t, d, "fudge", 300))
	}
	if d.HasArg("deadline") {
		u.DeadlineMS = s.c.timeMS + number(t, d, "deadline", 0)
	}
	if a := arg(d, "addr"); a != "" {
		u.Addr = netip.MustParseAddr(a)
	}
	u.AddrProven, u.TCP = d.HasArg("proven"), d.HasArg("tcp")
	return u
}

func importCommand(t *testing.T, d *datadriven.TestData, verb string, name func(string) zone.Name, actor Actor) Command {
	id := arg(d, "id")
	var rrs []zone.RR
	for line := range strings.Lines(d.Input) {
		rr, err := zone.ParseRR(strings.TrimSpace(line))
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		rrs = append(rrs, rr)
	}
	switch verb {
	case "begin":
		return &ImportBegin{ID: id, Zone: ZoneOf(name(arg(d, "zone"))), Replace: d.HasArg("replace"), MoveSerial: d.HasArg("move-serial"), Actor: actor}
	case "chunk":
		return &ImportChunk{ID: id, Seq: uint64(number(t, d, "seq", 1)), RRs: rrs}
	case "commit": // the input repeats all records
		return &ImportCommit{ID: id, Records: uint64(len(rrs)), Digest: zone.DigestRRs(rrs)}
	}
	return &ImportAbort{ID: id}
}

// propose applies a command and shows what it did.
func (s *scenario) propose(c Command) string {
	eff := s.c.apply(c)
	var b strings.Builder
	r := eff.Results[0]
	switch {
	case r.Err != "":
		fmt.Fprintf(&b, "refused: %s\n", r.Err)
	case r.Expired:
		b.WriteString("expired\n")
	default:
		if _, ok := c.(*Update); ok {
			b.WriteString(rcodeText(r.RCode))
			if r.TSIGError != 0 {
				fmt.Fprintf(&b, " tsig-error=%d", r.TSIGError)
			}
			if r.Duplicate {
				b.WriteString(" duplicate")
			}
		} else {
			b.WriteString("ok")
		}
		if r.Serial != 0 {
			fmt.Fprintf(&b, " serial=%d", r.Serial)
		}
		if r.Text != "" {
			fmt.Fprintf(&b, " (%s)", r.Text)
		}
		b.WriteString("\n")
	}
	for _, e := range eff.Zones {
		kinds := map[ZoneEventKind]string{ZoneCreated: "created", ZoneReplaced: "replaced", ZoneChanged: "changed", ZoneDeleted: "deleted"}
		fmt.Fprintf(&b, "zone %s: %s, incarnation %d\n", e.Zone, kinds[e.Kind], e.Incarnation)
	}
	for i := range eff.Boundaries {
		writeBoundary(&b, "boundary", &eff.Boundaries[i])
	}
	for _, id := range eff.Pending {
		fmt.Fprintf(&b, "pending %s\n", id)
	}
	return b.String()
}

func rcodeText(rcode uint16) string {
	names := map[uint16]string{0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE"}
	return names[rcode]
}

func writeBoundary(b *strings.Builder, what string, x *Boundary) {
	fmt.Fprintf(b, "%s %s %d -> %d\n", what, x.Zone, x.From, x.To)
	for _, rr := range x.Diff.Del {
		fmt.Fprintf(b, "  - %s\n", strings.ReplaceAll(rr.String(), "\t", " "))
	}
	for _, rr := range x.Diff.Add {
		fmt.Fprintf(b, "  + %s\n", strings.ReplaceAll(rr.String(), "\t", " "))
	}
}

func (s *scenario) show(id ZoneID) string {
	v, ok := s.c.machines[0].Zone(id)
	if !ok {
		return "no such zone\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "serial %d, published %d, %d records\n", v.Zone.Serial(), v.PublishedSerial, v.Zone.Records())
	for i := range v.History {
		writeBoundary(&b, "history", &v.History[i])
	}
	return b.String()
}
