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
	calls := c.calls
	a, err = retry(ctx, func() (Answer, error) { return c.Send(ctx, r) },
		func(a Answer, err error) bool { return err != nil || a.RCode != update.ServFail })
	return a, c.calls - calls - 1, err
}

// Serial implements Target.
func (c *Cluster) Serial(ctx context.Context, origin zone.Name) (uint32, error) {
	return retry(ctx, func() (uint32, error) { return c.next().Serial(ctx, origin) }, answered)
}

// Zone implements Target.
func (c *Cluster) Zone(ctx context.Context, origin zone.Name) ([]zone.RR, error) {
	return retry(ctx, func() ([]zone.RR, error) { return c.next().Zone(ctx, origin) }, answered)
}

func answered[T any](_ T, err error) bool { return err == nil }

// retry asks until the answer is final, or patience ends.
func retry[T any](ctx context.Context, ask func() (T, error), final func(T, error) bool) (T, error) {
	for end := time.Now().Add(patience); ; {
		out, err := ask()
		if final(out, err) || !pause(ctx, end) {
			return out, err
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
