package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// clockTick is USER_HZ, 100 on every Linux.
	clockTick  = 10 * time.Millisecond
	tmpfsMagic = 0x01021994 // linux/magic.h
	// Fields of /proc/PID/stat behind the command's name, counted from 0.
	statUserTime   = 11
	statSystemTime = 12
)

// cpuTime is what the processes have used so far. One that is gone is an error: its share would be missing.
func cpuTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		// The name may hold spaces and parentheses; the last one ends it.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		for _, i := range []int{statUserTime, statSystemTime} {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
			}
			sum += time.Duration(n) * clockTick
		}
	}
	return sum, nil
}

// cpuOf measures groups of processes.
func cpuOf(groups map[string][]int) (map[string]time.Duration, error) {
	m := map[string]time.Duration{}
	for name, pids := range groups {
		d, err := cpuTime(pids)
		if err != nil {
			return nil, err
		}
		m[name] = d
	}
	return m, nil
}

// loadAverage is the one-minute load of the machine, 0 when unknown.
func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return v
}

// onTmpfs says whether a directory's content would be lost with the power. One that does not exist yet is where its
// parent is.
func onTmpfs(dir string) (bool, error) {
	var st syscall.Statfs_t
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		err := syscall.Statfs(at, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return false, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return st.Type == tmpfsMagic, nil
}
