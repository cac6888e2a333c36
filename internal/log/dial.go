package log

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// DialConfig describes an external etcd cluster.
type DialConfig struct {
	Endpoints          []string // client URLs of its members
	TLS                *TLSFiles
	Username, Password string
	DialTimeout        time.Duration // 0: 5 s
}

// Dial opens a replica's Log on an external etcd. The cluster's owner must leave automatic compaction off
// (--auto-compaction-retention=0): what the replicas have not compacted they still need. Follow reports ErrCompacted
// when history disappeared all the same. --max-request-bytes must exceed Config.MaxRecordBytes by 1 KiB, or large
// records come back with ErrTooLarge.
func Dial(ctx context.Context, cfg Config, d DialConfig) (*EtcdLog, error) {
	if len(d.Endpoints) == 0 {
		return nil, fmt.Errorf("%w: log: dial: no endpoints: name the external etcd's client URLs", ErrConfig)
	}
	if d.DialTimeout == 0 {
		d.DialTimeout = 5 * time.Second
	}
	cli, err := newClient(d.Endpoints, d.TLS, d.Username, d.Password, d.DialTimeout)
	if err != nil {
		return nil, fmt.Errorf("log: dial: %w", err)
	}
	h := &external{cli: cli, endpoints: d.Endpoints}
	if err := h.check(ctx, d.DialTimeout); err != nil {
		cli.Close()
		return nil, fmt.Errorf("log: dial %s: %w", strings.Join(d.Endpoints, " "), err)
	}
	l, err := newEtcdLog(cfg, cli, h)
	if err != nil {
		cli.Close()
		return nil, err
	}
	return l, nil
}

func newClient(endpoints []string, tls *TLSFiles, user, password string, timeout time.Duration) (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints: endpoints, Username: user, Password: password,
		DialTimeout: timeout,
		// A member that hangs or is cut off must be noticed in seconds; gRPC's default is never.
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: time.Second, PermitWithoutStream: true,
		MaxUnaryRetries: 1, // the log decides itself what may be sent again
		Logger:          zap.NewNop(),
	}
	if tls != nil {
		t, err := tls.info().ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		c.TLS = t
	}
	cli, err := clientv3.New(c)
	if err != nil {
		return nil, fmt.Errorf("etcd client: %w", err)
	}
	return cli, nil
}

// external is the host of a Log on somebody else's etcd.
type external struct {
	cli       *clientv3.Client
	endpoints []string
}

// check proves that a member answers and speaks a version that has what the log needs.
func (h *external) check(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s, err := h.status(ctx)
	if err != nil {
		return err
	}
	if s.Learner {
		return fmt.Errorf("%s is a learner: name voters", s.Member)
	}
	return nil
}

func (h *external) leaderChanged() <-chan struct{} { return nil }

// status returns the answer of the first endpoint that gives one.
func (h *external) status(ctx context.Context) (Status, error) {
	var errs []error
	for _, ep := range h.endpoints {
		resp, err := h.cli.Status(ctx, ep)
		if err == nil {
			return statusFrom(ep, resp), nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", ep, err))
	}
	return Status{}, errors.Join(errs...)
}

// moveLeader does nothing: the external cluster's members do not stop with this process.
func (h *external) moveLeader(context.Context) error { return nil }

func (h *external) release() error { return h.cli.Close() }

// alarmsOf extracts alarm names from the errors of a status answer, which read "memberID:123 alarm:NOSPACE".
func alarmsOf(errs []string) []string {
	var alarms []string
	for _, e := range errs {
		if _, name, ok := strings.Cut(e, "alarm:"); ok {
			alarms = append(alarms, strings.TrimSpace(name))
		}
	}
	return alarms
}
