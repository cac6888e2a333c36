// Package clusterapi reaches the primaries of BindClusters: their admin API, over mutual TLS with the certificate that the operator keeps for
// each cluster.
//
// It promises:
//
//   - A primary is asked by its own address, and by no Service: who answers is who was asked.
//   - A certificate that was renewed is shown from the next request on; connections are reused, and closed when the cluster is forgotten.
//   - What was not taken is asked of the next primary. A change whose outcome is unknown is never repeated before a primary has said that it
//     was not made.
//   - Every request ends: each has a limit, and so has the number of attempts.
package clusterapi
