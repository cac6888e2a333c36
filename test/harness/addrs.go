package harness

import (
	"net"
	"testing"
)

// FreeAddrs finds TCP addresses on loopback that nobody uses now, all different.
func FreeAddrs(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at once, so that they differ
		out = append(out, l.Addr().String())
	}
	return out
}
