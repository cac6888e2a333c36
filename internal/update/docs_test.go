package update_test

import (
	"os"
	"strings"
	"testing"
)

// TestDifferencesAreFew keeps the list of intended differences from BIND short.
func TestDifferencesAreFew(t *testing.T) {
	text, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n## "); n == 0 || n > 15 {
		t.Errorf("docs/differences.md has %d entries; at most 15 are allowed", n)
	}
}
