// Package front assembles one front node: HAProxy for TCP, the relay for UDP, and keepalived, which moves the address that both
// serve.
//
// It promises:
//
//   - Only who holds an address receives what is sent to it; all nodes are ready to. Holding it confers no right to write (I6).
//   - What is broken on this node (HAProxy, the relay, an address that somebody else uses) gives the address away at once. What is
//     broken behind it, primaries or their quorum, is a preference only: one holder always remains, and answers SERVFAIL.
//   - A node that stops drains first: connections end between messages, then the address moves, then the relay ends.
//   - An address is never left behind by us: what a killed keepalived leaves is removed.
//
// What is decided (model.go, answer.go) knows neither time nor network; steer.go, watch.go and drain.go carry it out. The order of
// start and stop is in front.go; guard.go is process 1 of a container.
package front
