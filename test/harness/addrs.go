package harness

import (
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/porttest"
)

// FreeAddrs finds addresses on loopback that nobody uses now, all different.
func FreeAddrs(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for range n {
		out = append(out, porttest.Addr(t).String())
	}
	return out
}
