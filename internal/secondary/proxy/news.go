package proxy

import (
	"encoding/binary"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// news answers a question for the SOA by what is known here, when that is that there is a newer serial; nil otherwise.
//
// All that named takes from the answer is that it has to transfer (BIND, lib/dns/zone.c, refresh_callback: the serial alone is
// read), and the transfer is a primary's to answer. That there is nothing new is never said here: it would keep a zone from
// expiring, and only a primary that has the quorum behind it may do that.
func (p *Proxy) news(q *question) []byte {
	if p.cfg.News == nil || !q.signed {
		return nil
	}
	serial, ok := p.cfg.News(q.name)
	if !ok {
		return nil
	}
	now := time.Now()
	req, err := tsig.Verify(q.msg, p.cfg.Keys, now)
	if err != nil || req == nil {
		return nil // a primary says what is wrong with it
	}
	b := reply(q.msg, 0)
	b[2] |= 0x04 // AA
	b[7] = 1     // an answer
	b = append(b, 0xc0, headerLen)
	b = binary.BigEndian.AppendUint16(b, uint16(zone.TypeSOA))
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	data := zone.SOA{MName: zone.Root, RName: zone.Root, Serial: serial}.Data()
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data))) //nolint:gosec // 22 octets
	return req.Sign(append(b, data...), now)
}
