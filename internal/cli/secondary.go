package cli

import (
	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/secondary"
)

func (p *Program) secondaryCommand() *cobra.Command {
	cmd := group("secondary", "Run one secondary until interrupted; secondaries: add, list, remove", p.secondaryRegistry()...)
	cmd.Long = `Run one secondary: its BIND, which serves every zone of the catalog to the world, and the
proxy through which that BIND transfers them from whichever primary is live and current.
It must have been registered with: zonekeeper secondary add.

The configuration is a JSON file; docs/operations.md describes it. SIGTERM and Ctrl-C stop
it in order.`
	var path string
	cmd.Flags().StringVar(&path, "config", "", "configuration file")
	help := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if path == "" || len(args) > 0 {
			return help(cmd, args)
		}
		cfg, err := secondary.LoadConfig(path)
		if err != nil {
			return &usageError{err: err}
		}
		log, err := p.logger(cfg.LogLevel, cfg.LogFormat)
		if err != nil {
			return &usageError{err: err}
		}
		return processError(cfg.Name, p.RunSecondary(cmd.Context(), cfg, p.Version, log.With("secondary", cfg.Name)), secondary.ErrConfig)
	}
	return cmd
}
