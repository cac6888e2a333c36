package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/log"
)

// etcdCommand is for `dev --etcd external` alone, and hidden: who runs an etcd of their own has a better program for it.
func (p *Program) etcdCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{Use: "etcd", Short: "Run one etcd server of a local cluster until interrupted", Args: exactly(), Hidden: true}
	cmd.Flags().StringVar(&path, "config", "", "configuration file (required)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return &usageError{err: fmt.Errorf("configuration: %w; name the file with --config", err), command: cmd.CommandPath()}
		}
		cfg := log.DefaultMemberConfig()
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&cfg); err != nil {
			return &usageError{err: fmt.Errorf("configuration %s: %w; `zonekeeper dev` writes it, let it do so again", path, err)}
		}
		cfg.Logger = slog.New(slog.NewTextHandler(p.Err, nil))
		err = log.Serve(cmd.Context(), cfg)
		if errors.Is(err, log.ErrConfig) {
			return &usageError{err: err}
		}
		return err
	}
	return cmd
}
