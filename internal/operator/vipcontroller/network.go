package vipcontroller

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipobject"
)

// Desired is what a network shall let through.
type Desired struct {
	VIP *v1alpha1.VirtualIP
	// Nodes that may have the addresses.
	Nodes []*corev1.Node
	// Credentials are the entries of the Secret that the VirtualIP names. They are never logged.
	Credentials map[string][]byte
	// Verify: only look.
	Verify bool
	// Remove: nothing of the VirtualIP shall be left, and nothing else be touched.
	Remove bool
}

// Network is what is below the nodes. Reconcile looks, makes what Desired says unless it may only look, and looks again. It can be repeated at any time and
// ends with ctx. An error is about the network as a whole and says what to do; what is wrong with one node is in the result, which counts with an error as
// well. Different VirtualIPs may be reconciled at the same time.
type Network interface {
	Reconcile(ctx context.Context, d Desired) (*vipobject.Network, error)
}
