package mutants

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestApplies: every mutant still fits the source, and compiles.
func TestApplies(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants() {
		file, err := m.overlay(root, t.TempDir())
		if err != nil {
			t.Error(err)
			continue
		}
		cmd := exec.Command("go", "build", "-overlay", file, "./"+filepath.Dir(m.file))
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", m.name, err, out)
		}
	}
}
