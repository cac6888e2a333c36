package fsm

import "fmt"

// Limits bound the state (I8). They are part of it, because what a machine refuses depends on them.
type Limits struct {
	// MaxDedupe is the number of remembered requests, MaxDedupePerKey that of one key. They live for up to 300 s, so
	// 20,000 updates a second are 6,000,000 of them. Each takes about 48 octets of memory (BenchmarkDedupe).
	MaxDedupe       uint64
	MaxDedupePerKey uint64
	// HistoryPerZone is the number of publish boundaries remembered a zone, HistoryZoneBytes their size and
	// HistoryTotalBytes that of all zones. It lets a rebuilt named serve IXFR (rule C5).
	HistoryPerZone    uint64
	HistoryZoneBytes  uint64
	HistoryTotalBytes uint64
	// MaxImports is the number of imports under way, MaxImportRecords the records of all of them.
	MaxImports       uint64
	MaxImportRecords uint64
	// CutIntervalMS: pending changes become a publish boundary this long after the zone's last one, CutBytes: or when
	// they are this large. Those that are more than a quarter of CutBytes by then wait up to three intervals.
	CutIntervalMS uint64
	CutBytes      uint64
}

// DefaultLimits are the limits of a new cluster.
func DefaultLimits() Limits {
	return Limits{
		MaxDedupe:         6_400_000,
		MaxDedupePerKey:   6_000_000,
		HistoryPerZone:    64,
		HistoryZoneBytes:  256 << 10,
		HistoryTotalBytes: 64 << 20,
		MaxImports:        4,
		MaxImportRecords:  20_000_000,
		CutIntervalMS:     20,
		CutBytes:          32 << 10,
	}
}

// Validate says what makes limits unusable.
func (l Limits) Validate() error {
	for _, f := range l.fields() {
		if *f.value == 0 {
			return fmt.Errorf("limit %s is 0; use a positive number", f.name)
		}
		if *f.value > 1<<40 {
			return fmt.Errorf("limit %s is %d; use at most %d", f.name, *f.value, uint64(1)<<40)
		}
	}
	return nil
}

type limitField struct {
	name  string
	value *uint64
}

// fields lists the limits in the order of the format.
func (l *Limits) fields() [9]limitField {
	return [...]limitField{
		{"MaxDedupe", &l.MaxDedupe},
		{"MaxDedupePerKey", &l.MaxDedupePerKey},
		{"HistoryPerZone", &l.HistoryPerZone},
		{"HistoryZoneBytes", &l.HistoryZoneBytes},
		{"HistoryTotalBytes", &l.HistoryTotalBytes},
		{"MaxImports", &l.MaxImports},
		{"MaxImportRecords", &l.MaxImportRecords},
		{"CutIntervalMS", &l.CutIntervalMS},
		{"CutBytes", &l.CutBytes},
	}
}

func (l *Limits) append(b []byte) []byte {
	for _, f := range l.fields() {
		b = appendUvarint(b, *f.value)
	}
	return b
}

func (l *Limits) read(r *reader) {
	for _, f := range l.fields() {
		*f.value = r.uvarint()
	}
}
