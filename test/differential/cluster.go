package differential

import (
	"context"
	"errors"

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

// Serial implements Target.
func (c *Cluster) Serial(ctx context.Context, origin zone.Name) (uint32, error) {
	return c.next().Serial(ctx, origin)
}

// Zone implements Target.
func (c *Cluster) Zone(ctx context.Context, origin zone.Name) ([]zone.RR, error) {
	return c.next().Zone(ctx, origin)
}

// Close implements Target.
func (c *Cluster) Close() error {
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
