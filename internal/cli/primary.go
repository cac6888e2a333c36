package cli

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/primary"
)

func (p *Program) primaryCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "primary", Short: "Run one primary until interrupted", Args: exactly(),
		Long: `Run one primary: the endpoint, its member of the log, and its BIND.

The configuration is a JSON file; docs/operations.md describes it. SIGTERM and Ctrl-C stop
it in order: requests in flight are answered and the log's leadership moves away first.`,
	}
	cmd.Flags().StringVar(&path, "config", "", "configuration file (required)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if path == "" {
			return &usageError{err: errors.New("--config is missing; name the configuration file"), command: cmd.CommandPath()}
		}
		cfg, err := primary.LoadConfig(path)
		if err != nil {
			return &usageError{err: err}
		}
		log, err := p.logger(cfg.LogLevel, cfg.LogFormat)
		if err != nil {
			return &usageError{err: err}
		}
		return processError(cfg.Name, p.RunPrimary(cmd.Context(), cfg, p.Version, log.With("replica", cfg.Name)), primary.ErrConfig)
	}
	return cmd
}

// processError says which process ended with err, and whose mistake it is: one that wraps config is the operator's. nil stays nil.
func processError(name string, err, config error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", name, err)
	if errors.Is(err, config) {
		return &usageError{err: err}
	}
	return err
}

func (p *Program) logger(logLevel, logFormat string) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(logLevel)); err != nil {
		return nil, fmt.Errorf("log_level: %w", err)
	}
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(p.Err, opts)
	if logFormat == "json" {
		h = slog.NewJSONHandler(p.Err, opts)
	}
	return slog.New(h), nil
}
