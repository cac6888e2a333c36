// Package log is the replicated log: one totally ordered, fsynced-on-a-quorum sequence of records that every replica
// follows from any index that is still kept, appends to exactly once, and can read linearizably.
//
// # What it promises
//
//  1. Order. Every follower sees the same records in the same order, each once, none missing. An index is etcd's
//     revision: it increases, it is not dense. A replica's own sequence numbers are dense: 1, 2, 3 …
//  2. Durability. Append returns nil only after a quorum of members has the record on stable storage.
//  3. No ghosts. An append whose outcome is unknown (ErrInDoubt) is settled by fencing: Settle raises the replica's
//     epoch, and a record of an older epoch can't enter the log after that. Settle therefore tells the truth for ever
//     whether the record is in the log. No clock is involved.
//  4. Linearizable reads. Barrier returns an index at or above every append acknowledged before the call.
//
// # What it does not promise
//
// It knows nothing of what the records say. It does not retry an append that is in doubt: only its caller knows whether
// the request is still wanted. It keeps no state of its own outside etcd; compaction forgets records for ever, so
// callers compact only what a quorum of checkpoints holds durably.
//
// # What the caller must do
//
//  1. Call Settle once before the first Append (it claims the replica's name for this process) and after every ErrInDoubt.
//  2. Apply records only as Follow delivers them, never from the return of Append.
//  3. Keep at most one process per replica name. A second one fences the first (ErrFenced): safe, but of no use.
//
// # How it lies in etcd
//
// Below one prefix there are three kinds of keys; every write is one transaction:
//
//	epoch/NAME   its Version is the replica's epoch; its value names the process that claimed it
//	log/NAME     the replica's newest record; its Version is the record's sequence number, its ModRevision the index
//	head         written along with every record, so that its ModRevision is the index of the newest record of all
//
// An append is: if Version(epoch/NAME) is my epoch and Version(log/NAME) is n-1, then put log/NAME and head. History is
// etcd's own multi-version store, followed by a watch on log/. The versions make the sequence dense and an attempt that
// is delivered twice harmless, without a key per record.
//
// Three implementations satisfy Log and one contract test: EtcdLog on an embedded member (Member), EtcdLog on an
// external cluster (Dial), and MemCluster's handles, the deterministic twin for simulation.
package log
