// Package image writes container images without a container engine: a root of named files becomes one layer, the same octets each time.
package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// file is one of a Root: what is at source, a text, a symbolic link, or a folder.
type file struct {
	source, text, link string
	mode               fs.FileMode
}

// Root is the files of an image, by their absolute paths. Folders above them are made.
type Root struct {
	files map[string]file
	libs  []string
}

// NewRoot is empty but for what every program expects. Shared libraries are looked for in dirs first, then where this machine has its own.
func NewRoot(dirs ...string) *Root {
	r := &Root{files: map[string]file{}, libs: dirs}
	for _, pattern := range []string{"/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib"} {
		found, _ := filepath.Glob(pattern) // the pattern is sound
		r.libs = append(r.libs, found...)
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} { // as distributions have merged them
		r.files["/"+name] = file{link: "usr/" + name, mode: fs.ModeSymlink | 0o777}
	}
	for _, name := range []string{"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/etc", "/run", "/var/lib", "/proc", "/sys", "/dev"} {
		r.files[name] = file{mode: fs.ModeDir | 0o755}
	}
	r.files["/tmp"] = file{mode: fs.ModeDir | fs.ModeSticky | 0o777}
	r.Text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
	return r
}

// Text adds a file with a content.
func (r *Root) Text(name, text string) { r.files[name] = file{text: text, mode: 0o644} }

// Link adds a symbolic link.
func (r *Root) Link(name, to string) { r.files[name] = file{link: to, mode: fs.ModeSymlink | 0o777} }

// Copy adds a file of this machine.
func (r *Root) Copy(name, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("image: %s is no file", source)
	}
	r.files[name] = file{source: source, mode: info.Mode().Perm() | 0o444} // readable for whatever user a pod has
	return nil
}

// Program adds a program or a library, the loader that it names, and the shared libraries that it needs, those included that these need.
func (r *Root) Program(name, source string) error {
	if err := r.Copy(name, source); err != nil {
		return err
	}
	f, err := elf.Open(source)
	if err != nil {
		return fmt.Errorf("image: %s: %w", source, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz-1) // it ends with a zero
		if _, err := p.ReadAt(b, 0); err != nil {
			return fmt.Errorf("image: %s: %w", source, err)
		}
		if err := r.Copy(path.Join("/usr", string(b)), string(b)); err != nil {
			return err
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("image: %s: %w", source, err)
	}
	for _, lib := range needed {
		if err := r.library(lib, source); err != nil {
			return err
		}
	}
	return nil
}

func (r *Root) library(name, of string) error {
	i := slices.IndexFunc(r.libs, func(dir string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil })
	if i < 0 {
		return fmt.Errorf("image: %s needs %s, which is in none of %v; install its package", of, name, r.libs)
	}
	target := path.Join("/usr/lib", name) // the loader looks there without being told
	if _, have := r.files[target]; have {
		return nil
	}
	return r.Program(target, filepath.Join(r.libs[i], name))
}

// Installed adds programs of this machine's packages, by their names, at the paths that they have here.
func (r *Root) Installed(names ...string) error {
	var errs []error
	for _, name := range names {
		i := slices.IndexFunc(programDirs, func(dir string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil })
		if i < 0 {
			errs = append(errs, fmt.Errorf("image: there is no %s in %v; run scripts/install-deps.sh e2e", name, programDirs))
			continue
		}
		errs = append(errs, r.Program(path.Join(programDirs[i], name), filepath.Join(programDirs[i], name)))
	}
	return errors.Join(errs...)
}

var programDirs = []string{"/usr/sbin", "/usr/bin"}
