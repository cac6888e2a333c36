package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

func (p *Program) keyCommand() *cobra.Command {
	return group("key", "TSIG keys: add, list, rotate, retire, delete, export",
		p.keyAdd(), p.keyList(), p.keyRotate(), p.keyRetire(), p.keyDelete(), p.keyExport())
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
		return strings.TrimSpace(string(b)), nil
	}
}

func (p *Program) keyAdd() *cobra.Command {
	cmd := &cobra.Command{Use: "add NAME", Short: "Create a key and print its secret", Args: exactly("NAME")}
	conn, out := p.connection(cmd), p.output(cmd)
	algorithm, secret := p.secretFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := secret()
		if err != nil {
			return err
		}
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			k, err := a.AddKey(ctx, adminapi.AddKey{Name: absolute(args[0]), Algorithm: *algorithm, Secret: s})
			if err != nil {
				return err
			}
			return out.print(k, func(w *tabwriter.Writer) { drawKeys(w, true, *k) })
		})
	}
	return cmd
}

func (p *Program) keyList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the keys, without their secrets", Args: exactly()}
	conn, out := p.connection(cmd), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			ks, err := a.Keys(ctx)
			if err != nil {
				return err
			}
			return out.print(ks, func(w *tabwriter.Writer) { drawKeys(w, false, ks...) })
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
	conn, out := p.connection(cmd), p.output(cmd)
	algorithm, secret := p.secretFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := secret()
		if err != nil {
			return err
		}
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			k, err := a.RotateKey(ctx, absolute(args[0]), adminapi.RotateKey{Algorithm: *algorithm, Secret: s})
			if err != nil {
				return err
			}
			return out.print(k, func(w *tabwriter.Writer) { drawKeys(w, true, *k) })
		})
	}
	return cmd
}

func (p *Program) keyRetire() *cobra.Command {
	cmd := &cobra.Command{
		Use: "retire NAME", Short: "End a rotation: only the newest secret stays valid", Args: exactly("NAME"),
		Long: "End a rotation: only the newest secret stays valid. When this returns, no replica in service accepts the old one.",
	}
	conn, out := p.connection(cmd), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			k, err := a.RetireKey(ctx, absolute(args[0]))
			if err != nil {
				return err
			}
			return out.print(k, func(w *tabwriter.Writer) { drawKeys(w, false, *k) })
		})
	}
	return cmd
}

func (p *Program) keyDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a key with all its secrets", Args: exactly("NAME"),
		Long: "Delete a key with all its secrets. When this returns, no replica in service accepts it.",
	}
	conn := p.connection(cmd)
	confirm := confirmation(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := confirm(cmd, args[0]); err != nil {
			return err
		}
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			name := absolute(args[0])
			if err := a.DeleteKey(ctx, name, name); err != nil {
				return err
			}
			fmt.Fprintf(p.Out, "key %s is deleted on all replicas\n", name)
			return nil
		})
	}
	return cmd
}

func (p *Program) keyExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export NAME", Short: "Print a key as a client's configuration", Args: exactly("NAME"),
		Long: `Print a key, with its newest secret, as the configuration of a client: ` + formatNames() + `.

The server and the zones of a local cluster (--dir) are filled in; else say them.`,
		Example: `  zonekeeper key export dhcp-key --format kea --server 192.0.2.53 --zone example.org
  zonekeeper key export dev-key --format nsupdate --dir /tmp/dev`,
	}
	conn := p.connection(cmd)
	var t exportTarget
	var format, server string
	f := cmd.Flags()
	f.StringVar(&format, "format", "nsupdate", formatNames())
	f.StringVar(&server, "server", "", "address or address:port that the client sends to")
	f.StringSliceVar(&t.Zones, "zone", nil, "zone that the client changes; repeatable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		write, err := exportFormat(format)
		if err != nil {
			return &usageError{err: err, command: cmd.CommandPath()}
		}
		if info, ok := conn.info(); ok {
			if server == "" {
				server = info.Endpoint
			}
			if len(t.Zones) == 0 {
				t.Zones = info.Zones
			}
		}
		if err := t.setServer(server); err != nil {
			return &usageError{err: err, command: cmd.CommandPath()}
		}
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			k, err := a.Key(ctx, absolute(args[0]), true)
			if err != nil {
				return err
			}
			if len(k.Versions) == 0 {
				return fmt.Errorf("key %s has no valid secret; rotate it to get one", k.Name)
			}
			t.Name, t.Algorithm, t.Secret = strings.TrimSuffix(k.Name, "."), strings.TrimSuffix(k.Versions[0].Algorithm, "."), k.Versions[0].Secret
			text, err := write(t)
			if err != nil {
				return err
			}
			_, err = io.WriteString(p.Out, text)
			return err
		})
	}
	return cmd
}

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
