package fsm

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// ErrDigest: a checkpoint does not hold what was written to it. It wraps ErrFormat.
var ErrDigest = fmt.Errorf("%w: checkpoint digest mismatch", ErrFormat)

// Restore reads a checkpoint and gives the machine whose snapshot it is. The checkpoint ends where its trailer does: what
// follows in r is an error. Nothing of a checkpoint is used before all of it has been checked. Errors wrap ErrFormat or
// ErrVersion, or are r's.
func Restore(r io.Reader) (*Machine, error) { return restore(r, MaxVersion) }

func restore(r io.Reader, maxVersion uint8) (*Machine, error) {
	c := &checkpointReader{in: bufio.NewReaderSize(r, checkpointBuffer), sum: sha256.New()}
	m, err := c.machine(maxVersion)
	if err != nil {
		return nil, fmt.Errorf("restore checkpoint, near octet %d: %w", c.at, err)
	}
	return m, nil
}

// checkpointReader reads items one after another and hashes what it reads. An item's octets last until the next is read.
type checkpointReader struct {
	in  *bufio.Reader
	sum hash.Hash
	at  int64
	buf []byte
	st  state
	m   *Machine

	kind itemKind // of the item in body
	body reader
}

func (c *checkpointReader) read(b []byte) error {
	n, err := io.ReadFull(c.in, b)
	c.at += int64(n)
	c.sum.Write(b[:n])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut short", ErrFormat)
	}
	return err
}

// next reads the next item.
func (c *checkpointReader) next() error {
	var one [1]byte
	if err := c.read(one[:]); err != nil {
		return err
	}
	c.kind = itemKind(one[0])
	var size uint64
	for shift := 0; ; shift += 7 {
		if err := c.read(one[:]); err != nil {
			return err
		}
		size |= uint64(one[0]&0x7f) << shift
		if one[0] < 0x80 {
			break
		}
		if shift == 28 {
			return fmt.Errorf("%w: bad length of an item of kind %d", ErrFormat, c.kind)
		}
	}
	if size > maxItemBytes {
		return fmt.Errorf("%w: item of %d octets, the limit is %d", ErrFormat, size, maxItemBytes)
	}
	// A forged length must not reserve memory that the stream does not fill.
	const step = 1 << 20
	c.buf = c.buf[:0]
	for uint64(len(c.buf)) < size {
		n := min(size-uint64(len(c.buf)), step)
		at := len(c.buf)
		c.buf = slices.Grow(c.buf, int(n))[:at+int(n)]
		if err := c.read(c.buf[at:]); err != nil {
			return err
		}
	}
	c.body = reader{b: c.buf}
	return nil
}

// want reads the next item, which must be of a kind.
func (c *checkpointReader) want(kind itemKind) error {
	if err := c.next(); err != nil {
		return err
	}
	if c.kind != kind {
		return fmt.Errorf("%w: item of kind %d where %d belongs", ErrFormat, c.kind, kind)
	}
	return nil
}

