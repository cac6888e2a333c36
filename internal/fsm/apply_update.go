package fsm

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"

	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/update"
)

// Response codes (RFC 1035, RFC 2136), TSIG errors (RFC 8945 section 3) and extended DNS errors (RFC 8914 section 4) that
// the machine gives itself; all others come from package update.
const (
	rcodeNoError  = 0
	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeRefused  = 5
	rcodeNotAuth  = 9

	tsigBadKey  = 17
	tsigBadTime = 18

	edeOther            = 0
	edeProhibited       = 18
	edeNotAuthoritative = 20
)

// update applies a client's request. The order of the checks is what makes I4 hold:
//
//  1. A request that was applied gets its first answer, whatever has changed since: the key, the policy, the zone (C1).
//  2. One that may have been applied and is not remembered is BADTIME: the floor (C1).
//  3. One whose proposer may have given up on it is not applied (C2).
//  4. Its key and signing time are checked again: both may have become invalid on its way into the log (C6, C1).
//  5. It is evaluated, and the answer remembered.
func (m *Machine) update(u *Update) Result {
	if u.KeyName == "" {
		if m.pastDeadline(u) {
			return Result{Expired: true}
		}
		return m.evaluateSafely(u)
	}

	if res, ok := m.remembered(u.TimeSigned, u.Fudge, u.Fingerprint); ok {
		return res
	}
	now := m.now()
	fudge := min(uint64(u.Fudge), MaxFudge)
	expiry := u.TimeSigned + fudge
	key, _ := m.st.keys.Get(u.KeyName.Canonical())
	if key != nil && u.TimeSigned <= key.floor {
		return Result{RCode: rcodeNotAuth, TSIGError: tsigBadTime,
			Text: "the key sends more requests than can be remembered; sign the request anew"}
	}
	if m.pastDeadline(u) {
		return Result{Expired: true}
	}
	if key == nil {
		return Result{RCode: rcodeNotAuth, TSIGError: tsigBadKey, Text: "the key does not exist any more"}
	}
	if s := key.secret(u.KeyVersion); s == nil || !s.Valid(m.st.timeMS) {
		return Result{RCode: rcodeNotAuth, TSIGError: tsigBadKey, Text: "the key's secret was revoked"}
	}
	if expiry < now || u.TimeSigned > now+fudge {
		return Result{RCode: rcodeNotAuth, TSIGError: tsigBadTime, Text: "the time signed is too far from the cluster's time"}
	}

	m.countRated(key.Rate)
	res := m.evaluateSafely(u)
	if m.st.dedupe.full(key.id, &m.st.limits) {
		k := *key
		k.floor = u.TimeSigned
		m.st.keys.Set(k.Name, &k)
	} else {
		m.st.dedupe.insert(newDedupeEntry(expiry, u.Fingerprint, key.id,
			answer{rcode: uint8(res.RCode), ede: res.EDE, serial: res.Serial}))
	}
	return res
}

// remembered finds the answer that a signed request got before.
func (m *Machine) remembered(timeSigned uint64, fudge uint16, fp Fingerprint) (Result, bool) {
	a, ok := m.st.dedupe.lookup(m.now(), timeSigned+min(uint64(fudge), MaxFudge), fp)
	if !ok {
		return Result{}, false
	}
	return Result{RCode: uint16(a.rcode), EDE: a.ede, Serial: a.serial, Duplicate: true}, true
}

// Answered gives the answer that a signed request got before, as of the last entry applied: for one that is sent again and would not
// be proposed now, because the zone or the permission has gone meanwhile.
func (m *Machine) Answered(timeSigned uint64, fudge uint16, fp Fingerprint) (Result, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.remembered(timeSigned, fudge, fp)
}

// pastDeadline says whether the request's proposer may have given up on it. What it told the client then must stay true:
// an abandoned addition must not come back after a deletion that was acknowledged (C2).
func (m *Machine) pastDeadline(u *Update) bool {
	return u.DeadlineMS != 0 && m.st.timeMS > u.DeadlineMS
}

// evaluateSafely turns a panic into SERVFAIL. A request is in the log by now: without this, one that hits a mistake in the
// evaluation would stop every replica, and again at each restart. The mistake is as deterministic as all the rest, so every
// replica answers alike; mending it changes semantics, and needs a new version like any other such change (rule C8).
func (m *Machine) evaluateSafely(u *Update) (res Result) {
	defer func() {
		if p := recover(); p != nil {
			m.eff.Panics = append(m.eff.Panics, fmt.Sprintf("%v\n%s", p, debug.Stack()))
			res = Result{RCode: rcodeServFail, Text: "the request hit an internal error and changed nothing"}
		}
	}()
	return m.evaluate(u)
}

// evaluate applies the RFC 2136 semantics.
func (m *Machine) evaluate(u *Update) Result {
	msg := &m.msg
	if err := msg.Parse(u.Wire); err != nil {
		var pe *update.Error
		if errors.As(err, &pe) {
			return Result{RCode: pe.RCode, EDE: edeOther, Text: err.Error()}
		}
		return Result{RCode: rcodeFormErr, Text: err.Error()}
	}
	s := m.slots[ZoneID{View: u.View, Name: msg.Zone.Canonical()}]
	if s == nil {
		return Result{RCode: rcodeNotAuth, EDE: edeNotAuthoritative, Text: "no such zone here: give the zone's own name"}
	}
	var ok bool
	if m.auth, ok = authorizer(s.cur.conf, u); !ok {
		return Result{RCode: rcodeRefused, EDE: edeProhibited, Serial: s.cur.zone.Serial(),
			Text: "the zone takes no updates from here: sign the request with a key that it grants"}
	}
	z := m.writable(s)
	opt := update.DefaultOptions()
	opt.MaxTTL, opt.MaxRecords = z.conf.Settings.MaxTTL, int(z.conf.Settings.MaxRecords)
	out := update.Apply(z.zone, msg, &m.auth, opt)
	if !out.Diff.Empty() {
		m.change(s, out.Diff)
	}
	return Result{RCode: out.RCode, EDE: out.EDE, Text: out.Text, Serial: z.zone.Serial()}
}

// authorizer gives the zone's rules, bound to who sends the request; false when nothing can allow it.
func authorizer(c *ZoneConfig, u *Update) (policy.Request, bool) {
	sub := policy.Subject{Signer: u.KeyName, TCP: u.TCP}
	if u.AddrProven {
		sub.Addr = u.Addr
	}
	// Without a signature only a proven address is authority. "any" in a list does not mean an address that anyone may
	// have written into a datagram (D4).
	if u.KeyName == "" && sub.Addr == (netip.Addr{}) {
		return policy.Request{}, false
	}
	// named does not tell whom it answers no queries anything about a zone's content (update.c: checkqueryacl).
	if !c.AllowQuery.Match(sub) {
		return policy.Request{}, false
	}
	switch {
	case c.Policy != nil:
		return c.Policy.For(sub, c.ID.Name), true
	case c.AllowUpdate != nil:
		return c.AllowUpdate.For(sub), true
	}
	return policy.Request{}, false
}
