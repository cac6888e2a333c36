package primary

import (
	"context"
	"errors"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/endpoint"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/publish"
)

// errNotReady: this primary does not answer now; another one may.
var errNotReady = errors.New("not ready")

// Barrier implements endpoint.Reader: when it returns nil the local named serves, of this zone, everything that was
// acknowledged anywhere before the call (I3). A linearizable read of the log's head tells how far that is; then this
// replica must have applied it, and named must serve it.
func (p *Primary) Barrier(ctx context.Context, id fsm.ZoneID) (endpoint.Permit, error) {
	index, err := p.replica.Barrier(ctx)
	if err != nil {
		return nil, err
	}
	t, err := p.publisher.WaitPublished(ctx, id, index)
	if err != nil && p.replica.Settings().Zone(id) == nil { // as new as the barrier
		return nil, fmt.Errorf("%w: %w", endpoint.ErrZoneGone, err)
	}
	return p.permit(t, err)
}

// permit watches over a ticket of the publisher.
func (p *Primary) permit(t publish.Ticket, err error) (endpoint.Permit, error) {
	if err != nil {
		return nil, err
	}
	return func() bool { return p.publisher.Valid(t) }, nil
}

// allPublished waits until named serves every zone that this replica has now.
func (p *Primary) allPublished(ctx context.Context) error {
	m := p.replica.Machine()
	index := m.Index()
	var err error
	m.Settings().Zones(func(c *fsm.ZoneConfig) bool {
		_, err = p.publisher.WaitPublished(ctx, c.ID, index)
		if p.replica.Settings().Zone(c.ID) == nil {
			err = nil // deleted meanwhile
		}
		return err == nil
	})
	return err
}

// Serving implements endpoint.Reader.
func (p *Primary) Serving(id fsm.ZoneID) (endpoint.Permit, error) {
	if err := p.notReady(); err != nil {
		return nil, err
	}
	return p.permit(p.publisher.Ticket(id))
}

// Refresh implements endpoint.Reader.
func (p *Primary) Refresh(ctx context.Context) error {
	_, err := p.replica.Barrier(ctx)
	return err
}
