// Package update evaluates DNS UPDATE requests (RFC 2136) exactly as BIND's named does.
//
// It promises that for the same zone content and the same message, Apply gives the response code, the RRsets and the SOA
// serial that named 9.20 gives, save for the intended exceptions of docs/differences.md; test/differential proves it
// against real named processes. Where RFC 2136 and named differ, named wins: permissions and the prescan come before the
// prerequisites, for instance.
//
// Everything is a function of the arguments: no clock, no network, no randomness, no state. The comments name the
// functions of BIND's lib/ns/update.c and lib/dns/ that a rule was read from.
package update
