package clusterapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// Cluster is the primaries of one BindCluster, as its certificate was when Clusters gave it. Use it for one reconciliation.
type Cluster struct {
	key       types.NamespacedName
	cfg       Config
	primaries []Primary
	preferred *atomic.Int32
	// manager is the object on whose behalf changes are made; takeOver lets them change what somebody else manages.
	manager  string
	takeOver bool
}

// Primary is one of them.
type Primary struct {
	// Name in the log, such as primary-0.
	Name string
	*adminapi.Client
}

// Primaries are those that may be there, by ordinal. Ask each within a limit of its own: Each does.
func (c *Cluster) Primaries() []Primary { return c.primaries }

// Each asks every primary at the same time, each within the limit of a question, and returns what went wrong, by ordinal; nil where nothing did.
func (c *Cluster) Each(ctx context.Context, ask func(ctx context.Context, i int, p Primary) error) []error {
	errs := make([]error, len(c.primaries))
	var wg sync.WaitGroup
	for i, p := range c.primaries {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, c.cfg.AskTimeout)
			defer cancel()
			if err := ask(ctx, i, p); err != nil {
				errs[i] = fmt.Errorf("%s: %w", p.Name, err)
			}
		})
	}
	wg.Wait()
	return errs
}

// Ask puts a question, which changes nothing, to one primary after another until one answers it. An answer that is an error about the
// question itself, such as not_found, is an answer.
func (c *Cluster) Ask(ctx context.Context, ask func(context.Context, *adminapi.Client) error) error {
	_, err := c.each(ctx, c.cfg.AskTimeout, func(ctx context.Context, p *adminapi.Client) (bool, error) {
		err := ask(ctx, p)
		return outcomeOf(err) == settled, err
	})
	return err
}

// Change makes a change, idempotently: do asks one primary for it, and done says, of the state of the cluster, whether it was made. do is
// repeated at the next primary when nothing was changed, and when the outcome is unknown only after done has said no. Who calls has
// found that the change is due.
func (c *Cluster) Change(ctx context.Context, done func(context.Context, *adminapi.Client) (bool, error), do func(context.Context, *adminapi.Client) error) error {
	return c.change(ctx, c.cfg.ChangeTimeout, done, do)
}

// Import is Change for one that brings the content of a zone, which takes the longer the larger it is.
func (c *Cluster) Import(ctx context.Context, done func(context.Context, *adminapi.Client) (bool, error), do func(context.Context, *adminapi.Client) error) error {
	return c.change(ctx, c.cfg.ImportTimeout, done, do)
}

func (c *Cluster) change(ctx context.Context, limit time.Duration, done func(context.Context, *adminapi.Client) (bool, error), do func(context.Context, *adminapi.Client) error) error {
	var unknown error // the newest attempt that may have changed something
	tried, err := c.each(ctx, limit, func(ctx context.Context, p *adminapi.Client) (bool, error) {
		if unknown != nil {
			made := false
			err := c.Ask(ctx, func(ctx context.Context, p *adminapi.Client) (err error) {
				made, err = done(ctx, p)
				return err
			})
			if err != nil || made {
				return true, err // where nobody can say it, repeating it would be a guess
			}
		}
		err := do(ctx, p)
		switch outcomeOf(err) {
		case settled:
			return true, c.settle(ctx, unknown, err, done)
		case unchanged:
			return false, err
		default:
			unknown = err
			return false, err
		}
	})
	if err != nil && unknown != nil && !tried {
		return fmt.Errorf("%w; the change may yet be made, and is asked for before it is repeated", err)
	}
	return err
}

// settle judges an answer. A refusal after an attempt of unknown outcome may be because that one was made after all: "it exists".
func (c *Cluster) settle(ctx context.Context, unknown, err error, done func(context.Context, *adminapi.Client) (bool, error)) error {
	if err == nil || unknown == nil {
		return err
	}
	made := false
	aerr := c.Ask(ctx, func(ctx context.Context, p *adminapi.Client) (e error) {
		made, e = done(ctx, p)
		return e
	})
	if aerr == nil && made {
		return nil
	}
	return err
}

// each runs try at one primary after another, the preferred one first, until it says that it is over. An error that is not an answer
// names everyone who was asked.
func (c *Cluster) each(ctx context.Context, limit time.Duration, try func(context.Context, *adminapi.Client) (over bool, err error)) (over bool, err error) {
	var errs []error
	first := int(c.preferred.Load())
	for i := range c.primaries {
		n := (first + i) % len(c.primaries)
		p := c.primaries[n]
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		tctx, cancel := context.WithTimeout(ctx, limit)
		over, err := try(tctx, p.Client.As(c.manager, c.takeOver))
		cancel()
		if over {
			c.preferred.Store(int32(n)) //nolint:gosec // at most MaxPrimaries
			if err != nil {
				return true, fmt.Errorf("%s of BindCluster %s: %w", p.Name, c.key, err)
			}
			return true, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.Name, err))
	}
	return false, fmt.Errorf("BindCluster %s: %w (%w); see its pods and its status", c.key, ErrUnreachable, errors.Join(errs...))
}

// outcome is what is known of a request after its error.
type outcome int

const (
	settled   outcome = iota // it was answered: done, or refused for good
	unchanged                // it was not taken: another primary may be asked at once
	unknown                  // it may have been done, or may yet be
)

func outcomeOf(err error) outcome {
	var api *adminapi.Error
	var op *net.OpError
	switch {
	case err == nil:
		return settled
	case errors.As(err, &api):
		switch api.Code {
		case adminapi.CodeUnavailable:
			return unchanged
		case adminapi.CodeInDoubt:
			return unknown
		}
		return settled
	case errors.As(err, &op) && op.Op == "dial":
		return unchanged
	}
	return unknown
}

// As is the cluster for changes on behalf of an object, such as "Zone dns/example": what is made belongs to it.
func (c *Cluster) As(manager string) *Cluster {
	as := *c
	as.manager = manager
	return &as
}

// TakingOver is the cluster for changes of what somebody else manages.
func (c *Cluster) TakingOver() *Cluster {
	as := *c
	as.takeOver = true
	return &as
}
