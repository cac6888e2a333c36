// Package vipobject decides about VirtualIPs: which exposure uses one, on which nodes fronts may run, and what its status says. It is pure.
//
// Who has the addresses is VRRP's business; what is decided here follows from what fronts say of themselves and makes no front take or leave them,
// but for the gate: with a network that drops packets from foreign addresses no front may run on a node before the network lets them through there.
package vipobject