// each calls fn for the items of a kind that come now, and leaves the item after them as the current one.
func (c *checkpointReader) each(kind itemKind, what string, fn func(r *reader) error) error {
	for c.kind == kind {
		err := fn(&c.body)
		if derr := c.body.done(what); derr != nil {
			err = derr
		}
		if err == nil {
			err = c.next()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// many reads n items of a kind that belong to another item.
func (c *checkpointReader) many(n uint64, kind itemKind, what string, fn func(r *reader)) error {
	for range n {
		if err := c.want(kind); err != nil {
			return err
		}
		fn(&c.body)
		if err := c.body.done(what); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkpointReader) machine(maxVersion uint8) (*Machine, error) {
	var head [len(checkpointMagic) + 1]byte
	if err := c.read(head[:]); err != nil {
		return nil, err
	}
	if string(head[:len(checkpointMagic)]) != checkpointMagic {
		return nil, fmt.Errorf("%w: not a checkpoint", ErrFormat)
	}
	version := head[len(checkpointMagic)]
	if version == 0 || version > maxVersion {
		return nil, fmt.Errorf("%w %d of a checkpoint, this replica takes up to %d: upgrade it", ErrVersion, version, maxVersion)
	}
	c.st = newState()
	c.st.version = version
	c.m = newMachine(c.st)
	c.m.maxVersion = maxVersion
	if err := c.items(); err != nil {
		return nil, err
	}
	want := Digest(c.sum.Sum(nil))
	var got Digest
	if _, err := io.ReadFull(c.in, got[:]); err != nil {
		return nil, fmt.Errorf("%w: it is cut short", ErrFormat)
	}
	if got != want {
		return nil, fmt.Errorf("%w: stored %s, computed %s; take the checkpoint from another replica", ErrDigest, got, want)
	}
	if _, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: octets after the end", ErrFormat)
	}
	c.m.st = c.st
	c.m.rebuild()
	return c.m, nil
}

// items reads all items, in their order.
func (c *checkpointReader) items() error {
	if err := c.want(itemHeader); err != nil {
		return err
	}
	c.header(&c.body)
	if err := c.body.done("header"); err != nil {
		return err
	}
	if err := c.next(); err != nil {
		return err
	}
	for _, section := range []struct {
		kind itemKind
		what string
		fn   func(r *reader) error
	}{
		{itemReplica, "replica", c.replica},
		{itemMarks, "marks", c.marks},
		{itemKey, "key", c.key},
		{itemForgotten, "forgotten secret", c.forgotten},
		{itemSecondary, "secondary", c.secondary},
		{itemGrave, "deleted zone", c.grave},
		{itemCatalog, "catalog", c.catalogItem},
		{itemZone, "zone", c.zone},
		{itemImport, "import", c.importUnderWay},
		{itemDedupe, "dedupe table", c.dedupe},
		{itemSeed, "seed", c.seed},
	} {
		if err := c.each(section.kind, section.what, section.fn); err != nil {
			return err
		}
	}
	if c.kind != itemEnd {
		return fmt.Errorf("%w: item of kind %d out of order", ErrFormat, c.kind)
	}
	if id := c.st.catalog.id; c.st.catalog.exists() {
		if _, ok := c.st.zones.Get(id.key()); !ok {
			return fmt.Errorf("%w: the catalog %s is missing", ErrFormat, id)
		}
	}
	return c.body.done("end")
}

func (c *checkpointReader) header(r *reader) {
	c.st.index = r.uvarint()
	c.st.timeMS = r.millis("log time")
	c.st.generation = r.uvarint()
	c.st.keyVersion = r.uvarint()
	c.st.keyID = r.uint32("key number")
	c.st.limits.read(r)
	if err := c.st.limits.Validate(); err != nil {
		r.fail("%v", err)
	}
}

func (c *checkpointReader) replica(r *reader) error {
	name := r.string()
	c.st.replicas.Set(name, replicaState{epoch: r.uvarint(), seq: r.uvarint(), support: r.byte()})
	return nil
}

func (c *checkpointReader) marks(r *reader) error {
	index := r.uvarint()
	list := make([]mark, r.count("marks"))
	for i := range list {
		list[i].replica = r.string()
		r.fixed(list[i].digest[:])
	}
	c.st.marks.Set(index, list)
	return nil
}

func (c *checkpointReader) key(r *reader) error {
	k := &keyRecord{Key: &Key{Name: r.name()}, id: r.uint32("key number"), floor: r.uvarint()}
	k.ManagedBy = r.string()
	k.Guarantee.read(r)
	k.Secrets = make([]KeySecret, r.count("secrets"))
	for i := range k.Secrets {
		k.Secrets[i] = r.secret()
	}
	if len(r.b) > 0 {
		if k.Rate.read(r); k.Rate == (Rate{}) && r.err == nil {
			r.fail("key with an empty rate")
		}
	}
	c.st.keys.Set(k.Name, k)
	return nil
}

func (c *checkpointReader) forgotten(r *reader) error {
	id := r.string()
	c.st.forgotten.Set(id, r.millis("time"))
	return nil
}

func (c *checkpointReader) grave(r *reader) error {
	var g grave
	g.id.read(r)
	g.serial = r.uint32("serial")
	g.incarnation = r.uvarint()
	c.st.graves.Set(g.id.key(), g)
	return nil
}

func (c *checkpointReader) zone(r *reader) error {
	var id ZoneID
	id.read(r)
	incarnation, managedBy := r.uvarint(), r.string()
	var settings ZoneSettings
	settings.read(r)
	z := &zoneState{cutMS: r.millis("time of the last boundary")}
	records := r.uvarint()
	var digest zone.Digest
	r.fixed(digest[:])
	sets, pending, history := r.uvarint(), r.uvarint(), r.uvarint()
	if err := r.done("zone"); err != nil {
		return err
	}
	if id.Name == "" {
		return fmt.Errorf("%w: zone without a name", ErrFormat)
	}
	conf, err := parseZoneConfig(id, settings)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	conf.Incarnation, conf.ManagedBy, conf.catalog = incarnation, managedBy, id == c.st.catalog.id
	z.conf = conf
	z.zone = zone.New(id.Name)
	if err := c.many(sets, itemRRset, "RRset", func(r *reader) {
		s := r.rrset()
		if r.err == nil && !s.Owner.IsSubdomainOf(id.Name) {
			r.fail("owner %s outside zone %s", s.Owner, id)
		}
		if r.err == nil {
			z.zone.Set(s)
		}
	}); err != nil {
		return err
	}
	if z.zone.Digest() != digest || uint64(z.zone.Records()) != records || z.zone.SOA() == nil {
		return fmt.Errorf("%w: zone %s: its records are not those that were written", ErrFormat, id)
	}
	if err := c.many(pending, itemPending, "pending change", func(r *reader) {
		d := r.diff()
		z.pending = append(z.pending, d)
		z.pendingBytes += pendingSize(d)
	}); err != nil {
		return err
	}
	if err := c.many(history, itemBoundary, "boundary", func(r *reader) {
		b := Boundary{Zone: id, Incarnation: incarnation, From: r.uint32("serial"), To: r.uint32("serial"), Index: r.uvarint(), Diff: r.diff()}
		z.history = append(z.history, b)
		z.historyBytes += b.bytes()
	}); err != nil {
		return err
	}
	c.m.history.bytes += z.historyBytes
	c.st.zones.Set(id.key(), z)
	return nil
}

func (c *checkpointReader) importUnderWay(r *reader) error {
	im := &importState{}
	im.begin.readFields(r)
	im.seq = r.uvarint()
	im.timeMS = r.millis("time of the last chunk")
	chunks := r.uvarint()
	if err := r.done("import"); err != nil {
		return err
	}
	conf, err := parseZoneConfig(im.begin.Zone, im.begin.Settings)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	conf.ManagedBy = im.begin.By
	im.conf, im.build = conf, zone.NewBuilder(im.begin.Zone.Name)
	if err := c.many(chunks, itemChunk, "import chunk", func(r *reader) {
		im.add(r.storedRRs())
	}); err != nil {
		return err
	}
	c.st.imports.Set(im.begin.ID, im)
	return nil
}

func (c *checkpointReader) dedupe(r *reader) error {
	for len(r.b) > 0 {
		b := r.take(dedupeEntryBytes)
		if r.err != nil {
			return r.err
		}
		c.st.dedupe.insert(readDedupe(b))
	}
	return nil
}

// rebuild makes what is derived from the state.
func (m *Machine) rebuild() {
	var refs []historyRef
	m.st.zones.Scan(func(key string, z *zoneState) bool {
		s := &slot{id: z.conf.ID, key: key, cur: z}
		m.slots[s.id] = s
		m.configs.Set(key, z.conf)
		if len(z.pending) > 0 {
			s.dirty = true
			m.dirty = append(m.dirty, s)
		}
		for i := range z.history {
			refs = append(refs, historyRef{index: z.history[i].Index, slot: s})
		}
		return true
	})
	// Zones come in the order of their keys, which is the order of boundaries within an entry.
	slices.SortStableFunc(refs, func(a, b historyRef) int { return cmp.Compare(a.index, b.index) })
	m.history.refs, m.history.live = refs, len(refs)
	m.secondaryKeys = keysOf(m.st.secondaries)
	m.publishSettings()
}
