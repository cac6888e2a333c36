// Package harness gives tests a whole cluster of real processes (primaries with their embedded etcd and their own named)
// on loopback, clients that behave as nsupdate does, and the means to hurt the processes.
package harness
