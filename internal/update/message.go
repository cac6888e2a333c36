package update

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Response codes of UPDATE (RFC 1035 4.1.1, RFC 2136 2.2).
const (
	NoError  uint16 = 0
	FormErr  uint16 = 1
	ServFail uint16 = 2
	NXDomain uint16 = 3
	NotImp   uint16 = 4
	Refused  uint16 = 5
	YXDomain uint16 = 6
	YXRRset  uint16 = 7
	NXRRset  uint16 = 8
	NotAuth  uint16 = 9
	NotZone  uint16 = 10
)

// Message is an UPDATE request: its zone, its prerequisites and its updates in the order in which they came.
type Message struct {
	ID      uint16
	Zone    zone.Name
	Class   zone.Class // always IN
	Prereqs []zone.RR
	Updates []zone.RR

	unpacker zone.Unpacker
}

// Error is a request that cannot be evaluated, and the response code that named gives it.
type Error struct {
	RCode uint16
	// AfterTSIG: named verifies the signature before it finds this out, so a bad signature is answered instead.
	AfterTSIG bool
	// Parsed: the message parses, only its class is wrong. The answer then has an OPT RR if the request has one.
	Parsed bool
	Reason string
	Err    error // what package zone said, or nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return "UPDATE message: " + e.Reason + ": " + e.Err.Error()
	}
	return "UPDATE message: " + e.Reason
}

func (e *Error) Unwrap() error { return e.Err }

func formErr(format string, args ...any) error {
	return &Error{RCode: FormErr, Reason: fmt.Sprintf(format, args...)}
}

const (
	headerLen    = 12
	opcodeUpdate = 5
)

// section is the index of a section's count in the header, from 0.
type section int

const (
	sectionZone section = iota
	sectionPrereq
	sectionUpdate
	sectionAdditional
)

func (s section) String() string {
	return [...]string{"zone", "prerequisite", "update", "additional"}[s]
}

// Parse reads an UPDATE request in wire format, with or without its TSIG RR, as dns_message_parse and ns_update_start do.
// RRs of the additional section are checked and dropped; octets after the last RR are ignored. Errors are *Error.
func Parse(wire []byte) (*Message, error) {
	m := new(Message)
	if err := m.Parse(wire); err != nil {
		return nil, err
	}
	return m, nil
}

// Parse is the function Parse, into the memory of m, whose former content is lost. After an error m is of no use but for
// another Parse.
func (m *Message) Parse(wire []byte) error {
	clear(m.Prereqs)
	clear(m.Updates)
	*m = Message{Prereqs: m.Prereqs[:0], Updates: m.Updates[:0], unpacker: m.unpacker}
	if len(wire) < headerLen {
		return formErr("%d octets are too few for a header", len(wire))
	}
	flags := binary.BigEndian.Uint16(wire[2:])
	if opcode := flags >> 11 & 0xf; opcode != opcodeUpdate || flags>>15 != 0 {
		return formErr("header flags %#04x are not those of an UPDATE request", flags)
	}
	p := parser{wire: wire, off: headerLen, m: m}
	m.ID = binary.BigEndian.Uint16(wire)
	if err := p.zones(); err != nil {
		return err
	}
	for s := sectionPrereq; s <= sectionAdditional; s++ {
		if err := p.section(s); err != nil {
			return err
		}
	}
	if err := p.checkClass(); err != nil {
		return err
	}
	return p.checkZone()
}

type parser struct {
	wire     []byte
	off      int
	m        *Message
	types    [maxZoneTypes]zone.Type // of the zone section's first RRs, which all have the name m.Zone
	kept     int                     // of types
	class    zone.Class              // of the message: that of its first RR
	hasClass bool
	hasOPT   bool
}

func (p *parser) count(s section) int {
	return int(binary.BigEndian.Uint16(p.wire[4+2*int(s):]))
}

// maxZoneTypes bounds how many types of a zone section are kept for comparison: one is right, and with two it is already
// certain that the answer is FORMERR.
const maxZoneTypes = 16

