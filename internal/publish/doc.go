// Package publish drives the local named to the state machine's state, and says at each moment whether it is there.
//
// What the package promises:
//
//  1. Each zone of named passes through publish boundaries of the log, in their order, one guarded UPDATE a step (several
//     when it is late): prerequisite "the SOA is exactly the old one", the new SOA, the RRs. A message that arrives twice,
//     late, or after a restart changes nothing (D3).
//  2. [Publisher.WaitPublished] returns only when named serves every change up to the given log index, with the settings
//     and keys of that index; the [Ticket] that it returns becomes invalid when that ends, so that an answer fetched from
//     named in between is recognised and withheld (I3, C5).
//  3. What differs is replaced whole while reads are gated, and compared by zone transfer before it is served (I7). When in
//     doubt the publisher asks named, never its own memory: a reply that did not come says nothing.
//  4. Nothing is published before Start, which the caller calls after its first barrier: until then the state machine may
//     be older than what named served (C5).
//
// The package is split in two. plan.go decides, without a lock, clock or connection: what goes into one message and in
// which order, what a serial seen in named means, with which content to load a zone. The rest does it: named's supervisor
// hands over incarnations (follow.go); pushers send steps (push.go); syncers load, replay, verify, modify and delete zones
// (sync.go); a verifier compares at intervals (verify.go).
package publish
