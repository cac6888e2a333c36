package fsm

import (
	"encoding/binary"

	"github.com/tidwall/btree"
)

// dedupe remembers the answers to signed requests for as long as their signatures can verify (I4, rule C1). Its order is
// that of expiry, so that expiring is taking from the front, and neighbours in time are neighbours in memory.
//
// It never forgets early. When it is full, requests are still applied, and the key's floor rises to what they were signed
// at: what is absent from the table and signed at or before the floor may have been applied, and gets BADTIME.
type dedupe struct {
	table *btree.BTreeG[dedupeEntry]
	// perKey counts the entries of each key, by keyState.id. Derived from the table, so not in a checkpoint.
	perKey map[uint32]uint64
}

// dedupeEntry is 32 octets and has no pointers: there are millions.
type dedupeEntry struct {
	// when is expiry (seconds since 1970, the upper 40 bits), response code (8 bits), extended DNS error (16 bits).
	when   uint64
	fp     [2]uint64 // the fingerprint, big endian
	serial uint32
	key    uint32 // keyState.id
}

// answer is what a request got, without the extra text of its extended DNS error, which is advisory (RFC 8914 section 2).
type answer struct {
	rcode  uint8
	ede    uint16
	serial uint32
}

// expiryMask selects the expiry of dedupeEntry.when.
const expiryMask = ^uint64(1<<24 - 1)

func newDedupeEntry(expiry uint64, fp Fingerprint, key uint32, a answer) dedupeEntry {
	return dedupeEntry{
		when:   expiry<<24 | uint64(a.rcode)<<16 | uint64(a.ede),
		fp:     [2]uint64{binary.BigEndian.Uint64(fp[:8]), binary.BigEndian.Uint64(fp[8:])},
		serial: a.serial,
		key:    key,
	}
}

func (e dedupeEntry) expiry() uint64 { return e.when >> 24 }

func (e dedupeEntry) answer() answer {
	return answer{rcode: uint8(e.when >> 16), ede: uint16(e.when), serial: e.serial}
}

func lessDedupe(a, b dedupeEntry) bool {
	if x, y := a.when&expiryMask, b.when&expiryMask; x != y {
		return x < y
	}
	if a.fp[0] != b.fp[0] {
		return a.fp[0] < b.fp[0]
	}
	return a.fp[1] < b.fp[1]
}

func newDedupe() dedupe {
	return dedupe{
		table:  btree.NewBTreeGOptions(lessDedupe, btree.Options{NoLocks: true}),
		perKey: make(map[uint32]uint64),
	}
}

// lookup finds the answer that a request got before. An entry that has expired and not been removed yet does not count,
// so that the answer does not depend on how removal is spread over entries.
func (d *dedupe) lookup(now, expiry uint64, fp Fingerprint) (answer, bool) {
	if expiry < now {
		return answer{}, false
	}
	e, ok := d.table.Get(newDedupeEntry(expiry, fp, 0, answer{}))
	if !ok {
		return answer{}, false
	}
	return e.answer(), true
}

// full says whether another entry of this key would break a limit.
func (d *dedupe) full(key uint32, l *Limits) bool {
	return uint64(d.table.Len()) >= l.MaxDedupe || d.perKey[key] >= l.MaxDedupePerKey
}

func (d *dedupe) insert(e dedupeEntry) {
	if _, replaced := d.table.Set(e); !replaced {
		d.perKey[e.key]++
	}
}

// expire removes what expired before now, at most limit entries: after an idle time millions may be due at once, and one
// Apply must not take a second for them.
func (d *dedupe) expire(now uint64, limit int) {
	for range limit {
		e, ok := d.table.Min()
		if !ok || e.expiry() >= now {
			return
		}
		d.table.PopMin()
		if d.perKey[e.key]--; d.perKey[e.key] == 0 {
			delete(d.perKey, e.key)
		}
	}
}
