package named

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// RCodeError is an answer other than NOERROR.
type RCodeError struct {
	RCode uint16 // RFC 1035 4.1.1, RFC 2136 2.2
	What  string
}

func (e *RCodeError) Error() string {
	names := [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}
	name := fmt.Sprintf("RCODE %d", e.RCode)
	if int(e.RCode) < len(names) {
		name = names[e.RCode]
	}
	return fmt.Sprintf("named answered %s to %s", name, e.What)
}

// ErrNoSOA is an answer of NOERROR to a SOA query that has no authoritative SOA.
var ErrNoSOA = fmt.Errorf("%w: no authoritative SOA", errMessage)

// Response codes that callers tell apart.
const (
	RCodeServFail = 2
	RCodeRefused  = 5
	RCodeNXRRSet  = 8
	RCodeNotAuth  = 9
)

// Stream is one TCP connection for requests that must be carried out in order: each is sent after the answer to the one
// before. It connects when needed. It is not safe for concurrent use.
type Stream struct {
	s    *Session
	conn net.Conn
	id   uint16
	buf  []byte
}

// NewStream returns a stream to this incarnation.
func (s *Session) NewStream() *Stream { return &Stream{s: s} }

// Update sends one UPDATE and returns nil after NOERROR, a *RCodeError after another answer. After any other error it is
// unknown whether named carried it out; the stream stays usable and connects anew.
func (st *Stream) Update(ctx context.Context, origin zone.Name, prereqs, updates []zone.RR) error {
	st.id++
	msg := AppendUpdate(st.space(), st.id, origin, prereqs, updates)
	var rcode uint16
	err := st.exchange(ctx, msg, func(resp []byte) (bool, error) {
		a, err := parseAnswer(resp, st.id)
		rcode = a.rcode
		return true, err
	})
	if err != nil {
		return fmt.Errorf("UPDATE of %s: %w", origin, err)
	}
	if rcode != 0 {
		return &RCodeError{RCode: rcode, What: "an UPDATE of " + origin.String()}
	}
	return nil
}

// Transfer fetches the whole zone (AXFR) and calls fn with each RR, the SOA once, first. An RR is valid only if Transfer
// returns nil in the end: the zone may break off.
func (st *Stream) Transfer(ctx context.Context, origin zone.Name, fn func(zone.RR) error) error {
	st.id++
	var first zone.RR
	var rcode uint16
	seen, done := 0, false
	err := st.exchange(ctx, appendQuery(st.space(), st.id, origin, typeAXFR), func(resp []byte) (bool, error) {
		a, err := parseAnswer(resp, st.id)
		if err != nil {
			return false, err
		}
		if rcode = a.rcode; rcode != 0 {
			return true, nil
		}
		err = a.rrs(resp, func(rr zone.RR) error {
			switch {
			case done:
				return fmt.Errorf("%w: RRs after the final SOA of a zone transfer", errMessage)
			case seen == 0:
				if first = rr; rr.Type != zone.TypeSOA {
					return fmt.Errorf("%w: a zone transfer begins with %s", errMessage, rr.Type)
				}
			case rr.Type == zone.TypeSOA:
				done = true
				if rr.Data != first.Data {
					return fmt.Errorf("%w: a zone transfer ends with another SOA than it began with", errMessage)
				}
				return nil
			}
			seen++
			return fn(rr)
		})
		return done, err
	})
	if err != nil {
		return fmt.Errorf("transfer of %s: %w", origin, err)
	}
	if rcode != 0 {
		return &RCodeError{RCode: rcode, What: "a transfer of " + origin.String()}
	}
	return nil
}

// Digest transfers the zone and returns its SOA RR, digest, and number of RRs.
func (st *Stream) Digest(ctx context.Context, origin zone.Name) (soa zone.RR, sum zone.Digest, rrs int, err error) {
	var d zone.Digester
	err = st.Transfer(ctx, origin, func(rr zone.RR) error {
		if rrs == 0 {
			soa = rr
		}
		rrs++
		d.Add(rr)
		return nil
	})
	return soa, d.Sum(), rrs, err
}

// SOA asks for the zone's SOA RR.
func (st *Stream) SOA(ctx context.Context, origin zone.Name) (zone.RR, error) {
	st.id++
	var a answer
	var soa zone.RR
	err := st.exchange(ctx, appendQuery(st.space(), st.id, origin, typeSOA), func(resp []byte) (bool, error) {
		var err error
		if a, err = parseAnswer(resp, st.id); err != nil {
			return true, err
		}
		return true, a.rrs(resp, func(rr zone.RR) error {
			if rr.Type == zone.TypeSOA && rr.Name.Equal(origin) {
				soa = rr
			}
			return nil
		})
	})
	switch {
	case err != nil:
		return zone.RR{}, fmt.Errorf("SOA query for %s: %w", origin, err)
	case a.rcode != 0:
		return zone.RR{}, &RCodeError{RCode: a.rcode, What: "a SOA query for " + origin.String()}
	case !a.aa || soa.Type != zone.TypeSOA:
		return zone.RR{}, fmt.Errorf("SOA query for %s: %w", origin, ErrNoSOA)
	}
	return soa, nil
}

// space returns a buffer with room for the length that precedes a message over TCP.
func (st *Stream) space() []byte {
	if cap(st.buf) < MaxMessage+2 {
		st.buf = make([]byte, 0, MaxMessage+1024)
	}
	return st.buf[:0]
}

// exchange signs and sends msg and hands over verified answers until recv says that it has seen the last.
func (st *Stream) exchange(ctx context.Context, msg []byte, recv func([]byte) (last bool, err error)) error {
	select {
	case <-st.s.gone:
		st.Close()
		return ErrGone
	default:
	}
	if err := st.connect(ctx); err != nil {
		return err
	}
	err := st.converse(ctx, msg, recv)
	if err != nil {
		// What comes next on this connection would be the answer to an earlier request.
		st.Close()
	}
	return err
}

func (st *Stream) connect(ctx context.Context) error {
	if st.conn != nil {
		return nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", st.s.Addr().String())
	if err != nil {
		return err
	}
	st.conn = conn
	return nil
}

func (st *Stream) converse(ctx context.Context, msg []byte, recv func([]byte) (bool, error)) error {
	deadline, _ := ctx.Deadline()
	if err := st.conn.SetDeadline(deadline); err != nil {
		return err
	}
	conn := st.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // a failure leaves the deadline
	defer stop()

	msg = tsig.SignRequest(msg, st.s.key, time.Now())
	if len(msg) > MaxMessage {
		return fmt.Errorf("message of %d octets; at most %d fit", len(msg), MaxMessage)
	}
	verify, err := tsig.NewTransfer(msg, st.s.key)
	if err != nil {
		return err
	}
	out := net.Buffers{binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg}
	if _, err := out.WriteTo(conn); err != nil {
		return err
	}
	var size [2]byte
	var body []byte
	for {
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("connection closed by named: %w", io.ErrUnexpectedEOF)
			}
			return err
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if cap(body) < n {
			body = make([]byte, max(n, 4096))
		}
		body = body[:n]
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		if err := verify.Verify(body, time.Now()); err != nil {
			return err
		}
		last, err := recv(body)
		if err != nil {
			return err
		}
		if last {
			return verify.Finish()
		}
	}
}

// Close drops the connection; the next request makes a new one.
func (st *Stream) Close() {
	if st.conn != nil {
		_ = st.conn.Close() // nothing is written afterwards
		st.conn = nil
	}
}
