package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// controllers are those whose hierarchies kubelets and freeze need.
func controllers() []string {
	return []string{"cpu", "cpuset", "devices", "freezer", "memory", "pids", "systemd"}
}

// Check reports what this machine does not allow of what a cluster needs: to be root, control groups of version 1, namespaces and mounts in
// them. It costs nothing, unlike the ten minutes after which a cluster would fail.
func Check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("lab: user %d can't make namespaces; run this as root", os.Geteuid())
	}
	var errs []error
	all, err := hierarchies()
	if err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, checkHierarchies(all))
	}
	// A mount as a container's, where no other process sees it.
	out, err := exec.Command("unshare", "--mount", "--net", "--pid", "--uts", "--cgroup", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt").CombinedOutput()
	if err != nil {
		// Not %w: an ExitError would be taken for that of a command which kubelab runs for its user, and has spoken for itself.
		errs = append(errs, fmt.Errorf("lab: no mount in new namespaces: %v: %s; run this in a virtual machine or a privileged container", err, strings.TrimSpace(string(out)))) //nolint:errorlint // as above
	}
	return errors.Join(errs...)
}

// checkHierarchies makes a group in each, and removes it.
func checkHierarchies(all []string) error {
	var errs []error
	for _, c := range controllers() {
		if !slices.ContainsFunc(all, func(h string) bool { return filepath.Base(h) == c }) {
			errs = append(errs, fmt.Errorf("lab: %s is not there; mount it: mkdir %[1]s && mount -t cgroup -o %s %[2]s %[1]s", filepath.Join(cgroupRoot, c), c))
		}
	}
	for _, h := range all {
		group, err := os.MkdirTemp(h, "zonekeeper-check-")
		if err == nil {
			err = os.Remove(group)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("lab: no control group can be made: %w; run this in a virtual machine or a privileged container", err))
			break // the others would say the same
		}
	}
	return errors.Join(errs...)
}
