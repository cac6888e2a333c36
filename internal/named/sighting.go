package named

import (
	"net/netip"
	"strings"
)

// Log categories of named that anybody who can send to it may fill: passed on at a limited rate, and only what concerns people.
const (
	// categoryTransfers is for transfers in, and on BIND 9.20 also for those NOTIFYs that are refused.
	categoryTransfers = "xfer-in"
	// categoryNotify has a line for each NOTIFY that came. BIND 9.18 tells of a refusal in category general alone, among a line for
	// each load and transfer (lib/dns/zone.c, dns_zone_notifyreceive).
	categoryNotify = "notify"
	// categorySecurity has, at level error, each message whose signature does not verify (lib/ns/client.c). Whether it was a NOTIFY is
	// not told: it is refused before its opcode is looked at.
	categorySecurity = "security"
)

// Sighting is what a secondary's named tells in its log alone, and its operator should know.
type Sighting struct {
	Kind SightingKind
	// Zone as named writes it; "" when named does not say it.
	Zone string
	// Text is named's line without what only a debugger can use.
	Text string
	// Shown: the line was passed on. Of the others there were too many in one second.
	Shown bool
}

// SightingKind says what was seen.
type SightingKind string

const (
	// ForeignNotify is a NOTIFY that came from another address than the proxy's, and was refused.
	ForeignNotify SightingKind = "notify"
	// BadSignature is a signed message, maybe a NOTIFY, whose key or signature is wrong.
	BadSignature SightingKind = "bad_signature"
	// UnreadableFile is a zone's file, or its journal, that could not be loaded. named has set both aside and transfers the zone anew.
	UnreadableFile SightingKind = "unreadable_file"
)

// sighted reads one line of the log of a named whose only primary is at proxy.
func sighted(category, msg string, proxy netip.Addr) (x Sighting, seen bool) {
	switch category {
	case categoryNotify:
		// client @0x7f0a 192.0.2.1#4000/key k: received notify for zone 'example.test': TSIG 'k'
		client, rest, ok := strings.Cut(msg, ": received notify for zone '")
		from, addr := clientAddress(client)
		if !ok || addr == proxy {
			return x, false
		}
		name, key, _ := strings.Cut(rest, "'")
		return Sighting{Kind: ForeignNotify, Zone: name, Text: "from " + from + " for zone " + name + key}, true
	case categorySecurity:
		client, rest, ok := strings.Cut(msg, ": request has invalid signature: ")
		// Our own question, when the clock of named is off: that is told elsewhere.
		if !ok || strings.HasPrefix(rest, "TSIG "+strings.TrimSuffix(PublishKeyName, ".")+":") {
			return x, false
		}
		from, _ := clientAddress(client)
		return Sighting{Kind: BadSignature, Text: "from " + from + ": " + rest}, true
	}
	// zone example.test/IN: unable to load from 'example.test.db'; renaming file to 'db-x' for failure analysis and retransferring.
	name, rest, ok := strings.Cut(msg, ": unable to load from '")
	file, kept, ok2 := strings.Cut(rest, "'; renaming file to '")
	if !ok || !ok2 || strings.HasSuffix(file, ".jnl") { // the journal, if there is one, is set aside together with the file
		return x, false
	}
	kept, _, _ = strings.Cut(kept, "'")
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "zone "), "/")
	return Sighting{Kind: UnreadableFile, Zone: name, Text: file + ", kept as " + kept}, true
}

// clientAddress takes the address out of "client @0x7f0a 192.0.2.1#4000/key k (example.test)".
func clientAddress(text string) (from string, addr netip.Addr) {
	fields := strings.Fields(text)
	if len(fields) < 3 {
		return text, addr
	}
	from, _, _ = strings.Cut(fields[2], "/")
	host, _, _ := strings.Cut(from, "#")
	addr, _ = netip.ParseAddr(host) // the zero address is nobody's
	return from, addr.Unmap()
}
