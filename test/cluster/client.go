package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// target is where a client sends: the relay, or one primary.
type target struct {
	addr    string
	network string // udp or tcp
}

// client sends one request after another, as a person with nsupdate would who does not give up. It is for one goroutine.
type client struct {
	id   int
	rnd  *rand.Rand
	load *load
	seq  int
	last map[key]state // what this client believes, for compare-and-set
}

// answer is how a request ended for its client.
type answer struct {
	rcode int
	// unknown: no answer, or one that only says that this attempt was not carried out, after others.
	unknown bool
	// refused: the cluster says that it was not applied, and will not be.
	refused bool
}

// newKey is the signing key in use; a rotation replaces it.
type signer struct{ current atomic.Pointer[tsig.Key] }

func (s *signer) key() tsig.Key { return *s.current.Load() }

const (
	rcodeServFail = 2
	rcodeNotAuth  = 9
)

// send signs a message and sends it until there is an answer or the client's patience ends: the same octets each time, to
// the same server or to others (I4).
func (c *client) send(ctx context.Context, msg []byte) answer {
	k := c.load.signer.key()
	wire := tsig.SignRequest(msg, k, time.Now())
	patience := 15 * time.Second
	if c.rnd.IntN(10) == 0 {
		patience = time.Duration(100+c.rnd.IntN(1500)) * time.Millisecond // its outcome will often be unknown
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	to := c.target()
	for tries := 1; ; tries++ {
		if tries > 1 && c.rnd.IntN(2) == 0 {
			to = c.target()
		}
		actx, acancel := context.WithTimeout(ctx, time.Duration(200+c.rnd.IntN(800))*time.Millisecond)
		resp, err := harness.Bytes(actx, to.network, to.addr, wire)
		if err == nil {
			a := c.load.judge(resp, wire, k, tries)
			if !a.refused && !a.unknown {
				c.load.remember(wire, k, a.rcode)
			}
			if !(a.refused || a.unknown) || c.rnd.IntN(2) == 0 {
				acancel()
				return a
			}
		}
		// A closed port answers at once: wait the rest of the attempt, as nsupdate does.
		<-actx.Done()
		acancel()
		if ctx.Err() != nil {
			return answer{unknown: true}
		}
	}
}

// judge reads an answer.
func (l *load) judge(resp, wire []byte, k tsig.Key, tries int) answer {
	rcode := int(binary.BigEndian.Uint16(resp[2:]) & 15)
	err := tsig.VerifyResponse(resp, wire, k, time.Now())
	var reported *tsig.ResponseError
	switch {
	case errors.As(err, &reported) && reported.TSIGError == tsig.BadKey && k.Version < l.signer.key().Version:
		// The secret was retired after the request was signed.
		return answer{rcode: rcode, refused: tries == 1, unknown: tries > 1}
	case err != nil:
		l.fail("an answer (rcode %d) does not verify: %v", rcode, err)
		return answer{unknown: true}
	case rcode == rcodeServFail:
		l.servfails.Add(1)
		// D6: it was not applied. But an earlier sending of it, still without an answer, may have been.
		return answer{rcode: rcode, refused: tries == 1, unknown: tries > 1}
	case rcode == rcodeNotAuth && k.Version < l.signer.key().Version:
		return answer{rcode: rcode, refused: tries == 1, unknown: tries > 1}
	}
	return answer{rcode: rcode}
}

func (c *client) target() target {
	network := "udp"
	if c.rnd.IntN(4) == 0 {
		network = "tcp"
	}
	if c.rnd.IntN(2) == 0 {
		return target{c.load.relay, network}
	}
	return target{c.load.primaries[c.rnd.IntN(len(c.load.primaries))], network}
}

// message writes an operation as an UPDATE.
func (c *client) message(in input) []byte {
	origin := zone.MustParseName(in.key.zone + ".")
	owner := zone.MustParseName(in.key.name + "." + in.key.zone + ".")
	rr := func(class zone.Class, t zone.Type, value string) zone.RR {
		r := zone.RR{Name: owner, Type: t, Class: class, Data: rdata(t, value)}
		if class == zone.ClassIN {
			r.TTL = 60
		}
		return r
	}
	values := func(class zone.Class, s state) (out []zone.RR) {
		for _, v := range split(s) {
			out = append(out, rr(class, in.key.typ, v))
		}
		return out
	}
	t := in.key.typ
	var pre, up []zone.RR
	clear := rr(zone.ClassANY, t, "")
	switch in.kind {
	case addIfAbsent:
		pre, up = append(pre, rr(zone.ClassNONE, t, "")), values(zone.ClassIN, in.new)
	case addIfNoName:
		pre, up = append(pre, rr(zone.ClassNONE, zone.TypeANY, "")), values(zone.ClassIN, in.new)
	case replace:
		pre, up = values(zone.ClassIN, in.old), append([]zone.RR{clear}, values(zone.ClassIN, in.new)...)
	case deleteIf:
		pre, up = values(zone.ClassIN, in.old), append(up, clear)
	case deleteIfAny:
		pre, up = append(pre, rr(zone.ClassANY, t, "")), append(up, clear)
	case deleteIfName:
		pre, up = append(pre, rr(zone.ClassANY, zone.TypeANY, "")), append(up, clear)
	case add:
		up = values(zone.ClassIN, in.new)
	case deleteRR:
		up = values(zone.ClassNONE, in.new)
	case deleteAll:
		up = append(up, clear)
	}
	return named.AppendUpdate(nil, uint16(c.rnd.Uint32()), origin, pre, up)
}

// rdata writes a value's wire form; "" is none.
func rdata(t zone.Type, value string) string {
	switch {
	case value == "":
		return ""
	case t == zone.TypeA:
		b := netip.MustParseAddr(value).As4()
		return string(b[:])
	}
	return string([]byte{byte(len(value))}) + value
}

// text is the inverse of rdata for an RR of an answer.
func text(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.A:
		return rr.A.String()
	case *dns.TXT:
		return strings.Join(rr.Txt, "")
	}
	return rr.String()
}

