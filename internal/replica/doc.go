// Package replica runs one copy of the state machine on the replicated log: it batches proposals into log entries,
// settles appends in doubt, applies the log in order, answers each proposal from its own state, checkpoints, compacts,
// and reloads from a peer when it is behind the log's beginning or differs from the majority.
//
// The package is split in two, as etcd-io/raft is. [core] decides: it is a plain state machine with no goroutine, clock,
// network or disk; it takes events (a proposal, an append's outcome, records of the log, a tick) and hands out actions.
// [Replica] does: one goroutine owns the core, performs its actions and feeds their outcomes back. The simulation drives
// the core directly, with virtual time and seeded faults, and so reaches states that no real cluster shows in a lifetime.
//
// What a caller may rely on:
//
//  1. A proposal answered with a result is in the log, fsynced on a quorum, and applied here (I1).
//  2. A proposal answered with [ErrNotApplied], [ErrOverloaded] or [ErrStopped] is not in the log and never will be.
//  3. A proposal answered with [ErrInDoubt] may be either; only the same signed request, sent again, can tell (I4).
//  4. Proposals of one caller, made one after another without waiting, enter the log in that order.
package replica
