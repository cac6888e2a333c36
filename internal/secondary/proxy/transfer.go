package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
)

// answerTransfer answers a zone transfer on w. An error means that the connection
// must be broken: part of an answer may be out.
func (p *Proxy) answerTransfer(ctx context.Context, q *question, w io.Writer) error {
	start := time.Now()
	r := p.newRace(ctx, q)
	a, err := r.run()
	r.close()
	if err == nil {
		if err = p.usable(a, q); err != nil { // the name server may have got a newer version meanwhile
			a.release(p.pool)
		}
	}
	switch {
	case ctx.Err() != nil:
		if err == nil {
			a.release(p.pool)
		}
		p.metrics.transfer(Kind(0), resultAbandoned)
		return context.Cause(ctx)
	case err != nil:
		p.metrics.transfer(Kind(0), resultFailed)
		return p.write(w, r.excuse(err))
	}
	defer a.release(p.pool)
	how := a.kind()
	if p.screened(q) && how != UpToDate && p.cfg.Screen(q.msg, a.msgs) != nil {
		p.metrics.transfer(how, resultRefused)
		return p.write(w, reply(q.msg, rcodeRefused))
	}
	if err := p.pass(a, q, w); err != nil {
		if ctx.Err() != nil || errors.Is(err, errClient) {
			p.metrics.transfer(how, resultAbandoned)
			return err
		}
		p.metrics.transfer(how, resultBroken)
		p.failed(q, a.primary, err)
		p.cfg.Logger.Warn("zone transfer broken off", "zone", q.name.String(), "serial", a.serial, "primary", a.primary, "err", err)
		return err
	}
	p.metrics.transfer(how, resultOK)
	p.metrics.observe(how.String(), time.Since(start))
	if p.cfg.Done != nil {
		p.cfg.Done(q.name, a.serial, how)
	}
	return nil
}

// pass writes what was kept back and then what comes, until the end.
func (p *Proxy) pass(a *answer, q *question, w io.Writer) error {
	for i, msg := range a.msgs {
		if err := p.write(w, msg); err != nil {
			return err
		}
		a.msgs[i] = nil
	}
	var buf []byte
	for !a.last {
		var err error
		if buf, err = a.conn.next(buf, p.cfg.IdleTimeout); err == nil {
			err = a.check(q, buf)
		}
		if err != nil {
			return why(a.ctx, err)
		}
		if err := p.write(w, buf); err != nil {
			return err
		}
	}
	return nil
}

func (p *Proxy) write(w io.Writer, msg []byte) error {
	if err := xfr.WriteFrame(w, msg); err != nil {
		return fmt.Errorf("%w: %w", errClient, err)
	}
	return nil
}

func (a *answer) kind() Kind {
	switch a.form {
	case xfr.UpToDate:
		return UpToDate
	case xfr.Incremental:
		return Incremental
	case xfr.Whole, xfr.Unknown:
	}
	return Full
}

// excuse is the answer when no primary has given a good one: what one of them said
// about it, or SERVFAIL.
func (r *race) excuse(err error) []byte {
	if r.bad != nil {
		return r.bad
	}
	r.p.giveUp.Do(func() {
		r.p.cfg.Logger.Warn("no primary answers as it should", "zone", r.q.name.String(), "type", r.q.qtype.String(), "err", err)
	})
	return reply(r.q.msg, rcodeServFail)
}
