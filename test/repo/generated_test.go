package repo

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What controller-gen writes from api/v1alpha1 is what the repository has.
func TestGeneratedAPI(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(filepath.Join(root, "scripts", "generate.sh"), dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/generate.sh: %v\n%s", err, out)
	}
	same := func(made, kept string) {
		want, err := filepath.Glob(filepath.Join(dir, made))
		if err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 {
			t.Errorf("scripts/generate.sh has written no %s", made)
		}
		names := map[string]bool{}
		for _, path := range want {
			names[filepath.Base(path)] = true
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(filepath.Dir(kept), filepath.Base(path))
			if have, err := os.ReadFile(filepath.Join(root, file)); err != nil || string(have) != string(b) {
				t.Errorf("%s is stale; run: make generate", file)
			}
		}
		have, err := filepath.Glob(filepath.Join(root, kept))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range have {
			if !names[filepath.Base(path)] {
				t.Errorf("%s is generated no more; delete it", path)
			}
		}
	}
	same("deepcopy/zz_generated.*.go", "api/v1alpha1/zz_generated.*.go")
	same("crds/*.yaml", "charts/zonekeeper/files/crds/*.yaml")
}
