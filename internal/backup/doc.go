// Package backup is the backup file: one consistent state of a cluster as a tar archive of zone files and a manifest, of which every
// octet is covered by a checksum.
//
// The file is gzip (RFC 1952) in two members. The first is a tar archive:
//
//	manifest.json   what is in it: Manifest
//	secrets.age     the TSIG secrets, encrypted with age; only when they were asked for
//	zones/….zone    one zone file (RFC 1035 section 5) for each zone but the catalog
//
// The second member is empty, and its comment is the SHA-256 of all octets before it. So tar, gzip and age alone can read a backup, and a
// file that was cut short or damaged in any octet is noticed.
//
// What a reader is handed before the end of the file has been reached is not proven yet: use nothing of it when Read fails.
package backup
