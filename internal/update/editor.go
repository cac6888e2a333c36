package update

import "github.com/zonekeeper/zonekeeper/internal/zone"

// maxSetLen is the most octets, each RR's RDATA with its length, that named stores in one RRset (dns_rdataslab_merge).
const maxSetLen = 65535

// editor applies the updates of one message to a transaction.
type editor struct {
	view
	tx      *zone.Tx
	opt     Options
	limits  []int  // of prescan
	before  uint32 // serial
	journal journal
	// serialSet: an SOA RR of the message has set the serial.
	serialSet bool
}

// run applies the updates and then holds the result to the rules for whole zones (update_action). It reports whether the
// zone changed; the caller commits or rolls back.
func (e *editor) run(updates []zone.RR) (changed bool, f *failure) {
	for i := range updates {
		rr := &updates[i]
		switch rr.Class {
		case zone.ClassIN:
			limit := 0
			if e.limits != nil {
				limit = e.limits[i]
			}
			f = e.add(rr, limit)
		case zone.ClassANY:
			e.deleteSets(rr)
		case zone.ClassNONE:
			e.deleteRR(rr)
		default: // the prescan has refused it
		}
		if f != nil {
			return false, f
		}
	}
	if e.journal.size == 0 {
		return false, nil
	}
	if f := e.checkNameservers(); f != nil {
		return false, f
	}
	if !e.serialSet {
		e.bumpSerial()
	}
	if e.opt.CheckIntegrity {
		if f := e.checkMailExchangers(); f != nil {
			return false, f
		}
	}
	e.removeOrphanedDS()
	if after := e.soaSerial(); !zone.SerialGT(after, e.before) {
		// Only several SOA RRs, or one at a distance of 2^31, lead here; named fails to write its journal.
		return false, fail(ServFail, "the serial would go from %d to %d, which is not an increase", e.before, after)
	}
	if n := e.tx.Records(); e.opt.MaxRecords != 0 && n > e.opt.MaxRecords {
		return false, fail(ServFail, "the zone would hold %d RRs; max-records is %d", n, e.opt.MaxRecords)
	}
	return true, nil
}

// add adds one RR, or ignores it where a zone may not hold it (RFC 2136 3.4.2.2 and named's own rules) or where the policy
// lets the name hold limit RRs of the type and it does.
func (e *editor) add(rr *zone.RR, limit int) *failure {
	var few [4]*zone.RRset
	node := e.AppendSets(few[:0], rr.Name)
	if e.ignored(rr, node) {
		return nil
	}
	if rr.Type == zone.TypeSOA {
		serial := zone.SOASerial(rr.Data)
		// Not zone.SerialGT: a distance of 2^31, which RFC 1982 leaves undefined, is let pass here and refused in run.
		if int32(e.soaSerial()-serial) >= 0 {
			return nil
		}
	}
	ttl := rr.TTL
	if e.opt.MaxTTL != 0 && ttl > e.opt.MaxTTL {
		ttl = e.opt.MaxTTL
	}
	set := ofType(node, rr.Type)
	if limit != 0 && set != nil && len(set.Data) >= limit {
		return nil
	}
	if rr.Type == zone.TypeSOA {
		e.serialSet = true
	}
	if set == nil {
		return e.create(rr, ttl, len(node))
	}
	return e.merge(set, rr, ttl)
}

// ofType returns the RRset of type t among those of one name, nil when there is none.
func ofType(node []*zone.RRset, t zone.Type) *zone.RRset {
	for _, set := range node {
		if set.Type == t {
			return set
		}
	}
	return nil
}

// ignored reports whether named drops the addition of rr, whose owner has the RRsets node, without a word.
func (e *editor) ignored(rr *zone.RR, node []*zone.RRset) bool {
	apex := rr.Name.Equal(e.origin)
	switch rr.Type {
	case zone.TypeMD, zone.TypeMF, zone.TypePrivate:
		return true
	case zone.TypeNS, zone.TypeDNAME:
		if rr.Name.IsWildcard() {
			return true
		}
	case zone.TypeSOA:
		if !apex {
			return true
		}
	case zone.TypeDS:
		if apex {
			return true
		}
	case zone.TypeCNAME:
		for _, set := range node {
			if set.Type != zone.TypeCNAME && !zone.IsAtCNAME(set.Type) {
				return true
			}
		}
		return false
	default:
	}
	return !zone.IsAtCNAME(rr.Type) && ofType(node, zone.TypeCNAME) != nil
}

// create makes rr an RRset at a name that has types RRsets, none of rr's type.
func (e *editor) create(rr *zone.RR, ttl uint32, types int) *failure {
	if e.opt.MaxTypesPerName != 0 && types >= e.opt.MaxTypesPerName {
		return fail(ServFail, "%s holds %d types; max-types-per-name is %d", rr.Name, types, e.opt.MaxTypesPerName)
	}
	e.journal.record(opAdd, rr.Name, rr.Type, ttl, rr.Data)
	e.tx.Set(zone.SingleRRset(rr.Name, rr.Type, ttl, rr.Data))
	return nil
}

