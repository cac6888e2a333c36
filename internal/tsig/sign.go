package tsig

import (
	"encoding/binary"
	"time"
)

// Sign appends the TSIG RR that the reply to q must have, and returns the
// longer message; it changes resp's header and may use its spare capacity.
//
// BADSIG and BADKEY replies carry an empty MAC (RFC 8945 section 5.3.2), every
// other is signed with the request's key, errors too. A BADTIME reply repeats
// the client's time signed and carries ours as other data (section 5.2.3).
func (q *Request) Sign(resp []byte, now time.Time) []byte {
	out := Record{
		Offset:        len(resp),
		TimeSigned:    uint64(now.Unix()),
		Fudge:         MaxFudge,
		OrigID:        binary.BigEndian.Uint16(resp),
		PeerError:     q.Error,
		owner:         q.owner,
		ownerLength:   q.ownerLength,
		algorithm:     q.algorithm,
		algorithmSize: q.algorithmSize,
	}
	var ours [6]byte
	if q.Error == BadTime {
		binary.BigEndian.PutUint16(ours[:], uint16(out.TimeSigned>>32))
		binary.BigEndian.PutUint32(ours[2:], uint32(out.TimeSigned))
		out.TimeSigned, out.Other = q.TimeSigned, ours[:]
	}
	if q.FullMAC == nil {
		return out.append(resp, nil)
	}

	s := q.Key.acquire()
	s.prior(q.MAC)
	s.mac.Write(resp)
	s.variables(&out, out.PeerError, out.Other)
	mac := s.mac.Sum(s.sum[:0])
	// A truncated reply is never shorter than its request (section 5.2.4).
	resp = out.append(resp, mac[:min(len(mac), max(q.Key.macSize(), len(q.MAC)))])
	q.Key.release(s)
	return resp
}

// Stream signs the messages of a reply that has many of them, such as a zone
// transfer, in their order. It is not safe for concurrent use.
type Stream struct {
	q     *Request
	prior []byte // the MAC of the message before; nil before the first
}

// Stream returns a signer for the messages of the reply to q, whose signature
// verified.
func (q *Request) Stream() *Stream { return &Stream{q: q} }

// Sign appends the TSIG RR of the next message. Like BIND it signs every
// message, though RFC 8945 section 5.3.1 would let most of them go without.
func (s *Stream) Sign(resp []byte, now time.Time) []byte {
	start := len(resp)
	if s.prior == nil {
		resp = s.q.Sign(resp, now)
	} else {
		out := Record{
			TimeSigned:    uint64(now.Unix()),
			Fudge:         MaxFudge,
			OrigID:        binary.BigEndian.Uint16(resp),
			owner:         s.q.owner,
			ownerLength:   s.q.ownerLength,
			algorithm:     s.q.algorithm,
			algorithmSize: s.q.algorithmSize,
		}
		st := s.q.Key.acquire()
		st.prior(s.prior)
		st.mac.Write(resp)
		st.buf = appendTime(st.buf[:0], out.TimeSigned, out.Fudge) // the timers only
		st.mac.Write(st.buf)
		mac := st.mac.Sum(st.sum[:0])
		resp = out.append(resp, mac[:min(len(mac), max(s.q.Key.macSize(), len(s.q.MAC)))])
		s.q.Key.release(st)
	}
	at := start + s.q.ownerLength + 10 + s.q.algorithmSize + 10
	size := int(binary.BigEndian.Uint16(resp[at-2:]))
	s.prior = append(s.prior[:0], resp[at:at+size]...)
	return resp
}

// Overhead returns how many octets [Request.Sign] will add.
func (q *Request) Overhead() int {
	n := q.ownerLength + 10 + q.algorithmSize + 16
	if q.Error == BadTime {
		n += 6
	}
	if q.FullMAC != nil {
		n += max(q.Key.macSize(), len(q.MAC))
	}
	return n
}

// append adds the RR to msg with the given MAC and counts it in the header.
func (r *Record) append(msg, mac []byte) []byte {
	msg = append(msg, r.owner[:r.ownerLength]...)
	msg = binary.BigEndian.AppendUint16(msg, typeTSIG)
	msg = binary.BigEndian.AppendUint16(msg, classANY)
	msg = binary.BigEndian.AppendUint32(msg, 0)
	msg = binary.BigEndian.AppendUint16(msg, uint16(r.algorithmSize+16+len(mac)+len(r.Other)))
	msg = append(msg, r.algorithm[:r.algorithmSize]...)
	msg = appendTime(msg, r.TimeSigned, r.Fudge)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(mac)))
	msg = append(msg, mac...)
	msg = binary.BigEndian.AppendUint16(msg, r.OrigID)
	msg = binary.BigEndian.AppendUint16(msg, r.PeerError)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.Other)))
	msg = append(msg, r.Other...)
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	return msg
}

// Strip returns a signed message as it was before it was signed: a copy of what
// precedes the TSIG RR, with the original ID and one RR less.
func (r *Record) Strip(msg []byte) []byte {
	out := append(make([]byte, 0, r.Offset), msg[:r.Offset]...)
	binary.BigEndian.PutUint16(out, r.OrigID)
	binary.BigEndian.PutUint16(out[10:], binary.BigEndian.Uint16(msg[10:])-1)
	return out
}
