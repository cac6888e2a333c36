package bench

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
)

// Names of what can be measured.
const (
	TargetCluster    = "zonekeeper"
	TargetNamedDisk  = "named-disk"
	TargetNamedTmpfs = "named-tmpfs"
	TargetKnot       = "knot"
)

// Config of a run.
type Config struct {
	// Targets to compare; a missing Knot is left out with a note.
	Targets []string
	// Clients, Zones and Transports span the table of cells.
	Clients    []int
	Zones      []int
	Transports []string
	// Warmup is not counted, Duration is; per cell.
	Warmup, Duration time.Duration
	// Rounds repeat everything, the targets in turn, so that a slow minute of the
	// machine does not hit one target only. The table shows medians.
	Rounds int
	// Primaries of the cluster.
	Primaries int
	// Dir is on a disk: the cluster's log and the plain servers' files. Memory is on a tmpfs.
	Dir, Memory string
	// Named and Knot are the programs.
	Named, Knot string
	// Command runs one primary, as in devcluster.Config.
	Command []string
	// Profile takes CPU profiles of the primaries and splits their cost by component.
	Profile bool
	// JSON is the file for the results; none when empty.
	JSON string
	// Out gets the table and progress.
	Out    io.Writer
	Logger *slog.Logger
}

// DefaultConfig is the comparison that the project publishes.
func DefaultConfig() Config {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return Config{
		Targets:    []string{TargetCluster, TargetNamedDisk, TargetNamedTmpfs, TargetKnot},
		Clients:    []int{1, 64, 256},
		Zones:      []int{1, 8},
		Transports: []string{"udp", "tcp"},
		Warmup:     500 * time.Millisecond,
		Duration:   3 * time.Second,
		Rounds:     3,
		Primaries:  3,
		Dir:        filepath.Join(cache, "zonekeeper", "bench"),
		Memory:     "/dev/shm",
		Named:      "named",
		Knot:       "knotd",
		Profile:    true,
		JSON:       "bench-results.json",
		Out:        io.Discard,
		Logger:     slog.New(slog.DiscardHandler),
	}
}

// Validate names every value that can't work.
func (c Config) Validate() error {
	var errs []error
	known := []string{TargetCluster, TargetNamedDisk, TargetNamedTmpfs, TargetKnot}
	for _, t := range c.Targets {
		if !slices.Contains(known, t) {
			errs = append(errs, fmt.Errorf("target %q; use %s", t, strings.Join(known, ", ")))
		}
	}
	if len(c.Targets) == 0 || len(c.Clients) == 0 || len(c.Zones) == 0 || len(c.Transports) == 0 {
		errs = append(errs, errors.New("targets, clients, zones and transports need at least one value each"))
	}
	for _, n := range c.Clients {
		if n < 1 || n > maxClients {
			errs = append(errs, fmt.Errorf("clients %d; use 1 to %d", n, maxClients))
		}
	}
	for _, n := range c.Zones {
		if n < 1 || n > maxZones {
			errs = append(errs, fmt.Errorf("zones %d; use 1 to %d", n, maxZones))
		}
	}
	for _, t := range c.Transports {
		if t != "udp" && t != "tcp" {
			errs = append(errs, fmt.Errorf("transport %q; use udp or tcp", t))
		}
	}
	switch c.Primaries {
	case 1, 3, 5:
	default:
		errs = append(errs, fmt.Errorf("primaries %d; use 1, 3 or 5", c.Primaries))
	}
	if c.Duration <= 0 || c.Warmup < 0 || c.Rounds < 1 {
		errs = append(errs, errors.New("the duration and the number of rounds must be positive"))
	}
	if n := len(c.Clients) * len(c.Transports); n > maxCells {
		errs = append(errs, fmt.Errorf("%d cells in one run of a server; at most %d", n, maxCells))
	}
	if slices.ContainsFunc(c.Targets, func(t string) bool { return t != TargetKnot }) {
		if _, err := exec.LookPath(devcluster.Program(c.Named)); err != nil {
			errs = append(errs, fmt.Errorf("named %s: %w; install BIND (apt-get install bind9) or name the program", c.Named, err))
		}
	}
	return errors.Join(append(errs, c.checkDirs())...)
}

// Cell is one point of the table.
type Cell struct {
	Zones     int    `json:"zones"`
	Transport string `json:"transport"`
	Clients   int    `json:"clients"`
}

func (c Cell) String() string {
	return fmt.Sprintf("%s, %s, %s", counted(c.Zones, "zone"), c.Transport, counted(c.Clients, "client"))
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// checkDirs makes sure that "on disk" and "in memory" are what they say.
func (c Config) checkDirs() error {
	if c.Dir == "" || c.Memory == "" {
		return errors.New("the directories on a disk and on a tmpfs need names")
	}
	tmpfs, err := onTmpfs(c.Memory)
	if err != nil {
		return err
	}
	if !tmpfs {
		return fmt.Errorf("%s is not on a tmpfs; name a directory that is, such as /dev/shm", c.Memory)
	}
	if !slices.ContainsFunc(c.Targets, func(t string) bool { return t != TargetNamedTmpfs }) {
		return nil // nothing goes to disk
	}
	if tmpfs, err = onTmpfs(c.Dir); err != nil {
		return err
	}
	if tmpfs {
		return fmt.Errorf("%s is on a tmpfs, where nothing is durable; name a directory on a disk", c.Dir)
	}
	return nil
}