// merge puts rr into set: the RRset takes on the TTL and the owner case of rr, and loses the RRs that rr replaces
// (add_rr_prepare_action).
func (e *editor) merge(set *zone.RRset, rr *zone.RR, ttl uint32) *failure {
	restamp := set.TTL != ttl || set.Owner != rr.Name
	if !restamp {
		for _, d := range set.Data {
			if sameData(rr.Type, d, rr.Data) {
				return nil
			}
		}
	}
	data := make([]string, 0, len(set.Data)+1)
	for _, d := range set.Data {
		switch {
		case replaces(rr.Type, rr.Data, d), restamp && sameData(rr.Type, d, rr.Data):
			e.journal.record(opDel, set.Owner, rr.Type, set.TTL, d)
		case restamp:
			e.journal.record(opDel, set.Owner, rr.Type, set.TTL, d)
			e.journal.record(opAdd, rr.Name, rr.Type, ttl, d)
			data = append(data, d)
		default:
			data = append(data, d)
		}
	}
	data = insert(data, rr.Type, rr.Data)
	if f := e.checkSet(rr, data); f != nil {
		return f
	}
	e.journal.record(opAdd, rr.Name, rr.Type, ttl, rr.Data)
	e.tx.Set(&zone.RRset{Owner: rr.Name, Type: rr.Type, TTL: ttl, Data: data})
	return nil
}

// insert puts d at its place in data, which is in canonical order and does not hold it.
func insert(data []string, t zone.Type, d string) []string {
	i := len(data)
	for i > 0 && zone.CompareData(t, data[i-1], d) > 0 {
		i--
	}
	data = append(data, "")
	copy(data[i+1:], data[i:])
	data[i] = d
	return data
}

// checkSet holds an RRset to what named can store.
func (e *editor) checkSet(rr *zone.RR, data []string) *failure {
	if len(data) == 1 {
		return nil
	}
	if e.opt.MaxRecordsPerType != 0 && len(data) > e.opt.MaxRecordsPerType {
		return fail(ServFail, "%s %s would hold %d RRs; max-records-per-type is %d", rr.Name, rr.Type, len(data), e.opt.MaxRecordsPerType)
	}
	if zone.IsSingleton(rr.Type) {
		return fail(ServFail, "%s %s can hold one RR only", rr.Name, rr.Type)
	}
	size := 0
	for _, d := range data {
		size += 2 + len(d)
	}
	if size > maxSetLen {
		return fail(ServFail, "%s %s would take %d octets; an RRset can take %d", rr.Name, rr.Type, size, maxSetLen)
	}
	return nil
}

// deleteSets is an update of class ANY: an RRset, or all RRsets of a name. The apex keeps its SOA and NS RRsets.
func (e *editor) deleteSets(rr *zone.RR) {
	apex := rr.Name.Equal(e.origin)
	protected := func(t zone.Type) bool { return apex && (t == zone.TypeSOA || t == zone.TypeNS) }
	if rr.Type != zone.TypeANY {
		if set := e.Get(rr.Name, rr.Type); set != nil && !protected(rr.Type) {
			e.shrink(set, nil)
		}
		return
	}
	for _, set := range e.Sets(rr.Name) {
		if !protected(set.Type) {
			e.shrink(set, nil)
		}
	}
}

// deleteRR is an update of class NONE: one RR. The apex keeps its SOA RR and its last NS RR.
func (e *editor) deleteRR(rr *zone.RR) {
	set := e.Get(rr.Name, rr.Type)
	if set == nil {
		return
	}
	if rr.Name.Equal(e.origin) && (rr.Type == zone.TypeSOA || rr.Type == zone.TypeNS && len(set.Data) == 1) {
		return
	}
	for i, d := range set.Data {
		if sameData(rr.Type, d, rr.Data) {
			rest := make([]string, 0, len(set.Data)-1)
			e.shrink(set, append(append(rest, set.Data[:i]...), set.Data[i+1:]...))
			return
		}
	}
}

// shrink leaves only rest, a subsequence of its data, of set.
func (e *editor) shrink(set *zone.RRset, rest []string) {
	kept := 0
	for _, d := range set.Data {
		if kept < len(rest) && rest[kept] == d {
			kept++
			continue
		}
		e.journal.record(opDel, set.Owner, set.Type, set.TTL, d)
	}
	if len(rest) == 0 {
		e.tx.Remove(set.Owner, set.Type)
		return
	}
	e.tx.Set(&zone.RRset{Owner: set.Owner, Type: set.Type, TTL: set.TTL, Data: rest})
}

func (e *editor) soaSerial() uint32 { return zone.SOASerial(e.Get(e.origin, zone.TypeSOA).Data[0]) }

func (e *editor) bumpSerial() {
	set := e.Get(e.origin, zone.TypeSOA)
	old := set.Data[0]
	next := zone.WithSOASerial(old, zone.NextSerial(zone.SOASerial(old)))
	e.journal.record(opDel, set.Owner, zone.TypeSOA, set.TTL, old)
	e.journal.record(opAdd, set.Owner, zone.TypeSOA, set.TTL, next)
	e.tx.Set(zone.SingleRRset(set.Owner, zone.TypeSOA, set.TTL, next))
}
