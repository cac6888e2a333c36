package endpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// handleQuery authorises a query or transfer and passes it on.
func (r *request) handleQuery() {
	m := &r.message
	switch {
	case m.questions == 0: // and an RR that tells the class: so says named
		r.reply(answer{rcode: rcodeServFail, ede: edeOther, text: "a query has one question"})
		return
	case m.questions > 1:
		r.reply(answer{rcode: rcodeFormErr, ede: edeOther, text: "a query has one question"})
		return
	}
	if m.class != classIN || m.tkey {
		r.reply(answer{rcode: rcodeRefused, ede: edeProhibited, text: "only class IN, and no TKEY"})
		return
	}
	switch {
	case m.qtype == typeMAILA || m.qtype == typeMAILB:
		r.reply(answer{rcode: rcodeNotImp, ede: edeNotSupported, text: "MAILA and MAILB are obsolete"})
		return
	case zone.IsMeta(zone.Type(m.qtype)) && m.qtype != typeANY && m.qtype != typeAXFR && m.qtype != typeIXFR:
		r.reply(answer{rcode: rcodeFormErr, ede: edeOther, text: "nothing can be asked with this meta-type"})
		return
	}
	z, a, ok := r.authorise(r.srv.cfg.Settings())
	if !ok {
		r.refuse(a, func() { r.authenticated(r.handleQuery) })
		return
	}
	r.read(z)
}

// authorise says whether the client may read what it asks for, and of which
// zone.
func (r *request) authorise(s Settings) (Zone, answer, bool) {
	m, subject := &r.message, r.subject()
	secondary := subject.Signer != "" && s.Secondary(subject.Signer.Canonical())
	if m.qtype == typeAXFR || m.qtype == typeIXFR {
		z, ok := s.Zone(m.name)
		switch {
		case !ok:
			return z, answer{rcode: rcodeNotAuth, ede: edeNotAuthoritative, text: "not authoritative for this zone: give the zone's own name"}, false
		case !secondary && (z.AllowTransfer == nil || !z.AllowTransfer.Match(subject)):
			return z, answer{rcode: rcodeRefused, ede: edeProhibited, text: "allow-transfer of the zone does not admit this client"}, false
		}
		return z, answer{}, true
	}
	z, ok := s.Enclosing(m.name)
	if ok && m.qtype == typeDS && z.ID.Name == m.name && m.name != zone.Root {
		// DS lives at the parent's side of a zone cut (RFC 4034 section 5).
		if parent, found := s.Enclosing(m.name.Parent()); found {
			z = parent
		}
	}
	switch {
	case !ok:
		return z, answer{rcode: rcodeRefused, ede: edeNotAuthoritative, text: "no zone of this server holds the name"}, false
	case secondary && m.qtype == typeSOA && m.name == z.ID.Name:
		// Its refresh query (RFC 1034 section 4.3.5): it may have the whole zone.
	case z.AllowQuery == nil || !z.AllowQuery.Match(subject):
		return z, answer{rcode: rcodeRefused, ede: edeProhibited, text: "allow-query of the zone does not admit this client"}, false
	}
	return z, answer{}, true
}

// handleNotify passes a NOTIFY for one of our zones on to named, which answers
// it as a primary does, and answers NOTAUTH for any other.
func (r *request) handleNotify() {
	m := &r.message
	if m.questions != 1 || m.qtype != typeSOA {
		r.reply(answer{rcode: rcodeFormErr, ede: edeOther, text: "NOTIFY has one question, of type SOA"})
		return
	}
	if m.class != classIN {
		r.reply(answer{rcode: rcodeNotImp, ede: edeNotSupported, text: "NOTIFY is for class IN"})
		return
	}
	z, ok := r.srv.cfg.Settings().Zone(m.name)
	if !ok {
		r.refuse(notOurs(), func() { r.authenticated(r.handleNotify) })
		return
	}
	r.read(z)
}

// notOurs answers a NOTIFY for a zone that is not here.
func notOurs() answer {
	return answer{rcode: rcodeNotAuth, ede: edeNotAuthoritative, text: "not authoritative for this zone"}
}

// read waits for the barrier and forwards, in a goroutine of its own.
func (r *request) read(z Zone) {
	transfer := r.message.opcode == opQuery && (r.message.qtype == typeAXFR || r.message.qtype == typeIXFR) && r.client.via != overUDP
	slots := r.srv.reads
	if transfer {
		slots = r.srv.transfers
	}
	who := sharer{key: r.subject().Signer}
	if who.key == "" {
		who.addr = r.client.addr.Addr()
	}
	if !slots.acquire(who) {
		r.srv.metrics.drop(dropOverload)
		r.reply(answer{rcode: rcodeServFail, ede: edeOther, text: "too many reads are under way: retry later"})
		return
	}
	go func() {
		defer slots.release(who)
		permit, a, ok := r.current(z)
		if !ok {
			r.srv.refused(r, a.rcode, a.text)
			r.reply(a)
			return
		}
		r.forward(transfer, permit)
	}()
}

