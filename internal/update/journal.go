package update

import "github.com/zonekeeper/zonekeeper/internal/zone"

// journal is the net change of an update so far, as named keeps it (dns_diff_appendminimal): an addition and a deletion of
// the same RR cancel. It decides whether the serial moves. The same means the same owner in the same case: that is why
// adding an RR again under another owner case moves the serial, though nothing changed that DNS takes for a change.
type journal struct {
	entries []entry       // with holes (op 0) where entries cancelled
	index   map[rrKey]int // into entries; built when there are many
	size    int           // entries without holes
}

type op int8

const (
	opAdd op = 1
	opDel op = -1
)

type rrKey struct {
	owner zone.Name // exact case
	t     zone.Type
	ttl   uint32
	data  string // canonical
}

type entry struct {
	rrKey
	op op
}

// scanLimit is how many entries are searched one by one; nearly all updates have fewer.
const scanLimit = 12

func (j *journal) record(o op, owner zone.Name, t zone.Type, ttl uint32, data string) {
	k := rrKey{owner, t, ttl, zone.CanonicalData(t, data)}
	if i := j.find(k); i >= 0 {
		// The opposite of what is there: an RR that exists is never added, one that doesn't is never deleted.
		j.entries[i].op = 0
		j.size--
		delete(j.index, k)
		return
	}
	j.entries = append(j.entries, entry{k, o})
	j.size++
	if j.index != nil {
		j.index[k] = len(j.entries) - 1
	} else if len(j.entries) > scanLimit {
		j.index = make(map[rrKey]int, 4*scanLimit)
		for i, e := range j.entries {
			if e.op != 0 {
				j.index[e.rrKey] = i
			}
		}
	}
}

func (j *journal) find(k rrKey) int {
	if j.index != nil {
		if i, ok := j.index[k]; ok {
			return i
		}
		return -1
	}
	for i := range j.entries {
		if j.entries[i].op != 0 && j.entries[i].rrKey == k {
			return i
		}
	}
	return -1
}

// each calls fn for every RR of type t that the journal adds or deletes on balance.
func (j *journal) each(o op, t zone.Type, fn func(e *entry) *failure) *failure {
	for i := range j.entries {
		if e := &j.entries[i]; e.op == o && e.t == t {
			if f := fn(e); f != nil {
				return f
			}
		}
	}
	return nil
}
