package differential

import (
	"context"
	"errors"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Cluster is the servers of one cluster as a Target. Each call goes to the next of them, so what one has acknowledged is read
// from another.
type Cluster struct {
	servers []Target
	calls   int
}

// NewCluster asks the servers in turns. There must be one at least.
func NewCluster(servers ...Target) *Cluster { return &Cluster{servers: servers} }

func (c *Cluster) next() Target {
	c.calls++
	return c.servers[c.calls%len(c.servers)]
}

// Send implements Target.
func (c *Cluster) Send(ctx context.Context, r Request) (Answer, error) { return c.next().Send(ctx, r) }

// patience is how long a cluster may be without an answer: a machine that stands still for a second makes it elect a leader,
// and until then it says SERVFAIL, as it shall (I8).
const patience = 10 * time.Second

// SendAgain gives the same octets to one server after another until one has an answer other than SERVFAIL, which says that
// the update was not applied. again counts the repetitions.
func (c *Cluster) SendAgain(ctx context.Context, r Request) (a Answer, again int, err error) {
	for end := time.Now().Add(patience); ; again++ {
		a, err = c.Send(ctx, r)
		if err != nil || a.RCode != update.ServFail || !pause(ctx, end) {
			return a, again, err
		}
	}
}

// Serial implements Target.
func (c *Cluster) Serial(ctx context.Context, origin zone.Name) (serial uint32, err error) {
	for end := time.Now().Add(patience); ; {
		serial, err = c.next().Serial(ctx, origin)
		if err == nil || !pause(ctx, end) {
			return serial, err
		}
	}
}

// Zone implements Target.
func (c *Cluster) Zone(ctx context.Context, origin zone.Name) (rrs []zone.RR, err error) {
	for end := time.Now().Add(patience); ; {
		rrs, err = c.next().Zone(ctx, origin)
		if err == nil || !pause(ctx, end) {
			return rrs, err
		}
	}
}

// pause lets an election go on; false when there is no time left for one.
func pause(ctx context.Context, end time.Time) bool {
	if time.Now().After(end) {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// Close implements Target.
func (c *Cluster) Close() error {
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
