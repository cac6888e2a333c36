// Package proxy stands between a secondary's name server and the primaries: the
// name server asks it for every zone, and it asks a primary that lives and is
// current.
//
// It promises:
//
//   - Messages pass unchanged, signatures included. The name server's TSIG ends at
//     the primary, so the proxy has no authority over content.
//   - No answer below the serial that the name server serves (Config.Floor) is
//     passed on (RFC 1982); when no primary has more, the answer is SERVFAIL.
//   - A primary that is dead, hung, slow, broken or behind is replaced by the next
//     without the name server noticing, as long as nothing of the answer is out: a
//     transfer is kept back until it is complete or Config.HoldBytes long. After
//     that the connection is broken, and the name server asks again.
//   - Slow primaries are hedged, not timed out: after Config.HedgeAfter without a
//     first octet, or half of Config.IdleTimeout without the next message, the next
//     is asked as well, and the first good answer wins.
//   - The answer begins within Config.Total, or Config.IdleTimeout later when one is
//     on its way. Else it is an error that a primary reported, or an unsigned
//     SERVFAIL. No goroutine and no connection outlives its question, but for the
//     idle connections that are kept for the next one.
//
// Which primary is best is decided by Config.Choose, what a zone transfer may
// change by Config.Screen.
package proxy
