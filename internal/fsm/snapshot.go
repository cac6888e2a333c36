package fsm

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Snapshot is the state as of one entry. It stays what it is while the machine goes on, and may be written by another
// goroutine. Memory that the machine has since replaced is freed with the snapshot: do not keep one for longer than needed.
type Snapshot struct {
	mu *sync.Mutex // the machine's: taking a private copy of a zone counts as a change of it
	st state
}

// Snapshot takes constant time, whatever the state holds.
func (m *Machine) Snapshot() *Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gen++ // from now on every zoneState is shared with the snapshot
	return &Snapshot{mu: &m.mu, st: m.st.copy()}
}

// Index is that of the last entry in the snapshot.
func (s *Snapshot) Index() uint64 { return s.st.index }

// Digest is the digest over all state: that of the octets WriteCheckpoint writes.
func (s *Snapshot) Digest() Digest {
	d, err := s.WriteCheckpoint(io.Discard)
	if err != nil {
		panic(fmt.Sprintf("fsm: a digest cannot fail: %v", err))
	}
	return d
}

// WriteCheckpoint streams the state to w and returns its digest, which Restore checks. Equal states give equal octets. An
// error is w's.
func (s *Snapshot) WriteCheckpoint(w io.Writer) (Digest, error) {
	c := checkpointWriter{w: w, sum: sha256.New()}
	c.put(append([]byte(checkpointMagic), s.st.version))
	s.writeHeader(&c)
	s.writeCluster(&c)
	s.writeKeys(&c)
	s.st.zones.Scan(func(_ string, z *zoneState) bool {
		s.writeZone(&c, z)
		return c.err == nil
	})
	s.writeImports(&c)
	s.writeDedupe(&c)
	s.st.seed.write(&c)
	c.item(itemEnd)
	c.flush()
	digest := Digest(c.sum.Sum(nil))
	if c.err == nil {
		_, c.err = w.Write(digest[:])
	}
	if c.err != nil {
		return Digest{}, fmt.Errorf("write checkpoint of index %d: %w", s.st.index, c.err)
	}
	return digest, nil
}

// checkpointWriter gathers items in a buffer, then hashes and writes it. The first error sticks.
type checkpointWriter struct {
	w    io.Writer
	sum  hash.Hash
	out  []byte // complete items
	body []byte // the fields of the item being made
	err  error
}

const checkpointBuffer = 128 << 10

func (c *checkpointWriter) put(b []byte) {
	c.out = append(c.out, b...)
	if len(c.out) >= checkpointBuffer {
		c.flush()
	}
}

func (c *checkpointWriter) flush() {
	c.sum.Write(c.out)
	if c.err == nil {
		_, c.err = c.w.Write(c.out)
	}
	c.out = c.out[:0]
}

// item completes the item whose fields are in body.
func (c *checkpointWriter) item(kind itemKind) {
	c.out = append(c.out, byte(kind))
	c.out = appendUvarint(c.out, uint64(len(c.body)))
	c.put(c.body)
	c.body = c.body[:0]
}

func (s *Snapshot) writeHeader(c *checkpointWriter) {
	b := c.body
	b = appendUvarint(b, s.st.index)
	b = appendUvarint(b, uint64(s.st.timeMS))
	b = appendUvarint(b, s.st.generation)
	b = appendUvarint(b, s.st.keyVersion)
	b = appendUvarint(b, uint64(s.st.keyID))
	c.body = s.st.limits.append(b)
	c.item(itemHeader)
}

func (s *Snapshot) writeCluster(c *checkpointWriter) {
	s.st.replicas.Scan(func(name string, r replicaState) bool {
		c.body = appendString(c.body, name)
		c.body = appendUvarint(c.body, r.epoch)
		c.body = appendUvarint(c.body, r.seq)
		c.body = append(c.body, r.support)
		c.item(itemReplica)
		return true
	})
	s.st.marks.Scan(func(index uint64, list []mark) bool {
		c.body = appendUvarint(c.body, index)
		c.body = appendUvarint(c.body, uint64(len(list)))
		for _, x := range list {
			c.body = appendString(c.body, x.replica)
			c.body = append(c.body, x.digest[:]...)
		}
		c.item(itemMarks)
		return true
	})
}

