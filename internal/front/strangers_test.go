package front

import (
	"net/netip"
	"testing"
	"time"
)

// TestStrangersAreSpokenOf: at once, then once a minute while more comes, each packet once, and every address.
func TestStrangersAreSpokenOf(t *testing.T) {
	var s strangers
	began := time.Unix(1_000_000, 0)
	a, b := netip.MustParseAddr("192.0.2.66"), netip.MustParseAddr("192.0.2.65")
	for _, tc := range []struct {
		at               time.Duration
		filtered, passed uint64
		from             []netip.Addr
		more             uint64
	}{
		{0, 0, 0, nil, 0},
		{5 * time.Second, 3, 0, []netip.Addr{a}, 3},
		{10 * time.Second, 9, 0, []netip.Addr{a, b}, 0},
		{70 * time.Second, 9, 1, []netip.Addr{a}, 7},
		{200 * time.Second, 9, 1, nil, 0},
		{205 * time.Second, 0, 1, nil, 0}, // nft could not be asked
		{210 * time.Second, 10, 1, nil, 1},
	} {
		if more := s.note(began.Add(tc.at), tc.filtered, tc.passed, tc.from); more != tc.more {
			t.Errorf("after %v: %d, want %d", tc.at, more, tc.more)
		}
	}
	if len(s.from) != 2 || s.from[0] != b || s.from[1] != a || s.filtered != 10 || s.passed != 1 {
		t.Errorf("%+v", s)
	}
	for i := range 2 * maxStrangers {
		s.note(began, 0, 0, []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})})
	}
	if len(s.from) != maxStrangers {
		t.Errorf("%d addresses are kept", len(s.from))
	}
}
