package policy

import "github.com/zonekeeper/zonekeeper/internal/zone"

// Request is a policy or a list, together with one request's subject and zone: what package update asks.
type Request struct {
	subject Subject
	origin  zone.Name
	policy  *Policy // nil: acl decides
	acl     *ACL
}

// For binds p to a request for the zone origin.
func (p *Policy) For(s Subject, origin zone.Name) Request {
	return Request{subject: s, origin: origin, policy: p}
}

// For binds a to a request.
func (a *ACL) For(s Subject) Request { return Request{subject: s, acl: a} }

// Admit reports whether the content of the request may be looked at. A list decides alone; a policy lets every signed
// request in, and an unsigned one over TCP, for the sake of tcp-self and 6to4-self.
func (r Request) Admit() bool {
	if r.policy == nil {
		return r.acl != nil && r.acl.Match(r.subject)
	}
	return r.subject.Signer != "" || r.subject.TCP
}

// Allow reports whether the request may change RRs of type t at owner, and to how many RRs, 0 for no limit. A list that
// admitted the request allows everything.
func (r Request) Allow(owner zone.Name, t zone.Type, target zone.Name) (max int, ok bool) {
	if r.policy == nil {
		return 0, true
	}
	return r.policy.Allow(r.subject, r.origin, owner, t, target)
}
