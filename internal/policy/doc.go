// Package policy decides who may change or read a zone, in the words of BIND's named.conf: update-policy rules and
// address-match lists.
//
// It promises that a text which named accepts means here what it means to named (lib/dns/ssu.c, lib/dns/acl.c of
// BIND 9.20), or is refused with its line, its column and a remedy; nothing is silently ignored. Decisions depend on the
// arguments alone, never on the machine: words whose meaning differs from host to host (localhost, localnets, geoip,
// local, external) are refused, because every replica has to decide alike.
//
// Policies and lists are immutable and safe for concurrent use.
package policy
