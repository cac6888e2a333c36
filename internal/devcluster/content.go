package devcluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// ensureContent creates the cluster's key and zones where they do not exist, registers
// its secondaries, and learns which zones there are.
func (c *Cluster) ensureContent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ReadyTimeout)
	defer cancel()
	err := c.ask(ctx, func(ctx context.Context, a *adminapi.Client) error {
		_, err := a.AddKey(ctx, adminapi.AddKey{Name: keyName, Algorithm: keyAlgorithm, Secret: c.plan.Secret})
		return except(err, adminapi.CodeConflict)
	})
	if err != nil {
		return fmt.Errorf("creating the key %s: %w", keyName, err)
	}
	for _, z := range c.cfg.Zones {
		add := adminapi.AddZone{Name: absolute(z), Settings: OpenTo(keyName)}
		err := c.ask(ctx, func(ctx context.Context, a *adminapi.Client) error {
			_, err := a.AddZone(ctx, add)
			return except(err, adminapi.CodeConflict)
		})
		if err != nil {
			return fmt.Errorf("creating the zone %s: %w", z, err)
		}
	}
	if err := c.registerSecondaries(ctx); err != nil {
		return err
	}
	return c.ask(ctx, func(ctx context.Context, a *adminapi.Client) error {
		zones, err := a.Zones(ctx)
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.zones = []string{}
		for _, z := range zones {
			if z.Catalog {
				continue // nobody writes to it
			}
			c.zones = append(c.zones, strings.TrimSuffix(z.Name, "."))
		}
		return nil
	})
}

// OpenTo are settings that let a key change and transfer everything, and anybody query.
func OpenTo(key string) adminapi.ZoneSettings {
	return adminapi.ZoneSettings{
		UpdatePolicy:  fmt.Sprintf("grant %s zonesub ANY;", key),
		AllowQuery:    "any;",
		AllowTransfer: fmt.Sprintf("key %q;", key),
	}
}

// except turns a refusal that is as good as an answer into none: creating and removing are repeated after a doubt, and then
// they have happened already.
func except(err error, code string) error {
	if adminapi.IsCode(err, code) {
		return nil
	}
	return err
}

// ask puts a question to one primary after another until one answers it.
func (c *Cluster) ask(ctx context.Context, question func(context.Context, *adminapi.Client) error) error {
	var last error
	for {
		for _, m := range c.members {
			qctx, cancel := context.WithTimeout(ctx, c.cfg.ReadyTimeout)
			err := question(qctx, c.admin[m.name])
			cancel()
			if err == nil {
				return nil
			}
			if adminapi.IsCode(err, adminapi.CodeInvalid) || adminapi.IsCode(err, adminapi.CodeConflict) {
				return err
			}
			last = fmt.Errorf("%s: %w", m.name, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(last, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }
