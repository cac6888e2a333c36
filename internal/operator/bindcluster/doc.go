// Package bindcluster decides, step by step, how a BindCluster's primaries become what its spec says: first start, members that come and
// go, rollouts of one pod at a time.
//
// It promises:
//
//   - One step at a time, and each one only while every other primary is well: what a step takes away is one primary at most.
//   - Primaries that count each other (Peers) are members of the log's quorum, all of them, at every moment.
//   - A replica that differs from others at the same serial stops everything.
//   - A step is decided from what is seen now. Nothing is remembered but resources.State, so an operator that was killed goes on where it was.
//
// It is pure; package clustercontroller carries the steps out.
package bindcluster
