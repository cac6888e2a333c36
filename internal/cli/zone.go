package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
)

func (p *Program) zoneCommand() *cobra.Command {
	return group("zone", "Zones: add, list, show, set, export, import, delete",
		p.zoneAdd(), p.zoneList(), p.zoneShow(), p.zoneSet(), p.zoneExport(), p.zoneImport(), p.zoneDelete())
}

// settings are the flags of a zone's settings.
type settings struct {
	adminapi.ZoneSettings
	grant string
}

func zoneSettings(cmd *cobra.Command) *settings {
	s := &settings{}
	f := cmd.Flags()
	f.StringVar(&s.grant, "grant", "", "key that may change and transfer everything, anybody may query; instead of the four flags below")
	f.StringVar(&s.UpdatePolicy, "update-policy", "", "who may change what: the inside of named.conf's update-policy { ... }")
	f.StringVar(&s.AllowUpdate, "allow-update", "", "who may change everything: the inside of allow-update { ... }; excludes --update-policy")
	f.StringVar(&s.AllowQuery, "allow-query", "", "who may query: the inside of allow-query { ... }")
	f.StringVar(&s.AllowTransfer, "allow-transfer", "", "who may transfer the zone: the inside of allow-transfer { ... }; default none")
	f.Uint32Var(&s.MaxZoneTTL, "max-zone-ttl", 0, "seconds that greater TTLs in updates are lowered to; 0 for no limit")
	f.StringSliceVar(&s.AlsoNotify, "also-notify", nil, "address:port that is told of every change; repeatable")
	f.BoolVar(&s.LocalReads, "local-reads", false, "answer queries without asking the quorum first: faster, possibly old")
	return s
}

func (s *settings) resolve(cmd *cobra.Command) (adminapi.ZoneSettings, error) {
	if s.grant == "" {
		return s.ZoneSettings, nil
	}
	if s.UpdatePolicy != "" || s.AllowUpdate != "" || s.AllowQuery != "" || s.AllowTransfer != "" {
		return adminapi.ZoneSettings{}, &usageError{err: errors.New("--grant stands for the policy flags; give it or them"), command: cmd.CommandPath()}
	}
	open := devcluster.OpenTo(absolute(s.grant))
	open.MaxZoneTTL, open.AlsoNotify, open.LocalReads = s.MaxZoneTTL, s.AlsoNotify, s.LocalReads
	return open, nil
}

func (p *Program) zoneAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Create a zone with an SOA and one NS", Args: exactly("NAME"),
		Example: `  zonekeeper zone add example.org --grant dhcp-key
  zonekeeper zone add example.org --update-policy 'grant acme-key wildcard _acme-challenge.*.example.org. TXT;'`,
	}
	conn, out, set := p.connection(cmd), p.output(cmd), zoneSettings(cmd)
	var add adminapi.AddZone
	cmd.Flags().StringVar(&add.NS, "ns", "", "host name of the NS record and the SOA's MNAME; nsupdate without a server line sends there (default ns.NAME)")
	cmd.Flags().StringSliceVar(&add.Addresses, "address", nil, "address of that host, if it lies in the zone; repeatable")
	cmd.Flags().StringVar(&add.Mailbox, "mailbox", "", "the SOA's RNAME (default hostmaster.NAME)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := set.resolve(cmd)
		if err != nil {
			return err
		}
		add.Name, add.Settings = absolute(args[0]), s
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			z, err := a.AddZone(ctx, add)
			if err != nil {
				return err
			}
			return out.print(z, func(w *tabwriter.Writer) { drawZone(w, z) })
		})
	}
	return cmd
}

func (p *Program) zoneList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the zones", Args: exactly()}
	conn, out := p.connection(cmd), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			zs, err := a.Zones(ctx)
			if err != nil {
				return err
			}
			return out.print(zs, func(w *tabwriter.Writer) {
				row(w, "ZONE", "SERIAL", "RECORDS", "DIGEST")
				for _, z := range zs {
					row(w, z.Name, z.Serial, z.Records, short(z.Digest))
				}
			})
		})
	}
	return cmd
}

