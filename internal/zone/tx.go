package zone

import (
	"slices"
	"strings"
)

// Tx is a transaction on a Zone: changes that are taken back together or come out as one Diff. Only one can run on a zone
// at a time; while it runs, changes made through the Zone itself are part of it.
type Tx struct {
	*Zone
	// first holds, for each key that was touched, the RRset that was there before (nil: none). Undoing by hand costs
	// nothing when a transaction commits, as almost all do; a snapshot would make every change copy its tree nodes.
	first   map[string]*RRset
	records int
	sum     lanes
	soa     *RRset
}

// Begin starts a transaction. It panics when one is running.
func (z *Zone) Begin() *Tx {
	if z.tx != nil {
		panic("zone: a transaction is running already on " + z.origin.String())
	}
	z.tx = &Tx{Zone: z, first: make(map[string]*RRset), records: z.records, sum: z.sum, soa: z.soa}
	return z.tx
}

func (tx *Tx) note(key string, old *RRset) {
	if _, seen := tx.first[key]; !seen {
		tx.first[key] = old
	}
}

// Rollback restores the zone exactly as it was at Begin and ends the transaction. After Commit it does nothing.
func (tx *Tx) Rollback() {
	z := tx.Zone
	if z.tx != tx {
		return
	}
	for key, old := range tx.first {
		if old == nil {
			z.sets.Delete(key)
		} else {
			z.sets.Set(key, old)
		}
	}
	z.records, z.sum, z.soa, z.tx = tx.records, tx.sum, tx.soa, nil
}

// Commit ends the transaction and returns its net changes.
func (tx *Tx) Commit() Diff {
	d := tx.Diff()
	tx.Zone.tx = nil
	return d
}

// Diff returns the net changes so far.
func (tx *Tx) Diff() Diff {
	keys := make([]string, 0, len(tx.first))
	for k := range tx.first {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	var d Diff
	for _, k := range keys {
		now, _ := tx.Zone.sets.Get(k)
		d.addSets(tx.first[k], now)
	}
	d.soaFirst()
	return d
}
