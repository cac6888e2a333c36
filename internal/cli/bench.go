package cli

import (
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/bench"
)

func (p *Program) benchCommand() *cobra.Command {
	cfg := bench.DefaultConfig()
	var quick, noProfile bool
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure update rates against a plain named and Knot, on this machine", Args: exactly(),
		Long: `Measure how fast this machine takes signed updates, one record each: three primaries,
a plain named with its files on disk, one on a tmpfs, and Knot if it is installed.

Clients are closed loops. Every update changes the zone, and in the end every copy must
hold exactly what was acknowledged, or there are no numbers. The machine should be idle.`,
		Example: `  zonekeeper bench --quick
  zonekeeper bench --clients 256 --zones 1 --transports udp --rounds 5`,
	}
	out := p.output(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&cfg.Targets, "targets", cfg.Targets, "what to measure")
	f.IntSliceVar(&cfg.Clients, "clients", cfg.Clients, "numbers of clients")
	f.IntSliceVar(&cfg.Zones, "zones", cfg.Zones, "numbers of zones")
	f.StringSliceVar(&cfg.Transports, "transports", cfg.Transports, "udp, tcp")
	f.DurationVar(&cfg.Duration, "duration", cfg.Duration, "counted time of a cell")
	f.DurationVar(&cfg.Warmup, "warmup", cfg.Warmup, "time before it that is not counted")
	f.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "repetitions; the table shows medians")
	f.IntVar(&cfg.Primaries, "primaries", cfg.Primaries, "primaries of the cluster: 1, 3 or 5")
	f.StringVar(&cfg.Dir, "dir", "", "directory on a disk (default: in the user's cache)")
	f.StringVar(&cfg.Memory, "memory", cfg.Memory, "directory on a tmpfs")
	f.StringVar(&cfg.Named, "named", cfg.Named, "path of BIND's named, for all that run one")
	f.StringVar(&cfg.Knot, "knot", cfg.Knot, "path of Knot's knotd")
	f.StringVar(&cfg.JSON, "json", cfg.JSON, `file for the results; "" for none`)
	f.BoolVar(&noProfile, "no-profile", false, "don't split the primaries' cost by component")
	f.BoolVar(&quick, "quick", false, "one round, UDP, one zone: a first look in a minute")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cfg.Dir == "" {
			cfg.Dir = bench.DefaultConfig().Dir
		}
		if quick { // what was given counts for more
			given := cmd.Flags().Changed
			if !given("rounds") {
				cfg.Rounds = 1
			}
			if !given("zones") {
				cfg.Zones = []int{1}
			}
			if !given("transports") {
				cfg.Transports = []string{"udp"}
			}
			if !given("duration") {
				cfg.Duration = 2 * time.Second
			}
		}
		cfg.Profile = !noProfile
		cfg.Out = p.Out
		if out.format == "json" {
			cfg.Out = p.Err // the table is for people, the answer for programs
		}
		cfg.Logger = slog.New(slog.NewTextHandler(p.Err, &slog.HandlerOptions{Level: slog.LevelError}))
		if err := cfg.Validate(); err != nil {
			return &usageError{err: err, command: cmd.CommandPath()}
		}
		r, err := bench.Run(cmd.Context(), cfg)
		if err != nil || out.format != "json" {
			return err
		}
		return out.print(r, nil)
	}
	return cmd
}
