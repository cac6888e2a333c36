package differential

import (
	"context"

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
	// Tamper makes the signature a bad one.
	Tamper Tamper
}

// Tamper is a way in which a signature is bad.
type Tamper int

// The ways. A key that the servers don't know is made by naming it as the signer.
const (
	Genuine        Tamper = iota
	WrongSecret           // BADSIG
	OtherAlgorithm        // BADKEY: the key is known for another algorithm
	OldSignature          // BADTIME
)

// Answer is what a response says.
type Answer struct {
	RCode     uint16
	TSIGError uint16 // of the response's TSIG RR; 0 without one
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
