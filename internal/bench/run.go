package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Measurement is one cell of one round.
type Measurement struct {
	Target string `json:"target"`
	Round  int    `json:"round"`
	Cell
	UpdatesPerSecond float64 `json:"updates_per_second"`
	P50              float64 `json:"p50_ms"`
	P99              float64 `json:"p99_ms"`
	Max              float64 `json:"max_ms"`
	Acknowledged     int     `json:"acknowledged"`
	Refused          int     `json:"refused"`
	Unanswered       int     `json:"unanswered"`
	Resent           int     `json:"resent"`
	FirstError       string  `json:"first_error,omitempty"`
	// CPU is microseconds per acknowledged update by component: primary, named, server, client.
	CPU map[string]float64 `json:"cpu_us_per_update"`
	// Components splits the primaries' part by package, from profiles; one cell per run has it.
	Components map[string]float64 `json:"components_us_per_update,omitempty"`
	// PublishLag is the greatest seen during the cell, Drain how long the copies needed after its end.
	PublishLag float64 `json:"publish_lag_max_ms"`
	Drain      float64 `json:"drain_ms"`
}

// Run measures everything, prints the table and writes the JSON.
func Run(ctx context.Context, cfg Config) (*Results, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Named, cfg.Knot = devcluster.Program(cfg.Named), devcluster.Program(cfg.Knot)
	r := newResults(cfg)
	var targets []string
	for _, t := range cfg.Targets {
		if t == TargetKnot {
			if _, err := exec.LookPath(cfg.Knot); err != nil {
				fmt.Fprintf(cfg.Out, "note: %s is not installed and is left out\n", cfg.Knot)
				continue
			}
		}
		targets = append(targets, t)
	}
	cells := cfg.Rounds * len(targets) * len(cfg.Zones) * len(cfg.Transports) * len(cfg.Clients)
	fmt.Fprintf(cfg.Out, "%s of %s each, and the servers' starts and checks between them\n",
		counted(cells, "measurement"), cfg.Warmup+cfg.Duration)
	for round := range cfg.Rounds {
		for _, zones := range cfg.Zones {
			for i := range targets {
				// The order rotates: nobody is always the first or the last.
				name := targets[(i+round)%len(targets)]
				ms, err := runTarget(ctx, cfg, name, round, zones)
				if err != nil {
					return nil, fmt.Errorf("%s, %s, round %d: %w", name, counted(zones, "zone"), round+1, err)
				}
				r.Measurements = append(r.Measurements, ms...)
			}
		}
	}
	r.print(cfg.Out)
	if cfg.JSON != "" {
		if err := r.write(cfg.JSON); err != nil {
			return r, err
		}
		fmt.Fprintf(cfg.Out, "\nresults: %s\n", cfg.JSON)
	}
	return r, nil
}

func newTarget(cfg Config, name string) (target, error) {
	switch name {
	case TargetCluster:
		return newCluster(cfg)
	case TargetNamedDisk:
		return newServer(name, cfg.Dir, prepareNamed(cfg.Named))
	case TargetNamedTmpfs:
		return newServer(name, cfg.Memory, prepareNamed(cfg.Named))
	case TargetKnot:
		return newServer(name, cfg.Dir, prepareKnot(cfg.Knot))
	}
	return nil, fmt.Errorf("unknown target %q", name)
}

// runTarget starts a server, measures every cell with this number of zones, and
// checks what it holds in the end.
func runTarget(ctx context.Context, cfg Config, name string, round, zoneCount int) (ms []Measurement, err error) {
	t, err := newTarget(cfg, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	var zones []string
	var templates []template
	for i := range zoneCount {
		z := fmt.Sprintf("bench%d.test.", i)
		origin, err := zone.ParseName(z)
		if err != nil {
			return nil, err
		}
		zones, templates = append(zones, z), append(templates, newTemplate(origin))
	}
	if err := t.start(ctx, zones); err != nil {
		return nil, err
	}
	var loads []load
	for _, transport := range cfg.Transports {
		for _, clients := range cfg.Clients {
			cell := Cell{Zones: zoneCount, Transport: transport, Clients: clients}
			m, l, err := measure(ctx, cfg, t, cell, len(loads), templates)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cell, err)
			}
			m.Target, m.Round = name, round+1
			loads, ms = append(loads, l), append(ms, m)
			fmt.Fprintf(cfg.Out, "round %d  %-12s %-24s %8.0f updates/s  p50 %7.2f ms  p99 %7.2f ms\n",
				round+1, name, cell, m.UpdatesPerSecond, m.P50, m.P99)
		}
	}
	if err := check(ctx, t, zones, loads); err != nil {
		return nil, fmt.Errorf("the numbers are void: %w", err)
	}
	return ms, nil
}

func measure(ctx context.Context, cfg Config, t target, cell Cell, number int, templates []template) (Measurement, load, error) {
	groups := t.processes()
	groups["client"] = []int{os.Getpid()}
	cl, isCluster := t.(*cluster)
	var prof *profiler
	if isCluster {
		cl.takeLag()
		if cfg.Profile && cell.Clients == maxOf(cfg.Clients) {
			prof = startProfiles(ctx, cl.info.Primaries, cfg.Duration)
		}
	}
	before, err := cpuOf(groups)
	if err != nil {
		return Measurement{}, load{}, err
	}
	l, err := drive(ctx, cfg, cell, number, t.addrs(), t.key(), templates)
	if err != nil {
		return Measurement{}, l, err
	}
	drain, err := t.settled(ctx)
	if err != nil {
		return Measurement{}, l, err
	}
	after, err := cpuOf(groups)
	if err != nil {
		return Measurement{}, l, err
	}
	lat := l.latencies()
	m := Measurement{
		Cell: cell, UpdatesPerSecond: float64(len(lat)) / l.elapsed.Seconds(),
		P50: ms(quantile(lat, 0.50)), P99: ms(quantile(lat, 0.99)), Max: ms(quantile(lat, 1)),
		CPU: map[string]float64{}, Drain: ms(drain),
	}
	var first error
	m.Acknowledged, m.Refused, m.Unanswered, m.Resent, first = l.count()
	if first != nil {
		m.FirstError = first.Error()
	}
	for g, d := range after {
		m.CPU[g] = float64((d - before[g]).Microseconds()) / float64(max(m.Acknowledged, 1))
	}
	if isCluster {
		m.PublishLag = ms(max(cl.takeLag(), drain))
	}
	if prof != nil {
		if m.Components, err = prof.split(m.CPU["primary"]); err != nil {
			return m, l, err
		}
	}
	return m, l, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func maxOf(l []int) int {
	m := l[0]
	for _, v := range l {
		m = max(m, v)
	}
	return m
}

// quantile of a sorted list.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
