// Package haproxy writes HAProxy's configuration and keeps one HAProxy running with it: the TCP half of the front.
//
// [Render] is pure: the same [Config] gives the same octets, and what it says is in golden files that the real program accepts. A
// [Process] starts the program as its own child, without HAProxy's master mode, so that no worker outlives the front; a changed
// configuration is taken over by a second process that gets the listening sockets of the first, so no connection is lost.
//
// HAProxy judges the primaries by itself: its checks go on while the front restarts.
package haproxy