// zones reads the zone section. More than one RR, or another type than SOA, is found out later only: see checkZone.
func (p *parser) zones() error {
	for i := range p.count(sectionZone) {
		name, off, err := p.m.unpacker.Name(p.wire, p.off)
		if err != nil {
			return &Error{RCode: FormErr, Reason: "zone section", Err: err}
		}
		if len(p.wire)-off < 4 {
			return formErr("zone section is cut off")
		}
		t := zone.Type(binary.BigEndian.Uint16(p.wire[off:]))
		class := zone.Class(binary.BigEndian.Uint16(p.wire[off+2:]))
		p.off = off + 4
		if class == zone.ClassNONE || class == zone.ClassANY {
			return formErr("zone section has class %s", class)
		}
		if i == 0 {
			p.m.Zone, p.class, p.hasClass = name, class, true
		} else if !name.Equal(p.m.Zone) || class != p.class {
			return formErr("zone section names %s and %s", p.m.Zone, name)
		}
		if slices.Contains(p.types[:p.kept], t) {
			return formErr("zone section has %s %s twice", name, t)
		}
		if p.kept < maxZoneTypes {
			p.types[p.kept] = t
			p.kept++
		}
	}
	return nil
}

func (p *parser) section(s section) error {
	n := p.count(s)
	for i := range n {
		rr, next, err := p.unpack(s)
		if err != nil {
			return p.badRR(s, err)
		}
		p.off = next
		if err := p.check(s, rr, i == n-1); err != nil {
			return err
		}
		if !p.hasClass && rr.Type != zone.TypeOPT && rr.Type != zone.TypeTSIG && rr.Type != zone.TypeTKEY {
			p.class, p.hasClass = rr.Class, true
		}
		switch s {
		case sectionPrereq:
			p.m.Prereqs = append(p.m.Prereqs, rr)
		case sectionUpdate:
			p.m.Updates = append(p.m.Updates, rr)
		default: // dropped
		}
	}
	return nil
}

// unpack reads the RR at the current offset. Of an RR of class NONE in the update section the RDATA has the layout of the
// message's class; package zone takes that to be IN, as it is in every message that is not refused anyway.
func (p *parser) unpack(s section) (zone.RR, int, error) {
	if s != sectionUpdate || p.class == zone.ClassIN || !p.hasClass {
		return p.m.unpacker.RR(p.wire, p.off)
	}
	name, at, err := zone.UnpackName(p.wire, p.off)
	if err != nil || len(p.wire)-at < 10 {
		return p.m.unpacker.RR(p.wire, p.off) // which says what is wrong
	}
	rr := zone.RR{
		Name: name, Type: zone.Type(binary.BigEndian.Uint16(p.wire[at:])), Class: zone.Class(binary.BigEndian.Uint16(p.wire[at+2:])),
		TTL: binary.BigEndian.Uint32(p.wire[at+4:]),
	}
	end := at + 10 + int(binary.BigEndian.Uint16(p.wire[at+8:]))
	if rr.Class != zone.ClassNONE || rr.Type == zone.TypeNSEC3 || end > len(p.wire) {
		return p.m.unpacker.RR(p.wire, p.off)
	}
	rr.Data, err = zone.UnpackData(p.wire, at+10, end, rr.Type, p.class)
	return rr, end, err
}

// badRR is the error for an RR that package zone could not read. Most are FORMERR; see the kinds of zone.ErrFormat.
func (p *parser) badRR(s section, err error) error {
	rcode := FormErr
	if !p.malformedAnyway(s) {
		switch {
		case errors.Is(err, zone.ErrUnsupported):
			rcode = ServFail
		case errors.Is(err, zone.ErrDisallowed):
			rcode = Refused
		}
	}
	return &Error{RCode: rcode, Reason: s.String() + " section", Err: err}
}

// malformedAnyway reports whether named rejects the RR at the current offset before it looks at what package zone
// complains of: RDATA where section and class forbid any, or none where the type has to have some.
func (p *parser) malformedAnyway(s section) bool {
	_, off, err := zone.UnpackName(p.wire, p.off)
	if err != nil || len(p.wire)-off < 10 {
		return true
	}
	t := zone.Type(binary.BigEndian.Uint16(p.wire[off:]))
	class := zone.Class(binary.BigEndian.Uint16(p.wire[off+2:]))
	empty := binary.BigEndian.Uint16(p.wire[off+8:]) == 0
	if mustBeEmpty(s, class) {
		return !empty
	}
	return empty && zone.CheckData(t, class, "") != nil
}

