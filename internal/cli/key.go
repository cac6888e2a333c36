package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/clientconf"
)

func (p *Program) keyCommand() *cobra.Command {
	return group("key", "TSIG keys: add, list, set, rotate, retire, delete, export",
		p.keyAdd(), p.keyList(), p.keySet(), p.keyRotate(), p.keyRetire(), p.keyDelete(), p.keyExport())
}

// secretFlags are a secret of the caller's own. It is never an argument: those are
// visible to everybody on the machine.
func (p *Program) secretFlags(cmd *cobra.Command) (algorithm *string, secret func() (string, error)) {
	algorithm = cmd.Flags().String("algorithm", "", "hmac-sha1, -sha224, -sha256, -sha384, -sha512, or hmac-md5 for old clients (default: hmac-sha256; for a rotation the key's)")
	file := cmd.Flags().String("secret-file", "", `file with a base64 secret, "-" for standard input (default: a random one)`)
	return algorithm, func() (string, error) {
		var b []byte
		var err error
		switch *file {
		case "":
			return "", nil
		case "-":
			b, err = io.ReadAll(p.In)
		default:
			b, err = os.ReadFile(*file)
		}
		if err != nil {
			return "", fmt.Errorf("--secret-file: %w", err)
		}
		text := strings.TrimSpace(string(b))
		if text == "" { // an empty one would mean: make a random one
			return "", &usageError{err: fmt.Errorf("--secret-file %s: it is empty; give a base64 secret, or leave the flag out for a random one", *file), command: cmd.CommandPath()}
		}
		return text, nil
	}
}

func (p *Program) keyAdd() *cobra.Command {
	cmd := &cobra.Command{Use: "add NAME", Short: "Create a key and print its secret", Args: exactly("NAME")}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	algorithm, secret := p.secretFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := secret()
		if err != nil {
			return err
		}
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Key, error) {
			return a.AddKey(ctx, adminapi.AddKey{Name: absolute(args[0]), Algorithm: *algorithm, Secret: s})
		}, drawSecrets)
	}
	return cmd
}

func (p *Program) keyList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the keys, without their secrets", Args: exactly()}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return answer(cmd, conn.read, out, func(ctx context.Context, a *adminapi.Client) ([]adminapi.Key, error) {
			return a.Keys(ctx)
		}, func(w *tabwriter.Writer, ks []adminapi.Key) { drawKeys(w, false, ks...) })
	}
	return cmd
}

func (p *Program) keySet() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Change what updates signed with a key wait for; what is not given stays", Args: exactly("NAME"),
		Long: `Change what updates signed with a key wait for; what is not given stays. A zone may have a
guarantee of its own: the greater number and the shorter limit count. For ACME clients,
whose authority asks a secondary right after the update.`,
		Example: `  zonekeeper key set acme-key --wait-secondaries 2 --wait-limit 3s
  zonekeeper key set acme-key --wait-secondaries 0`,
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	conn.detachable(cmd)
	var wait waitFlags
	wait.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		changed := cmd.Flags().Changed
		if !changed(flagWaitSecondaries) && !changed(flagWaitLimit) {
			return &usageError{err: errors.New("nothing to change: give --" + flagWaitSecondaries + " or --" + flagWaitLimit), command: cmd.CommandPath()}
		}
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Key, error) {
			old, err := a.Key(ctx, absolute(args[0]), false)
			if err != nil {
				return nil, err
			}
			g := wait.over(old.Guarantee, changed)
			if g == nil {
				g = &adminapi.Guarantee{}
			}
			if err := a.SetKeyGuarantee(ctx, old.Name, *g); err != nil {
				return nil, err
			}
			return a.Key(ctx, old.Name, false)
		}, func(w *tabwriter.Writer, k *adminapi.Key) {
			row(w, "key", k.Name)
			row(w, "waits for", dash(guaranteeText(k.Guarantee)))
			if r := k.Rate; r != nil {
				row(w, "quota", fmt.Sprintf("%d updates a second, with all keys of %q together", r.PerSecond, r.Group))
			}
		})
	}
	return cmd
}

