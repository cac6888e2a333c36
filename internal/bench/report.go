package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Results of a run.
type Results struct {
	Started time.Time `json:"started"`
	Cores   int       `json:"cores"`
	// Load is the machine's one-minute load average before the run: above a few tenths
	// of the cores, somebody else was measured as well.
	Load         float64       `json:"load_average_before"`
	Seconds      float64       `json:"seconds_per_cell"`
	Rounds       int           `json:"rounds"`
	Measurements []Measurement `json:"measurements"`
}

func newResults(cfg Config) *Results {
	return &Results{Started: time.Now().UTC(), Cores: runtime.NumCPU(), Load: loadAverage(), Seconds: cfg.Duration.Seconds(), Rounds: cfg.Rounds}
}

func (r *Results) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644) //nolint:gosec // results are for everybody
}

// maxIdleLoad a core is what a machine has that does nothing else.
const maxIdleLoad = 0.3

func (r *Results) busy() bool { return r.Load > maxIdleLoad*float64(r.Cores) }

// summary is the median of a cell's rounds.
type summary struct {
	rate, low, high, p50, p99, lag, drain float64
	cpu, parts                            map[string]float64
	bad, lost, resent                     int
	firstError                            string
}

func (r *Results) summarize(target string, cell Cell) (summary, bool) {
	var of []Measurement
	for _, m := range r.Measurements {
		if m.Target == target && m.Cell == cell {
			of = append(of, m)
		}
	}
	if len(of) == 0 {
		return summary{}, false
	}
	pick := func(f func(Measurement) float64) []float64 {
		var l []float64
		for _, m := range of {
			l = append(l, f(m))
		}
		slices.Sort(l)
		return l
	}
	rates := pick(func(m Measurement) float64 { return m.UpdatesPerSecond })
	s := summary{
		rate: median(rates), low: rates[0], high: rates[len(rates)-1],
		p50:   median(pick(func(m Measurement) float64 { return m.P50 })),
		p99:   median(pick(func(m Measurement) float64 { return m.P99 })),
		lag:   slices.Max(pick(func(m Measurement) float64 { return m.PublishLag })),
		drain: slices.Max(pick(func(m Measurement) float64 { return m.Drain })),
		cpu:   map[string]float64{}, parts: map[string]float64{},
	}
	for name := range of[0].CPU {
		s.cpu[name] = median(pick(func(m Measurement) float64 { return m.CPU[name] }))
	}
	for name := range of[0].Components {
		s.parts[name] = median(pick(func(m Measurement) float64 { return m.Components[name] }))
	}
	for _, m := range of {
		s.bad += m.Refused
		s.lost += m.Unanswered
		s.resent += m.Resent
		if s.firstError == "" {
			s.firstError = m.FirstError
		}
	}
	return s, true
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// targets and cells in the order in which they were first measured.
func (r *Results) axes() (targets []string, cells []Cell) {
	for _, m := range r.Measurements {
		if !slices.Contains(targets, m.Target) {
			targets = append(targets, m.Target)
		}
		if !slices.Contains(cells, m.Cell) {
			cells = append(cells, m.Cell)
		}
	}
	return targets, cells
}

func (r *Results) print(out io.Writer) {
	targets, cells := r.axes()
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "\nmedian of %s of %.0f s, %s; ratio: updates/s of %s to the target's\n\n",
		counted(r.Rounds, "round"), r.Seconds, counted(r.Cores, "core"), TargetCluster)
	if r.busy() {
		fmt.Fprintf(w, "the machine was busy before the run (load %.1f): these figures are not its best\n\n", r.Load)
	}
	fmt.Fprintln(w, "ZONES\tTRANSPORT\tCLIENTS\tTARGET\tUPDATES/S\tSPREAD\tP50 MS\tP99 MS\tRATIO\tCPU US/UPDATE\tERRORS")
	for _, c := range cells {
		ours, have := r.summarize(TargetCluster, c)
		for _, t := range targets {
			s, ok := r.summarize(t, c)
			if !ok {
				continue
			}
			ratio := "-"
			if have && t != TargetCluster && s.rate > 0 {
				ratio = fmt.Sprintf("%.1f", ours.rate/s.rate)
			}
			fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%.0f\t%.0f-%.0f\t%.2f\t%.2f\t%s\t%s\t%s\n",
				c.Zones, c.Transport, c.Clients, t, s.rate, s.low, s.high, s.p50, s.p99, ratio, costs(s.cpu), s.errors())
		}
	}
	fmt.Fprintln(w)
	for _, c := range cells {
		s, ok := r.summarize(TargetCluster, c)
		if !ok {
			continue
		}
		fmt.Fprintf(w, "%s:\tpublish lag max %.0f ms, copies equal %.0f ms after the last answer\n", c, s.lag, s.drain)
		if len(s.parts) > 0 {
			fmt.Fprintf(w, "\tall primaries, us/update: %s\n", costs(s.parts))
		}
	}
	fmt.Fprintln(w, "\nevery copy of every zone held exactly the acknowledged records")
	_ = w.Flush()
}

func (s summary) errors() string {
	if s.bad+s.lost+s.resent == 0 {
		return "-"
	}
	return fmt.Sprintf("%d refused, %d unanswered, %d resent (first: %s)", s.bad, s.lost, s.resent, s.firstError)
}

// costs prints a map by name.
func costs(m map[string]float64) string {
	var l []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		l = append(l, fmt.Sprintf("%s %.0f", name, m[name]))
	}
	return strings.Join(l, ", ")
}
