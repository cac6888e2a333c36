package xfr

import (
	"errors"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Changes is what a zone transfer changes.
type Changes struct {
	Full     bool      // Add is the whole zone, what it lacks is gone
	From, To uint32    // serials; From is 0 when Full. Equal: the client has it
	Del, Add []zone.RR // the net change, the SOAs included; in canonical order unless Full
}

// ErrAnswer is wrapped by Decode's error about a transfer that was answered with an
// error instead of a zone.
var ErrAnswer = errors.New("xfr: the answer is no zone transfer")

// Decode reads all messages of the answer to query. Each record lies in the zone,
// and there is no other SOA than the zone's own. Its errors wrap zone.ErrFormat or
// ErrAnswer.
func Decode(query []byte, msgs [][]byte) (Changes, error) {
	origin, _, have, err := ParseQuestion(query)
	if err != nil {
		return Changes{}, err
	}
	end, err := NewEnd(query)
	if err != nil {
		return Changes{}, err
	}
	d := decoder{origin: origin, end: end}
	last := false
	for i, msg := range msgs {
		if last {
			return Changes{}, malformed("message %d of %d comes after the end of the transfer of %v", i+1, len(msgs), origin)
		}
		if last, err = d.message(msg); err != nil {
			return Changes{}, fmt.Errorf("message %d of the transfer of %v: %w", i+1, origin, err)
		}
	}
	to, ok := end.Serial()
	switch {
	case !last:
		return Changes{}, malformed("transfer of %v is cut off after %d messages", origin, len(msgs))
	case !ok:
		return Changes{}, fmt.Errorf("%w: empty transfer of %v", ErrAnswer, origin)
	}
	return d.changes(have, to), nil
}

type decoder struct {
	origin zone.Name
	end    *End
	unpack zone.Unpacker
	full   []zone.RR
	steps  []zone.Diff
}

// message reads one message of the transfer.
func (d *decoder) message(msg []byte) (last bool, err error) {
	if len(msg) >= headerLen && RCode(msg) != 0 {
		return false, fmt.Errorf("%w: RCODE %d", ErrAnswer, RCode(msg))
	}
	return d.end.walk(msg, d.record)
}

// record reads the RR at off, which the end has seen already.
func (d *decoder) record(msg []byte, off int, before state) error {
	rr, _, err := d.unpack.RR(msg, off)
	if err != nil {
		return fmt.Errorf("xfr: %w", err)
	}
	switch {
	case rr.Class != zone.ClassIN:
		return malformed("%v %v has class %v", rr.Name, rr.Type, rr.Class)
	case !rr.Name.IsSubdomainOf(d.origin):
		return malformed("%v %v lies outside the zone", rr.Name, rr.Type)
	case rr.Type == zone.TypeSOA && !rr.Name.Equal(d.origin):
		return malformed("SOA of %v is not the zone's", rr.Name)
	case zone.IsMeta(rr.Type):
		return malformed("%v %v can't be in a zone", rr.Name, rr.Type)
	}
	switch d.end.state {
	case first, second, whole: // until the second record it may be either form
		d.full = append(d.full, rr)
	case deletes:
		if before != deletes {
			d.full, d.steps = nil, append(d.steps, zone.Diff{})
		}
		s := &d.steps[len(d.steps)-1]
		s.Del = append(s.Del, rr)
	case adds:
		s := &d.steps[len(d.steps)-1]
		s.Add = append(s.Add, rr)
	case done: // the closing SOA
	}
	return nil
}

func (d *decoder) changes(have, to uint32) Changes {
	switch d.end.Form() {
	case Whole:
		return Changes{Full: true, To: to, Add: d.full}
	case Incremental:
		net := zone.Merge(d.steps...)
		return Changes{From: have, To: to, Del: net.Del, Add: net.Add}
	case UpToDate, Unknown:
	}
	return Changes{From: to, To: to}
}
