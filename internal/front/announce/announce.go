// Package announce tells Kubernetes what state the front of a node is in, so that others need not reach it: in an annotation of a Lease that all fronts
// of one address share. It is for people and the operator's status; nobody decides by it who has the address (that is VRRP's).
package announce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/apiserver"
)

// Annotation is the key's prefix; the front's name follows.
const Annotation = "front.dns.zonekeeper.io/"

// State is what a front says of itself.
type State struct {
	// VRRP is master, backup or fault; Since is when that began, by the node's clock.
	VRRP  string    `json:"vrrp"`
	Since time.Time `json:"since"`
	// Ready: relay and HAProxy work, and the node is not being drained.
	Ready bool `json:"ready"`
	// Score is 2 when a primary is ready, 1 when one answers, 0 when none does.
	Score int `json:"score"`
	// Message says what is wrong; "" when nothing is.
	Message string `json:"message,omitempty"`
	// Beat counts what was said since the process began: who sees it stand still for long sees a front that is cut off or dead. Clocks that differ
	// do not matter.
	Beat uint64 `json:"beat"`
}

// same: nothing but the beat differs.
func (s State) same(o State) bool {
	return s.Since.Equal(o.Since) && s.VRRP == o.VRRP && s.Ready == o.Ready && s.Score == o.Score && s.Message == o.Message
}

// Parse reads an annotation's value.
func Parse(text string) (State, error) {
	var s State
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("announce: %q is no front's state: %w", text, err)
	}
	return s, nil
}

// Config of an Announcer. Start from DefaultConfig.
type Config struct {
	Server apiserver.Config
	// Namespace and Lease name an object of coordination.k8s.io/v1 that exists; the role needs patch of it and nothing else.
	Namespace, Lease string
	// Name of the front, as part of the annotation's key: at most 63 letters, digits, '-', '_' and '.'.
	Name string
	// Every is how often the state is said although it is the same. Retry is the pause after a failure, Timeout bounds one attempt.
	Every, Retry, Timeout time.Duration
	Logger                *slog.Logger
}

// DefaultConfig has the times.
func DefaultConfig() Config {
	return Config{Every: 15 * time.Second, Retry: 2 * time.Second, Timeout: 5 * time.Second}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	errs := []error{c.Server.Validate()}
	if c.Namespace == "" || c.Lease == "" || c.Name == "" {
		errs = append(errs, fmt.Errorf("Namespace %q, Lease %q, Name %q: name all three", c.Namespace, c.Lease, c.Name))
	}
	if c.Every <= 0 || c.Retry <= 0 || c.Timeout <= 0 || c.Logger == nil {
		errs = append(errs, errors.New("a time is not positive, or there is no Logger; start from DefaultConfig"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// Announcer says a front's state.
type Announcer struct {
	cfg    Config
	client *apiserver.Client
	path   string
}

// New gives an Announcer; nothing is said yet.
func New(cfg Config) (*Announcer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Announcer{cfg: cfg, client: apiserver.New(cfg.Server),
		path: "/apis/coordination.k8s.io/v1/namespaces/" + url.PathEscape(cfg.Namespace) + "/leases/" + url.PathEscape(cfg.Lease)}, nil
}

// Run says what look returns, at once when there is news and it differs from what was said last. It ends with ctx, and takes the annotation away:
// a front that was stopped in order is not one that is lost. Failures are logged when they begin and when they end, and are none of the front's.
func (a *Announcer) Run(ctx context.Context, news <-chan struct{}, look func() State) error {
	again := time.NewTimer(0)
	defer again.Stop()
	defer a.client.Reset()
	var said State
	known, failing := false, false
	for {
		beat := false
		select {
		case <-ctx.Done():
			a.takeBack(context.WithoutCancel(ctx))
			return nil
		case <-news:
		case <-again.C:
			beat = true
		}
		now := look()
		if !beat && (failing || known && now.same(said)) {
			continue // a failure is repeated in its time
		}
		now.Beat = said.Beat + 1
		attempt, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
		err := a.patch(attempt, &now)
		cancel()
		if err != nil {
			if !failing && ctx.Err() == nil {
				a.cfg.Logger.Warn("the front's state can't be told to Kubernetes; the address is not affected", "lease", a.cfg.Lease, "err", err)
			}
			failing = true
			a.client.Reset()
			again.Reset(a.cfg.Retry)
			continue
		}
		if failing {
			a.cfg.Logger.Info("the front's state is told to Kubernetes again", "lease", a.cfg.Lease)
		}
		said, known, failing = now, true, false
		again.Reset(a.cfg.Every)
	}
}

// takeBack is the end.
func (a *Announcer) takeBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	if err := a.patch(ctx, nil); err != nil {
		a.cfg.Logger.Warn("the front's state stays in the Lease", "lease", a.cfg.Lease, "err", err)
	}
}

// longest is what is said of a fault: annotations of an object share 256 KiB.
const longest = 300

// patch writes the state, or takes it away (nil).
func (a *Announcer) patch(ctx context.Context, s *State) error {
	var value *string
	if s != nil {
		short := *s
		short.Message = short.Message[:min(len(short.Message), longest)]
		text, err := json.Marshal(short)
		if err != nil {
			return fmt.Errorf("announce: %w", err)
		}
		v := string(text)
		value = &v
	}
	type object map[string]any
	patch := object{"metadata": object{"annotations": map[string]*string{Annotation + a.cfg.Name: value}}}
	if s != nil && s.VRRP == "master" {
		patch["spec"] = object{"holderIdentity": a.cfg.Name} // for: kubectl get leases
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	err = a.client.MergePatch(ctx, a.path, body)
	var answer *apiserver.Error
	if errors.As(err, &answer) && answer.Denied() {
		return fmt.Errorf("announce: %w; let the front's service account patch lease %s in namespace %s", err, a.cfg.Lease, a.cfg.Namespace)
	}
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}
