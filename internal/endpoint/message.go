package endpoint

import (
	"encoding/binary"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// DNS numbers that the endpoint acts on (RFC 1035, 1995, 2136, 5936, 6891).
const (
	headerLen  = 12
	maxMessage = 65535
	minUDPSize = 512

	flagQR = 1 << 15
	flagTC = 1 << 9
	flagRD = 1 << 8
	flagCD = 1 << 4

	opQuery  = 0
	opNotify = 4
	opUpdate = 5

	rcodeNoError  = 0
	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeNotImp   = 4
	rcodeRefused  = 5
	rcodeNotAuth  = 9
	rcodeBadVers  = 16

	typeSOA   = 6
	typeSIG   = 24
	typeKEY   = 25
	typeOPT   = 41
	typeDS    = 43
	typeTKEY  = 249
	typeANY   = 255
	typeIXFR  = 251
	typeAXFR  = 252
	typeMAILB = 253
	typeMAILA = 254

	classIN   = 1
	classCH   = 3
	classHS   = 4
	classNONE = 254
	classANY  = 255
)

// message is what the endpoint reads of a request itself; the bytes stay as they
// came. Everything else in it is for package update or for named to judge.
type message struct {
	id     uint16
	flags  uint16
	opcode uint8

	questions   int
	questionEnd int       // offset after the questions that a reply repeats; 0 when the section does not parse
	compressed  bool      // the first question's name is compressed, perhaps into the header, which a reply changes
	name        zone.Name // of the first question, lower case; of an UPDATE, once package update has read it
	qtype       uint16
	class       uint16 // of the message, by its first RR, as BIND determines it
	hasClass    bool

	edns        bool
	ednsOffset  int // of the OPT RR's class field, the UDP size
	ednsVersion uint8
	ednsDO      bool
	udpSize     int // octets that fit into a reply over UDP

	tkey bool
}

// errMessage is a request that does not parse; named answers FORMERR.
type errMessage struct{ reason string }

func (e *errMessage) Error() string { return "malformed message: " + e.reason }

func malformed(format string, args ...any) error {
	return &errMessage{fmt.Sprintf(format, args...)}
}

// parse walks over a request of at least headerLen octets. On an error, m holds
// what was read before it: enough for a reply.
func (m *message) parse(b []byte) error {
	*m = message{udpSize: minUDPSize}
	m.id = binary.BigEndian.Uint16(b)
	m.flags = binary.BigEndian.Uint16(b[2:])
	m.opcode = uint8(m.flags >> 11 & 0xf)
	m.questions = int(binary.BigEndian.Uint16(b[4:]))

	off, err := m.question(b)
	if err != nil {
		return err
	}
	for section := 6; section <= 10; section += 2 {
		for range binary.BigEndian.Uint16(b[section:]) {
			if off, err = m.record(b, off, section); err != nil {
				return err
			}
		}
	}
	return nil // like BIND, we ignore what follows the last RR
}

func (m *message) question(b []byte) (off int, err error) {
	off = headerLen
	read := 0
	defer func() {
		// Of a zone section that ends badly named repeats what it has read (dns_message_reply).
		if err == nil || m.opcode == opUpdate {
			m.questions, m.questionEnd = read, off
		}
	}()
	for i := range m.questions {
		start := off
		end, err := skipName(b, off)
		if err != nil {
			return off, err
		}
		if end+4 > len(b) {
			return off, malformed("cut off in the question section")
		}
		typ, class := binary.BigEndian.Uint16(b[end:]), binary.BigEndian.Uint16(b[end+2:])
		if (m.opcode == opNotify || m.opcode == opUpdate) && (class == classNONE || class == classANY) {
			return off, malformed("opcode %d with class %d", m.opcode, class)
		}
		if m.hasClass && class != m.class {
			return off, malformed("questions of classes %d and %d", m.class, class)
		}
		if i == 0 {
			m.qtype, m.class, m.hasClass = typ, class, true
			// Package update reads the zone section itself; but a compressed name
			// there is echoed only when it is one. A pointer's last octet can be 0.
			if m.opcode != opUpdate || b[end-1] != 0 || b[end-2] >= 0xc0 {
				name, _, err := zone.UnpackName(b, start)
				if err != nil {
					return off, malformed("question: %v", err)
				}
				m.name, m.compressed = name.Canonical(), len(name) != end-start
			}
		}
		if i > 0 && !m.sameName(b, start) {
			return off, malformed("questions of two names")
		}
		m.tkey = m.tkey || typ == typeTKEY
		off = end + 4
		read++
	}
	return off, nil
}

// sameName reports whether the name at off is that of the first question.
func (m *message) sameName(b []byte, off int) bool {
	first, _, err := zone.UnpackName(b, headerLen)
	if err != nil {
		return false
	}
	name, _, err := zone.UnpackName(b, off)
	return err == nil && name.Equal(first)
}

func (m *message) record(b []byte, off, section int) (int, error) {
	fixed, err := skipName(b, off)
	if err != nil {
		return 0, err
	}
	if fixed+10 > len(b) {
		return 0, malformed("cut off in an RR at octet %d", off)
	}
	typ, class := binary.BigEndian.Uint16(b[fixed:]), binary.BigEndian.Uint16(b[fixed+2:])
	end := fixed + 10 + int(binary.BigEndian.Uint16(b[fixed+8:]))
	if end > len(b) {
		return 0, malformed("cut off in an RDATA at octet %d", fixed+10)
	}
	if typ == typeOPT {
		if b[off] != 0 || section != 10 || m.edns {
			return 0, malformed("OPT RR at octet %d is misplaced, doubled, or not owned by the root", off)
		}
		m.edns = true
		m.ednsOffset = fixed + 2
		m.ednsVersion = b[fixed+5]
		m.ednsDO = b[fixed+6]&0x80 != 0
		m.udpSize = max(minUDPSize, int(class))
	} else if typ != typeTSIG && typ != typeTKEY {
		if !m.hasClass {
			m.class, m.hasClass = class, true
		}
		if m.opcode != opUpdate && class != m.class && m.class != classANY && typ != typeKEY && typ != typeSIG {
			return 0, malformed("RR of class %d at octet %d in a message of class %d", class, off, m.class)
		}
		if m.opcode != opUpdate { // package update reads those itself
			rr, _, err := zone.UnpackRR(b, off)
			if err == nil {
				err = zone.CheckData(rr.Type, rr.Class, rr.Data)
			}
			if err != nil {
				return 0, malformed("RR at octet %d: %v", off, err)
			}
		}
	}
	return end, nil
}

const typeTSIG = 250

// skipName returns the offset after the name at off; it follows no pointer.
func skipName(b []byte, off int) (int, error) {
	next, err := zone.SkipName(b, off)
	if err != nil {
		return 0, malformed("%v", err)
	}
	return next, nil
}

// answer is what a reply says when the endpoint makes it itself.
type answer struct {
	rcode     uint16
	ede       uint16 // Extended DNS Error (RFC 8914); meaningful when text is set
	text      string
	truncated bool
}

// Extended DNS Errors that the endpoint gives (RFC 8914 section 4).
const (
	edeOther            = 0
	edeNotReady         = 14
	edeProhibited       = 18
	edeNotAuthoritative = 20
	edeNotSupported     = 21
	edeNetworkError     = 23
)

// maxEDEText keeps a reply with an explanation well below 512 octets.
const maxEDEText = 160

// ourUDPSize is the UDP payload size that replies announce: what passes without
// fragments (RFC 9715).
const ourUDPSize = 1232

// appendReply appends the reply to request b, without a TSIG RR, as BIND's
// dns_message_reply shapes it: the question section of queries and NOTIFY and
// the zone section of updates, no other RRs, RD and CD only for queries. An
// explanation goes out only to those who sent an OPT RR.
func (m *message) appendReply(dst, b []byte, a answer) []byte {
	start := len(dst)
	flags := uint16(flagQR) | uint16(m.opcode)<<11 | a.rcode&0xf
	if m.opcode == opQuery {
		flags |= m.flags & (flagRD | flagCD)
	}
	if a.truncated {
		flags |= flagTC
	}
	dst = binary.BigEndian.AppendUint16(dst, m.id)
	dst = binary.BigEndian.AppendUint16(dst, flags)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	if m.questionEnd > headerLen && (m.opcode == opQuery || m.opcode == opNotify || m.opcode == opUpdate) {
		binary.BigEndian.PutUint16(dst[start+4:], uint16(m.questions))
		dst = m.appendQuestions(dst, b)
	}
	if !m.edns {
		return dst
	}
	dst[start+11] = 1
	dst = append(dst, 0, 0, typeOPT)
	dst = binary.BigEndian.AppendUint16(dst, ourUDPSize)
	dst = append(dst, byte(a.rcode>>4), 0, 0, 0)
	if m.ednsDO {
		dst[len(dst)-2] = 0x80
	}
	if a.text == "" {
		return append(dst, 0, 0)
	}
	text := a.text
	if len(text) > maxEDEText {
		text = text[:maxEDEText]
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(6+len(text)))
	dst = append(dst, 0, 15)
	dst = binary.BigEndian.AppendUint16(dst, uint16(2+len(text)))
	dst = binary.BigEndian.AppendUint16(dst, a.ede)
	return append(dst, text...)
}

// appendQuestions repeats the question section, the first name in full.
func (m *message) appendQuestions(dst, b []byte) []byte {
	section := b[headerLen:m.questionEnd]
	if m.compressed {
		if name, next, err := zone.UnpackName(b, headerLen); err == nil {
			dst = append(dst, name...)
			section = b[next:m.questionEnd]
		}
	}
	return append(dst, section...)
}

// forwardable returns a copy of request b for named: without its TSIG RR, and
// announcing a UDP size that leaves room for our own.
func (m *message) forwardable(dst, b []byte, sig *tsig.Request) []byte {
	if sig == nil {
		return append(dst, b...)
	}
	start := len(dst)
	dst = append(dst, b[:sig.Offset]...)
	out := dst[start:]
	binary.BigEndian.PutUint16(out[10:], binary.BigEndian.Uint16(out[10:])-1)
	if m.edns && m.ednsOffset < sig.Offset {
		binary.BigEndian.PutUint16(out[m.ednsOffset:], uint16(max(minUDPSize, m.udpSize-sig.Overhead())))
	}
	return dst
}
