// Package fsm is the replicated state machine: it applies log entries, one after another, to the zones, keys and settings
// of the cluster, and every replica that applies the same entries ends in the same state, octet for octet.
//
// What the package promises:
//
//  1. [Machine.Apply] is a function of the state and the entry. It looks at no clock, network, environment, random number
//     or map order. Time travels in the entry and never runs backwards (rule C7).
//  2. An entry is applied whole or, when it cannot be read or does not follow the one before it, not at all. Such an error
//     is final for this machine: it applies nothing more, because skipping would make replicas differ.
//  3. A signed request that was applied is not applied again, for as long as its signature can verify (I4, rule C1).
//  4. [Machine.Snapshot] takes constant time. Its digest covers all state, so equal digests mean equal replicas.
//
// What the caller must do:
//
//  1. Call Apply from one goroutine, with the log's entries in the log's order, each exactly once.
//  2. Stop serving when Apply fails, and say so; the state up to the entry before stays readable.
//  3. Treat everything that accessors and [Effects] hand out as read-only: it is shared with the state.
//
// Every other method of Machine is safe for concurrent use. Those that look at the state may wait for an Apply that is
// under way; [Machine.Settings] never waits.
package fsm