func (p *Program) zoneShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME", Short: "Show a zone's settings", Args: exactly("NAME")}
	conn, out := p.connection(cmd), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			z, err := a.Zone(ctx, absolute(args[0]))
			if err != nil {
				return err
			}
			return out.print(z, func(w *tabwriter.Writer) { drawZone(w, z) })
		})
	}
	return cmd
}

func (p *Program) zoneSet() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Change a zone's settings; what is not given stays", Args: exactly("NAME"),
		Example: `  zonekeeper zone set example.org --allow-transfer 'key "secondary-key";'`,
	}
	conn, out, set := p.connection(cmd), p.output(cmd), zoneSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given, err := set.resolve(cmd)
		if err != nil {
			return err
		}
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			old, err := a.Zone(ctx, absolute(args[0]))
			if err != nil {
				return err
			}
			z, err := a.SetZone(ctx, old.Name, merge(old.Settings, given, cmd.Flags().Changed))
			if err != nil {
				return err
			}
			return out.print(z, func(w *tabwriter.Writer) { drawZone(w, z) })
		})
	}
	return cmd
}

// merge puts the settings whose flags were given over the old ones.
func merge(old, given adminapi.ZoneSettings, changed func(flag string) bool) adminapi.ZoneSettings {
	s := old
	grant := changed("grant")
	if grant || changed("update-policy") {
		s.UpdatePolicy, s.AllowUpdate = given.UpdatePolicy, ""
	}
	if changed("allow-update") {
		s.AllowUpdate = given.AllowUpdate
		if !changed("update-policy") {
			s.UpdatePolicy = ""
		}
	}
	if grant || changed("allow-query") {
		s.AllowQuery = given.AllowQuery
	}
	if grant || changed("allow-transfer") {
		s.AllowTransfer = given.AllowTransfer
	}
	if changed("max-zone-ttl") {
		s.MaxZoneTTL = given.MaxZoneTTL
	}
	if changed("also-notify") {
		s.AlsoNotify = given.AlsoNotify
	}
	if changed("local-reads") {
		s.LocalReads = given.LocalReads
	}
	return s
}

func (p *Program) zoneExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export NAME", Short: "Write a zone as a zone file to standard output", Args: exactly("NAME"),
		Long: "Write one version of a zone as a zone file to standard output. named-checkzone and named read it.",
	}
	conn := p.connection(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			return a.ExportZone(ctx, absolute(args[0]), p.Out)
		})
	}
	return cmd
}

func (p *Program) zoneImport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import NAME [FILE]", Short: "Create a zone from a zone file or from another server",
		Long: `Create a zone from a zone file ("-" or nothing: standard input), or by a transfer from
another server. The serial is kept. What can't be taken is refused as a whole, with the
line of every mistake.`,
		Example: `  zonekeeper zone import example.org db.example.org --grant dhcp-key
  zonekeeper zone import example.org --from-axfr 192.0.2.1 --key hmac-sha256:xfer:c2VjcmV0 --grant dhcp-key`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return exactly("NAME")(cmd, args)
		},
	}
	conn, out, set := p.connection(cmd), p.output(cmd), zoneSettings(cmd)
	var opts adminapi.ImportOptions
	var from, key string
	f := cmd.Flags()
	f.StringVar(&from, "from-axfr", "", "address or address:port of a server to transfer the zone from, instead of FILE")
	f.StringVar(&key, "key", "", "TSIG key of that transfer, [algorithm:]name:secret, or @FILE with the same text")
	f.BoolVar(&opts.StripDNSSEC, "strip-dnssec", false, "leave out RRSIG, NSEC, DNSKEY and their like; without it a signed zone is refused")
	f.BoolVar(&opts.Replace, "replace", false, "replace the content of a zone that exists")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := set.resolve(cmd)
		if err != nil {
			return err
		}
		if from != "" && len(args) == 2 {
			return &usageError{err: errors.New("give FILE or --from-axfr, not both"), command: cmd.CommandPath()}
		}
		opts.Settings = s
		name := absolute(args[0])
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			text, source, err := p.zoneText(ctx, name, args[1:], from, key)
			if err != nil {
				return err
			}
			z, err := a.ImportZone(ctx, name, strings.NewReader(text), opts)
			if err != nil {
				return located(err, source, text)
			}
			return out.print(z, func(w *tabwriter.Writer) { drawZone(w, z) })
		})
	}
	return cmd
}

