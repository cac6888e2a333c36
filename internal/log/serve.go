package log

import "context"

// Serve runs a member by itself, without a replica, until ctx ends, which is no error once it has started, or until it fails.
// It is a server of an etcd cluster whose clients are all elsewhere.
func Serve(ctx context.Context, cfg MemberConfig) error {
	m, err := Start(ctx, cfg)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return m.Close()
	case <-m.Done():
		return m.Err()
	}
}
