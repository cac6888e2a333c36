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
	"github.com/spf13/pflag"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/axfr"
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
	wait  waitFlags
	flags *pflag.FlagSet
}

func zoneSettings(cmd *cobra.Command) *settings {
	f := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	s := &settings{flags: f}
	f.StringVar(&s.grant, "grant", "", "key that may change and transfer everything, anybody may query; instead of the four flags below")
	f.StringVar(&s.UpdatePolicy, "update-policy", "", "who may change what: the inside of named.conf's update-policy { ... }")
	f.StringVar(&s.AllowUpdate, "allow-update", "", "who may change everything: the inside of allow-update { ... }; excludes --update-policy")
	f.StringVar(&s.AllowQuery, "allow-query", "", "who may query: the inside of allow-query { ... }")
	f.StringVar(&s.AllowTransfer, "allow-transfer", "", "who may transfer the zone: the inside of allow-transfer { ... }; default none")
	f.Uint32Var(&s.MaxZoneTTL, "max-zone-ttl", 0, "seconds that greater TTLs in updates are lowered to; 0 for no limit")
	f.Uint32Var(&s.MaxRecords, "max-records", 0, "most records that updates may leave in the zone; 0 for no limit")
	f.StringSliceVar(&s.AlsoNotify, "also-notify", nil, "server that is told of every change: address:port, or 'address:port key NAME' to sign; repeatable")
	f.BoolVar(&s.LocalReads, "local-reads", false, "answer queries without asking the quorum first: faster, possibly old")
	s.wait.add(f)
	cmd.Flags().AddFlagSet(f)
	return s
}

// given says whether any setting was named.
func (s *settings) given() (given bool) {
	s.flags.VisitAll(func(f *pflag.Flag) { given = given || f.Changed })
	return given
}

func (s *settings) resolve(cmd *cobra.Command) (adminapi.ZoneSettings, error) {
	s.Guarantee = s.wait.over(nil, cmd.Flags().Changed)
	if s.grant == "" {
		return s.ZoneSettings, nil
	}
	if s.UpdatePolicy != "" || s.AllowUpdate != "" || s.AllowQuery != "" || s.AllowTransfer != "" {
		return adminapi.ZoneSettings{}, &usageError{err: errors.New("--grant stands for the policy flags; give it or them"), command: cmd.CommandPath()}
	}
	open := devcluster.OpenTo(absolute(s.grant))
	open.MaxZoneTTL, open.MaxRecords, open.AlsoNotify, open.LocalReads, open.Guarantee = s.MaxZoneTTL, s.MaxRecords, s.AlsoNotify, s.LocalReads, s.Guarantee
	return open, nil
}

func (p *Program) zoneAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Create a zone with an SOA and one NS", Args: exactly("NAME"),
		Example: `  zonekeeper zone add example.org --grant dhcp-key
  zonekeeper zone add example.org --update-policy 'grant acme-key wildcard _acme-challenge.*.example.org. TXT;'`,
	}
	conn, out, set := p.connection(cmd, usualTimeout), p.output(cmd), zoneSettings(cmd)
	var add adminapi.AddZone
	cmd.Flags().StringVar(&add.NS, "ns", "", "host name of the NS record and the SOA's MNAME; nsupdate without a server line sends there (default ns.NAME)")
	cmd.Flags().StringSliceVar(&add.Addresses, "address", nil, "address of that host, if it lies in the zone; repeatable (default 127.0.0.1)")
	cmd.Flags().StringVar(&add.Mailbox, "mailbox", "", "who is responsible, user@domain or the SOA's RNAME (default hostmaster.NAME)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := set.resolve(cmd)
		if err != nil {
			return err
		}
		add.Name, add.Settings, add.Mailbox = absolute(args[0]), s, rname(add.Mailbox)
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Zone, error) {
			z, err := a.AddZone(ctx, add)
			if err == nil {
				p.advise(ctx, a, z, set.grant)
			}
			return z, err
		}, drawZone)
	}
	return cmd
}