// zoneText reads the zone; source names where it came from, "" for a transfer,
// whose lines nobody has seen.
func (p *Program) zoneText(ctx context.Context, name string, file []string, from, key string) (text, source string, err error) {
	if from != "" {
		text, err = transfer(ctx, name, from, key)
		return text, "", err
	}
	source = "standard input"
	in := p.In
	if len(file) == 1 && file[0] != "-" {
		source = file[0]
		f, err := os.Open(source)
		if err != nil {
			return "", "", err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", source, err)
	}
	return string(b), source, nil
}

// located says where an import's mistakes are: file and line, or the record itself.
func located(err error, source, text string) error {
	var e *adminapi.Error
	if !errors.As(err, &e) || len(e.Lines) == 0 {
		return err
	}
	lines := strings.Split(text, "\n")
	var b strings.Builder
	b.WriteString(e.Message)
	for _, l := range e.Lines {
		switch {
		case source != "":
			fmt.Fprintf(&b, "\n  %s:%d: %s", source, l.Line, l.Message)
		case l.Line >= 1 && l.Line <= len(lines):
			fmt.Fprintf(&b, "\n  %s: %s", strings.Join(strings.Fields(lines[l.Line-1]), " "), l.Message)
		default:
			fmt.Fprintf(&b, "\n  %s", l.Message)
		}
	}
	if e.Remedy != "" {
		b.WriteString("\n" + e.Remedy)
	}
	return &usageError{err: errors.New(b.String())}
}

func (p *Program) zoneDelete() *cobra.Command {
	cmd := &cobra.Command{Use: "delete NAME", Short: "Delete a zone with all its records", Args: exactly("NAME")}
	conn := p.connection(cmd)
	confirm := confirmation(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := confirm(cmd, args[0]); err != nil {
			return err
		}
		return conn.do(cmd, func(ctx context.Context, a *adminapi.Client) error {
			name := absolute(args[0])
			if err := a.DeleteZone(ctx, name, name); err != nil {
				return err
			}
			fmt.Fprintf(p.Out, "zone %s is deleted on all replicas\n", name)
			return nil
		})
	}
	return cmd
}

// confirmation is the flag that must repeat the name of what is deleted.
func confirmation(cmd *cobra.Command) func(*cobra.Command, string) error {
	var confirm string
	cmd.Flags().StringVar(&confirm, "confirm", "", "repeat NAME: this can't be undone")
	return func(cmd *cobra.Command, name string) error {
		if !strings.EqualFold(absolute(confirm), absolute(name)) {
			return &usageError{err: fmt.Errorf("this can't be undone; repeat the name: --confirm %s", name), command: cmd.CommandPath()}
		}
		return nil
	}
}

func drawZone(w *tabwriter.Writer, z *adminapi.Zone) {
	row(w, "zone", z.Name)
	row(w, "serial", z.Serial)
	row(w, "records", z.Records)
	row(w, "digest", z.Digest)
	for _, s := range []struct{ name, value string }{
		{"update-policy", z.Settings.UpdatePolicy},
		{"allow-update", z.Settings.AllowUpdate},
		{"allow-query", z.Settings.AllowQuery},
		{"allow-transfer", z.Settings.AllowTransfer},
		{"also-notify", strings.Join(z.Settings.AlsoNotify, " ")},
	} {
		if s.value != "" {
			row(w, s.name, strings.Join(strings.Fields(s.value), " "))
		}
	}
	if z.Settings.MaxZoneTTL != 0 {
		row(w, "max-zone-ttl", z.Settings.MaxZoneTTL)
	}
	if z.Settings.LocalReads {
		row(w, "local-reads", "yes")
	}
}
