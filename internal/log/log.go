package log

import (
	"context"
	"errors"
	"fmt"
)

// Log is one replica's access to the replicated log. It is safe for concurrent use. A Log lives from Open (or
// MemCluster.Open) to Close; every method returns an error that wraps ErrClosed after Close.
type Log interface {
	// Append adds one record and returns its index once a quorum has fsynced it. The record carries the epoch and
	// sequence number that Next returned before the call. Concurrent calls take effect in the order in which they got
	// their sequence number; at most Config.MaxInFlight are under way, further ones wait. data is not modified and
	// must not be modified by the caller afterwards.
	//
	// When the error wraps ErrInDoubt the record may be in the log, now or later: call Settle before anything else.
	// After any other error the record is not in the log and never will be, and its sequence number is free again.
	Append(ctx context.Context, data []byte) (index uint64, err error)

	// Next returns the epoch and sequence number that the next Append carries. epoch is 0 while a Settle is due.
	Next() (epoch, seq uint64)

	// Settle raises the replica's epoch, so that no append of an earlier epoch can enter the log any more, and reports
	// the last record of this replica that did. It retries until it succeeds or ctx ends; on an error nothing is
	// settled and it may be called again. Settle waits for appends under way to return.
	Settle(ctx context.Context) (Settled, error)

	// Follow delivers every record with an index above from, in order, without gaps, in one call after another of fn,
	// several records at a time when several are there. It returns fn's error, ctx's error, or an error that wraps
	// ErrCompacted when records above from have been forgotten, or ErrCorrupt when the log contradicts itself. It
	// reconnects by itself when the connection or the leader is lost. The records' Data is shared: read only.
	Follow(ctx context.Context, from uint64, fn func([]Record) error) error

	// Barrier is a linearizable read: every record acknowledged before the call has an index at or below the one
	// returned, and the index is that of a record (0: the log is empty), so a follower that has applied it has caught
	// up. Concurrent calls share reads; a call only joins a read that starts after it.
	Barrier(ctx context.Context) (index uint64, err error)

	// Compact forgets every record below index upTo. Forgetting what is forgotten already is no error.
	Compact(ctx context.Context, upTo uint64) error

	// Status reports what this replica's member knows, without asking a quorum.
	Status(ctx context.Context) (Status, error)

	// Members returns the members of the cluster, linearizably, ordered by name.
	Members(ctx context.Context) ([]MemberInfo, error)

	// MoveLeader moves leadership away from this replica's member, if it leads and another voter can take over. It
	// returns when the other leads. A planned stop calls it after the last append.
	MoveLeader(ctx context.Context) error

	// Close ends Follow and everything else that is under way and releases what the Log holds. It does not stop an
	// embedded member; Member.Close does.
	Close() error
}

// Record is one record of the log.
type Record struct {
	Index   uint64 // position: increases from record to record, not dense
	Replica string // who appended it
	Epoch   uint64 // the replica's epoch when it was appended
	Seq     uint64 // the replica's sequence number, dense from 1
	Data    []byte // read only
}

// Settled is the outcome of Settle.
type Settled struct {
	Epoch     uint64 // the epoch that now holds
	LastSeq   uint64 // the replica's last sequence number in the log; 0: none. The next append carries LastSeq+1
	LastIndex uint64 // the index of that record; 0: none
}

// Contains says whether the append that carried seq is in the log. An append that was in doubt and is not contained
// never will be.
func (s Settled) Contains(seq uint64) bool { return seq <= s.LastSeq }

// Status is a member's view of the log and of itself.
type Status struct {
	Member     string   // name of the member that answered
	MemberID   uint64   // etcd's ID of it
	LeaderID   uint64   // 0: it knows of no leader
	IsLeader   bool     //
	Learner    bool     // not a voter yet
	Term       uint64   // raft term
	Revision   uint64   // the newest revision this member has applied
	RaftIndex  uint64   // committed raft index, as far as this member knows
	DBBytes    int64    // size of the store's file
	DBUsed     int64    // part of it that holds data
	QuotaBytes int64    // NOSPACE is raised when DBBytes reaches it; 0: unknown
	Alarms     []string // "NOSPACE", "CORRUPT"
}

// MemberInfo is one member of the cluster.
type MemberInfo struct {
	ID         uint64
	Name       string // "" while it has been added but has never started
	PeerURLs   []string
	ClientURLs []string
	Learner    bool
}

// Errors, matched with errors.Is.
var (
	// ErrInDoubt: the append may be in the log, now or later. Settle finds out.
	ErrInDoubt = errors.New("append in doubt")
	// ErrUnsettled: Settle must come first. Nothing was appended.
	ErrUnsettled = errors.New("not settled")
	// ErrFenced: another process claimed this replica's name. Nothing was appended.
	ErrFenced = errors.New("fenced by another process with the same replica name")
	// ErrUnavailable: there is no leader, or the member is overloaded. Nothing was appended.
	ErrUnavailable = errors.New("log unavailable")
	// ErrNoSpace: the store's quota is exhausted (etcd alarm NOSPACE). Nothing was appended.
	ErrNoSpace = errors.New("log out of space")
	// ErrTooLarge: the record exceeds Config.MaxRecordBytes or the member's request limit. Nothing was appended.
	ErrTooLarge = errors.New("record too large")
	// ErrCompacted: records after the one asked for have been forgotten. See CompactedError.
	ErrCompacted = errors.New("log compacted")
	// ErrCorrupt: the log contradicts itself (a gap in a replica's sequence, an unreadable record). Apply nothing more.
	ErrCorrupt = errors.New("log corrupt")
	// ErrConfig: a person has to mend the configuration or the data directory. Nothing was changed.
	ErrConfig = errors.New("log configuration")
	// ErrClosed: the Log or the member has been closed.
	ErrClosed = errors.New("log closed")
)

// CompactedError tells up to where the log has been forgotten. It matches ErrCompacted.
type CompactedError struct {
	From      uint64 // what was asked for: records above this index
	Compacted uint64 // records below this index may be gone
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("log: records after index %d are gone: compacted to index %d; load a checkpoint at or above %d",
		e.From, e.Compacted, e.Compacted-1)
}

// Is makes errors.Is(err, ErrCompacted) true.
func (e *CompactedError) Is(target error) bool { return target == ErrCompacted }
