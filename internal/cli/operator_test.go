package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestOperator: all arguments go to the program beside this one, and without it the error says what to do.
func TestOperator(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	var path string
	var args []string
	p := Program{Version: "v", Out: &out, Err: &out, Getenv: func(string) string { return "" },
		Executable: func() (string, error) { return filepath.Join(dir, "zonekeeper"), nil },
		Exec: func(name string, argv []string) error {
			path, args = name, argv
			_, err := os.Stat(name)
			return errors.Join(err, syscall.EACCES)
		},
	}
	if code := p.Run(t.Context(), []string{"operator", "--image", "i", "--help"}); code != ExitFailed {
		t.Errorf("exit %d", code)
	}
	want := filepath.Join(dir, "zonekeeper-operator")
	if path != want || !slices.Equal(args, []string{want, "--image", "i", "--help"}) {
		t.Errorf("executes %s with %q", path, args)
	}
	if text := out.String(); !strings.Contains(text, want+" does not exist; put zonekeeper-operator beside zonekeeper") {
		t.Errorf("says %q", text)
	}
	out.Reset()
	if err := os.WriteFile(want, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if p.Run(t.Context(), []string{"operator"}); !strings.Contains(out.String(), "permission denied") {
		t.Errorf("says %q", out.String())
	}
}
