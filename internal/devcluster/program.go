package devcluster

import (
	"os/exec"
	"path/filepath"
)

// Program finds a server program as root's shell would: Debian leaves the sbin
// folders, where named and knotd are, out of other users' $PATH. What it can't find
// it returns unchanged, for the error of whoever starts it.
func Program(name string) string {
	if filepath.Base(name) != name {
		return name // a path: meant as it is
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return name
}
