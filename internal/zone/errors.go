package zone

import (
	"errors"
	"fmt"
)

// ErrFormat is wrapped by every error about malformed names, RRs and messages. A server answers it with FORMERR, except
// for the two kinds below, which wrap it as well.
var ErrFormat = errors.New("malformed DNS data")

// ErrUnsupported marks malformed data that named answers with SERVFAIL instead of FORMERR: an IPSECKEY with an unknown
// gateway type, an NXT with a bad bitmap, an NSEC3 at an owner that is no hash (lib/dns/rcode.c, dns_result_torcode).
var ErrUnsupported = fmt.Errorf("%w of an unsupported kind", ErrFormat)

// ErrDisallowed marks malformed data that named answers with REFUSED: a compression pointer where it permits none.
var ErrDisallowed = fmt.Errorf("%w: compression not permitted", ErrFormat)
