package named

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
)

// recordFile is the record of a secondary's zone files and journals.
const recordFile = ".zonekeeper-files"

const (
	// recordEvery is how often the files are looked at while named runs; with many of them filePatience for each.
	recordEvery  = 5 * time.Second
	filePatience = time.Millisecond
	// settled is how old the last change of a file must be before its checksum is believed: within the resolution of the file
	// system's clock it could be written again without a new time.
	settled = 2 * time.Second
)

// record is what a secondary's files were when they were last looked at. BIND's own have no checksum: a bit that the disk
// flips in a name or in data is loaded and served.
type record struct {
	// Ended: named had ended in order before the files were looked at. Whatever changed since was not named.
	Ended bool `json:"ended,omitempty"`
	// Conf is the time of named's configuration then.
	Conf  int64               `json:"conf,omitempty"`
	Files map[string]fileSeen `json:"files"` // by path below the directory
}

type fileSeen struct {
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"` // nanoseconds since 1970
	SHA256 string `json:"sha256"`
}

// sameAs reports whether nobody seems to have written the file since.
func (f fileSeen) sameAs(i fs.FileInfo) bool {
	return f.Size == i.Size() && f.Mtime == i.ModTime().UnixNano()
}

// evidence is what the record says of the files that named is about to load.
type evidence struct {
	damaged  []string // not what named wrote
	doubtful []string // changed since the record was made, by named or by what damages files
}

// zoneFiles lists zone files and journals, sorted.
func (o owner) zoneFiles() (map[string]fs.FileInfo, error) {
	found := map[string]fs.FileInfo{}
	for _, dir := range []string{"", membersDir} {
		entries, err := os.ReadDir(filepath.Join(o.dir, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list the zone files of named: %w", err)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !strings.HasSuffix(zoneFileOf(e.Name()), ".db") {
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list the zone files of named: %w", err)
			}
			found[filepath.Join(dir, e.Name())] = info
		}
	}
	return found, nil
}

// zoneFileOf is the zone file that a journal belongs to; a zone file's own name is returned.
func zoneFileOf(name string) string { return strings.TrimSuffix(name, ".jnl") }

// see reads a file.
func (o owner) see(ctx context.Context, name string, info fs.FileInfo) (fileSeen, error) {
	f, err := os.Open(filepath.Join(o.dir, name))
	if err != nil {
		return fileSeen{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, readerUntil{ctx, f}); err != nil {
		return fileSeen{}, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return fileSeen{Size: info.Size(), Mtime: info.ModTime().UnixNano(), SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// readerUntil ends with its context: a large file takes a while.
type readerUntil struct {
	ctx context.Context
	r   io.Reader
}

func (r readerUntil) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// examine compares the files with the record before named loads them.
func (o owner) examine(ctx context.Context, rec record) (evidence, error) {
	var ev evidence
	found, err := o.zoneFiles()
	if err != nil {
		return ev, err
	}
	for name, info := range found {
		was, known := rec.Files[name]
		if !known {
			ev.doubtful = append(ev.doubtful, name)
			continue
		}
		is, err := o.see(ctx, name, info)
		switch {
		case ctx.Err() != nil:
			return ev, ctx.Err()
		case err == nil && is.SHA256 == was.SHA256:
		case err != nil, rec.Ended, was.sameAs(info):
			ev.damaged = append(ev.damaged, name) // also when it can't be read: named could not either
		default:
			ev.doubtful = append(ev.doubtful, name)
		}
	}
	if rec.Ended {
		// Without its journal a zone would go back to what it was when its file was written.
		for name := range rec.Files {
			if _, there := found[name]; !there && found[zoneFileOf(name)] != nil {
				ev.damaged = append(ev.damaged, name)
			}
		}
	}
	slices.Sort(ev.damaged)
	slices.Sort(ev.doubtful)
	return ev, nil
}

// damagedFiles is where damaged files are kept, the newest of each name.
func (o owner) damagedFiles() string { return o.dir + ".damaged-files" }

// discard moves a damaged file out of named's sight, and what belongs to it: of a zone file and its journal neither is right
// without the other.
func (o owner) discard(name string) error {
	if err := os.MkdirAll(o.damagedFiles(), 0o700); err != nil {
		return fmt.Errorf("keep the damaged %s: %w", name, err)
	}
	for _, n := range []string{zoneFileOf(name), zoneFileOf(name) + ".jnl"} {
		err := os.Rename(filepath.Join(o.dir, n), filepath.Join(o.damagedFiles(), filepath.Base(n)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take the damaged %s out of named's directory: %w", n, err)
		}
	}
	return nil
}

// look makes the record of now. What has not changed is not read again; what changed within the time that files need to
// settle is left out.
func (o owner) look(ctx context.Context, old record, settle time.Duration) (now record, changed bool, err error) {
	found, err := o.zoneFiles()
	if err != nil {
		return old, false, err
	}
	now.Files = make(map[string]fileSeen, len(found))
	for name, info := range found {
		if was, ok := old.Files[name]; ok && was.sameAs(info) {
			now.Files[name] = was
			continue
		}
		if time.Since(info.ModTime()) < settle {
			continue
		}
		is, err := o.see(ctx, name, info)
		if ctx.Err() != nil {
			return old, false, ctx.Err()
		}
		after, statErr := os.Stat(filepath.Join(o.dir, name))
		if err == nil && statErr == nil && is.sameAs(after) { // else named has removed it or writes it
			now.Files[name] = is
		}
	}
	return now, !maps.Equal(now.Files, old.Files), nil
}

// readRecord returns an empty one when there is none: then every file is in doubt.
func (o owner) readRecord() (record, error) {
	path := filepath.Join(o.dir, recordFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	var rec record
	if err == nil {
		err = json.Unmarshal(b, &rec)
	}
	if err != nil {
		return record{}, fmt.Errorf("read %s: %w; it is made anew", path, err)
	}
	return rec, nil
}

// writeRecord replaces the record durably: what it says outlives the loss of power, or nothing does.
func (o owner) writeRecord(rec record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("write %s: %w", recordFile, err)
	}
	return conf.Replace(filepath.Join(o.dir, recordFile), b)
}

// confTime is when named's configuration was written, which every start does.
func (o owner) confTime() int64 {
	info, err := os.Stat(filepath.Join(o.dir, confFile))
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}
