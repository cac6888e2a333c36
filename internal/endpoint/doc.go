// Package endpoint is the DNS server that clients talk to: it authenticates
// every message, proposes updates to the replicated log, and answers everything
// else from the local named behind a read barrier.
//
// # What it promises
//
//  1. An UPDATE is answered with the result that the [Writer] reports, with
//     SERVFAIL only when it is proven not to have been applied, and otherwise
//     not at all, so that the client retries the same signed bytes (I4). Copies
//     of a signed update that come while it is under way here share its answer,
//     so that none is called refused while another one is on its way into the
//     log. Of copies sent to other primaries only the log knows: SERVFAIL from
//     one says nothing of them.
//  2. UPDATEs of one TCP connection, and those of one key over UDP as they
//     arrive at one socket, are proposed in that order. Answers may overtake
//     one another and are matched by message ID.
//  3. A query, IXFR or AXFR is forwarded only after [Reader.Barrier], and is
//     authorised by settings that are at least as new as that barrier (I3).
//  4. NOTAUTH for an unknown key, secret or zone, and REFUSED, are final only
//     after a second look at settings as new as a barrier (C6).
//  5. Every reply to a validly signed request is signed, errors too. Where BIND
//     answers with a TSIG RR without MAC, so does the endpoint.
//  6. Memory is bounded (I8): by the limits of [Config] times the size of a
//     message. What exceeds a limit gets a fast SERVFAIL with an Extended DNS
//     Error, or a closed connection; one key can't use up what others need.
//
// # Where TSIG ends
//
// The endpoint verifies the client's signature, forwards the message to named
// without it, and signs named's answers itself. named therefore needs no client
// keys: two secrets of one name are valid during a rotation (named has room for
// one), a revoked key is gone with the settings that lose it, and a truncated
// MAC is judged once. named admits the forwarder's loopback source address and
// nobody else; who may read what is decided here.
//
// # Where an address counts
//
// The client's address is authority when it is proven: the connection or
// datagram comes from the client itself, or a front vouches for it with a keyed
// MAC or a client certificate (D4). Otherwise it is written to the audit log
// and matches no address in any list.
package endpoint
