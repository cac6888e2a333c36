// Package relay carries DNS over UDP between clients and whichever primary can answer, and keeps the clients' addresses.
//
// It is liveness and never safety (I6): it decides which primary gets a datagram, and nothing else depends on it.
//
// # What it promises
//
//  1. A message reaches a primary with its octets unchanged but for the ID, behind a PROXY header that names the client and is
//     proven with a key. The answer leaves from the address that the client asked, with the client's ID.
//  2. A message that can't be applied twice, because it is no UPDATE or is signed (I4), is sent to another primary when the first
//     is silent or lost. An UPDATE without TSIG leaves once, whatever happens.
//  3. SERVFAIL tells a client that its UPDATE was not applied (D6). It passes only when every primary that was asked has said so.
//  4. While a ready primary exists no other is asked; then whoever is alive says, signed, why it can't; when nobody is, the
//     front itself answers.
//  5. Memory is bounded (I8), and one client address can't use up what others need: see [Limits].
//
// # How it works
//
// Each client socket has a worker with its own socket to each primary; all sockets of an address share it by SO_REUSEPORT, and
// the kernel sends all datagrams of one client port to the same. A worker is one critical section: whoever has received a
// batch of datagrams, from clients or from a primary, takes its lock, decides for the whole batch, and sends.
// What is decided (exchange) knows neither sockets nor clocks.
package relay
