package endpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// handleUpdate follows BIND from ns_client_request to ns_update_start: parse,
// EDNS version, class, TSIG (but BADKEY only when the zone is ours), zone
// section, zone, allow-query, allow-update. What remains is decided in the log.
func (r *request) handleUpdate() {
	msg, err := update.Parse(r.msg)
	var late *update.Error
	if errors.As(err, &late) && unparsed(late) {
		r.unreadable(late.RCode, err)
		return
	}
	if a, ok := r.message.precheck(); !ok {
		r.reply(a)
		return
	}
	if r.message.class == classHS {
		r.noView()
		return
	}
	var name zone.Name
	if late == nil {
		name = msg.Zone.Canonical()
		r.message.name = name
	}
	r.judgeUpdate(name, late)
}

// unparsed tells what dns_message_parse finds from what BIND finds later: before
// the signature is verified that is only the message's class, see precheck.
func unparsed(e *update.Error) bool {
	return !e.AfterTSIG && !e.Parsed
}

// judgeUpdate decides by the settings in force whether the update may be
// proposed. late is an error of the zone section, or nil; name is the zone.
func (r *request) judgeUpdate(name zone.Name, late *update.Error) {
	again := func() { r.judgeUpdate(name, late) }
	settings := r.srv.cfg.Settings()
	err := r.verify(settings)
	var bad *tsig.Error
	if err != nil && (!errors.As(err, &bad) || bad.TSIGError != tsig.BadKey) {
		r.badSignature(err, again)
		return
	}
	if late != nil {
		r.srv.refused(r, late.RCode, late.Reason)
		r.reply(answer{rcode: late.RCode, ede: edeOther, text: late.Reason})
		return
	}
	z, ok := settings.Zone(name)
	if !ok {
		r.refuseUpdate(answer{rcode: rcodeNotAuth, ede: edeNotAuthoritative, text: "not authoritative for this zone: give the zone's own name"}, again)
		return
	}
	if err != nil {
		r.badSignature(err, again)
		return
	}
	subject := r.subject()
	if z.AllowQuery != nil && !z.AllowQuery.Match(subject) {
		// BIND asks this first, because prerequisites would tell what the zone holds.
		r.refuseUpdate(answer{rcode: rcodeRefused, ede: edeProhibited, text: "allow-query of the zone does not admit this client"}, again)
		return
	}
	if !z.admits(subject) {
		text := "the zone does not take updates from this key"
		if subject.Signer == "" {
			text = "the zone does not take unsigned updates from here: sign the request"
		}
		r.refuseUpdate(answer{rcode: rcodeRefused, ede: edeProhibited, text: text}, again)
		return
	}
	r.propose(z)
}

// refuseUpdate is refuse for an update, which may have been carried out when the zone still took it: then its sender, who has missed
// the answer, gets that one (I4).
func (r *request) refuseUpdate(a answer, retry func()) {
	if r.looked && r.signed && r.sig.FullMAC != nil && r.srv.cfg.Answered != nil {
		if res, ok := r.srv.cfg.Answered(r.sig.TimeSigned, r.sig.Fudge, fingerprint(&r.sig)); ok {
			r.answered(res)
			return
		}
	}
	r.refuse(a, retry)
}

