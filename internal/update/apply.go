package update

import (
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Authorizer says what one request may do. It is asked during a single call of Apply, never concurrently, and must decide
// from its own data: two replicas that hold the same data have to get the same answers.
type Authorizer interface {
	// Admit reports whether the content of the request may be looked at (allow-update, or a policy that might apply).
	Admit() bool
	// Allow reports whether RRs of type t at owner may be changed. max is how many RRs of that type owner may hold
	// (TYPE(n) of update-policy), 0 for no limit. target is the target of a PTR or SRV RR, else "".
	Allow(owner zone.Name, t zone.Type, target zone.Name) (max int, ok bool)
}

// Extended DNS Error codes (RFC 8914 4) that Outcome uses.
const (
	EDEOther        uint16 = 0
	EDEProhibited   uint16 = 18
	EDENotSupported uint16 = 21
)

// Outcome is what became of a request.
type Outcome struct {
	RCode uint16
	// EDE and Text explain a response code other than NOERROR to the client (RFC 8914). Text is "" when there is nothing
	// to add to the code.
	EDE  uint16
	Text string
	// Diff is the change of the zone, SOA first; empty when nothing changed.
	Diff zone.Diff
}

// failure is an outcome other than NOERROR on its way up.
type failure struct {
	rcode uint16
	ede   uint16
	text  string
}

func fail(rcode uint16, format string, args ...any) *failure {
	return &failure{rcode: rcode, ede: EDEOther, text: fmt.Sprintf(format, args...)}
}

func refuse(ede uint16, format string, args ...any) *failure {
	return &failure{rcode: Refused, ede: ede, text: fmt.Sprintf(format, args...)}
}

// Apply evaluates m on z in named's order: zone, admission, prescan of all updates, prerequisites, updates, checks of the
// result. Unless the outcome is NOERROR, z is left as it was. m must come from Parse.
func Apply(z *zone.Zone, m *Message, auth Authorizer, opt Options) Outcome {
	limits, f := check(z, m, auth, opt)
	if f != nil {
		return Outcome{RCode: f.rcode, EDE: f.ede, Text: f.text}
	}
	tx := z.Begin()
	defer tx.Rollback() // does nothing after Commit; with a panic on its way up, z is as it was
	var few [4]entry
	e := &editor{
		view: view{z, z.Origin()}, tx: tx, opt: opt, limits: limits, before: z.Serial(), journal: journal{entries: few[:0]},
	}
	changed, f := e.run(m.Updates)
	switch {
	case f != nil:
		return Outcome{RCode: f.rcode, EDE: f.ede, Text: f.text}
	case !changed:
		// Everything cancelled out. named commits here, which can at most have changed the case of names in RDATA.
		return Outcome{RCode: NoError}
	}
	return Outcome{RCode: NoError, Diff: tx.Commit()}
}

// check is all that named does before it changes anything.
func check(z *zone.Zone, m *Message, auth Authorizer, opt Options) (limits []int, f *failure) {
	if !m.Zone.Equal(z.Origin()) {
		return nil, fail(NotAuth, "not authoritative for %s", m.Zone)
	}
	if !auth.Admit() {
		return nil, refuse(EDEProhibited, "this client may not update %s", m.Zone)
	}
	v := view{z, z.Origin()}
	if limits, f = v.prescan(m.Updates, auth, opt); f != nil {
		return nil, f
	}
	return limits, v.prerequisites(m.Prereqs)
}