// rname is a mail address as the SOA has it: the @ is a dot, the dots before it are escaped (RFC 1035 section 8).
func rname(mailbox string) string {
	user, domain, ok := strings.Cut(mailbox, "@")
	if !ok {
		return mailbox
	}
	return strings.ReplaceAll(user, ".", `\.`) + "." + domain
}

func (p *Program) zoneList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the zones", Args: exactly()}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return answer(cmd, conn.read, out, func(ctx context.Context, a *adminapi.Client) ([]adminapi.Zone, error) {
			return a.Zones(ctx)
		}, func(w *tabwriter.Writer, zs []adminapi.Zone) {
			row(w, "ZONE", "SERIAL", "RECORDS", "DIGEST")
			for _, z := range zs {
				row(w, z.Name, z.Serial, z.Records, short(z.Digest))
			}
		})
	}
	return cmd
}

func (p *Program) zoneShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME", Short: "Show a zone's settings", Args: exactly("NAME")}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return answer(cmd, conn.read, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Zone, error) {
			return a.Zone(ctx, absolute(args[0]))
		}, drawZone)
	}
	return cmd
}

func (p *Program) zoneSet() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Change a zone's settings; what is not given stays", Args: exactly("NAME"),
		Example: `  zonekeeper zone set example.org --allow-transfer 'key "secondary-key";'
  zonekeeper zone set example.org --also-notify '192.0.2.2:53 key secondary-key'
  zonekeeper zone set example.org --wait-secondaries 2 --wait-limit 3s`,
	}
	conn, out, set := p.connection(cmd, usualTimeout), p.output(cmd), zoneSettings(cmd)
	conn.detachable(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given, err := set.resolve(cmd)
		if err != nil {
			return err
		}
		if !set.given() {
			return &usageError{err: errors.New("nothing to change: give at least one setting, such as --allow-transfer"), command: cmd.CommandPath()}
		}
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Zone, error) {
			old, err := a.Zone(ctx, absolute(args[0]))
			if err != nil {
				return nil, err
			}
			merged := merge(old.Settings, given, cmd.Flags().Changed)
			merged.Guarantee = set.wait.over(old.Settings.Guarantee, cmd.Flags().Changed)
			z, err := a.SetZone(ctx, old.Name, merged)
			if err == nil {
				p.advise(ctx, a, z, set.grant)
			}
			return z, err
		}, drawZone)
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
	if changed("max-records") {
		s.MaxRecords = given.MaxRecords
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
	conn := p.connection(cmd, longTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return conn.read(cmd, func(ctx context.Context, a *adminapi.Client) error {
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
		Args: exactly("NAME", "[FILE]"),
	}
	conn, out, set := p.connection(cmd, longTimeout), p.output(cmd), zoneSettings(cmd)
	conn.detachable(cmd)
	var opts adminapi.ImportOptions
	var from, key string
	f := cmd.Flags()
	f.StringVar(&from, "from-axfr", "", "address or address:port of a server to transfer the zone from, instead of FILE")
	f.StringVar(&key, "key", "", "TSIG key of that transfer, [algorithm:]name:secret, or @FILE with the same text")
	f.BoolVar(&opts.StripDNSSEC, "strip-dnssec", false, "leave out RRSIG, NSEC, DNSKEY and their like; without it a signed zone is refused")
	f.BoolVar(&opts.Replace, "replace", false, "replace the content of a zone that exists")
	f.BoolVar(&opts.MoveSerial, "move-serial", false, "move a serial that the zone's name has used before past the highest one, instead of refusing it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := set.resolve(cmd)
		if err != nil {
			return err
		}
		if from != "" && len(args) == 2 {
			return &usageError{err: errors.New("give FILE or --from-axfr, not both"), command: cmd.CommandPath()}
		}
		var signer *axfr.Key
		switch {
		case key != "" && from == "":
			return &usageError{err: errors.New("--key signs the transfer of --from-axfr; give both or neither"), command: cmd.CommandPath()}
		case key != "":
			if signer, err = parseKey(key); err != nil {
				return err
			}
		}
		opts.Settings = s
		name := absolute(args[0])
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Zone, error) {
			text, source, err := p.zoneText(ctx, name, args[1:], from, signer)
			if err != nil {
				return nil, err
			}
			defer p.progress(func() string { return "importing " + name })()
			z, err := a.ImportZone(ctx, name, strings.NewReader(text), opts)
			if err != nil {
				return nil, located(err, source, text)
			}
			p.advise(ctx, a, z, set.grant)
			return z, nil
		}, drawZone)
	}
	return cmd
}

