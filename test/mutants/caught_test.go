//go:build mutants

package mutants

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// attempts is how many seeds a mutant gets: what meets what is up to the machine.
const attempts = 4

// TestCaught runs a campaign against each mutant. It takes minutes.
func TestCaught(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "cluster.test")
	build := exec.Command("go", "test", "-c", "-o", program, "./test/cluster")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, m := range mutants() {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			file, err := m.overlay(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for seed := 1; seed <= attempts; seed++ {
				began := time.Now()
				why, err := attack(root, program, file, m, seed)
				if err != nil {
					t.Fatal(err)
				}
				if why != "" {
					t.Logf("%s, seed %d, %s: %s", m.campaign, seed, time.Since(began).Round(time.Second), why)
					return
				}
			}
			t.Errorf("%s does not notice in %d attempts: %s (%s)", m.campaign, attempts, m.name, m.rule)
		})
	}
}

var finding = regexp.MustCompile(`(?m)^ +[a-z_]+\.go:[0-9]+: .*$`)

// attack runs the mutant's campaign and gives the line that tells of it, "" when it passed.
func attack(root, program, overlay string, m mutant, seed int) (string, error) {
	cmd := exec.Command(program, "-test.run", "^"+m.campaign+"$", "-test.timeout", "20m", "-test.v")
	cmd.Dir = filepath.Join(root, "test", "cluster")
	// The campaign builds the program that it runs, with these flags.
	cmd.Env = append(os.Environ(), fmt.Sprintf("SEED=%d", seed), "DURATION=90s", "GOFLAGS=-overlay="+overlay)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if cmd.Run() == nil {
		return "", nil
	}
	_, failed, _ := strings.Cut(out.String(), "=== RUN")
	for _, line := range finding.FindAllString(failed, -1) {
		for _, word := range m.says {
			if strings.Contains(line, word) && !strings.Contains(line, ": Ok") {
				return strings.TrimSpace(line), nil
			}
		}
	}
	return "", fmt.Errorf("%s failed for another reason:\n%s", m.campaign, tail(out.String(), 80))
}

func tail(text string, n int) string {
	l := strings.Split(text, "\n")
	return strings.Join(l[max(0, len(l)-n):], "\n")
}
