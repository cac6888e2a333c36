package update

import "github.com/zonekeeper/zonekeeper/internal/zone"

// view is a zone, at rest or in the middle of a change, with the questions that an update asks of it.
type view struct {
	*zone.Zone
	origin zone.Name
}

// holds reports whether rr exists.
func (v view) holds(rr *zone.RR) bool {
	set := v.Get(rr.Name, rr.Type)
	if set == nil {
		return false
	}
	for _, d := range set.Data {
		if sameData(rr.Type, d, rr.Data) {
			return true
		}
	}
	return false
}
