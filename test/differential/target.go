package differential

import (
	"context"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Request is one UPDATE before it is signed.
type Request struct {
	// Wire is the message without TSIG RR. Messages may be malformed, but their header is whole.
	Wire []byte
	// Signer names the key to sign with; "" sends the request unsigned.
	Signer zone.Name
	// UDP sends the request over UDP; else it goes over TCP.
	UDP bool
	// Tamper is how the signature is made.
	Tamper Tamper
	// Time is when it is signed. The same Request makes the same octets.
	Time time.Time
}

// Answer is what a response says.
type Answer struct {
	// RCode has the upper bits of the OPT RR, if there is one.
	RCode     uint16
	TSIGError uint16 // of the response's TSIG RR; 0 without one
	// Form is the rest that can be seen of a response: flags, counts, types (not of a FORMERR), whether its signature
	// verifies. Servers are compared with each other by it; the model has none.
	Form string
}

// Target is a server under comparison. It is used by one goroutine at a time and may keep connections.
type Target interface {
	// Send returns the answer to r.
	Send(ctx context.Context, r Request) (Answer, error)
	// Serial returns the zone's SOA serial once everything that was answered is applied.
	Serial(ctx context.Context, origin zone.Name) (uint32, error)
	// Zone returns the zone's content, by a transfer where there is one.
	Zone(ctx context.Context, origin zone.Name) ([]zone.RR, error)
	Close() error
}
