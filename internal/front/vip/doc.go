// Package vip looks after the front's addresses on one node's interface: which are here, which were left behind, who else
// answers for them, and whose VRRP may come in.
//
// It never adds an address: keepalived does that.
package vip
