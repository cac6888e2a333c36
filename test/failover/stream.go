package failover

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// keep is how many records a client leaves in the zone: for each one more, an update removes its oldest, so that the last
// fault of a long measurement meets the same zone as the first.
const keep = 1000

// stream is a steady load of clients through the relay.
type stream struct {
	harness.Stream
	origin  zone.Name
	records atomic.Int64 // which the zone must have of it now
}

// start runs clients that each add one record after another. Each sends its octets again every repeat until it is answered.
func start(t testing.TB, c *harness.Cluster, clients int, repeat time.Duration) *stream {
	s := &stream{origin: zone.MustParseName(c.Info().Zones[0] + ".")}
	run := time.Now().UnixNano()
	for i := range clients {
		cl := harness.Dial(t, c.Info().Endpoint, c.Key())
		cl.Repeat = repeat
		s.Go(0, func(n int) error {
			change := []zone.RR{s.record(run, i, n)}
			if n >= keep {
				old := s.record(run, i, n-keep)
				old.Class, old.TTL = zone.ClassNONE, 0
				change = append(change, old)
			}
			rcode, err := cl.Update(s.origin, nil, change)
			switch {
			case err != nil:
				return fmt.Errorf("%v: %w", change, err)
			case rcode != 0:
				return fmt.Errorf("%v: rcode %d", change, rcode)
			}
			s.records.Add(int64(2 - len(change)))
			return nil
		})
	}
	return s
}

// record is the n-th of a client. No two clients, nor two streams, change the same name.
func (s *stream) record(run int64, client, n int) zone.RR {
	return harness.A(s.origin, fmt.Sprintf("f%d-%d-%d", run, client, n), 60, [4]byte{192, 0, 2, 1})
}