func (s *Snapshot) writeKeys(c *checkpointWriter) {
	s.st.keys.Scan(func(name zone.Name, k *keyRecord) bool {
		c.body = appendString(c.body, name)
		c.body = appendUvarint(c.body, uint64(k.id))
		c.body = appendUvarint(c.body, k.floor)
		c.body = appendString(c.body, k.ManagedBy)
		c.body = k.Guarantee.append(c.body)
		c.body = appendUvarint(c.body, uint64(len(k.Secrets)))
		for i := range k.Secrets {
			c.body = appendSecret(c.body, &k.Secrets[i])
		}
		if k.Rate != (Rate{}) { // a key without one is written as before there were any
			c.body = k.Rate.append(c.body)
		}
		c.item(itemKey)
		return true
	})
	s.st.forgotten.Scan(func(id string, until int64) bool {
		c.body = appendString(c.body, id)
		c.body = appendUvarint(c.body, uint64(until))
		c.item(itemForgotten)
		return true
	})
	s.st.secondaries.Scan(func(_ string, x *Secondary) bool {
		c.body = x.append(c.body)
		c.item(itemSecondary)
		return true
	})
	s.st.graves.Scan(func(_ string, g grave) bool {
		c.body = g.id.append(c.body)
		c.body = appendUvarint(c.body, uint64(g.serial))
		c.body = appendUvarint(c.body, g.incarnation)
		c.item(itemGrave)
		return true
	})
	if s.st.catalog.exists() {
		c.body = s.st.catalog.append(c.body)
		c.item(itemCatalog)
	}
}

func (s *Snapshot) writeZone(c *checkpointWriter, z *zoneState) {
	s.mu.Lock()
	content := z.zone.Snapshot()
	s.mu.Unlock()

	c.body = z.conf.ID.append(c.body)
	c.body = appendUvarint(c.body, z.conf.Incarnation)
	c.body = appendString(c.body, z.conf.ManagedBy)
	c.body = z.conf.Settings.append(c.body)
	c.body = appendUvarint(c.body, uint64(z.cutMS))
	c.body = appendUvarint(c.body, uint64(content.Records()))
	digest := content.Digest()
	c.body = append(c.body, digest[:]...)
	c.body = appendUvarint(c.body, uint64(content.Len()))
	c.body = appendUvarint(c.body, uint64(len(z.pending)))
	c.body = appendUvarint(c.body, uint64(len(z.history)))
	c.item(itemZone)

	content.Ascend(func(set *zone.RRset) bool {
		c.body = appendRRset(c.body, set)
		c.item(itemRRset)
		return c.err == nil
	})
	for _, d := range z.pending {
		c.body = appendDiff(c.body, d)
		c.item(itemPending)
	}
	for i := range z.history {
		b := &z.history[i]
		c.body = appendUvarint(c.body, uint64(b.From))
		c.body = appendUvarint(c.body, uint64(b.To))
		c.body = appendUvarint(c.body, b.Index)
		c.body = appendDiff(c.body, b.Diff)
		c.item(itemBoundary)
	}
}

func (s *Snapshot) writeImports(c *checkpointWriter) {
	s.st.imports.Scan(func(_ string, im *importState) bool {
		c.body = im.begin.appendFields(c.body)
		c.body = appendUvarint(c.body, im.seq)
		c.body = appendUvarint(c.body, uint64(im.timeMS))
		c.body = appendUvarint(c.body, uint64(len(im.chunks)))
		c.item(itemImport)
		for _, rrs := range im.chunks {
			c.body = appendStoredRRs(c.body, rrs)
			c.item(itemChunk)
		}
		return c.err == nil
	})
}

func (s *Snapshot) writeDedupe(c *checkpointWriter) {
	s.st.dedupe.table.Scan(func(e dedupeEntry) bool {
		c.body = appendDedupe(c.body, e)
		if len(c.body) == dedupeBlock*dedupeEntryBytes {
			c.item(itemDedupe)
		}
		return c.err == nil
	})
	if len(c.body) > 0 {
		c.item(itemDedupe)
	}
}