// mustBeEmpty reports whether RRs of class c carry no RDATA in section s (RFC 2136 2.4, 2.5).
func mustBeEmpty(s section, c zone.Class) bool {
	return s == sectionPrereq && (c == zone.ClassANY || c == zone.ClassNONE) || s == sectionUpdate && c == zone.ClassANY
}

// check holds getsection's rules of dns_message_parse for one RR.
func (p *parser) check(s section, rr zone.RR, last bool) error {
	switch rr.Type {
	case zone.TypeTSIG:
		if s != sectionAdditional || rr.Class != zone.ClassANY || !last {
			return formErr("TSIG RR is not the last RR of the additional section")
		}
	case zone.TypeOPT:
		if s != sectionAdditional || rr.Name != zone.Root || p.hasOPT {
			return formErr("OPT RR is misplaced, doubled, or not owned by the root")
		}
		p.hasOPT = true
	case zone.TypeTKEY:
		if s == sectionUpdate {
			return formErr("TKEY RR in the update section")
		}
	default: // of any type elsewhere
	}
	if mustBeEmpty(s, rr.Class) {
		if rr.Data != "" {
			return formErr("%s section: %s %s of class %s has RDATA", s, rr.Name, rr.Type, rr.Class)
		}
		return nil
	}
	if rr.Data == "" && p.class == zone.ClassIN {
		// UnpackRR lets the classes NONE and ANY pass; outside of those forms the type's layout decides.
		if err := zone.CheckData(rr.Type, rr.Class, rr.Data); err != nil {
			return p.badRR(s, err)
		}
	}
	return p.checkSignature(s, rr, last)
}

// checkSignature holds the rules for RRSIG and SIG, whose RDATA names the type they cover.
func (p *parser) checkSignature(s section, rr zone.RR, last bool) error {
	switch rr.Type {
	case zone.TypeRRSIG:
		if zone.Covers(rr.Data) == 0 {
			return formErr("%s section: RRSIG at %s covers no type", s, rr.Name)
		}
	case zone.TypeSIG:
		switch {
		case zone.Covers(rr.Data) != 0:
			if rr.Class != p.class {
				return formErr("%s section: SIG at %s has class %s", s, rr.Name, rr.Class)
			}
		case s != sectionAdditional || rr.Name != zone.Root || !last:
			return &Error{RCode: ServFail, Reason: "SIG(0) RR is not the last RR of the additional section"}
		}
	default: // not a signature
	}
	return nil
}

// checkClass answers as ns_client_request does for a server whose only view is of class IN.
func (p *parser) checkClass() error {
	switch {
	case p.class == 0, p.class == zone.ClassANY: // 0 as well when there is no RR to take it from
		return &Error{RCode: FormErr, Parsed: true, Reason: "the class of the message cannot be determined"}
	case p.class == zone.ClassHS, p.class == zone.ClassNONE:
		return &Error{RCode: Refused, Parsed: true, Reason: "there are no zones of class " + p.class.String()}
	case p.class == zone.ClassIN:
		return nil
	case p.class == zone.ClassCH: // named has a view of that class
		return &Error{RCode: NotImp, AfterTSIG: true, Reason: "updates of class CH are not implemented"}
	}
	return &Error{RCode: NotImp, Parsed: true, Reason: "updates of class " + p.class.String() + " are not implemented"}
}

func (p *parser) checkZone() error {
	late := func(reason string) error { return &Error{RCode: FormErr, AfterTSIG: true, Reason: reason} }
	switch {
	case p.kept == 0:
		return late("zone section is empty")
	case p.types[0] != zone.TypeSOA:
		return late("zone section has type " + p.types[0].String() + ", not SOA")
	case p.kept > 1:
		return late("zone section has more than one RR")
	}
	p.m.Class = p.class
	return nil
}
