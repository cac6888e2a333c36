package secondary

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/secondary/proxy"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// candidate is what is known of a primary when a zone is asked for.
type candidate struct {
	name    string
	addr    netip.AddrPort
	live    bool
	current bool // live, ready, and nobody live announced a newer serial of the zone
	failed  bool // it failed a moment ago
	gone    <-chan struct{}
}

// choose puts the primaries in the order in which the zone is asked for: current ones,
// other live ones, the rest (their endpoints may answer all the same), and those that
// just failed. Among equals the zone decides, so that many zones spread over all.
func choose(z zone.Name, all []candidate) []proxy.Primary {
	order := slices.Clone(all)
	weight := func(c candidate) uint64 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(c.name)) // never fails
		_, _ = h.Write([]byte(z))      // as above
		// FNV alone mixes so little that of three primaries whose names differ in the last octet one would get half of the
		// zones. This is the finaliser of MurmurHash3.
		w := h.Sum64()
		w = (w ^ w>>33) * 0xff51afd7ed558ccd
		w = (w ^ w>>33) * 0xc4ceb9fe1a85ec53
		return w ^ w>>33
	}
	slices.SortStableFunc(order, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class(), b.class()), cmp.Compare(weight(b), weight(a)))
	})
	out := make([]proxy.Primary, len(order))
	for i, c := range order {
		out[i] = proxy.Primary{Name: c.name, Addr: c.addr}
		if c.live {
			out[i].Gone = c.gone
		}
	}
	return out
}

func (c candidate) class() int {
	switch {
	case c.failed:
		return 3
	case c.current:
		return 0
	case c.live:
		return 1
	}
	return 2
}
