package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"text/tabwriter"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/backup"
)

func (p *Program) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a backup the content of a new, empty cluster", Args: exactly("FILE"),
		Long: `Make a backup the content of a cluster that has no zones. The file is checked first, and all of it
becomes visible at once, or nothing. Serials are moved past all that were served, so that
secondaries take the zones without being told.

Secrets that were encrypted for this cluster's key are read without more. Else name the key:
--identity, or --cluster-key-file with that of the cluster that was backed up; it stays here.`,
		Example: `  zonekeeper restore /backup/dns.tar.gz --cluster-key-file old-cluster.key
  zonekeeper restore /backup/dns.tar.gz --ask 192.0.2.53:53`,
	}
	conn, out, ids := p.connection(cmd, longTimeout), p.output(cmd), identityFlags(cmd)
	var o adminapi.RestoreOptions
	cmd.Flags().BoolVar(&o.NewSecrets, "new-secrets", false, "give every key a new secret: every client and secondary then needs its own")
	cmd.Flags().StringSliceVar(&o.Ask, "ask", nil, "server that may serve the zones, address:port: restored serials are beyond its; repeatable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		open, err := ids.read()
		if err != nil {
			return err
		}
		m, err := readBackup(args[0], backup.Visitor{})
		if err != nil {
			return fmt.Errorf("%w; nothing was changed", err)
		}
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Restored, error) {
			return p.restore(ctx, a, args[0], m, open, o)
		}, drawRestored)
	}
	return cmd
}

// restore streams a file that has been checked to a primary, its secrets encrypted for that cluster.
func (p *Program) restore(ctx context.Context, a *adminapi.Client, path string, m *backup.Manifest, open []age.Identity, o adminapi.RestoreOptions) (*adminapi.Restored, error) {
	to, err := a.BackupRecipient(ctx)
	if err != nil {
		return nil, err
	}
	if m.Secrets == nil && len(m.Keys) > 0 && !o.NewSecrets {
		return nil, fmt.Errorf("%s: %w; nothing was changed; --new-secrets makes new ones, which every client and secondary then needs", path, backup.ErrNoSecrets)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var sent atomic.Int64
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	source := io.TeeReader(f, counting{&sent})
	if m.Secrets != nil && !o.NewSecrets && !slices.Contains(m.Secrets.Recipients, to.Recipient) {
		if err := canOpen(path, open); err != nil {
			return nil, fmt.Errorf("%s: %w: the backup is of a cluster whose key has the name %s, this one's is %s; give --identity or --cluster-key-file; nothing was changed",
				path, err, m.ClusterKeyID, to.KeyID)
		}
		r, w := io.Pipe()
		defer func() { _ = r.Close() }() // ends the writer when the primary refused early
		go func(from io.Reader) { _ = w.CloseWithError(backup.Rewrap(w, from, open, []string{to.Recipient})) }(source)
		source = r
	}
	stop := p.progress(func() string {
		if n := sent.Load(); n < info.Size() {
			return fmt.Sprintf("sending the backup, %d%%", n*100/max(info.Size(), 1))
		}
		return "the cluster takes it"
	})
	defer stop()
	return a.Restore(ctx, source, o)
}

// canOpen says early why the secrets can't be opened.
func canOpen(path string, open []age.Identity) error {
	_, err := readBackup(path, backup.Visitor{
		Secrets: func(sealed []byte) error {
			if _, err := backup.OpenSecrets(sealed, open); err != nil {
				return err
			}
			return errEnough
		},
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// errEnough ends the reading of a file of which the rest does not matter.
var errEnough = errors.New("enough was read")

func drawRestored(w *tabwriter.Writer, r *adminapi.Restored) {
	row(w, "ZONE", "RECORDS", "SAVED SERIAL", "SERIAL", "DIGEST")
	for _, z := range r.Zones {
		row(w, z.Name, z.Records, z.SavedSerial, z.Serial, short(z.Digest))
	}
	_ = w.Flush() // sentences follow
	for _, s := range r.Asked {
		if s.Error != "" {
			fmt.Fprintf(w, "%s was asked for serials: %s\n", s.Address, s.Error)
		}
	}
	fmt.Fprintf(w, "\nrestored log index %d: %s, %s, %d secondaries\n", r.LogIndex, count(len(r.Zones), "zone"), count(r.Keys, "key"), r.Secondaries)
	if r.NewSecrets {
		fmt.Fprintln(w, "every key has a new secret; see: zonekeeper key export")
	}
}