// current makes sure that named has what the client may see: the barrier, then
// keys and lists as new as the barrier (I3, C6). By those the name may belong to
// another zone than z, which then needs a barrier of its own.
func (r *request) current(z Zone) (Permit, answer, bool) {
	ctx, cancel := context.WithTimeout(r.srv.ctx, r.srv.cfg.ReadTimeout)
	defer cancel()
	if z.LocalReads {
		permit, err := r.srv.cfg.Reader.Serving(z.ID)
		if err != nil {
			return nil, answer{rcode: rcodeServFail, ede: edeNotReady, text: "this replica does not serve the zone now: ask another"}, false
		}
		return permit, answer{}, true
	}
	start := r.srv.cfg.Now()
	for {
		permit, err := r.srv.cfg.Reader.Barrier(ctx, z.ID)
		gone := errors.Is(err, ErrZoneGone)
		if err != nil && !gone {
			r.srv.logger.Debug("read barrier failed", "zone", z.ID.String(), "err", err)
			return nil, answer{rcode: rcodeServFail, ede: edeNotReady, text: "no quorum, or this replica is behind: can't answer with certainty"}, false
		}
		settings := r.srv.cfg.Settings()
		if !gone && settings.Generation() == r.generation {
			r.srv.metrics.observe(stageBarrier, r.srv.cfg.Now().Sub(start))
			return permit, answer{}, true
		}
		if err := r.verify(settings); err != nil {
			return nil, answer{rcode: rcodeNotAuth, text: "the key was changed"}, false
		}
		if r.message.opcode != opQuery {
			return permit, notOurs(), !gone
		}
		now, a, ok := r.authorise(settings)
		if !ok {
			return nil, a, false
		}
		if now.ID == z.ID && !gone {
			return permit, answer{}, true
		}
		z = now
	}
}

// forward asks named and passes its answer back, while the permit holds.
func (r *request) forward(transfer bool, permit Permit) {
	ctx, cancel := context.WithTimeout(r.srv.ctx, r.srv.cfg.ReadTimeout)
	defer cancel()
	start := r.srv.cfg.Now()
	var sig = &r.sig
	if !r.signed {
		sig = nil
	}
	query := r.message.forwardable(nil, r.msg, sig)
	var err error
	switch {
	case transfer:
		err = r.forwardTransfer(query, permit)
	case r.client.via == overUDP:
		r.wire, err = r.srv.backend.exchangeUDP(ctx, query)
	default:
		r.wire, err = r.srv.backend.exchangeTCP(ctx, query)
	}
	r.srv.metrics.observe(stageForward, r.srv.cfg.Now().Sub(start))
	if err == nil && !transfer && !permit() {
		err = errReplaced
	}
	if err == nil {
		r.finish()
		return
	}
	if errors.Is(err, errTransferBroken) {
		// Part of the transfer is out: only closing the connection tells the client
		// that the rest is missing.
		r.srv.logger.Warn("zone transfer broken off", "zone", r.message.name.String(), "client", r.client.addr.String(), "err", err)
		r.to.abort(r)
		return
	}
	r.srv.logger.Warn("named does not answer", "err", err)
	r.wire = nil
	r.reply(answer{rcode: rcodeServFail, ede: edeNetworkError, text: "the name server behind does not answer: ask another replica"})
}

// errReplaced: named ended, or its copy of the zone was replaced, while it answered.
var errReplaced = errors.New("endpoint: what named served was replaced while it answered")

// errTransferBroken is a transfer that failed after its first message.
var errTransferBroken = errors.New("endpoint: zone transfer broken off")

// forwardTransfer passes named's messages on, each signed when the request was,
// until the transfer is complete. The last one is left in r.wire.
//
// A transfer shows one version of the zone, chosen when it begins: the permit has
// to hold when its first message is here, and not longer.
func (r *request) forwardTransfer(query []byte, permit Permit) error {
	t, err := r.srv.backend.transfer(r.srv.ctx, query)
	if err != nil {
		return err
	}
	defer t.close()
	end, err := xfr.NewEnd(query)
	if err != nil {
		return err
	}
	var sign func([]byte) []byte
	if r.signed {
		stream := r.sig.Stream()
		sign = func(b []byte) []byte { return stream.Sign(b, r.srv.cfg.Now()) }
	}
	for first := true; ; first = false {
		msg, err := t.next()
		var last bool
		if err == nil && first && !permit() {
			err = errReplaced
		}
		if err == nil {
			last, err = end.Next(msg)
		}
		if err == nil && r.signed && len(msg)+r.sig.Overhead() > maxMessage {
			err = fmt.Errorf("a message of %d octets leaves no room for its signature: lower named's transfer-message-size", len(msg))
		}
		if err == nil {
			if sign != nil {
				msg = sign(msg)
			}
			err = r.to.part(r, msg)
		}
		switch {
		case err != nil && first:
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", errTransferBroken, err)
		case last:
			r.silent = r.client.via != overUDP // all of it is out
			return nil
		}
	}
}
