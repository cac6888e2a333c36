package fsm

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// A seed is the content of a backup on its way into a new cluster: a checkpoint in chunks, of which nothing is visible before all of it
// is there, whole, and accepted in one entry. So a restore happens or does not; there is no half.

// MaxSeedBytes bounds a seed (I8): some twenty million records. It lies in the memory of every replica until it is committed.
const MaxSeedBytes = 1 << 30

// seedIdleMS: a seed that got nothing for this long makes room for another one. Its proposer died.
const seedIdleMS = importIdleMS

// SeedChunk adds octets to a seed. Seq counts 1, 2, 3, …; the first begins it, and there is one at a time.
type SeedChunk struct {
	ID   string // chosen by the proposer
	Seq  uint64
	Data []byte
}

// SeedCommit makes the seed the content of a cluster that has none: no zone but an empty catalog, no deleted zone. Keys and secondaries
// that are there already stay, unless the seed has others of their names.
type SeedCommit struct {
	ID     string
	Chunks uint64
}

// SeedAbort forgets a seed.
type SeedAbort struct {
	ID string
}

// Kind implements Command.
func (*SeedChunk) Kind() Kind { return KindSeedChunk }

// Kind implements Command.
func (*SeedCommit) Kind() Kind { return KindSeedCommit }

// Kind implements Command.
func (*SeedAbort) Kind() Kind { return KindSeedAbort }

func (c *SeedChunk) appendFields(b []byte) []byte {
	b = appendString(b, c.ID)
	b = appendUvarint(b, c.Seq)
	return append(b, c.Data...)
}

func (c *SeedChunk) readFields(r *reader) {
	c.ID = r.string()
	c.Seq = r.uvarint()
	c.Data = slices.Clone(r.b) // kept in the state, so not an alias of the entry
	r.b = nil
}

func (c *SeedCommit) appendFields(b []byte) []byte {
	return appendUvarint(appendString(b, c.ID), c.Chunks)
}

func (c *SeedCommit) readFields(r *reader) {
	c.ID = r.string()
	c.Chunks = r.uvarint()
}

func (c *SeedAbort) appendFields(b []byte) []byte { return appendString(b, c.ID) }
func (c *SeedAbort) readFields(r *reader)         { c.ID = r.string() }

// seedState is a seed under way. Immutable: each chunk makes a new one, which shares the chunks.
type seedState struct {
	id     string
	timeMS int64 // log time of the last chunk
	bytes  uint64
	chunks [][]byte
}

func noSuchSeed(id string) error {
	return fmt.Errorf("restore %q is not under way: it was aborted, refused, or idle for too long; begin again", id)
}

func (m *Machine) seedChunk(c *SeedChunk) error {
	now := m.st.seed
	if c.Seq == 1 {
		switch {
		case c.ID == "":
			return errors.New("a restore without an identifier; choose one")
		case now != nil && m.st.timeMS <= now.timeMS+seedIdleMS:
			return fmt.Errorf("restore %q is under way; wait for its end, or %d s after its proposer died", now.id, seedIdleMS/1000)
		}
		if err := m.checkFresh(); err != nil {
			return err
		}
		now = &seedState{id: c.ID}
	}
	if now == nil || now.id != c.ID {
		return noSuchSeed(c.ID)
	}
	if want := uint64(len(now.chunks)) + 1; c.Seq != want {
		return fmt.Errorf("restore %q: chunk %d came where %d belongs; abort and begin again", c.ID, c.Seq, want)
	}
	next := &seedState{id: c.ID, timeMS: m.st.timeMS, bytes: now.bytes + uint64(len(c.Data)), chunks: append(now.chunks, c.Data)}
	if next.bytes > MaxSeedBytes {
		m.st.seed = nil
		return fmt.Errorf("restore %q: more than %d octets of state; it was dropped", c.ID, MaxSeedBytes)
	}
	m.st.seed = next
	return nil
}

func (m *Machine) seedAbort(c *SeedAbort) error {
	if m.st.seed == nil || m.st.seed.id != c.ID {
		return noSuchSeed(c.ID)
	}
	m.st.seed = nil
	return nil
}

// ErrNotEmpty: a backup can be restored only where there is nothing that it could destroy.
var ErrNotEmpty = errors.New("the cluster is not empty")

// checkFresh says why the cluster's content must not be replaced.
func (m *Machine) checkFresh() error {
	const remedy = "restore into a new cluster; a single zone comes back with: zonekeeper backup extract, then zone import"
	for _, s := range m.sortedSlots() {
		if !s.cur.conf.catalog {
			return fmt.Errorf("%w: it has %d zones, such as %s; %s", ErrNotEmpty, len(m.members()), s.id, remedy)
		}
	}
	if n := m.st.graves.Len(); n > 0 {
		return fmt.Errorf("%w: it remembers %d zones that were deleted, whose serials secondaries may hold; %s", ErrNotEmpty, n, remedy)
	}
	if n := m.st.imports.Len(); n > 0 {
		return fmt.Errorf("%w: %d imports of zones are under way; %s", ErrNotEmpty, n, remedy)
	}
	return nil
}

// Fresh says whether a backup can be restored now; nil when it can. It wraps ErrNotEmpty.
func (m *Machine) Fresh() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.checkFresh()
}

