package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cgroupRoot has one folder for each hierarchy of version 1.
const cgroupRoot = "/sys/fs/cgroup"

// cgroupPrefix begins the names of the groups of all clusters; the identity of the process that made them follows.
const cgroupPrefix = "zonekeeper-lab-"

// hierarchies are those of version 1 that the kernel has.
func hierarchies() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(cgroupRoot, "*", "tasks"))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("lab: %s has no control groups of version 1; boot with systemd.unified_cgroup_hierarchy=0", cgroupRoot)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return found, nil
}

// identity tells this run of a process from a later one with the same number: pid and start time.
func identity(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // a name may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: %q is short", pid, b)
	}
	return fmt.Sprintf("%d-%s", pid, fields[19]), nil
}

// lives says whether the process that identity told of still runs.
func lives(id string) bool {
	number, _, _ := strings.Cut(id, "-")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return false
	}
	now, err := identity(pid)
	return err == nil && now == id
}

// makeGroups makes an empty group for a node in every hierarchy, without what dead containers left there: cAdvisor takes seconds for each.
func makeGroups(cluster, node string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		group := filepath.Join(h, cluster, node)
		if err := removeGroups(group); err != nil {
			return err
		}
		if err := os.MkdirAll(group, 0o755); err != nil {
			return err
		}
		for _, g := range []string{filepath.Join(h, cluster), group} { // a cpuset begins without any CPU
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
				b, err := os.ReadFile(filepath.Join(h, f))
				if errors.Is(err, fs.ErrNotExist) {
					break
				}
				if err == nil {
					err = os.WriteFile(filepath.Join(g, f), b, 0o600)
				}
				if err != nil {
					return fmt.Errorf("lab: %s: %w", g, err)
				}
			}
		}
	}
	return nil
}

// removeGroups removes a group and those below it, once their processes have ended.
func removeGroups(group string) error {
	const patience = 10 * time.Second
	for end := time.Now().Add(patience); ; {
		var dirs []string
		err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil {
			return err
		}
		slices.Reverse(dirs) // children first
		err = nil
		for _, d := range dirs {
			err = errors.Join(err, os.Remove(d))
		}
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("lab: %w; see which processes are left: cat %s/cgroup.procs", err, group)
		}
		<-time.After(50 * time.Millisecond) // the kernel tells nobody of version 1 groups that become empty
	}
}

// sweep removes the groups of clusters whose process has ended.
func sweep() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		found, err := filepath.Glob(filepath.Join(h, cgroupPrefix+"*"))
		if err != nil {
			return err
		}
		for _, group := range found {
			if lives(strings.TrimPrefix(filepath.Base(group), cgroupPrefix)) {
				continue
			}
			if err := thawAll(group); err != nil { // killed processes end only then
				return err
			}
			if err := removeGroups(group); err != nil {
				return err
			}
		}
	}
	return nil
}

func thawAll(group string) error {
	found, err := filepath.Glob(filepath.Join(group, "*", "freezer.state"))
	for _, f := range found {
		err = errors.Join(err, os.WriteFile(f, []byte("THAWED"), 0o600))
	}
	return err
}

// freeze stops all processes of a node where they are, or lets them go on.
func freeze(cluster, node string, stop bool) error {
	state := "THAWED"
	if stop {
		state = "FROZEN"
	}
	return os.WriteFile(filepath.Join(cgroupRoot, "freezer", cluster, node, "freezer.state"), []byte(state), 0o600)
}
