package named

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// markerFile says that a directory is this package's to empty.
const markerFile = ".zonekeeper-named"

// owner is the working directory and the account that its files belong to.
type owner struct {
	dir      string
	uid, gid int // of Config.User; 0 keeps the files ours
}

// ownDirectory creates the working directory. It refuses one with files of others, because every start empties it.
func ownDirectory(cfg Config) (owner, error) {
	own := owner{dir: cfg.Dir}
	if cfg.User != "" {
		u, err := user.Lookup(cfg.User)
		if err != nil {
			return own, fmt.Errorf("account for named: %w", err)
		}
		if own.uid, err = strconv.Atoi(u.Uid); err != nil {
			return own, fmt.Errorf("account %s for named: %w", cfg.User, err)
		}
		if own.gid, err = strconv.Atoi(u.Gid); err != nil {
			return own, fmt.Errorf("account %s for named: %w", cfg.User, err)
		}
	}
	// The account must be able to pass through what is created on the way.
	if err := os.MkdirAll(filepath.Dir(cfg.Dir), 0o711); err != nil {
		return own, fmt.Errorf("directory for named: %w", err)
	}
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return own, fmt.Errorf("directory for named: %w", err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return own, fmt.Errorf("directory for named: %w", err)
	}
	if _, err = os.Stat(filepath.Join(cfg.Dir, markerFile)); len(entries) > 0 && err != nil {
		return own, fmt.Errorf("directory %s for named holds %q, not written by us; every start would delete it: choose an empty directory",
			cfg.Dir, entries[0].Name())
	}
	err = errors.Join(
		own.mark(),
		own.chown(cfg.Dir),
		own.reachable(cfg.User, "named's directory", cfg.Dir),
	)
	if err != nil {
		return own, err
	}
	program, err := filepath.EvalSymlinks(cfg.Path)
	if err != nil {
		return own, fmt.Errorf("named program: %w", err)
	}
	return own, own.reachable(cfg.User, "the program", program)
}

// reachable says which parent directory keeps named's account out.
func (o owner) reachable(account, what, path string) error {
	if o.uid == 0 {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return fmt.Errorf("directory %s of named: %w", dir, err)
		}
		x := st.Mode & 0o001
		switch {
		case int(st.Uid) == o.uid:
			x = st.Mode & 0o100
		case int(st.Gid) == o.gid:
			x = st.Mode & 0o010
		}
		if x == 0 {
			return fmt.Errorf("account %s can't pass through %s (mode %o) to %s %s: choose another place, or chmod o+x %s",
				account, dir, st.Mode&0o777, what, path, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// clear deletes everything but the marker and makes the empty tree.
func (o owner) clear() error {
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return fmt.Errorf("empty the directory of named: %w", err)
	}
	for _, e := range entries {
		if e.Name() == markerFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(o.dir, e.Name())); err != nil {
			return fmt.Errorf("empty the directory of named: %w", err)
		}
	}
	zones := filepath.Join(o.dir, zonesDir)
	if err := os.Mkdir(zones, 0o700); err != nil {
		return fmt.Errorf("directory for zone files: %w", err)
	}
	return o.chown(zones)
}

// keep makes the tree of a secondary and leaves what is in it.
func (o owner) keep() error {
	members := filepath.Join(o.dir, membersDir)
	if err := os.Mkdir(members, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("directory for zones of the catalog: %w", err)
	}
	return o.chown(members)
}

// hasZones reports whether a secondary's directory holds a zone.
func (o owner) hasZones() bool {
	_, err := os.Stat(filepath.Join(o.dir, catalogFile))
	entries, _ := os.ReadDir(filepath.Join(o.dir, membersDir)) // unreadable: nothing that named could load
	return err == nil || len(entries) > 0
}

// setAside makes an empty directory and keeps the old one beside it, in place of what was kept before.
func (o owner) setAside() error {
	if err := os.RemoveAll(o.aside()); err != nil {
		return fmt.Errorf("remove the directory of named that was set aside before: %w", err)
	}
	if err := os.Rename(o.dir, o.aside()); err != nil {
		return fmt.Errorf("set the directory of named aside: %w", err)
	}
	if err := os.Mkdir(o.dir, 0o700); err != nil {
		return fmt.Errorf("directory for named: %w", err)
	}
	return errors.Join(o.mark(), o.chown(o.dir))
}

// putBack undoes setAside.
func (o owner) putBack() error {
	if err := os.RemoveAll(o.dir); err != nil {
		return fmt.Errorf("put the directory of named back: %w", err)
	}
	if err := os.Rename(o.aside(), o.dir); err != nil {
		return fmt.Errorf("put the directory of named back: %w", err)
	}
	return nil
}

func (o owner) aside() string { return o.dir + ".damaged" }

func (o owner) mark() error {
	return o.write(markerFile, []byte("zonekeeper owns this directory: a hidden primary empties it at each start of named, a secondary writes named's configuration here.\n"))
}

// write replaces a file; readers see the old or the new one, whole.
func (o owner) write(name string, text []byte) error {
	path := filepath.Join(o.dir, name)
	tmp := path + ".new"
	err := os.WriteFile(tmp, text, 0o600)
	if err == nil {
		err = o.chown(tmp)
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeZone writes a zone's file. The name is new, so nobody reads it before it is whole.
func (o owner) writeZone(file string, z *zone.Zone) error {
	path := o.zonePath(file)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = errors.Join(writeRaw(f, z), f.Close())
	}
	if err == nil {
		err = o.chown(path)
	}
	if err != nil {
		o.removeZone(file)
		return fmt.Errorf("write the file of zone %s: %w", z.Origin(), err)
	}
	return nil
}

// removeZone deletes a file that named will not. What can't be deleted only takes space until the next start.
func (o owner) removeZone(file string) { _ = os.Remove(o.zonePath(file)) }

func (o owner) zonePath(file string) string { return filepath.Join(o.dir, zonesDir, file) }

func (o owner) chown(path string) error {
	if o.uid == 0 {
		return nil
	}
	return os.Chown(path, o.uid, o.gid)
}
