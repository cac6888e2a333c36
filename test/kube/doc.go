// Package kube runs ZoneKeeper on a real Kubernetes cluster (package lab), and hurts both while clients write.
//
// `make e2e` runs it, as root; README.md tells how to start the same cluster by hand.
package kube
