package proxy

import (
	"errors"
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// Why a primary failed. [Config.Failed] gets errors that wrap one of these.
var (
	ErrUnreachable = errors.New("proxy: primary can't be reached")      // no address, no connection, connection broken
	ErrSlow        = errors.New("proxy: primary is slow")               // another one answered first, or nobody in time
	ErrGone        = errors.New("proxy: primary is no longer live")     // Primary.Gone was closed
	ErrBehind      = errors.New("proxy: primary is behind")             // its serial is older than the one served here
	ErrMalformed   = errors.New("proxy: primary's answer is malformed") // or ends too early
	ErrTooLong     = errors.New("proxy: the catalog zone is too large") // longer than MaxCatalogBytes
	errNobody      = errors.New("proxy: no primary gives a good answer")
	errNotNeeded   = errors.New("proxy: another primary's answer is used") // no primary's fault
	errClient      = errors.New("proxy: the name server has gone away")    // no primary's fault
	errStopped     = errors.New("proxy: stopping")                         // no primary's fault
)

// AnswerError is a primary's answer that reports an error.
type AnswerError struct {
	RCode int    // RFC 1035 section 4.1.1
	TSIG  uint16 // error of the TSIG RR (RFC 8945 section 3); 0 when it has none
}

// Error says what the answer means and where to look.
func (e *AnswerError) Error() string {
	switch e.TSIG {
	case 0:
		return "proxy: primary answers " + rcodeText(e.RCode)
	case tsig.BadKey:
		return "proxy: primary does not know the secondary's key (BADKEY): register the secondary, compare name and algorithm"
	case tsig.BadSig:
		return "proxy: primary finds the signature wrong (BADSIG): compare the secondary's secret with the primaries'"
	case tsig.BadTime:
		return "proxy: primary finds the time of signing wrong (BADTIME): compare the clocks of secondary and primary"
	default:
		return fmt.Sprintf("proxy: primary refuses the signature with TSIG error %d", e.TSIG)
	}
}

// OfZone reports whether a failure that [Config.Failed] is told concerns one zone
// only: the primary is behind, refuses it or does not have it. It may be the best
// one for every other zone.
func OfZone(err error) bool {
	var answer *AnswerError
	if errors.As(err, &answer) {
		return answer.TSIG == 0 && answer.RCode != rcodeServFail
	}
	return errors.Is(err, ErrBehind) || errors.Is(err, ErrTooLong)
}

func rcodeText(rcode int) string {
	switch rcode {
	case rcodeFormErr:
		return "FORMERR"
	case rcodeServFail:
		return "SERVFAIL"
	case rcodeRefused:
		return "REFUSED: the key may not read the zone"
	case rcodeNotAuth:
		return "NOTAUTH: it does not have the zone"
	}
	return fmt.Sprintf("RCODE %d", rcode)
}

// DNS response codes (RFC 1035 section 4.1.1, RFC 2136 section 2.2).
const (
	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeRefused  = 5
	rcodeNotAuth  = 9
)
