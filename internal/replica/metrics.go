package replica

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// metrics of a replica: its way into the log, what it applies, its checkpoints. docs/metrics.md describes them.
type metrics struct {
	end atomic.Uint64 // newest log index that a barrier or an append has shown

	batchCommands, batchBytes, appendSeconds prometheus.Histogram
	appendFailures, settles                  prometheus.Counter
	entries, commands, bytes, panics         prometheus.Counter
	applySeconds                             prometheus.Histogram
	checkpointSeconds                        prometheus.Histogram
	checkpointFailures                       prometheus.Counter
	mismatches, reloads                      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, r *Replica) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(100e-6, 2, 17) // 100 µs to 6.6 s
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		batchCommands:      histogram("zonekeeper_log_batch_size", "Commands in each log entry that this replica appended.", prometheus.ExponentialBuckets(1, 2, 12)),
		batchBytes:         histogram("zonekeeper_log_batch_bytes", "Octets of each log entry that this replica appended.", prometheus.ExponentialBuckets(128, 4, 8)),
		appendSeconds:      histogram("zonekeeper_log_append_duration_seconds", "Time of each append to the log, until it is durable on a quorum or has failed.", seconds),
		appendFailures:     counter("zonekeeper_log_append_failures_total", "Appends that the log did not acknowledge: refused, out of space, or in doubt."),
		settles:            counter("zonekeeper_log_settles_total", "Fences of this replica's epoch: one at each start, one after each append in doubt."),
		entries:            counter("zonekeeper_apply_entries_total", "Log entries applied."),
		commands:           counter("zonekeeper_apply_commands_total", "Commands of log entries applied: updates, administration and the replicas' own."),
		bytes:              counter("zonekeeper_apply_bytes_total", "Octets of log entries applied."),
		panics:             counter("zonekeeper_apply_panics_total", "Updates whose evaluation hit a mistake of this program and that were answered SERVFAIL. Report each."),
		applySeconds:       histogram("zonekeeper_apply_duration_seconds", "Time to apply a run of log entries that arrived together.", prometheus.ExponentialBuckets(10e-6, 2, 17)),
		checkpointSeconds:  histogram("zonekeeper_checkpoint_duration_seconds", "Time to write a checkpoint durably.", prometheus.ExponentialBuckets(1e-3, 2, 17)),
		checkpointFailures: counter("zonekeeper_checkpoint_failures_total", "Checkpoints that could not be written. Until one succeeds the log keeps its tail."),
		mismatches:         counter("zonekeeper_replica_digest_mismatches_total", "Comparisons of the replicas' digests of one log index in which not all were equal."),
		reloads:            counter("zonekeeper_replica_reloads_total", "Times that this replica replaced its state by a peer's checkpoint."),
	}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, value func(Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(r.Status()) })
	}
	for _, class := range outClasses() {
		out := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_replica_out_of_service", ConstLabels: prometheus.Labels{"reason": class},
			Help: "1 while this replica takes no updates, by reason: no_majority (the replicas' states differ and nobody can tell who is right: page), " +
				"minority and behind (it reloads a peer's state), catching_up, owner (start, stop, wrong clock)."}, func() float64 {
			if r.Status().Class == class {
				return 1
			}
			return 0
		})
		if err := reg.Register(out); err != nil {
			return nil, fmt.Errorf("replica: register metrics: %w", err)
		}
	}
	for _, c := range []prometheus.Collector{
		m.batchCommands, m.batchBytes, m.appendSeconds, m.appendFailures, m.settles,
		m.entries, m.commands, m.bytes, m.panics, m.applySeconds, m.checkpointSeconds, m.checkpointFailures, m.mismatches, m.reloads,
		gauge("zonekeeper_replica_serving", "1 while this replica takes updates.", func(s Status) float64 {
			if s.Serving {
				return 1
			}
			return 0
		}),
		gauge("zonekeeper_replica_queued_requests", "Updates that wait for the log or are on their way through it.",
			func(s Status) float64 { return float64(s.Queue) }),
		gauge("zonekeeper_replica_queued_bytes", "Octets of those updates.",
			func(s Status) float64 { return float64(s.QueueBytes) }),
		gauge("zonekeeper_replica_update_pace_seconds", "Least time between two log entries with updates while publishing is behind at a quorum; 0 while it is not.",
			func(s Status) float64 { return s.Pace.Seconds() }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "zonekeeper_replica_lag_refusals_total",
			Help: "Updates answered SERVFAIL because publishing was too far behind at a quorum of the primaries. They were not applied."},
			func() float64 { return float64(r.Status().Refused) }),
		gauge("zonekeeper_log_end_index", "Newest log index that this replica has heard of.",
			func(s Status) float64 { return float64(max(m.end.Load(), s.Applied)) }),
		gauge("zonekeeper_apply_index", "Newest log index that this replica has applied.",
			func(s Status) float64 { return float64(s.Applied) }),
		gauge("zonekeeper_apply_lag", "Log indexes between the newest known and the newest applied; indexes are not dense.",
			func(s Status) float64 { return float64(max(m.end.Load(), s.Applied) - s.Applied) }),
		gauge("zonekeeper_checkpoint_index", "Log index of the newest durable checkpoint.",
			func(s Status) float64 { return float64(s.Checkpoint) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("replica: register metrics: %w", err)
		}
	}
	return m, nil
}

// sawEnd notes a log index that exists.
func (m *metrics) sawEnd(index uint64) {
	for old := m.end.Load(); index > old && !m.end.CompareAndSwap(old, index); old = m.end.Load() {
	}
}

// appended notes the outcome of an append.
func (m *metrics) appended(commands, octets int, index uint64, took time.Duration, err error) {
	m.appendSeconds.Observe(took.Seconds())
	if err != nil {
		m.appendFailures.Inc()
		return
	}
	m.batchCommands.Observe(float64(commands))
	m.batchBytes.Observe(float64(octets))
	m.sawEnd(index)
}

// applied notes a run of entries, and says loudly what no run should have.
func (m *metrics) applied(effects []fsm.Effects, logger *slog.Logger) {
	m.entries.Add(float64(len(effects)))
	for _, e := range effects {
		m.commands.Add(float64(len(e.Results)))
		for _, p := range e.Panics {
			m.panics.Inc()
			logger.Error("a mistake of this program; the update was answered SERVFAIL at every replica: please report it", "index", e.Index, "panic", p)
		}
		for _, v := range e.Verdicts {
			if !v.Agree() {
				m.mismatches.Inc()
				logger.Error("the replicas' states differ", "index", v.Index, "digests", v.Digests)
			}
		}
		if e.Activated != 0 {
			logger.Info("another version of the log's entries and semantics is in use", "version", e.Activated, "index", e.Index)
		}
	}
}

// ran notes how long a run of the log took to apply.
func (m *metrics) ran(recs []log.Record, took time.Duration) {
	for _, rec := range recs {
		m.bytes.Add(float64(len(rec.Data)))
	}
	m.applySeconds.Observe(took.Seconds())
}

// saved notes a checkpoint.
func (m *metrics) saved(took time.Duration, err error) {
	if err != nil {
		m.checkpointFailures.Inc()
		return
	}
	m.checkpointSeconds.Observe(took.Seconds())
}