// propose queues the update for the log.
func (r *request) propose(z Zone) {
	if !r.signed && r.proof != (proxyproto.Proof{}) {
		switch err := r.srv.replays.take(r.received, r.proof); {
		case errors.Is(err, errReplay):
			r.replayed(err)
			return
		case err != nil:
			r.srv.refused(r, rcodeServFail, err)
			r.overloaded()
			return
		}
	}
	u := &r.update
	u.View = z.ID.View
	u.TCP = r.client.via != overUDP
	u.Addr, u.AddrProven = r.client.addr.Addr(), r.client.proven
	u.DeadlineMS = r.deadline().UnixMilli()
	u.Wire = r.msg
	if r.signed {
		u.KeyName, u.KeyVersion = r.sig.Key.Name, r.sig.Key.Version
		u.TimeSigned, u.Fudge = r.sig.TimeSigned, r.sig.Fudge
		u.Fingerprint = fingerprint(&r.sig)
		// The message without its TSIG RR, in place: the reply needs of the rest
		// only the MAC, which lies behind. The message ID is in r.message.
		u.Wire = r.msg[:r.sig.Offset:r.sig.Offset]
		binary.BigEndian.PutUint16(u.Wire, r.sig.OrigID)
		binary.BigEndian.PutUint16(u.Wire[10:], binary.BigEndian.Uint16(u.Wire[10:])-1)
	}
	r.to.updateOrder(r, u.KeyName)
	if r.signed {
		switch r.srv.copies.join(r) {
		case joinedNone:
		case joinedFirst:
			return
		case joinedNot:
			r.drop(dropCopy)
			return
		}
	}
	switch {
	case !r.withinQuota():
		r.overQuota()
	case !r.srv.admission.submit(u.KeyName, r):
		r.overloaded()
	}
}

// replayed ends an unsigned update that came in a datagram that was here before. There is nobody to answer: the first one was.
func (r *request) replayed(err error) {
	if r.srv.proxyLimit.allow() {
		r.srv.logger.LogAttrs(r.srv.ctx, slog.LevelWarn, "unsigned update refused",
			r.srv.proxyLimit.attrs(append(r.who(), slog.String("front", r.peer.String()), slog.Any("reason", err))...)...)
	}
	r.drop(dropReplay)
}

func (r *request) deadline() time.Time { return r.received.Add(r.srv.cfg.UpdateDeadline) }

// overloaded answers an update that was not proposed.
func (r *request) overloaded() {
	r.conclude(outcomeRefused, func(r *request) {
		r.srv.metrics.drop(dropOverload)
		r.reply(answer{rcode: rcodeServFail, ede: edeOther, text: "overloaded, the update was not applied: retry later"})
	})
}

// fingerprint identifies a signed request by what an attacker can't vary: the
// key's version and the full MAC that we computed (C1).
func fingerprint(q *tsig.Request) (f fsm.Fingerprint) {
	var b [8 + 64]byte
	binary.BigEndian.PutUint64(b[:], q.Key.Version)
	sum := sha256.Sum256(b[:8+copy(b[8:], q.FullMAC)])
	copy(f[:], sum[:])
	return f
}

// proposedDone is called by the Writer; it must not block.
func (r *request) proposedDone(res fsm.Result, err error) {
	r.srv.metrics.observe(stageCommit, r.srv.cfg.Now().Sub(r.proposed))
	r.srv.admission.done(r.lane)
	switch {
	case err == nil && !res.Expired:
		r.conclude(outcomeKnown, func(r *request) { r.answered(res) })
	case err == nil:
		r.conclude(outcomeKnown, func(r *request) {
			r.reply(answer{rcode: rcodeServFail, ede: edeOther, text: "the update took too long and was not applied: retry"})
		})
	case r.srv.notApplied(err):
		r.conclude(outcomeRefused, func(r *request) {
			r.srv.refused(r, rcodeServFail, err)
			r.reply(answer{rcode: rcodeServFail, ede: edeNotReady, text: "not applied: " + err.Error()})
		})
	default:
		r.conclude(outcomeDoubt, inDoubt)
	}
}

// answered gives the client what the log decided.
func (r *request) answered(res fsm.Result) {
	if res.TSIGError != 0 && r.signed {
		r.sig.Error = res.TSIGError
		if res.TSIGError == tsig.BadKey {
			r.sig.FullMAC = nil // the secret was revoked: nothing is signed with it any more
		}
		r.srv.metrics.tsigError(res.TSIGError)
	}
	if res.RCode != rcodeNoError {
		r.srv.refused(r, res.RCode, res.Text)
	}
	r.srv.audit(r, res)
	r.reply(answer{rcode: res.RCode, ede: res.EDE, text: res.Text})
}
