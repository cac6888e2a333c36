// Package checks finds out which primaries are ready and which only answer, for the UDP relay and for the weight of a front node.
//
// A [Checker] asks each primary by HTTP over mutual TLS on a connection that it keeps. [Score] and [Damper] turn what it finds into
// the preference that keepalived is told; they are pure.
package checks
