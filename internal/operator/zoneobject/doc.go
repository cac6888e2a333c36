// Package zoneobject decides what a Zone means: whether it may be there, with which settings, and with which first content. It is pure;
// package zonecontroller asks primaries for it.
//
// Settings are in the words of named.conf, because the admin API and the replicated state have them so. Records are decided once, for a
// zone that does not exist; nothing here ever says anything about records of one that does.
package zoneobject
