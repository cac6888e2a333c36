package log

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// dataDir is a member's directory. etcd's own files lie in member/; beside them a marker says whose they are, so that
// neither a lost volume nor a mixed-up one passes unnoticed.
type dataDir struct{ path string }

// marker is what marker.json says.
type marker struct {
	Name    string `json:"name"`
	Token   string `json:"token"`   // the cluster
	Started bool   `json:"started"` // it has been part of the cluster: never bootstrap from here again
	Learner bool   `json:"learner"` // it joined as a learner
}

// found is what inspect learned.
type found struct {
	hasData bool // etcd's write-ahead log is there
	started bool // the marker says that this member has been part of the cluster
	learner bool
}

func (d dataDir) markerPath() string { return filepath.Join(d.path, "marker.json") }

func (d dataDir) wal() string { return filepath.Join(d.path, "member", "wal") }

// inspect looks at the directory without changing it. It refuses a directory of another member or another cluster.
func (d dataDir) inspect(name, token string) (found, error) {
	var f found
	entries, err := os.ReadDir(d.wal())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return f, fmt.Errorf("read data directory: %w", err)
	}
	f.hasData = len(entries) > 0

	b, err := os.ReadFile(d.markerPath())
	switch {
	case errors.Is(err, os.ErrNotExist) && f.hasData:
		return f, fmt.Errorf("%s has etcd data but no marker.json: it is not this member's; name another directory", d.path)
	case errors.Is(err, os.ErrNotExist):
		return f, nil
	case err != nil:
		return f, fmt.Errorf("read data directory: %w", err)
	}
	var m marker
	if err := json.Unmarshal(b, &m); err != nil {
		return f, fmt.Errorf("%s is damaged: %w; restore it, or move %s away to join anew", d.markerPath(), err, d.path)
	}
	if m.Name != name {
		return f, fmt.Errorf("%s belongs to member %q, not to %q; name the right directory", d.path, m.Name, name)
	}
	if m.Token != token {
		return f, fmt.Errorf("%s belongs to another cluster (token %q, configured %q); name the right directory", d.path, m.Token, token)
	}
	f.started, f.learner = m.Started, m.Learner
	return f, nil
}

// mark writes the marker durably: file, then directory.
func (d dataDir) mark(m marker) error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("mark data directory: %w", err)
	}
	tmp := d.markerPath() + ".tmp"
	if err := writeSync(tmp, append(b, '\n')); err != nil {
		return fmt.Errorf("mark data directory: %w", err)
	}
	if err := os.Rename(tmp, d.markerPath()); err != nil {
		return fmt.Errorf("mark data directory: %w", err)
	}
	dir, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("mark data directory: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("mark data directory: %w", err)
	}
	return nil
}

func writeSync(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}
