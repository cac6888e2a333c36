package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"text/tabwriter"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/backup"
	"github.com/zonekeeper/zonekeeper/internal/fsm/seal"
)

func (p *Program) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write one consistent backup of all zones, policies and keys", Args: exactly("FILE"),
		Long: `Write all zones at one log index, with their settings, the keys and the secondaries, to a
file, or to standard output when FILE is "-". The file appears only when it is complete and
has been checked. It is a tar archive of zone files; every octet of it is covered by a checksum.

Secrets of keys are left out unless --recipient says who may read them: an age recipient
(age1...), or "cluster" for whoever has the cluster's key file.`,
		Example: `  zonekeeper backup /backup/dns.tar.gz --recipient cluster --recipient age1...
  zonekeeper backup verify /backup/dns.tar.gz`,
	}
	conn, out := p.connection(cmd, longTimeout), p.output(cmd)
	var recipients []string
	cmd.Flags().StringSliceVar(&recipients, "recipient", nil, `who may read the secrets: an age recipient, or "cluster" for the cluster's key; repeatable`)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return conn.read(cmd, func(ctx context.Context, a *adminapi.Client) error {
			return p.makeBackup(ctx, a, args[0], recipients, out)
		})
	}
	cmd.AddCommand(p.backupVerify(), p.backupShow(), p.backupExtract(), p.backupRewrap())
	return cmd
}

func (p *Program) makeBackup(ctx context.Context, a *adminapi.Client, path string, recipients []string, out *output) error {
	var n atomic.Int64
	stop := p.progress(func() string { return fmt.Sprintf("backing up, %d KiB", n.Load()>>10) })
	if path == "-" {
		defer stop()
		// What goes to a pipe can't be taken back: whoever reads it checks it, and this program says so too.
		return checked(func(w io.Writer) error { return a.Backup(ctx, recipients, io.MultiWriter(p.Out, counting{&n}, w)) }, nil)
	}
	var m *backup.Manifest
	err := writeAtomically(path, func(f io.Writer) error {
		return checked(func(w io.Writer) error { return a.Backup(ctx, recipients, io.MultiWriter(f, counting{&n}, w)) }, &m)
	})
	stop()
	if err != nil {
		return err
	}
	return out.print(m, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%s: %s, %s, log index %d, %s\n", path, count(len(m.Zones), "zone"), count(m.Records(), "record"), m.LogIndex, secretsOf(m))
	})
}

// checked reads what write writes while it is written, as whoever restores it will.
func checked(write func(io.Writer) error, m **backup.Manifest) error {
	r, w := io.Pipe()
	read := make(chan error, 1)
	go func() {
		got, err := backup.Verify(r)
		if m != nil {
			*m = got
		}
		_ = r.CloseWithError(err)
		read <- err
	}()
	err := write(w)
	_ = w.CloseWithError(err)
	if rerr := <-read; err == nil {
		err = rerr
	}
	return err
}

type counting struct{ n *atomic.Int64 }

func (c counting) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// writeAtomically makes a file appear whole and durable, or not at all.
func writeAtomically(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // it was never a backup
		}
	}()
	err = write(f)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w; the file was not made", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = dir.Close() }() // it was only read
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func secretsOf(m *backup.Manifest) string {
	if m.Secrets == nil {
		return "no secrets"
	}
	return "secrets for " + count(len(m.Secrets.Recipients), "recipient")
}

func (p *Program) backupVerify() *cobra.Command {
	cmd := &cobra.Command{Use: "verify FILE", Short: "Check every octet, record and digest of a backup", Args: exactly("FILE")}
	out := p.output(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		m, err := readBackup(args[0], backup.Visitor{})
		if err != nil {
			return err
		}
		return out.print(m, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "%s is whole: %s, %s, %s\n", args[0], count(len(m.Zones), "zone"), count(m.Records(), "record"), secretsOf(m))
		})
	}
	return cmd
}

func (p *Program) backupShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show FILE", Aliases: []string{"list"}, Short: "Say what is in a backup", Args: exactly("FILE")}
	out := p.output(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		m, err := readBackup(args[0], backup.Visitor{})
		if err != nil {
			return err
		}
		return out.print(m, func(w *tabwriter.Writer) { drawManifest(w, m) })
	}
	return cmd
}

