package zoneobject

import "math"

// Share is how many records a zone may hold, so that all zones of its tenant together never hold more than quota: what it has, and as much of what is
// left as every other zone gets. has are the records of all of them, own those of this one, and set is the limit that it has now, which stays
// while there is room in it, so that limits don't follow every update. 0 is no limit, so a zone is always left what an SOA and an NS need.
func Share(quota int64, has []int64, own int64, set uint32) uint32 {
	left := quota
	for _, n := range has {
		left -= n
	}
	fair := max(left, 0) / int64(max(len(has), 1))
	if now := int64(set); now != 0 && now <= own+fair && now >= own+(fair+1)/2 {
		return set
	}
	return uint32(min(max(own+fair, minRecords), math.MaxUint32)) //nolint:gosec // within its bounds
}

// minRecords are those without which there is no zone.
const minRecords = 2
