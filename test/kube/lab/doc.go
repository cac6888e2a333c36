// Package lab runs a real Kubernetes cluster on one machine: a control plane and nodes, each in namespaces of its own, with real
// kubelets, containerd and runc.
//
// A cluster is a tree of processes below the one that calls Run, which the kernel kills from its root: however that process ends, all
// others do too. Networks and mounts have no name outside of these processes, so they go with them. What is left after a SIGKILL are
// empty control groups, which name the process that made them, and the directory; the next cluster removes both.
//
//	hub       10.250.0.1       the control plane and the switch; API server on port 6443
//	n1, n2…   10.250.0.11…     nodes
//	pods      10.244.N.0/24    of node N; Services 10.96.0.0/16
//
// Nothing of it is reachable from outside but the API, on a loopback address.
package lab
