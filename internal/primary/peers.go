package primary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/replica"
)

// peers talks to the other primaries over their admin API: checkpoints for a replica that is behind, clocks, status.
type peers struct {
	clients map[string]*adminapi.Client
	http    *http.Client
	now     func() time.Time

	mu      sync.Mutex
	offsets map[string]time.Duration    // peer's clock minus ours, of those that answered lately
	noSpace map[string]bool             // whose disk is full, of the same
	behind  map[string]replica.Progress // how far their named are, of the same
}

func newPeers(self string, admin map[string]string, hc *http.Client) (*peers, error) {
	p := &peers{clients: make(map[string]*adminapi.Client), http: hc, now: time.Now, offsets: make(map[string]time.Duration), noSpace: make(map[string]bool),
		behind: make(map[string]replica.Progress)}
	for name, url := range admin {
		if name == self {
			continue
		}
		c, err := adminapi.NewClient(url, hc)
		if err != nil {
			return nil, fmt.Errorf("admin.peers: %s: %w", name, err)
		}
		p.clients[name] = c
	}
	return p, nil
}

// names lists the peers in order.
func (p *peers) names() []string {
	out := make([]string, 0, len(p.clients))
	for n := range p.clients {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// peerTimeout bounds a small question to a peer.
const peerTimeout = 2 * time.Second

// Checkpoint implements replica.Peers: the first peer's that is new enough, streamed.
func (p *peers) Checkpoint(ctx context.Context, atLeast uint64) (io.ReadCloser, error) {
	errs := []error{errors.New("no peer gave a checkpoint")}
	for _, name := range p.names() {
		body, err := p.checkpointOf(ctx, name, atLeast)
		if err == nil {
			return body, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return nil, errors.Join(errs...)
}

func (p *peers) checkpointOf(ctx context.Context, name string, atLeast uint64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.clients[name].Base()+adminapi.PathCheckpoint, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // nothing in it is wanted
		return nil, fmt.Errorf("GET %s: %s", adminapi.PathCheckpoint, resp.Status)
	}
	index, err := strconv.ParseUint(resp.Header.Get(adminapi.HeaderIndex), 10, 64)
	if err != nil || index < atLeast {
		_ = resp.Body.Close() // as above
		return nil, fmt.Errorf("its newest checkpoint has index %q, at least %d is needed", resp.Header.Get(adminapi.HeaderIndex), atLeast)
	}
	return resp.Body, nil
}

// peerEvery is how often a peer is asked how far its named is. It has a loop of its own, so that one that hangs does not
// make what the others say old.
const peerEvery = 200 * time.Millisecond

// watch asks every peer again and again until ctx ends.
func (p *peers) watch(ctx context.Context) {
	var wg sync.WaitGroup
	for name, c := range p.clients {
		wg.Go(func() {
			t := time.NewTicker(peerEvery)
			defer t.Stop()
			for {
				_, _ = p.ask(ctx, name, c) // one that does not answer has no say
				select {
				case <-ctx.Done():
					return
				case <-t.C:
				}
			}
		})
	}
	wg.Wait()
}

// watchClocks compares clocks with the peers until ctx ends, and reports the distance of ours from the median.
func (p *peers) watchClocks(ctx context.Context, every time.Duration, report func(skew time.Duration)) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		p.askClocks(ctx)
		report(p.skew())
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// askClocks asks every peer once.
func (p *peers) askClocks(ctx context.Context) {
	var wg sync.WaitGroup
	for name, c := range p.clients {
		wg.Go(func() {
			offset, err := p.ask(ctx, name, c)
			p.mu.Lock()
			defer p.mu.Unlock()
			if err != nil {
				delete(p.offsets, name)
				return
			}
			p.offsets[name] = offset
		})
	}
	wg.Wait()
}

// ask asks one peer once, keeps what it says of its disk and its named, and returns its clock minus ours.
func (p *peers) ask(ctx context.Context, name string, c *adminapi.Client) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	before := p.now()
	theirs, err := c.Clock(ctx)
	after := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.behind, name)
	if err != nil {
		delete(p.noSpace, name)
		return 0, err
	}
	p.noSpace[name] = theirs.DiskFull
	if b := theirs.Publishing; b != nil {
		p.behind[name] = replica.Progress{Applied: b.Applied, Published: b.Published, Bytes: b.Bytes, At: before}
	}
	// The answer was made somewhere between; half the round trip is the best guess, and it is milliseconds.
	return time.UnixMilli(theirs.UnixMS).Sub(before.Add(after.Sub(before) / 2)), nil
}

// progress is how far publishing is at the peers that answered last time.
func (p *peers) progress() []replica.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]replica.Progress, 0, len(p.behind))
	for _, b := range p.behind {
		out = append(out, b)
	}
	return out
}

// first says whether a name comes before those of all peers that answered last time.
func (p *peers) first(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for peer := range p.behind {
		if peer < name {
			return false
		}
	}
	return true
}

// full counts the peers that have said, when they last answered, that their disk is full.
func (p *peers) full() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, full := range p.noSpace {
		if full {
			n++
		}
	}
	return n
}

// compared says whether our clock has been held against anybody's the last time, if there is anybody.
func (p *peers) compared() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clients) == 0 || len(p.offsets) > 0
}

func (p *peers) skew() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	offsets := make([]time.Duration, 0, len(p.offsets))
	for _, d := range p.offsets {
		offsets = append(offsets, d)
	}
	return replica.Skew(offsets)
}

// statuses asks every peer for its own status, all at once; one that does not answer is unreachable.
func (p *peers) statuses(ctx context.Context) []adminapi.ReplicaStatus {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	names := p.names()
	out := make([]adminapi.ReplicaStatus, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			s, err := p.clients[name].Replica(ctx)
			if err != nil {
				out[i] = adminapi.ReplicaStatus{Name: name, Reason: err.Error()}
				return
			}
			s.Reachable = true
			out[i] = *s
		})
	}
	wg.Wait()
	return out
}
