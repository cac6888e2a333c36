package secondary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/secondary/guard"
)

// state is what a restart must not forget. The members are not in it: named has them.
type state struct {
	AsOf     time.Time       `json:"as_of,omitzero"`
	Removals []guard.Removal `json:"removals,omitempty"`
}

func (s *secondary) statePath() string { return filepath.Join(s.cfg.Dir, "state.json") }

// readState returns the zero state when there is no file.
func readState(path string) (st state, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return state{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil {
		return state{}, fmt.Errorf("read %s: %w; it is written anew", path, err)
	}
	return st, nil
}

// writeState replaces the file: a crash leaves the old or the new one, whole.
func writeState(path string, st state) error {
	b, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return conf.Replace(path, b)
}

func (s *secondary) saveState() error {
	s.mu.Lock()
	s.t.lag(time.Now())
	st := state{AsOf: s.t.asOf, Removals: s.guard.Window()}
	s.mu.Unlock()
	return writeState(s.statePath(), st)
}

const stateEvery = 10 * time.Second

// keepState writes the state now and then, and at once when a member was removed.
func (s *secondary) keepState(ctx context.Context) {
	t := time.NewTicker(stateEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.save:
		}
		if err := s.saveState(); err != nil {
			s.problem("state", err.Error())
		}
	}
}