// zoneText reads the zone; source names where it came from, "" for a transfer,
// whose lines nobody has seen.
func (p *Program) zoneText(ctx context.Context, name string, file []string, from string, key *axfr.Key) (text, source string, err error) {
	if from != "" {
		defer p.progress(func() string { return "transferring " + name + " from " + from })()
		text, err = axfr.Fetch(ctx, name, from, key)
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
		case source != "" && l.Line == 0:
			fmt.Fprintf(&b, "\n  %s: %s", source, l.Message)
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
	return p.deletion("zone", cobra.Command{Short: "Delete a zone with all its records"}, (*adminapi.Client).DeleteZone)
}

// deletion makes the command that deletes what (a zone, a key) after its name was repeated; texts are in about.
func (p *Program) deletion(what string, about cobra.Command, remove func(a *adminapi.Client, ctx context.Context, name, confirm string) error) *cobra.Command {
	cmd := &cobra.Command{Use: "delete NAME", Short: about.Short, Long: about.Long, Args: exactly("NAME")}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	conn.detachable(cmd)
	confirm := cmd.Flags().String("confirm", "", "repeat NAME: this can't be undone")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := absolute(args[0])
		if *confirm == "" || !strings.EqualFold(absolute(*confirm), name) {
			return &usageError{err: fmt.Errorf("this can't be undone; repeat the name: --confirm %s", args[0]), command: cmd.CommandPath()}
		}
		return conn.change(cmd, func(ctx context.Context, a *adminapi.Client) error {
			if err := remove(a, ctx, name, name); err != nil {
				return err
			}
			return out.done(name, "deleted", fmt.Sprintf("%s %s is deleted on all replicas", what, name))
		})
	}
	return cmd
}

// advise tells people of what is permitted and hardly meant. It goes to Err, so that programs read the zone only.
func (p *Program) advise(ctx context.Context, a *adminapi.Client, z *adminapi.Zone, grant string) {
	if !z.Catalog && z.Settings.UpdatePolicy == "" && z.Settings.AllowUpdate == "" {
		fmt.Fprintf(p.Err, "note: nobody may update %s yet; let a key: zonekeeper zone set %s --grant KEY\n", z.Name, z.Name)
	}
	if grant != "" {
		if _, err := a.Key(ctx, absolute(grant), false); adminapi.IsCode(err, adminapi.CodeNotFound) {
			fmt.Fprintf(p.Err, "note: there is no key %s yet; make it: zonekeeper key add %s\n", grant, grant)
		}
	}
}

func drawZone(w *tabwriter.Writer, z *adminapi.Zone) {
	row(w, "zone", z.Name)
	if z.Catalog {
		row(w, "kind", "catalog (its content follows from the zones)")
	}
	row(w, "serial", z.Serial)
	row(w, "records", z.Records)
	row(w, "digest", z.Digest)
	for _, s := range []struct{ name, value string }{
		{"update-policy", z.Settings.UpdatePolicy},
		{"allow-update", z.Settings.AllowUpdate},
		{"allow-query", z.Settings.AllowQuery},
		{"allow-transfer", z.Settings.AllowTransfer},
		{"also-notify", strings.Join(z.Settings.AlsoNotify, ", ")},
		{"waits for", guaranteeText(z.Settings.Guarantee)},
	} {
		if s.value != "" {
			row(w, s.name, strings.Join(strings.Fields(s.value), " "))
		}
	}
	if z.Settings.MaxZoneTTL != 0 {
		row(w, "max-zone-ttl", z.Settings.MaxZoneTTL)
	}
	if z.Settings.MaxRecords != 0 {
		row(w, "max-records", z.Settings.MaxRecords)
	}
	if z.Settings.LocalReads {
		row(w, "local-reads", "yes")
	}
}
