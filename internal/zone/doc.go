// Package zone holds DNS zones in memory: names, resource records, RRsets, and a copy-on-write zone that knows its
// record count, its SOA serial and a digest of its content at every moment.
//
// It promises three things that the replicated state machine above it is built on.
//
//   - What it accepts and what it rejects as wire format is what BIND's named accepts and rejects (9.20, lib/dns/rdata);
//     two RRs are equal exactly when named holds them to be equal (dns_rdata_compare).
//   - Everything is a function of the data alone: no clock, no randomness, no map order. The same calls give the same
//     zone, the same iteration order, the same Diff and the same Digest on every replica and in every release.
//   - A Snapshot costs O(1) and never changes afterwards; a Tx that is rolled back leaves no trace.
//
// Names and RDATA are strings of uncompressed wire octets with the case in which they came in. Case is content (named
// keeps the case of owner names) but not identity: lookups, equality and digests ignore it where DNS does.
package zone
