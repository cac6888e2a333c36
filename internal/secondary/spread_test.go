package secondary

import (
	"fmt"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// TestChooseSpreads: among equals each primary is the first one for its share of the
// zones, and, when it fails, the others share them.
func TestChooseSpreads(t *testing.T) {
	const zones, primaries = 3000, 3
	var all []candidate
	for i := range primaries {
		all = append(all, candidate{name: fmt.Sprintf("primary-%d", i), live: true, current: true})
	}
	order := map[string]int{}
	for i := range zones {
		got := choose(zone.MustParseName(fmt.Sprintf("z%d.test.", i)), all)
		order[got[0].Name+" "+got[1].Name]++
	}
	for _, a := range all {
		for _, b := range all {
			if n := order[a.name+" "+b.name]; a.name != b.name && (n < zones/6*8/10 || n > zones/6*12/10) {
				t.Errorf("%s and then %s for %d of %d zones, want a sixth", a.name, b.name, n, zones)
			}
		}
	}
}
