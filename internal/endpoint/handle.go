package endpoint

import (
	"errors"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/update"
)

// handle takes a request that has just arrived. It does not wait, except that a
// TCP connection's own goroutine waits for a second look, which keeps the
// connection's requests in order.
//
// The order of the checks is that of BIND's ns_client_request: header, parse,
// EDNS version, class, TSIG, opcode.
func (r *request) handle() {
	if len(r.msg) < headerLen {
		r.drop(dropShort)
		return
	}
	if r.msg[2]&0x80 != 0 {
		r.drop(dropResponse) // never answer an answer: two servers would talk for ever
		return
	}
	if err := r.message.parse(r.msg); err != nil {
		r.unreadable(r.firstError(err))
		return
	}
	if r.message.opcode == opUpdate {
		r.handleUpdate()
		return
	}
	if a, ok := r.message.precheck(); !ok {
		if err := r.brokenSignature(); err != nil {
			r.formErr(err)
			return
		}
		r.reply(a)
		return
	}
	if r.message.class == classHS {
		r.noView()
		return
	}
	r.authenticated(func() {
		switch r.message.opcode {
		case opQuery:
			r.handleQuery()
		case opNotify:
			r.handleNotify()
		default:
			r.reply(answer{rcode: rcodeNotImp, ede: edeNotSupported, text: "opcode not implemented"})
		}
	})
}

// firstError is what to answer to a request that could not be walked over. named reads one RR after the other, and of an UPDATE
// something else may be wrong before that, which only package update finds.
func (r *request) firstError(err error) (rcode uint16, why error) {
	if r.message.opcode == opUpdate {
		_, first := update.Parse(r.msg)
		var bad *update.Error
		if errors.As(first, &bad) && unparsed(bad) {
			return bad.RCode, first
		}
	}
	return rcodeFormErr, err
}

// formErr answers a request that does not parse.
func (r *request) formErr(err error) { r.unreadable(rcodeFormErr, err) }

// unreadable answers a request that does not parse: unsigned, without an OPT RR,
// because neither could be read with confidence.
func (r *request) unreadable(rcode uint16, err error) {
	r.message.edns = false
	r.srv.refused(r, rcode, err)
	r.reply(answer{rcode: rcode})
}

// precheck answers what ns_client_request answers before it looks at the
// signature; ok means that nothing is wrong.
func (m *message) precheck() (a answer, ok bool) {
	if m.ednsVersion > 0 {
		return answer{rcode: rcodeBadVers}, false
	}
	known := m.opcode == opQuery || m.opcode == opNotify || m.opcode == opUpdate
	switch {
	case m.class == 0 && !known: // 0 as well when there is no RR to take it from
		return answer{rcode: rcodeNotImp}, false
	case m.class == 0, m.class == classANY && !m.tkey, m.class == classNONE && m.opcode != opUpdate:
		return answer{rcode: rcodeFormErr}, false
	case m.class == classIN, m.class == classCH, m.class == classHS, m.class == classNONE, m.class == classANY:
		return answer{}, true
	}
	return answer{rcode: rcodeNotImp}, false
}

// brokenSignature is the error of a TSIG RR that does not parse.
func (r *request) brokenSignature() error {
	if signed, err := r.sig.Verify(r.msg, tsig.Ring(nil), r.srv.cfg.Now()); !signed {
		return err
	}
	return nil
}

// noView answers a class that named has no view for: REFUSED, and since keys
// belong to a view, a signature is BADKEY.
func (r *request) noView() {
	signed, err := r.sig.Verify(r.msg, tsig.Ring(nil), r.srv.cfg.Now())
	if err != nil && !signed {
		r.formErr(err)
		return
	}
	r.signed = signed
	r.srv.refused(r, rcodeRefused, "no zones of this class")
	r.reply(answer{rcode: rcodeRefused, ede: edeProhibited, text: "no zones of this class"})
}

// verify checks the signature by the settings in force now. A nil error with
// r.signed unset is an unsigned request.
func (r *request) verify(s Settings) error {
	signed, err := r.sig.Verify(r.msg, s, r.srv.cfg.Now())
	r.signed, r.generation = signed, s.Generation()
	return err
}

// authenticated runs next once the signature, if any, is verified, and answers
// the request itself otherwise.
func (r *request) authenticated(next func()) {
	err := r.verify(r.srv.cfg.Settings())
	if err == nil {
		next()
		return
	}
	r.badSignature(err, func() { r.authenticated(next) })
}

// badSignature answers a request whose signature does not verify. An unknown key
// or secret may merely be unknown here yet: retry judges the request again by
// settings that are as new as a barrier (C6). The clock and the message are what
// they are.
func (r *request) badSignature(err error, retry func()) {
	var e *tsig.Error
	if !errors.As(err, &e) {
		r.formErr(err)
		return
	}
	if !r.signed {
		r.formErr(e)
		return
	}
	if (e.TSIGError == tsig.BadKey || e.TSIGError == tsig.BadSig) && e.RCode == rcodeNotAuth && !r.looked {
		r.lookAgain(retry)
		return
	}
	r.srv.metrics.tsigError(e.TSIGError)
	r.srv.refused(r, e.RCode, e)
	r.reply(answer{rcode: e.RCode, ede: edeOther, text: e.Reason()})
}

// lookAgain calls retry after a barrier, with r.looked set, or answers SERVFAIL
// when there is none.
func (r *request) lookAgain(retry func()) {
	wait := func() {
		if err := r.srv.second.wait(r.srv.ctx); err != nil {
			r.unverified()
			r.srv.refused(r, rcodeServFail, err)
			r.reply(answer{rcode: rcodeServFail, ede: edeNotReady, text: "no quorum: can't tell whether this is the cluster's present state"})
			return
		}
		r.looked = true
		retry()
	}
	if r.client.via != overUDP {
		wait()
		return
	}
	if !r.srv.lookSlots.TryAcquire(1) {
		r.drop(dropSecondLook)
		return
	}
	go func() {
		defer r.srv.lookSlots.Release(1)
		wait()
	}()
}

// unverified makes the reply unsigned unless the signature verified: an empty
// MAC with an error code would claim a judgement that was not made.
func (r *request) unverified() {
	if r.sig.FullMAC == nil {
		r.signed = false
	}
}

// refuse answers REFUSED or NOTAUTH; when the settings that say so may be old,
// retry judges again first (C6).
func (r *request) refuse(a answer, retry func()) {
	if !r.looked {
		r.lookAgain(retry)
		return
	}
	r.srv.refused(r, a.rcode, a.text)
	r.reply(a)
}
