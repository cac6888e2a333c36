package fsm

import (
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Flag bits of an Update.
const (
	flagSigned = 1 << iota
	flagTCP
	flagAddrProven
	flagsKnown = flagSigned | flagTCP | flagAddrProven
)

func (c *Update) appendFields(b []byte) []byte {
	var flags byte
	if c.KeyName != "" {
		flags |= flagSigned
	}
	if c.TCP {
		flags |= flagTCP
	}
	if c.AddrProven {
		flags |= flagAddrProven
	}
	b = append(b, flags)
	b = appendString(b, c.View)
	b = appendAddr(b, c.Addr)
	b = appendUvarint(b, uint64(c.DeadlineMS))
	if c.KeyName != "" {
		b = appendString(b, c.KeyName)
		b = appendUvarint(b, c.KeyVersion)
		b = append(b, c.Fingerprint[:]...)
		b = appendUvarint(b, c.TimeSigned)
		b = appendUvarint(b, uint64(c.Fudge))
	}
	return append(b, c.Wire...)
}

func (c *Update) readFields(r *reader) {
	flags := r.byte()
	if flags&^byte(flagsKnown) != 0 {
		r.fail("unknown flags %#x of an update", flags)
	}
	c.TCP = flags&flagTCP != 0
	c.AddrProven = flags&flagAddrProven != 0
	c.View = r.string()
	c.Addr = r.addr()
	c.DeadlineMS = r.millis("deadline")
	if flags&flagSigned != 0 {
		if c.KeyName = r.name(); c.KeyName == "" {
			r.fail("signed update without a key name")
		}
		c.KeyVersion = r.uvarint()
		r.fixed(c.Fingerprint[:])
		c.TimeSigned = r.uvarintMax(1<<48-1, "time signed")
		c.Fudge = r.uint16("fudge")
	}
	c.Wire = r.b
	r.b = nil
}

func (c *PutKey) appendFields(b []byte) []byte {
	b = appendString(b, c.Name)
	b = appendString(b, c.Algorithm)
	b = appendUvarint(b, c.Version)
	b = appendString(b, c.Sealed)
	b = append(b, c.SecretID[:]...)
	b = appendUvarint(b, uint64(c.NotAfterMS))
	b = appendBool(b, c.Rotate)
	return c.Actor.append(b)
}

func (c *PutKey) readFields(r *reader) {
	c.Name = r.name()
	c.Algorithm = r.string()
	c.Version = r.uvarint()
	c.Sealed = append([]byte(nil), r.octets()...) // kept in the state, so not an alias of the entry
	r.fixed(c.SecretID[:])
	c.NotAfterMS = r.millis("end of validity")
	c.Rotate = r.bool()
	c.Actor.read(r)
}

func (c *DeleteKey) appendFields(b []byte) []byte {
	b = appendString(b, c.Name)
	b = appendUvarint(b, c.Version)
	return c.Actor.append(b)
}

func (c *DeleteKey) readFields(r *reader) {
	c.Name = r.name()
	c.Version = r.uvarint()
	c.Actor.read(r)
}

func (a *Actor) append(b []byte) []byte {
	b = appendString(b, a.By)
	return appendBool(b, a.TakeOver)
}

func (a *Actor) read(r *reader) {
	a.By = r.string()
	a.TakeOver = r.bool()
}

func (id ZoneID) append(b []byte) []byte {
	b = appendString(b, id.View)
	return appendString(b, id.Name.Canonical())
}

func (id *ZoneID) read(r *reader) {
	id.View = r.string()
	id.Name = r.name()
	if id.Name.Canonical() != id.Name {
		r.fail("zone name %q not in lower case", id.Name)
	}
}

func (s *ZoneSettings) append(b []byte) []byte {
	b = appendString(b, s.UpdatePolicy)
	b = appendString(b, s.AllowUpdate)
	b = appendString(b, s.AllowQuery)
	b = appendString(b, s.AllowTransfer)
	b = appendStrings(b, s.AlsoNotify)
	b = appendUvarint(b, uint64(s.MaxTTL))
	b = appendUvarint(b, uint64(s.MaxRecords))
	b = appendBool(b, s.LocalReads)
	return s.Guarantee.append(b)
}

func (s *ZoneSettings) read(r *reader) {
	s.UpdatePolicy = r.string()
	s.AllowUpdate = r.string()
	s.AllowQuery = r.string()
	s.AllowTransfer = r.string()
	s.AlsoNotify = r.strings("also-notify addresses")
	s.MaxTTL = r.uint32("maximum TTL")
	s.MaxRecords = r.uint32("maximum of records")
	s.LocalReads = r.bool()
	s.Guarantee.read(r)
}

func (c *PutZone) appendFields(b []byte) []byte {
	b = c.Zone.append(b)
	b = appendBool(b, c.Create)
	b = c.Settings.append(b)
	b = appendRRs(b, c.RRs)
	return c.Actor.append(b)
}

func (c *PutZone) readFields(r *reader) {
	c.Zone.read(r)
	c.Create = r.bool()
	c.Settings.read(r)
	c.RRs = r.rrs()
	c.Actor.read(r)
}

func appendRRs(b []byte, rrs []zone.RR) []byte {
	b = appendUvarint(b, uint64(len(rrs)))
	for _, rr := range rrs {
		b = zone.AppendRR(b, rr)
	}
	return b
}

// rrs reads records in uncompressed wire format. Their RDATA is checked against their types' layout.
func (r *reader) rrs() []zone.RR {
	n := r.count("records")
	if n == 0 || r.err != nil {
		return nil
	}
	// A record takes 11 octets at least; a forged count must not reserve more than the entry's own size or so.
	out := make([]zone.RR, 0, min(n, len(r.b)/11+1))
	msg, off := r.b, 0
	for i := range n {
		rr, next, err := zone.UnpackRR(msg, off)
		if err != nil {
			r.fail("record %d: %v", i, err)
			return nil
		}
		out = append(out, rr)
		off = next
	}
	r.b = r.b[off:]
	return out
}

func (c *DeleteZone) appendFields(b []byte) []byte {
	b = c.Zone.append(b)
	b = appendString(b, c.Confirm)
	b = c.Actor.append(b)
	if c.Incarnation != 0 { // absent in entries of programs that did not know it
		b = appendUvarint(b, c.Incarnation)
	}
	return b
}

func (c *DeleteZone) readFields(r *reader) {
	c.Zone.read(r)
	c.Confirm = r.name()
	c.Actor.read(r)
	if r.err == nil && len(r.b) > 0 {
		if c.Incarnation = r.uvarint(); c.Incarnation == 0 {
			r.fail("incarnation 0 is written as nothing")
		}
	}
}

func (c *ImportBegin) appendFields(b []byte) []byte {
	b = appendString(b, c.ID)
	b = c.Zone.append(b)
	b = c.Settings.append(b)
	b = appendBool(b, c.Replace)
	b = appendBool(b, c.MoveSerial)
	return c.Actor.append(b)
}

func (c *ImportBegin) readFields(r *reader) {
	c.ID = r.string()
	c.Zone.read(r)
	c.Settings.read(r)
	c.Replace = r.bool()
	c.MoveSerial = r.bool()
	c.Actor.read(r)
}

func (c *ImportChunk) appendFields(b []byte) []byte {
	b = appendString(b, c.ID)
	b = appendUvarint(b, c.Seq)
	return appendRRs(b, c.RRs)
}

func (c *ImportChunk) readFields(r *reader) {
	c.ID = r.string()
	c.Seq = r.uvarint()
	c.RRs = r.rrs()
}

func (c *ImportCommit) appendFields(b []byte) []byte {
	b = appendString(b, c.ID)
	b = appendUvarint(b, c.Records)
	return append(b, c.Digest[:]...)
}

func (c *ImportCommit) readFields(r *reader) {
	c.ID = r.string()
	c.Records = r.uvarint()
	r.fixed(c.Digest[:])
}

func (c *ImportAbort) appendFields(b []byte) []byte { return appendString(b, c.ID) }
func (c *ImportAbort) readFields(r *reader)         { c.ID = r.string() }

func (c *Cut) appendFields(b []byte) []byte { return c.Zone.append(b) }
func (c *Cut) readFields(r *reader)         { c.Zone.read(r) }

func (c *BumpSerial) appendFields(b []byte) []byte {
	b = c.Zone.append(b)
	b = appendUvarint(b, uint64(c.Past))
	return appendBool(b, c.HasPast)
}

func (c *BumpSerial) readFields(r *reader) {
	c.Zone.read(r)
	c.Past = r.uint32("serial")
	c.HasPast = r.bool()
}

func (c *Mark) appendFields(b []byte) []byte {
	b = appendString(b, c.Replica)
	b = appendUvarint(b, c.Index)
	return append(b, c.Digest[:]...)
}

func (c *Mark) readFields(r *reader) {
	c.Replica = r.string()
	c.Index = r.uvarint()
	r.fixed(c.Digest[:])
}

func (c *Checkpoint) appendFields(b []byte) []byte { return b }
func (c *Checkpoint) readFields(*reader)           {}

func (c *Support) appendFields(b []byte) []byte { return append(b, c.Version) }
func (c *Support) readFields(r *reader)         { c.Version = r.byte() }

func (c *Activate) appendFields(b []byte) []byte {
	return appendStrings(append(b, c.Version), c.Members)
}

func (c *Activate) readFields(r *reader) {
	c.Version = r.byte()
	c.Members = r.strings("members")
}

func (c *Floor) appendFields(b []byte) []byte {
	b = appendString(b, c.Key)
	return appendUvarint(b, c.TimeSigned)
}

func (c *Floor) readFields(r *reader) {
	c.Key = r.name()
	c.TimeSigned = r.uvarintMax(1<<48-1, "time signed")
}

func (c *PutLimits) appendFields(b []byte) []byte { return c.Limits.append(b) }
func (c *PutLimits) readFields(r *reader)         { c.Limits.read(r) }

func (c *PutSecondary) appendFields(b []byte) []byte {
	b = appendString(b, c.Name)
	b = appendString(b, c.Key)
	b = appendStrings(b, c.Notify)
	b = appendBool(b, c.Foreign)
	return c.Actor.append(b)
}

func (c *PutSecondary) readFields(r *reader) {
	c.Name = r.string()
	c.Key = r.name()
	c.Notify = r.strings("addresses to notify")
	c.Foreign = r.bool()
	c.Actor.read(r)
}

func (c *DeleteSecondary) appendFields(b []byte) []byte {
	return c.Actor.append(appendString(b, c.Name))
}

func (c *DeleteSecondary) readFields(r *reader) {
	c.Name = r.string()
	c.Actor.read(r)
}

func (c *PutKeyGuarantee) appendFields(b []byte) []byte {
	return c.Actor.append(c.Guarantee.append(appendString(b, c.Key)))
}

func (c *PutKeyGuarantee) readFields(r *reader) {
	c.Key = r.name()
	c.Guarantee.read(r)
	c.Actor.read(r)
}

func (c *PutKeyRate) appendFields(b []byte) []byte {
	return c.Actor.append(c.Rate.append(appendString(b, c.Key)))
}

func (c *PutKeyRate) readFields(r *reader) {
	c.Key = r.name()
	c.Rate.read(r)
	c.Actor.read(r)
}

func (c *PutCatalog) appendFields(b []byte) []byte {
	return c.Actor.append(c.Settings.append(appendString(b, c.Name)))
}

func (c *PutCatalog) readFields(r *reader) {
	c.Name = r.name()
	c.Settings.read(r)
	c.Actor.read(r)
}

func (c *ConfirmCatalog) appendFields(b []byte) []byte {
	return c.Actor.append(appendUvarint(b, uint64(c.Serial)))
}

func (c *ConfirmCatalog) readFields(r *reader) {
	c.Serial = r.uint32("serial")
	c.Actor.read(r)
}