func (m *Machine) seedCommit(c *SeedCommit) error {
	s := m.st.seed
	if s == nil || s.id != c.ID {
		return noSuchSeed(c.ID)
	}
	m.st.seed = nil
	if uint64(len(s.chunks)) != c.Chunks {
		return fmt.Errorf("restore %q: %d chunks arrived of %d; restore again", c.ID, len(s.chunks), c.Chunks)
	}
	seed, err := restore(&chunkReader{rest: s.chunks}, m.maxVersion)
	if err != nil {
		return fmt.Errorf("restore %q: what arrived is not what was sent: %w", c.ID, err)
	}
	if err := m.checkSeed(&seed.st); err != nil {
		return err
	}
	return m.plant(seed)
}

// checkSeed refuses a seed that does not fit, before anything is changed.
func (m *Machine) checkSeed(seed *state) error {
	if err := m.checkFresh(); err != nil {
		return err
	}
	var err error
	seed.keys.Scan(func(name zone.Name, k *keyRecord) bool {
		for i := range k.Secrets {
			if v := k.Secrets[i].Version; v <= m.st.keyVersion {
				err = fmt.Errorf("key %s: version %d %w; use %d or more", name, v, errTaken, m.st.keyVersion+1)
			}
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	n := m.st.secondaries.Len()
	seed.secondaries.Scan(func(name string, s *Secondary) bool {
		if _, ok := m.st.secondaries.Get(name); !ok {
			n++
		}
		if other := m.secondaryWithKey(s.Key); other != "" && other != name {
			err = fmt.Errorf("secondary %s: its key %s is that of secondary %s here; remove that one first", name, s.Key, other)
		}
		return err == nil
	})
	now, old := m.st.catalog, seed.catalog
	switch {
	case err != nil:
		return err
	case n > maxSecondaries:
		return fmt.Errorf("%d secondaries with those that are registered here; at most %d can be: remove some first", n, maxSecondaries)
	case now.exists() && old.exists() && now.id != old.id:
		return fmt.Errorf("the catalog is %s here and %s in the backup, and secondaries know it by that name; restore before the first secondary is registered", now.id, old.id)
	case now.exists() && !old.exists():
		if _, taken := seed.zones.Get(now.id.key()); taken {
			return fmt.Errorf("zone %s of the backup is the catalog here; restore before the first secondary is registered", now.id)
		}
	}
	return nil
}

// plant makes a seed's content the machine's. What belongs to the log and the replicas stays: index, time, versions, marks, dedupe table.
func (m *Machine) plant(seed *Machine) error {
	from := &seed.st
	m.st.limits = from.limits
	from.keys.Scan(func(name zone.Name, k *keyRecord) bool {
		rec := *k
		// A floor that lies ahead, because a client's clock may have, would lock out everybody.
		rec.floor = min(rec.floor, m.now())
		if old, ok := m.st.keys.Get(name); ok {
			rec.id, rec.floor = old.id, max(rec.floor, old.floor)
		} else {
			m.st.keyID++
			rec.id = m.st.keyID
		}
		m.st.keys.Set(name, &rec)
		return true
	})
	m.st.keyVersion = max(m.st.keyVersion, from.keyVersion)
	from.secondaries.Scan(func(name string, s *Secondary) bool {
		m.st.secondaries.Set(name, s)
		return true
	})
	m.secondariesChanged()
	from.graves.Scan(func(key string, g grave) bool {
		g.incarnation = m.st.index
		m.st.graves.Set(key, g)
		return true
	})
	from.zones.Scan(func(_ string, z *zoneState) bool {
		if !z.conf.catalog {
			conf := *z.conf
			m.installZone(&conf, z.zone, ZoneCreated)
		}
		return true
	})
	if !from.catalog.exists() {
		return nil
	}
	old, _ := from.zones.Get(from.catalog.id.key())
	if !m.st.catalog.exists() {
		conf := *old.conf
		return m.createCatalog(&conf, old.zone.Serial())
	}
	return m.bumpSerial(&BumpSerial{Zone: m.st.catalog.id, Past: old.zone.Serial(), HasPast: true})
}

// chunkReader reads chunks one after another. The chunks are the state's, and are not changed.
type chunkReader struct {
	rest [][]byte
	cur  []byte
}

func (r *chunkReader) Read(b []byte) (int, error) {
	for len(r.cur) == 0 {
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		r.cur, r.rest = r.rest[0], r.rest[1:]
	}
	n := copy(b, r.cur)
	r.cur = r.cur[n:]
	return n, nil
}

func (s *seedState) write(c *checkpointWriter) {
	if s == nil {
		return
	}
	c.body = appendString(c.body, s.id)
	c.body = appendUvarint(c.body, uint64(s.timeMS))
	c.body = appendUvarint(c.body, uint64(len(s.chunks)))
	c.item(itemSeed)
	for _, chunk := range s.chunks {
		c.body = append(c.body, chunk...)
		c.item(itemSeedChunk)
	}
}

// seed reads a checkpoint's.
func (c *checkpointReader) seed(r *reader) error {
	if c.st.seed != nil {
		r.fail("a second seed")
	}
	s := &seedState{id: r.string(), timeMS: r.millis("time of the last chunk")}
	chunks := r.uvarint()
	if err := r.done("seed"); err != nil {
		return err
	}
	if err := c.many(chunks, itemSeedChunk, "seed chunk", func(r *reader) {
		s.chunks = append(s.chunks, slices.Clone(r.b))
		s.bytes += uint64(len(r.b))
		r.b = nil
	}); err != nil {
		return err
	}
	c.st.seed = s
	return nil
}
