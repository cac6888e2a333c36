// Package vipcontroller says of VirtualIPs what they are, opens the gate for their fronts where the network below the nodes has a say, and has that network
// let the addresses through. It makes no front: those belong to BindClusters, whose exposures name VirtualIPs.
//
// It promises:
//
//   - Status follows from what fronts have told, from pods and from nodes; it is told again when one of them changes, and every few seconds.
//   - A node's gate opens after the network lets the addresses through there, and nothing that is merely unknown closes one.
//   - A deletion waits for the network for lookup.DeletionLimit at most.
//   - Nothing is written while the cluster that uses the VirtualIP is paused, but status.
package vipcontroller
