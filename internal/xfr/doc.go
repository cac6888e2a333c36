// Package xfr reads zone transfers on the wire: what is asked, where the answer
// ends, which serial it brings and what it changes (RFC 1995, RFC 5936).
//
// It promises:
//
//   - Messages are only read. Whoever passes them on passes the octets that came,
//     so a signature over them stays good.
//   - [End] and [Decode] take and refuse what BIND's secondary takes and refuses
//     (lib/dns/xfrin.c, xfr_rr) where that decides where a transfer ends.
//   - No input makes it panic, and what it keeps is bounded by the input.
//
// Signatures are not looked at: that is for the one who holds the key.
package xfr