func (p *Program) keyRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate NAME", Short: "Add a new secret; the old one stays valid until it is retired", Args: exactly("NAME"),
		Example: `  zonekeeper key rotate dhcp-key     # hand the new secret to the clients
  zonekeeper key retire dhcp-key     # when none uses the old one any more`,
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	conn.detachable(cmd)
	algorithm, secret := p.secretFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := secret()
		if err != nil {
			return err
		}
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Key, error) {
			return a.RotateKey(ctx, absolute(args[0]), adminapi.RotateKey{Algorithm: *algorithm, Secret: s})
		}, drawSecrets)
	}
	return cmd
}

func (p *Program) keyRetire() *cobra.Command {
	cmd := &cobra.Command{
		Use: "retire NAME", Short: "End a rotation: only the newest secret stays valid", Args: exactly("NAME"),
		Long: "End a rotation: only the newest secret stays valid. When this returns, no replica in service accepts the old one.",
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	conn.detachable(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Key, error) {
			return a.RetireKey(ctx, absolute(args[0]))
		}, func(w *tabwriter.Writer, k *adminapi.Key) { drawKeys(w, false, *k) })
	}
	return cmd
}

func (p *Program) keyDelete() *cobra.Command {
	return p.deletion("key", cobra.Command{
		Short: "Delete a key with all its secrets",
		Long:  "Delete a key with all its secrets. When this returns, no replica in service accepts it.",
	}, (*adminapi.Client).DeleteKey)
}

func (p *Program) keyExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export NAME", Short: "Print a key as a client's configuration", Args: exactly("NAME"),
		Long: `Print a key, with its newest secret, as the configuration of a client: ` + strings.Join(clientconf.Formats(), ", ") + `.

The server and the zones of a local cluster (--dir) are filled in; else say them.`,
		Example: `  zonekeeper key export dhcp-key --format kea --server 192.0.2.53 --zone example.org
  zonekeeper key export dev-key --format nsupdate --dir /tmp/dev`,
	}
	conn := p.connection(cmd, usualTimeout)
	var t clientconf.Target
	var format, server string
	var zones []string
	f := cmd.Flags()
	f.StringVar(&format, "format", clientconf.Nsupdate, strings.Join(clientconf.Formats(), ", "))
	f.StringVar(&server, "server", "", "address or address:port that the client sends to")
	f.StringSliceVar(&zones, "zone", nil, "zone that the client changes; repeatable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(clientconf.Formats(), format) {
			return &usageError{err: fmt.Errorf("--format %q; use one of %s", format, strings.Join(clientconf.Formats(), ", ")), command: cmd.CommandPath()}
		}
		if info, ok := conn.info(); ok {
			if server == "" {
				server = info.Endpoint
			}
			if len(zones) == 0 {
				zones = info.Zones
			}
		}
		if err := errors.Join(flagged(t.SetServer(server)), flagged(t.SetZones(zones))); err != nil {
			return &usageError{err: err, command: cmd.CommandPath()}
		}
		return conn.read(cmd, func(ctx context.Context, a *adminapi.Client) error {
			k, err := a.Key(ctx, absolute(args[0]), true)
			if err != nil {
				return err
			}
			if len(k.Versions) == 0 {
				return fmt.Errorf("key %s has no valid secret; rotate it to get one: zonekeeper key rotate %s", k.Name, k.Name)
			}
			t.Name, t.Algorithm, t.Secret = strings.TrimSuffix(k.Name, "."), strings.TrimSuffix(k.Versions[0].Algorithm, "."), k.Versions[0].Secret
			text, err := clientconf.Write(format, t)
			if err != nil {
				return err
			}
			_, err = io.WriteString(p.Out, text)
			return err
		})
	}
	return cmd
}

// flagged puts the dashes of a flag before an error that begins with its name.
func flagged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%w", err)
}

func drawSecrets(w *tabwriter.Writer, k *adminapi.Key) { drawKeys(w, true, *k) }

func drawKeys(w *tabwriter.Writer, secrets bool, keys ...adminapi.Key) {
	head := []any{"KEY", "VERSION", "ALGORITHM", "CREATED"}
	if secrets {
		head = append(head, "SECRET")
	}
	row(w, head...)
	for _, k := range keys {
		for _, v := range k.Versions {
			cells := []any{k.Name, v.Version, v.Algorithm, v.Created.UTC().Format(time.RFC3339)}
			if secrets {
				cells = append(cells, dash(v.Secret))
			}
			row(w, cells...)
		}
	}
}
