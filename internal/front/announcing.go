package front

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/announce"
	"github.com/zonekeeper/zonekeeper/internal/front/apiserver"
)

// announcer tells others of this node's state; *announce.Announcer is one.
type announcer interface {
	Run(ctx context.Context, news <-chan struct{}, look func() announce.State) error
}

// newAnnouncer is nil where nobody is to be told.
func newAnnouncer(cfg Config, log *slog.Logger) (announcer, error) {
	if cfg.Announce.Lease == "" {
		return nil, nil //nolint:nilnil // none is asked for
	}
	e := cfg.Primaries.EndpointSlices
	server, err := apiserver.Config{API: e.API, CAFile: e.CA, TokenFile: e.TokenFile}.InCluster(os.Getenv, "")
	if err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	c := announce.DefaultConfig()
	c.Server, c.Lease, c.Namespace, c.Name, c.Logger = server, cfg.Announce.Lease, cfg.Announce.Namespace, cfg.Name, log
	c.Every = time.Duration(cfg.Announce.Every)
	if c.Namespace == "" {
		if c.Namespace, err = apiserver.Namespace(""); err != nil {
			return nil, fmt.Errorf("announce: %w", err)
		}
	}
	return announce.New(c)
}

// announcement is the model's part of what others are told.
func (f *front) announcement() announce.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return announce.State{VRRP: f.m.vip.String(), Since: f.m.vipSince.UTC().Truncate(time.Millisecond), Ready: f.m.ready() == "", Score: f.m.score, Message: f.m.local()}
}
