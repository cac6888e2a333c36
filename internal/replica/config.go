package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// Sink learns what the state machine made publishable. Its methods are called by the replica's one goroutine, in log
// order, and must not block.
type Sink interface {
	// Applied hands over the effects of a run of entries.
	Applied(effects []fsm.Effects)
	// Reset says that the state machine was replaced by a checkpoint: nothing handed over before counts.
	Reset(m *fsm.Machine)
}

// Peers gives checkpoints of other replicas.
type Peers interface {
	// Checkpoint opens the newest durable checkpoint that any peer has at or above index atLeast. The caller closes it.
	Checkpoint(ctx context.Context, atLeast uint64) (io.ReadCloser, error)
}

// Config is what a replica needs. Start from DefaultConfig.
type Config struct {
	Name string  // stable identity of the replica in the log
	Dir  string  // checkpoints; durable storage
	Log  log.Log // opened under Name; the replica does not close it
	Sink Sink
	// Members are the names of all replicas, this one included. A quorum of them must hold a checkpoint before the log below
	// it is forgotten, and digests are judged by their majority.
	Members []string
	Peers   Peers // nil: a cluster of one, which can only load its own checkpoints

	MaxBatchBytes   int           // an entry's commands; a single larger one goes alone
	MaxBatchCount   int           // commands an entry
	MaxQueueBytes   int           // of proposals that wait or are in flight; beyond it ErrOverloaded
	MaxQueueCount   int           // proposals that wait or are in flight
	GatherFor       time.Duration // how long a batch waits at the most for the clients that are being answered; 0: not at all
	CutAfter        time.Duration // quiet time after which a replica cuts what it changed itself
	CutOrphansAfter time.Duration // ... and what a replica that died since changed
	CheckpointBytes int           // log tail that makes a checkpoint due; more when the last checkpoint was larger
	MaxTailBytes    int           // ... but never more than this, which the log must have room for thrice; 0: no bound

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Now        func() time.Time
}

// DefaultConfig returns the settings for a cluster of three.
func DefaultConfig() Config {
	return Config{
		// What one entry changes becomes one publish step of a zone, and a step of more than 60 KB replaces the zone in named as
		// a whole. 48 KB are some 280 updates of one record; the log takes hundreds of such entries a second.
		MaxBatchBytes:   48 << 10,
		MaxBatchCount:   2048,
		MaxQueueBytes:   16 << 20,
		MaxQueueCount:   16384,
		GatherFor:       5 * time.Millisecond,
		CutAfter:        22 * time.Millisecond, // the state machine's own interval is 20 ms: mostly the next entry cuts
		CutOrphansAfter: 250 * time.Millisecond,
		CheckpointBytes: 64 << 20,
		Logger:          slog.New(slog.DiscardHandler),
		Now:             time.Now,
	}
}

// Validate names every setting that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("replica: "+format, args...)) }
	if c.Name == "" {
		bad("Name is empty: give the replica its stable name")
	}
	if !slices.Contains(c.Members, c.Name) {
		bad("Members %q lack %q, the replica itself", c.Members, c.Name)
	}
	if c.Dir == "" {
		bad("Dir is empty: name a directory on durable storage")
	}
	if c.Log == nil || c.Sink == nil || c.Logger == nil || c.Now == nil {
		bad("Log, Sink, Logger and Now must be set")
	}
	if c.MaxBatchBytes < 1 || c.MaxBatchBytes > fsm.MaxEntryBytes-64<<10 {
		bad("MaxBatchBytes %d: must be 1 to %d, so that an entry stays below the log's limit", c.MaxBatchBytes, fsm.MaxEntryBytes-64<<10)
	}
	for _, n := range []struct {
		name string
		v    int
	}{
		{"MaxBatchCount", c.MaxBatchCount}, {"MaxQueueBytes", c.MaxQueueBytes}, {"MaxQueueCount", c.MaxQueueCount},
		{"CheckpointBytes", c.CheckpointBytes},
	} {
		if n.v < 1 {
			bad("%s %d: must be positive", n.name, n.v)
		}
	}
	if c.CutAfter <= 0 || c.CutOrphansAfter < c.CutAfter {
		bad("CutAfter %v, CutOrphansAfter %v: both must be positive, the second not smaller", c.CutAfter, c.CutOrphansAfter)
	}
	return errors.Join(errs...)
}

func (c Config) core() coreConfig {
	return coreConfig{
		name: c.Name, maxBatchBytes: c.MaxBatchBytes, maxBatchCount: c.MaxBatchCount,
		maxQueueBytes: c.MaxQueueBytes, maxQueueCount: c.MaxQueueCount, gatherFor: c.GatherFor,
		cutAfter: c.CutAfter, cutOrphansAfter: c.CutOrphansAfter,
		checkpointBytes: c.CheckpointBytes, maxTailBytes: c.MaxTailBytes, members: c.Members,
	}
}
