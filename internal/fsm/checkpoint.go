package fsm

import (
	"encoding/binary"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// A checkpoint is the whole state as a stream:
//
//	magic, version, items …, end item, SHA-256 of all octets before it
//
// An item is its kind (one octet), its length (varint) and its fields. Items come in one order only, and collections in the
// order of their keys, so equal states give equal octets and the trailer is the digest of the state. No item needs more
// memory than the largest RRset, boundary or import chunk does.
const checkpointMagic = "ZKCP"

// itemKind says what an item holds. Kinds never fall within a checkpoint, but for those that belong to a zone (rrset,
// pending, boundary), an import (chunk) or a seed (seed chunk), which follow it in the numbers that it announces, and the end.
type itemKind uint8

const (
	itemHeader    itemKind = 1
	itemReplica   itemKind = 2
	itemMarks     itemKind = 3
	itemKey       itemKind = 4
	itemForgotten itemKind = 5
	itemSecondary itemKind = 6
	itemGrave     itemKind = 7
	itemCatalog   itemKind = 8
	itemZone      itemKind = 9
	itemRRset     itemKind = 10
	itemPending   itemKind = 11
	itemBoundary  itemKind = 12
	itemImport    itemKind = 13
	itemChunk     itemKind = 14
	itemDedupe    itemKind = 15
	itemEnd       itemKind = 16
	itemSeed      itemKind = 17
	itemSeedChunk itemKind = 18
)

// maxItemBytes bounds what a reader allocates for one item: the largest is an RRset, and 65,535 RRs of one type would be
// more than a DNS message carries. Boundaries hold at most an entry's worth of changes and their old data.
const maxItemBytes = 256 << 20

// dedupeBlock is the number of dedupe entries in an item; dedupeEntryBytes the size of one.
const (
	dedupeBlock      = 2048
	dedupeEntryBytes = 8 + FingerprintSize + 4 + 4
)

func appendDedupe(b []byte, e dedupeEntry) []byte {
	b = binary.BigEndian.AppendUint64(b, e.when)
	b = binary.BigEndian.AppendUint64(b, e.fp[0])
	b = binary.BigEndian.AppendUint64(b, e.fp[1])
	b = binary.BigEndian.AppendUint32(b, e.serial)
	return binary.BigEndian.AppendUint32(b, e.key)
}

func readDedupe(b []byte) dedupeEntry {
	return dedupeEntry{
		when:   binary.BigEndian.Uint64(b),
		fp:     [2]uint64{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])},
		serial: binary.BigEndian.Uint32(b[24:]),
		key:    binary.BigEndian.Uint32(b[28:]),
	}
}

// Records in a checkpoint were checked when they entered the state, so they are stored as they are, without a layout that
// a reader would have to check again.

func appendStoredRRs(b []byte, rrs []zone.RR) []byte {
	b = appendUvarint(b, uint64(len(rrs)))
	for _, rr := range rrs {
		b = appendString(b, rr.Name)
		b = appendUvarint(b, uint64(rr.Type))
		b = appendUvarint(b, uint64(rr.Class))
		b = appendUvarint(b, uint64(rr.TTL))
		b = appendString(b, rr.Data)
	}
	return b
}

func (r *reader) storedRRs() []zone.RR {
	n := r.count("records")
	if n == 0 {
		return nil
	}
	rrs := make([]zone.RR, n)
	for i := range rrs {
		rr := &rrs[i]
		rr.Name = r.name()
		rr.Type = zone.Type(r.uint16("type"))
		rr.Class = zone.Class(r.uint16("class"))
		rr.TTL = r.uint32("TTL")
		rr.Data = r.string()
		if rr.Name == "" || r.err != nil {
			r.fail("record %d without an owner", i)
			return nil
		}
	}
	return rrs
}

func appendDiff(b []byte, d zone.Diff) []byte {
	return appendStoredRRs(appendStoredRRs(b, d.Del), d.Add)
}

func (r *reader) diff() (d zone.Diff) {
	d.Del = r.storedRRs()
	d.Add = r.storedRRs()
	return d
}

func appendRRset(b []byte, s *zone.RRset) []byte {
	b = appendString(b, s.Owner)
	b = appendUvarint(b, uint64(s.Type))
	b = appendUvarint(b, uint64(s.TTL))
	b = appendUvarint(b, uint64(len(s.Data)))
	for _, d := range s.Data {
		b = appendString(b, d)
	}
	return b
}

func (r *reader) rrset() *zone.RRset {
	s := &zone.RRset{Owner: r.name(), Type: zone.Type(r.uint16("type")), TTL: r.uint32("TTL")}
	s.Data = make([]string, r.count("records"))
	for i := range s.Data {
		s.Data[i] = r.string()
	}
	if s.Owner == "" || len(s.Data) == 0 {
		r.fail("empty RRset")
	}
	return s
}

func appendSecret(b []byte, s *KeySecret) []byte {
	b = appendUvarint(b, s.Version)
	b = appendString(b, s.Algorithm)
	b = appendString(b, s.Sealed)
	b = append(b, s.SecretID[:]...)
	b = append(b, byte(s.State))
	b = appendUvarint(b, uint64(s.CreatedMS))
	return appendUvarint(b, uint64(s.NotAfterMS))
}

func (r *reader) secret() (s KeySecret) {
	s.Version = r.uvarint()
	s.Algorithm = r.string()
	if sealed := r.octets(); len(sealed) > 0 {
		s.Sealed = append([]byte(nil), sealed...)
	}
	r.fixed(s.SecretID[:])
	s.State = KeyState(r.byte())
	s.CreatedMS = r.millis("time of creation")
	s.NotAfterMS = r.millis("end of validity")
	if s.State < KeyActive || s.State > KeyRevoked {
		r.fail("secret in state %d", s.State)
	}
	return s
}
