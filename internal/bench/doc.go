// Package bench measures how fast servers take DNS updates: the cluster beside a
// plain named and Knot, on the same machine in one run.
//
// Clients are closed loops: each has its own socket, sends one signed UPDATE that
// adds one record under a name never used before, and waits for the answer. So
// every update changes the zone, and a server's queue can't hide its latency.
//
// A number counts only if it is true: after every server's run each copy of each
// zone is transferred and must hold exactly the records that were acknowledged.
package bench
