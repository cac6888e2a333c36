package zone

import (
	"slices"
	"strings"
)

// Tx is a transaction on a Zone: changes that are taken back together or come out as one Diff. Only one can run on a zone
// at a time; while it runs, changes made through the Zone itself are part of it.
type Tx struct {
	*Zone
	// touched holds every RRset that was touched, as it was and as it is. Undoing by hand costs nothing when a transaction
	// commits, as almost all do; a snapshot would make every change copy its tree nodes.
	touched []touch
	few     [2]touch       // room for what most transactions touch: one RRset and the SOA
	index   map[string]int // into touched by key; built when there are many
	records int
	sum     lanes
	apex    apexSets
}

// touch is one RRset of the zone; before and now are nil when there is none.
type touch struct {
	key         string
	before, now *RRset
}

// scanTouches is how many touches are searched one by one; nearly all transactions have fewer.
const scanTouches = 12

// Begin starts a transaction. It panics when one is running.
func (z *Zone) Begin() *Tx {
	if z.tx != nil {
		panic("zone: a transaction is running already on " + z.origin.String())
	}
	tx := &Tx{Zone: z, records: z.records, sum: z.sum, apex: z.apex}
	tx.touched = tx.few[:0]
	z.tx = tx
	return tx
}

// note takes down that the RRset with this key was replaced.
func (tx *Tx) note(key string, old, now *RRset) {
	if i := tx.find(key); i >= 0 {
		tx.touched[i].now = now
		return
	}
	tx.touched = append(tx.touched, touch{key, old, now})
	switch {
	case tx.index != nil:
		tx.index[key] = len(tx.touched) - 1
	case len(tx.touched) > scanTouches:
		tx.index = make(map[string]int, 4*scanTouches)
		tx.reindex()
	}
}

func (tx *Tx) find(key string) int {
	if tx.index != nil {
		if i, ok := tx.index[key]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(tx.touched, func(t touch) bool { return t.key == key })
}

func (tx *Tx) reindex() {
	for i := range tx.touched {
		tx.index[tx.touched[i].key] = i
	}
}

// Rollback restores the zone exactly as it was at Begin and ends the transaction. After Commit it does nothing.
func (tx *Tx) Rollback() {
	z := tx.Zone
	if z.tx != tx {
		return
	}
	for _, t := range tx.touched {
		if t.before == nil {
			z.sets.Delete(t.key)
		} else {
			z.sets.Set(t.key, t.before)
		}
	}
	z.records, z.sum, z.apex, z.tx = tx.records, tx.sum, tx.apex, nil
}

// Commit ends the transaction and returns its net changes.
func (tx *Tx) Commit() Diff {
	d := tx.Diff()
	tx.Zone.tx = nil
	return d
}

// Diff returns the net changes so far.
func (tx *Tx) Diff() Diff {
	slices.SortFunc(tx.touched, func(a, b touch) int { return strings.Compare(a.key, b.key) })
	if tx.index != nil {
		tx.reindex()
	}
	d := &tx.diff
	for _, t := range tx.touched {
		d.addSets(t.before, t.now)
	}
	d.soaFirst()
	net := d.clone()
	d.reset()
	return net
}
