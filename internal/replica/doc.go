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
//  2. A proposal answered with [ErrNotApplied], [ErrOverloaded], [ErrBehind], [ErrNoSpace] or [ErrStopped] is not in the log and never
//     will be.
//  3. A proposal answered with [ErrInDoubt] may be either; only the same signed request, sent again, can tell (I4).
//  4. Proposals made one after another, without waiting, enter the log in that order.
//  5. Every proposal is answered exactly once, at the latest when Run ends.
//  6. A read behind [Replica.Barrier] sees all that was acknowledged anywhere before the call (I3), or fails.
//  7. A replica whose state is behind the log's beginning, or contradicted by a strict majority, takes no proposals and
//     answers no reads until a peer's checkpoint has replaced that state and it has caught up; then it serves again by
//     itself (I7). A state that was contradicted is kept as evidence-INDEX beside the checkpoints, and nothing here ever
//     removes that. Where no state has a majority, all stop (C4).
//
// What a caller must do:
//
//  1. Run one process a name. A second one fences the first, whose Run then ends with an error.
//  2. Leave a command alone from when it is proposed until it is answered.
//  3. Take the replica out of service (Serve(false)) while its clock is wrong, see [Skew]: only then does its clock have no
//     say in log time (C7).
//  4. Keep what the log and the checkpoint directory hold: a quorum of both is the cluster's state.
package replica
