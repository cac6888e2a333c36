package endpoint

import (
	"errors"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

const (
	// replayTime is longer than a proven header verifies, from the earliest moment at which it does.
	replayTime = 2*proxyproto.MaxSkew + 2*time.Second
	// maxReplays bounds the memory: headers of one replayTime, some 10 MB for two of them.
	maxReplays = 1 << 17
)

// replays knows the proofs of the unsigned updates that came in datagrams lately. Such an update is done because a front proves the
// client's address, and has no identity in the log (I4): whoever records the datagram could have it done again while its proof
// verifies. A front makes a new proof for whatever it sends, a client's repetition too. Nothing is forgotten early: when there is no
// room the update is not done. It is this primary's memory only: another one would do what was recorded once more.
type replays struct {
	room int // of each generation

	mu        sync.Mutex
	since     time.Time // when now began
	now, last map[proxyproto.Proof]struct{}
}

func newReplays(room int) *replays { return &replays{room: room, now: map[proxyproto.Proof]struct{}{}} }

var (
	errReplay = errors.New("the same proof as an earlier datagram's: recorded and sent again, or doubled on its way")
	errNoRoom = errors.New("too many unsigned updates of proven addresses to remember: sign them")
)

// take notes a proof; errReplay when it is known, errNoRoom when it can't be noted.
func (r *replays) take(now time.Time, p proxyproto.Proof) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) >= replayTime {
		// What came before the last replayTime began can't verify any more, unless nothing has come for long.
		if r.last = r.now; now.Sub(r.since) >= 2*replayTime {
			r.last = nil
		}
		r.now, r.since = map[proxyproto.Proof]struct{}{}, now
	}
	if _, ok := r.now[p]; ok {
		return errReplay
	}
	if _, ok := r.last[p]; ok {
		return errReplay
	}
	if len(r.now) >= r.room {
		return errNoRoom
	}
	r.now[p] = struct{}{}
	return nil
}
