package fsm

import (
	"encoding/hex"

	"github.com/tidwall/btree"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Digest is the SHA-256 over all replicated state, in the form of a checkpoint.
type Digest [32]byte

// String gives the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// state is everything that entries change: what a checkpoint holds and its digest covers. Its collections are
// copy-on-write, so that copying the struct (see copy) takes constant time whatever it holds.
type state struct {
	version    uint8  // activated version of entries, checkpoints and semantics
	index      uint64 // of the last entry applied
	timeMS     int64  // log time: the greatest time any entry carried
	generation uint64 // of the settings
	keyVersion uint64 // highest version of any key's secret, ever
	keyID      uint32 // highest keyRecord.id, ever
	limits     Limits

	keys      *btree.Map[zone.Name, *keyRecord]
	forgotten *btree.Map[string, int64]      // deleted secrets (SecretID) and the log time at which they may return
	zones     *btree.Map[string, *zoneState] // by ZoneID.key
	graves    *btree.Map[string, grave]      // by ZoneID.key: zones deleted
	catalog   catalog
	imports   *btree.Map[string, *importState]
	// secondaries are the registered ones, by name.
	secondaries *btree.Map[string, *Secondary]
	replicas    *btree.Map[string, replicaState]
	marks       *btree.Map[uint64, []mark] // by index
	dedupe      dedupe
	seed        *seedState // nil: none is under way
}

// replicaState is what is known of a proposer.
type replicaState struct {
	epoch, seq uint64
	support    uint8 // version up to which its program goes; 0: not reported
}

// grave remembers the highest serial of a zone that was deleted, because a secondary may still hold it (rule C3), and its
// incarnation.
type grave struct {
	id          ZoneID
	serial      uint32
	incarnation uint64
}

func newState() state {
	return state{
		version:   Version1,
		limits:    DefaultLimits(),
		keys:      new(btree.Map[zone.Name, *keyRecord]),
		forgotten: new(btree.Map[string, int64]),
		zones:     new(btree.Map[string, *zoneState]),
		graves:    new(btree.Map[string, grave]),
		imports:   new(btree.Map[string, *importState]),
		replicas:  new(btree.Map[string, replicaState]),
		marks:     new(btree.Map[uint64, []mark]),
		dedupe:    newDedupe(),

		secondaries: new(btree.Map[string, *Secondary]),
	}
}

// copy gives an independent state in constant time. Values behind pointers are shared: they are immutable, except zoneState,
// which Machine.writable copies before the first change after a snapshot.
func (s *state) copy() state {
	c := *s
	c.keys = s.keys.Copy()
	c.forgotten = s.forgotten.Copy()
	c.zones = s.zones.Copy()
	c.graves = s.graves.Copy()
	c.imports = s.imports.Copy()
	c.secondaries = s.secondaries.Copy()
	c.replicas = s.replicas.Copy()
	c.marks = s.marks.Copy()
	c.dedupe = dedupe{table: s.dedupe.table.Copy()}
	return c
}
