// Package tsig signs and verifies DNS messages with transaction signatures
// (RFC 8945), on the wire format, as BIND 9 does it.
//
// It works on bytes, not on parsed messages: what arrived is what is digested,
// so that nothing a parser normalises can make a good signature bad. The
// server's side is [Verify] and [Request.Sign]; the client's is [SignRequest],
// [VerifyResponse] and, for zone transfers of many messages, [Transfer].
//
// # What it promises
//
//   - The order of the checks, the RCODE and the TSIG error of each failure,
//     and whether the answer is signed, are those of BIND's lib/dns/tsig.c and
//     lib/ns/client.c; where they differ on purpose, the comment says so.
//   - [Request.FullMAC] is the whole HMAC that this side computed, never the
//     possibly truncated octets the client sent: an attacker can't mint a
//     second fingerprint of a request by cutting its MAC.
//   - A request stays acceptable for at most [MaxFudge] around its time signed,
//     whatever fudge it carries, so that a memory of answered requests can be
//     bounded.
//   - With keys made by [NewKey] and a reused [Request], verifying and signing
//     do not allocate.
package tsig
