package endpoint

import (
	"encoding/hex"
	"testing"
)

// TestFirstError: of a message with two errors the first one counts, as named reads one RR after the other. A differential run
// found this one: an NSEC3 RR whose owner is no hash, and behind it a name with an undefined label type.
func TestFirstError(t *testing.T) {
	const (
		header = "041728cc000100010001000001300130033132370769" + "6e2d6164647204617270610000060001"
		nsec3  = "045f383533045f444e53013001300331323707696e2d41644472044152506100003200ff000000000000"
		broken = "02483205684f737473013001300331323708494e2d61646472044172506100010600010000012c00080342544303307831"
	)
	s := addressWorld(t).start(nil)
	for _, tc := range []struct {
		what, wire string
		rcode      int
	}{
		{"NSEC3 without a hash, then a name that can't be read", header + nsec3 + broken, rcodeServFail},
		{"a name that can't be read, then NSEC3 without a hash", header + broken + nsec3, rcodeFormErr},
	} {
		msg, err := hex.DecodeString(tc.wire)
		if err != nil {
			t.Fatal(err)
		}
		if got := rcodeOf(udpAsk(t, s.Addrs()[0], msg)); got != tc.rcode {
			t.Errorf("%s: RCODE %d, want %d", tc.what, got, tc.rcode)
		}
	}
}
