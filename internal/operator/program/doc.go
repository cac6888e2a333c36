// Package program is the operator as a process: its configuration, the connection to the API server, who of several operators leads, which
// controllers run, its health and metrics, and the order in which it stops.
//
// It promises:
//
//   - Of several operators at most one acts: the one that holds the lease. The others are ready to take over, and say so.
//   - A stop waits for the passes that are under way and then gives the lease back, so that the next one begins at once.
//   - Secrets are in no cache: each is read by its name when it is needed. Of other objects the cache has those that the operator made.
package program
