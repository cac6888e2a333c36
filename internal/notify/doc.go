// Package notify tells secondaries that are not ours, by DNS NOTIFY (RFC 1996), that a zone has changed.
//
// A message carries the zone's SOA in its answer section, so that a target which is current already asks nothing, and is
// signed, so that the target need not know from which address it comes. For each zone and target one message is under way at a
// time and the newest serial wins: changes coalesce to one message a round trip, whatever their rate, and are never delayed by
// a timer while the target answers. What is not answered is repeated for some seconds, and then left to the next change and to
// the target's own refresh.
//
// One of the primaries leads and sends at once; the others send later, because the leader may die between a change and its
// NOTIFY, and a target that has heard it answers theirs without asking for anything.
package notify
