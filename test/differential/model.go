package differential

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Model is package update as a Target: what every replica computes.
type Model struct {
	zone   *zone.Zone
	opt    update.Options
	policy *policy.Policy
	acl    *policy.ACL
	// Last is the outcome of the last request, as far as it got to package update.
	Last update.Outcome
}

// NewModel serves the zone spec with content z.
func NewModel(spec ZoneSpec, z *zone.Zone, opt update.Options) (*Model, error) {
	m := &Model{zone: z, opt: opt}
	m.opt.MaxTTL = spec.MaxTTL
	var err error
	if spec.ACL != "" {
		m.acl, err = policy.ParseACL(spec.ACL)
	} else {
		m.policy, err = policy.ParsePolicy(spec.Policy)
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", spec.Origin, err)
	}
	return m, nil
}

// loopback is where the tests' clients come from.
var loopback = netip.MustParseAddr("127.0.0.1")

// Send implements Target.
func (m *Model) Send(r Request) (uint16, error) {
	m.Last = update.Outcome{}
	msg, err := update.Parse(r.Wire)
	if err != nil {
		var bad *update.Error
		if !errors.As(err, &bad) {
			return 0, err
		}
		return bad.RCode, nil
	}
	s := policy.Subject{Signer: r.Signer, Addr: loopback, TCP: !r.UDP}
	var auth update.Authorizer
	if m.acl != nil {
		auth = m.acl.For(s)
	} else {
		auth = m.policy.For(s, m.zone.Origin())
	}
	m.Last = update.Apply(m.zone, msg, auth, m.opt)
	return m.Last.RCode, nil
}

// Serial implements Target.
func (m *Model) Serial(zone.Name) (uint32, error) { return m.zone.Serial(), nil }

// Zone implements Target.
func (m *Model) Zone(zone.Name) ([]zone.RR, error) { return m.zone.RRs(), nil }

// Close implements Target.
func (m *Model) Close() error { return nil }
