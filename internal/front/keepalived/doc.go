// Package keepalived renders the configuration of a keepalived that moves the front's addresses between nodes, runs it,
// tells it how this node fares, and says who holds the addresses.
//
// The program is the one that administrators know; nothing of VRRP is implemented here. Two files that keepalived watches
// carry what the front knows: "local" (anything but 0 is FAULT: the addresses leave at once) and "quorum" (a preference:
// 2 a primary is ready, 1 one answers, 0 none does). Both are written in place, because keepalived watches the file and not
// its name. State changes come back through a FIFO.
package keepalived
