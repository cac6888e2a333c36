package fsm

import (
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// importIdleMS: an import that got nothing for this long makes room for another one. Its proposer died.
const importIdleMS = 10 * 60 * 1000

// importState is an import under way. Immutable: each chunk makes a new one, which shares the chunks.
type importState struct {
	begin   ImportBegin
	conf    *ZoneConfig
	seq     uint64 // of the last chunk
	records uint64
	timeMS  int64 // log time of the last chunk
	chunks  [][]zone.RR
	// build is the zone as far as it has come, shared by all copies: a checkpoint has the chunks, and it follows from them.
	// Building as they arrive keeps the commit, for which everybody else has to wait, short.
	build *zone.Builder
}

// add takes a chunk's records.
func (im *importState) add(rrs []zone.RR) {
	im.records += uint64(len(rrs))
	im.chunks = append(im.chunks, rrs)
	im.build.Add(rrs)
}

func (m *Machine) importBegin(c *ImportBegin) error {
	if err := c.Zone.validate(); err != nil {
		return err
	}
	conf, err := parseZoneConfig(c.Zone, c.Settings)
	if err != nil {
		return err
	}
	conf.ManagedBy = c.By
	if err := m.checkImportTarget(c); err != nil {
		return err
	}
	if err := m.checkReferences(conf); err != nil {
		return err
	}
	if _, ok := m.st.imports.Get(c.ID); ok || c.ID == "" {
		return fmt.Errorf("import %q: the identifier is empty or in use; choose another", c.ID)
	}
	m.dropIdleImports()
	if n := uint64(m.st.imports.Len()); n >= m.st.limits.MaxImports {
		return fmt.Errorf("import %q: %d imports are under way; wait for one to end, or abort one", c.ID, n)
	}
	m.st.imports.Set(c.ID, &importState{begin: *c, conf: conf, timeMS: m.st.timeMS, build: zone.NewBuilder(c.Zone.Name)})
	return nil
}

// checkImportTarget says why a zone can't be imported now.
func (m *Machine) checkImportTarget(c *ImportBegin) error {
	s := m.slots[c.Zone]
	switch {
	case s == nil:
		return nil
	case s.cur.conf.catalog:
		return errCatalog(c.Zone)
	case !c.Replace:
		return fmt.Errorf("zone %s exists; import with replacement, or delete it first", c.Zone)
	}
	return checkActor("zone "+c.Zone.String(), s.cur.conf.ManagedBy, c.Actor)
}

func (m *Machine) dropIdleImports() {
	var idle []string
	m.st.imports.Scan(func(id string, im *importState) bool {
		if m.st.timeMS > im.timeMS+importIdleMS {
			idle = append(idle, id)
		}
		return true
	})
	for _, id := range idle {
		m.st.imports.Delete(id)
	}
}

func noSuchImport(id string) error {
	return fmt.Errorf("import %q is not under way: it was aborted, refused, or idle for too long; begin again", id)
}

func (m *Machine) importChunk(c *ImportChunk) error {
	im, ok := m.st.imports.Get(c.ID)
	if !ok {
		return noSuchImport(c.ID)
	}
	if c.Seq != im.seq+1 {
		return fmt.Errorf("import %q: chunk %d follows %d; abort and begin again", c.ID, c.Seq, im.seq)
	}
	total := uint64(len(c.RRs))
	m.st.imports.Scan(func(_ string, other *importState) bool {
		total += other.records
		return true
	})
	if total > m.st.limits.MaxImportRecords {
		m.st.imports.Delete(c.ID)
		return fmt.Errorf("import %q: more than %d records in the imports under way; the import was dropped: raise MaxImportRecords", c.ID, m.st.limits.MaxImportRecords)
	}
	next := *im
	next.seq, next.timeMS = c.Seq, m.st.timeMS
	next.add(c.RRs)
	m.st.imports.Set(c.ID, &next)
	return nil
}

func (m *Machine) importAbort(c *ImportAbort) error {
	if _, ok := m.st.imports.Delete(c.ID); !ok {
		return noSuchImport(c.ID)
	}
	return nil
}

func (m *Machine) importCommit(c *ImportCommit) Result {
	im, ok := m.st.imports.Delete(c.ID)
	if !ok {
		return refused(noSuchImport(c.ID))
	}
	return m.zoneResult(im.begin.Zone, m.finishImport(im, c))
}

func (m *Machine) finishImport(im *importState, c *ImportCommit) error {
	id := im.begin.Zone
	if err := m.checkImportTarget(&im.begin); err != nil {
		return err
	}
	if im.records != c.Records {
		return fmt.Errorf("zone %s: %d records arrived of %d; import again", id, im.records, c.Records)
	}
	z, err := im.build.Zone()
	if err != nil {
		return fmt.Errorf("zone %s: %w", id, err)
	}
	if z.Digest() != c.Digest {
		return fmt.Errorf("zone %s: the records that arrived have digest %s, sent was %s; import again", id, z.Digest(), c.Digest)
	}
	if err := im.conf.room(uint64(z.Records())); err != nil {
		return err
	}
	if highest, ok := m.highestSerial(id); ok && usedSerial(z.Serial(), highest) {
		if !im.begin.MoveSerial {
			return fmt.Errorf("zone %s: serial %d is not greater than %d, which this name has had: secondaries would keep the old content; "+
				"import with a greater serial, or let the import move it", id, z.Serial(), highest)
		}
		setSerial(z, zone.NextSerial(highest))
	}
	kind := ZoneCreated
	if m.slots[id] != nil {
		kind = ZoneReplaced
	}
	conf := *im.conf
	m.installZone(&conf, z, kind)
	return nil
}
