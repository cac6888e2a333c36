package log

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3"
)

// classifyAppend says what an error of an append's transaction proves. Only errors that etcd returns before it
// proposes, or when it applies without effect, prove that nothing was appended; every other one leaves the append in
// doubt. ErrNoSpace is the exception: it proves that the append was decided, not how; see afterNoSpace.
func classifyAppend(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: etcd raised NOSPACE; compact, defragment, then disarm the alarm or raise the quota", ErrNoSpace)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w: etcd's --max-request-bytes is smaller than the record", ErrTooLarge)
	case errors.Is(err, rpctypes.ErrCorrupt):
		return fmt.Errorf("%w: etcd raised CORRUPT: its members' stores differ; see etcd's data corruption guide", ErrCorrupt)
	case errors.Is(err, rpctypes.ErrTooManyRequests):
		return fmt.Errorf("%w: etcd is overloaded: %w", ErrUnavailable, err)
	case errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("%w: etcd denies access to the log's keys; grant the user readwrite on the prefix: %w", ErrUnavailable, err)
	case isProposalDropped(err):
		return fmt.Errorf("%w: no leader: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrInDoubt, err)
}

// isProposalDropped recognises raft's refusal of a proposal while there is no leader or leadership is being handed
// over. The local raft node gives it before the proposal goes anywhere. It crosses etcd's RPC layer as text only.
func isProposalDropped(err error) bool {
	if errors.Is(err, raft.ErrProposalDropped) {
		return true
	}
	var e rpctypes.EtcdError
	return errors.As(err, &e) && e.Error() == raft.ErrProposalDropped.Error()
}

// classifyCompact turns "already compacted" into success and "in the future" into a permanent error.
func classifyCompact(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return nil
	case errors.Is(err, rpctypes.ErrFutureRev):
		return permanent{fmt.Errorf("the log ends before that index: %w", err)}
	}
	return err
}
