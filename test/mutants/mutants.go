package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is a rule that is taken out.
type mutant struct {
	name string // of the rule's absence
	rule string // of DESIGN.md
	file string // from the module's root
	old  string // stands in the file once
	new  string
	// campaign is the test of test/cluster that has to fail, with one of these words in what it says.
	campaign string
	says     []string
}

func mutants() []mutant {
	return []mutant{
		{
			name: "acknowledged before it is on a disk", rule: "I1", file: "internal/log/memberconfig.go",
			old: "	e.QuotaBackendBytes = c.QuotaBytes\n", new: "	e.QuotaBackendBytes = c.QuotaBytes\n	e.UnsafeNoFsync = true\n",
			campaign: "TestPowerLoss", says: append(anyLoss, "is not ready"), // what etcd itself needs may be gone
		},
		{
			name: "a request that comes again is a new one", rule: "I4", file: "internal/fsm/apply_update.go",
			old:      "	a, ok := m.st.dedupe.lookup(m.now(), timeSigned+min(uint64(fudge), MaxFudge), fp)\n",
			new:      "	a, ok := m.st.dedupe.lookup(m.now(), timeSigned+min(uint64(fudge), MaxFudge), fp)\n	ok = false\n",
			campaign: "TestFaults", says: anyLoss,
		},
		{
			name: "reads do not wait for the barrier", rule: "I3", file: "internal/primary/reader.go",
			old:      "	index, err := p.replica.Barrier(ctx)\n	if err != nil {\n		return nil, err\n	}\n",
			new:      "	index := p.replica.Machine().Index()\n",
			campaign: "TestFaults", says: append([]string{"was shown after"}, anyLoss...),
		},
		{
			name: "an append in doubt counts as not applied", rule: "C2", file: "internal/replica/core.go",
			old: "	case c.cfg.omit.settle:\n", new: "	case true:\n",
			campaign: "TestFaults", says: anyLoss,
		},
		{
			name: "updates enter the log however late", rule: "C2", file: "internal/fsm/apply_update.go",
			old:      "	return u.DeadlineMS != 0 && m.st.timeMS > u.DeadlineMS\n",
			new:      "	return false\n",
			campaign: "TestFaults", says: append(anyLoss, "came in more than"),
		},
	}
}

// anyLoss are words of the checks that see an update lost, carried out twice, or come back.
var anyLoss = []string{
	"not linearizable", "which was acknowledged before", "was acknowledged and is there", "increments were acknowledged",
	"was told that it was not applied", "nobody has sent it", "when it was sent again",
}

// overlay writes the mutated file and the JSON that go build's -overlay takes, into dir; root is the module's.
func (m mutant) overlay(root, dir string) (string, error) {
	path := filepath.Join(root, m.file)
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(b), m.old); n != 1 {
		return "", fmt.Errorf("%s: what the mutant %q replaces stands there %d times, want once; bring the mutant up to date", m.file, m.name, n)
	}
	mutated := filepath.Join(dir, "mutated.go")
	if err := os.WriteFile(mutated, []byte(strings.Replace(string(b), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}
