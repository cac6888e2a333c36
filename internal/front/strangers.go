package front

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

const (
	// strangersEvery is how often strangers' VRRP is counted, strangersAgain how often they are spoken of while more comes.
	strangersEvery = 5 * time.Second
	strangersAgain = time.Minute
)

// strangers is what is known of VRRP from others than the peers; front.mu guards it.
type strangers struct {
	filtered, passed uint64       // packets that the filter has dropped, and those that keepalived had to
	from             []netip.Addr // sorted
	told             uint64       // of them all, when somebody was told last
	at               time.Time
}

// note takes new counts; they never go back. It reports how many more there are than those that somebody was told of; 0 when it is
// not the time to speak of them.
func (s *strangers) note(now time.Time, filtered, passed uint64, from []netip.Addr) (more uint64) {
	s.filtered, s.passed = max(s.filtered, filtered), max(s.passed, passed)
	for _, a := range from {
		if i, known := slices.BinarySearchFunc(s.from, a, netip.Addr.Compare); !known && len(s.from) < maxStrangers {
			s.from = slices.Insert(s.from, i, a)
		}
	}
	more = s.filtered + s.passed - s.told
	if more == 0 || !s.at.IsZero() && now.Sub(s.at) < strangersAgain {
		return 0
	}
	s.told, s.at = s.filtered+s.passed, now
	return more
}

// maxStrangers is how many are known by their addresses.
const maxStrangers = 64

// watchStrangers counts strangers' VRRP until ctx ends, and says who they are.
func (f *front) watchStrangers(ctx context.Context, filter bool) {
	t := time.NewTicker(strangersEvery)
	defer t.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		passed, from := f.keepalived.Strangers()
		var dropped vip.Dropped
		if filter {
			var err error
			dropped, err = vip.Strangers(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil && !failed {
				f.log.Warn("VRRP of strangers is not counted", "err", err)
			}
			failed = err != nil
		}
		f.mu.Lock()
		more := f.strangers.note(time.Now(), dropped.Packets, passed, append(from, dropped.From...))
		known := slices.Clone(f.strangers.from)
		f.mu.Unlock()
		if more > 0 {
			f.log.Warn("VRRP of strangers was dropped; if they are fronts, name them in vip.peers of all fronts, "+
				"else let the firewall or security group admit protocol 112 between the fronts only",
				"packets", more, "from", known, "interface", f.cfg.VIP.Interface)
		}
	}
}