// value makes one that nobody else writes, so that every read says whose write it saw.
func (c *client) value(t zone.Type) string {
	c.seq++
	if t == zone.TypeA {
		return netip.AddrFrom4([4]byte{10, byte(c.id), byte(c.seq >> 8), byte(c.seq)}).String()
	}
	return fmt.Sprintf("c%d-%d", c.id, c.seq)
}

// mutate carries out an update and notes it.
func (c *client) mutate(ctx context.Context, in input) answer {
	h := c.load.history
	msg := c.message(in)
	call := h.now()
	a := c.send(ctx, msg)
	switch {
	case a.unknown:
		h.note(c.id, in, call, output{unknown: true})
	case a.refused:
		// Not noted: if it was applied all the same, the next read shows a value from nowhere.
	default:
		switch a.rcode {
		case noError, nxDomain, yxDomain, yxRRset, nxRRset:
		default:
			c.load.fail("%s: %s was answered rcode %d", in.key, in.kind, a.rcode)
		}
		h.note(c.id, in, call, output{rcode: a.rcode})
	}
	return a
}

// query reads an RRset through an endpoint and notes it. ok is false when there was no answer.
func (c *client) query(ctx context.Context, k key) (s state, ok bool) {
	return c.queryAt(ctx, c.target(), k)
}

func (c *client) queryAt(ctx context.Context, to target, k key) (s state, ok bool) {
	h := c.load.history
	call := h.now()
	asker := harness.Asker{Timeout: 2500 * time.Millisecond}
	if signing := c.load.signer.key(); c.rnd.IntN(2) == 0 {
		asker.Key = &signing
	}
	resp, err := asker.Ask(ctx, to.network, to.addr, k.name+"."+k.zone, uint16(k.typ))
	if err != nil {
		return "", false
	}
	switch resp.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeServerFailure:
		return "", false // no barrier: rather nothing than old data (I3)
	case dns.RcodeNotAuth:
		if asker.Key != nil && asker.Key.Version < c.load.signer.key().Version {
			return "", false
		}
		fallthrough
	default:
		c.load.fail("query of %s: %s", k, dns.RcodeToString[resp.Rcode])
		return "", false
	}
	var values []string
	for _, rr := range resp.Answer {
		values = append(values, text(rr))
	}
	s = join(values)
	h.note(c.id, input{kind: read, key: k}, call, output{values: s})
	c.last[k] = s
	return s, true
}
