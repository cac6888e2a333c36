package replica

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// ErrCorruptCheckpoint: a checkpoint file does not hold what was written to it.
var ErrCorruptCheckpoint = errors.New("corrupt checkpoint")

const (
	checkpointPrefix = "checkpoint-"
	checkpointTmp    = ".tmp"
	// evidencePrefix names checkpoints of a state that differed from the majority's. Nothing removes them.
	evidencePrefix = "evidence-"
	// keepCheckpoints files stay on disk: the newest, and the one before it as evidence and for an operator's rescue.
	keepCheckpoints = 2
)

// checkpointStore keeps a replica's checkpoints in one directory, one file each, named by log index. A file appears under
// its final name only when it is complete and durable, so that what is listed can be trusted after a power loss.
type checkpointStore struct {
	dir string
	log *slog.Logger
}

func openCheckpointStore(dir string, logger *slog.Logger) (*checkpointStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("checkpoint directory: %w", err)
	}
	tmp, err := filepath.Glob(filepath.Join(dir, "*"+checkpointTmp))
	if err != nil {
		return nil, fmt.Errorf("checkpoint directory %s: %w", dir, err)
	}
	for _, f := range tmp { // left by a crash in the middle of a write; never complete
		if err := os.Remove(f); err != nil {
			return nil, fmt.Errorf("remove the unfinished checkpoint: %w", err)
		}
	}
	return &checkpointStore{dir: dir, log: logger}, nil
}

func checkpointName(index uint64) string { return fmt.Sprintf("%s%020d", checkpointPrefix, index) }

// list gives the log indexes of the stored checkpoints, newest first.
func (s *checkpointStore) list() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var out []uint64
	for _, e := range entries {
		num, ok := strings.CutPrefix(e.Name(), checkpointPrefix)
		if !ok || strings.HasSuffix(num, checkpointTmp) {
			continue
		}
		index, err := strconv.ParseUint(num, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("checkpoint directory %s: file %q is not a checkpoint's name; move it away", s.dir, e.Name())
		}
		out = append(out, index)
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

// load restores the newest checkpoint and gives its size in octets; a nil machine when there is none. A damaged file is an
// error, never a reason to start from less: an operator decides, the file stays.
func (s *checkpointStore) load() (*fsm.Machine, int, error) {
	list, err := s.list()
	if err != nil || len(list) == 0 {
		return nil, 0, err
	}
	path := filepath.Join(s.dir, checkpointName(list[0]))
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("open checkpoint: %w", err)
	}
	defer f.Close()
	size := &countingReader{r: f}
	m, err := fsm.Restore(size)
	if err == nil && m.Index() != list[0] {
		err = fmt.Errorf("it holds the state of log index %d", m.Index())
	}
	if errors.Is(err, fsm.ErrVersion) {
		return nil, 0, fmt.Errorf("checkpoint %s: %w", path, err) // sound, but not for this program
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w %s: %w; move the file away and start again: the replica then continues from the checkpoint "+
			"before it, or from a peer's", ErrCorruptCheckpoint, path, err)
	}
	return m, size.n, nil
}

// save writes a checkpoint durably (file and directory are fsynced) and returns its digest and its size in octets.
func (s *checkpointStore) save(index uint64, write func(io.Writer) (fsm.Digest, error)) (fsm.Digest, int, error) {
	return s.write(filepath.Join(s.dir, checkpointName(index)), write)
}

func (s *checkpointStore) write(final string, write func(io.Writer) (fsm.Digest, error)) (fsm.Digest, int, error) {
	f, err := os.OpenFile(final+checkpointTmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fsm.Digest{}, 0, fmt.Errorf("create checkpoint: %w", err)
	}
	size := &countingWriter{w: f}
	digest, err := write(size)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), final)
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // a full disk must get its space back; the write's own error is what counts
		return fsm.Digest{}, 0, fmt.Errorf("write checkpoint %s: %w", final, err)
	}
	return digest, size.n, nil
}

// setAside renames the checkpoints from an index on, so that they are neither loaded nor given to a peer, and stay for ever. It
// returns their new paths.
func (s *checkpointStore) setAside(from uint64) ([]string, error) {
	list, err := s.list()
	if err != nil {
		return nil, err
	}
	var kept []string
	for _, index := range list {
		if index < from {
			break
		}
		path, err := s.evidencePath(index)
		if err == nil {
			err = os.Rename(filepath.Join(s.dir, checkpointName(index)), path)
		}
		if err != nil {
			return kept, fmt.Errorf("set a checkpoint aside as evidence: %w", err)
		}
		kept = append(kept, path)
	}
	return kept, syncDir(s.dir)
}

// saveEvidence writes a state as evidence and returns the file's path.
func (s *checkpointStore) saveEvidence(index uint64, write func(io.Writer) (fsm.Digest, error)) (string, error) {
	path, err := s.evidencePath(index)
	if err != nil {
		return "", err
	}
	_, _, err = s.write(path, write)
	return path, err
}

// evidencePath gives a name that no earlier evidence has.
func (s *checkpointStore) evidencePath(index uint64) (string, error) {
	for n := 1; ; n++ {
		path := filepath.Join(s.dir, fmt.Sprintf("%s%020d", evidencePrefix, index))
		if n > 1 {
			path = fmt.Sprintf("%s.%d", path, n)
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", fmt.Errorf("find a name for evidence: %w", err)
		}
	}
}

// prune removes all but the newest checkpoints. Failing to is worth a warning only.
func (s *checkpointStore) prune() {
	list, err := s.list()
	if err != nil {
		s.log.Warn("cannot prune checkpoints", "err", err)
		return
	}
	for i := keepCheckpoints; i < len(list); i++ {
		err := os.Remove(filepath.Join(s.dir, checkpointName(list[i])))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("cannot remove an old checkpoint", "err", err)
		}
	}
}

// open gives the newest stored checkpoint for streaming to a peer; the caller closes it.
func (s *checkpointStore) open() (io.ReadCloser, uint64, error) {
	list, err := s.list()
	if err != nil {
		return nil, 0, err
	}
	if len(list) == 0 {
		return nil, 0, fs.ErrNotExist
	}
	f, err := os.Open(filepath.Join(s.dir, checkpointName(list[0])))
	if err != nil {
		return nil, 0, fmt.Errorf("open checkpoint: %w", err)
	}
	return f, list[0], nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// countingWriter and countingReader count the octets that pass.
type countingWriter struct {
	w io.Writer
	n int
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += n
	return n, err
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}
