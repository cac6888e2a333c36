package differential

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Model is package update as a Target: what every replica computes.
type Model struct {
	zone   *zone.Zone
	opt    update.Options
	keys   map[zone.Name]bool
	policy *policy.Policy
	acl    *policy.ACL
	// Last is the outcome of the last request, as far as it got to package update.
	Last update.Outcome
}

// NewModel serves the zone spec with content z.
func NewModel(spec ZoneSpec, z *zone.Zone, opt update.Options) (*Model, error) {
	m := &Model{zone: z, opt: opt, keys: map[zone.Name]bool{}}
	for _, k := range spec.Keys {
		m.keys[zone.MustParseName(k).Canonical()] = true
	}
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

// Send implements Target.
func (m *Model) Send(_ context.Context, r Request) (Answer, error) {
	m.Last = update.Outcome{}
	msg, err := update.Parse(r.Wire)
	var bad *update.Error
	if err != nil && !errors.As(err, &bad) {
		return Answer{}, err
	}
	if a := m.unevaluated(r, bad); a.RCode != update.NoError {
		return a, nil
	}
	s := policy.Subject{Signer: r.Signer, Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1}), TCP: !r.UDP}
	var auth update.Authorizer
	if m.acl != nil {
		auth = m.acl.For(s)
	} else {
		auth = m.policy.For(s, m.zone.Origin())
	}
	m.Last = update.Apply(m.zone, msg, auth, m.opt)
	return Answer{RCode: m.Last.RCode}, nil
}

// unevaluated is the answer to a request that does not get as far as its zone: what does not parse, class, version of
// EDNS, signature, zone section. bad is what package update found, or nil.
func (m *Model) unevaluated(r Request, bad *update.Error) Answer {
	if bad != nil && !bad.AfterTSIG {
		a := Answer{RCode: bad.RCode}
		if bad.RCode == update.Refused && bad.Err == nil && r.Signer != "" {
			a.TSIGError = tsig.BadKey // no view has that class, and only views have keys
		}
		return a
	}
	if ednsVersion(r.Wire) > 0 {
		return Answer{RCode: badVers}
	}
	a := m.verify(r)
	if bad != nil && (a.RCode == update.NoError || a.TSIGError == tsig.BadKey) {
		a.RCode = bad.RCode // an unknown key is held against an update only when its zone is known (ns_update_start)
	}
	return a
}

// verify stands in for package tsig: it knows how the signature was made.
func (m *Model) verify(r Request) Answer {
	if r.Signer != "" && !m.keys[r.Signer.Canonical()] {
		return Answer{RCode: update.NotAuth, TSIGError: tsig.BadKey}
	}
	how := tampers[r.Tamper]
	return Answer{RCode: how.rcode, TSIGError: how.tsigError}
}

// badVers is the answer to a version of EDNS that does not exist (RFC 6891 9).
const badVers = 16

// ednsVersion returns the version in the OPT RR of a message that parses, 0 without one.
func ednsVersion(wire []byte) byte {
	off := 12
	for section := range 4 {
		for range binary.BigEndian.Uint16(wire[4+2*section:]) {
			_, next, err := zone.UnpackName(wire, off)
			if err != nil {
				return 0
			}
			if off = next + 4; section == 0 {
				continue
			}
			if zone.Type(binary.BigEndian.Uint16(wire[next:])) == zone.TypeOPT {
				return wire[next+5]
			}
			off += 6 + int(binary.BigEndian.Uint16(wire[off+4:]))
		}
	}
	return 0
}

// Serial implements Target.
func (m *Model) Serial(context.Context, zone.Name) (uint32, error) { return m.zone.Serial(), nil }

// Zone implements Target.
func (m *Model) Zone(context.Context, zone.Name) ([]zone.RR, error) { return m.zone.RRs(), nil }

// Close implements Target.
func (m *Model) Close() error { return nil }
