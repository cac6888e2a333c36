package primary

import (
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

func TestJudgeCopies(t *testing.T) {
	copyOf := func(serial uint32, digest string, confirmed bool, err string) adminapi.VerifyCopy {
		return adminapi.VerifyCopy{Serial: serial, Digest: digest, Confirmed: confirmed, Error: err}
	}
	state := copyOf(7, "aa", true, "")
	for name, c := range map[string]struct {
		copies      []adminapi.VerifyCopy
		ok, decided bool
	}{
		"all alike":                     {[]adminapi.VerifyCopy{state, copyOf(7, "aa", true, ""), copyOf(7, "aa", false, "")}, true, true},
		"updates go on":                 {[]adminapi.VerifyCopy{state, copyOf(8, "bb", true, ""), copyOf(9, "cc", true, "")}, true, true},
		"one serial, two contents":      {[]adminapi.VerifyCopy{state, copyOf(7, "bb", false, ""), copyOf(7, "aa", true, "")}, false, true},
		"two contents away from ours":   {[]adminapi.VerifyCopy{state, copyOf(9, "bb", true, ""), copyOf(9, "cc", true, "")}, false, true},
		"one that nobody could compare": {[]adminapi.VerifyCopy{state, copyOf(8, "bb", false, ""), copyOf(7, "aa", true, "")}, false, false},
		"one that did not answer":       {[]adminapi.VerifyCopy{state, copyOf(0, "", false, "connection refused")}, false, false},
	} {
		if ok, decided := judgeCopies(c.copies); ok != c.ok || decided != c.decided {
			t.Errorf("%s: %v, %v; want %v, %v", name, ok, decided, c.ok, c.decided)
		}
	}
}