func drawManifest(w *tabwriter.Writer, m *backup.Manifest) {
	row(w, "taken", m.Taken.Format("2006-01-02T15:04:05Z"))
	row(w, "by", m.Replica+", zonekeeper "+m.Program)
	row(w, "log index", m.LogIndex)
	row(w, "cluster key", m.ClusterKeyID)
	row(w, "secrets", secretsOf(m))
	row(w, "keys", len(m.Keys))
	row(w, "secondaries", len(m.Secondaries))
	_ = w.Flush() // another table follows
	fmt.Fprintln(w)
	row(w, "ZONE", "SERIAL", "RECORDS", "DIGEST", "MANAGED BY")
	for _, z := range m.Zones {
		row(w, z.Name, z.Serial, z.Records, short(z.Digest), dash(z.ManagedBy))
	}
}

func (p *Program) backupExtract() *cobra.Command {
	cmd := &cobra.Command{
		Use: "extract FILE ZONE", Short: "Write a zone of a backup as a zone file to standard output", Args: exactly("FILE", "ZONE"),
		Long: `Write a zone of a backup as a zone file to standard output, after the whole file was checked.
"zonekeeper zone import" takes it.`,
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		m, err := readBackup(args[0], backup.Visitor{})
		if err != nil {
			return err
		}
		if m.Zone(args[1]) == nil {
			return fmt.Errorf("%s has no zone %s; see: zonekeeper backup show %s", args[0], absolute(args[1]), args[0])
		}
		_, err = readBackup(args[0], backup.Visitor{Text: func(z *backup.Zone, text io.Reader) (bool, error) {
			if z.Name != m.Zone(args[1]).Name {
				return false, nil
			}
			_, err := io.Copy(p.Out, text)
			return true, err
		}})
		return err
	}
	return cmd
}

func readBackup(path string, v backup.Visitor) (*backup.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	m, err := backup.Read(f, v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// identities are the flags that say by which keys secrets are opened.
type identities struct{ files, clusterKeys []string }

func identityFlags(cmd *cobra.Command) *identities {
	i := new(identities)
	cmd.Flags().StringSliceVar(&i.files, "identity", nil, "age identity file that opens the secrets; repeatable")
	cmd.Flags().StringSliceVar(&i.clusterKeys, "cluster-key-file", nil, "key file of the cluster that was backed up; repeatable")
	return i
}

func (i *identities) read() ([]age.Identity, error) {
	var out []age.Identity
	for _, path := range i.files {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--identity: %w", err)
		}
		ids, err := backup.ParseIdentities(f)
		_ = f.Close() // it was only read
		if err != nil {
			return nil, fmt.Errorf("--identity %s: %w", path, err)
		}
		out = append(out, ids...)
	}
	for _, path := range i.clusterKeys {
		key, err := seal.ReadKeyFile(path)
		if err != nil {
			return nil, fmt.Errorf("--cluster-key-file: %w", err)
		}
		id, err := backup.ClusterIdentity(key)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

func (p *Program) backupRewrap() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rewrap FILE NEWFILE", Short: "Encrypt the secrets of a backup to other recipients", Args: exactly("FILE", "NEWFILE"),
		Long: "Copy a backup with its secrets encrypted to other recipients: after a key was changed, or lost by somebody.",
	}
	out, ids := p.output(cmd), identityFlags(cmd)
	var recipients []string
	cmd.Flags().StringSliceVar(&recipients, "recipient", nil, "age recipient that may read the secrets from now on; repeatable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(recipients) == 0 {
			return &usageError{err: errors.New("--recipient is missing: to whom?"), command: cmd.CommandPath()}
		}
		open, err := ids.read()
		if err != nil {
			return err
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was only read
		if err := writeAtomically(args[1], func(w io.Writer) error { return backup.Rewrap(w, f, open, recipients) }); err != nil {
			return err
		}
		return out.done(args[1], "written", args[1]+": secrets for "+count(len(recipients), "recipient"))
	}
	return cmd
}
