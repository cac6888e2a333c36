package proxy

import (
	"encoding/binary"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const headerLen = 12

// question is one of the name server.
type question struct {
	msg    []byte
	name   zone.Name
	qtype  zone.Type
	have   uint32 // serial that an IXFR request names
	signed bool
}

// parse reads a question; ok is false for what the proxy does not pass on.
func parse(msg []byte) (q question, ok bool) {
	name, qtype, have, err := xfr.ParseQuestion(msg)
	if err != nil {
		return question{msg: msg}, false
	}
	q = question{msg: msg, name: name, qtype: qtype, have: have}
	if qtype != zone.TypeSOA && !q.transfer() {
		return q, false
	}
	r, err := tsig.Find(msg)
	q.signed = r != nil
	return q, err == nil
}

func (q *question) transfer() bool { return q.qtype == zone.TypeIXFR || q.qtype == zone.TypeAXFR }

// reply is our own answer to a message: unsigned, without records.
func reply(query []byte, rcode byte) []byte {
	b := make([]byte, headerLen, headerLen+zone.MaxNameLen+4)
	copy(b, query[:4])
	b[2] = 0x80 | b[2]&0x79 // response; opcode and RD as asked
	b[3] = rcode
	if binary.BigEndian.Uint16(query[4:]) != 1 {
		return b
	}
	end, err := zone.SkipName(query, headerLen)
	if err != nil || end+4 > len(query) || end-headerLen > zone.MaxNameLen {
		return b
	}
	b[5] = 1
	return append(b, query[headerLen:end+4]...)
}

// answerable reports whether msg is a request at all: nothing answers a response.
func answerable(msg []byte) bool { return len(msg) >= headerLen && msg[2]&0x80 == 0 }
