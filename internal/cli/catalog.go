package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

func (p *Program) catalogCommand() *cobra.Command {
	return group("catalog", "The catalog zone, which tells secondaries what zones there are: show, create, confirm",
		p.catalogShow(), p.catalogCreate(), p.catalogConfirm())
}

func (p *Program) catalogShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show", Short: "Show the catalog's name, serial and number of members", Args: exactly(),
		Long: `Show the catalog's name, serial and number of members. A zone is a member when anybody may
query it (--allow-query any, the default): secondaries show their zones to the world.`,
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return answer(cmd, conn.read, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Catalog, error) {
			return a.Catalog(ctx)
		}, drawCatalog)
	}
	return cmd
}

func (p *Program) catalogCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make the catalog under a name of your own", Args: exactly("NAME"),
		Long: `Make the catalog under a name of your own. Without this the first secondary that is
registered brings one, catalog.zonekeeper.invalid. The name can't be changed.`,
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return answer(cmd, conn.change, out, func(ctx context.Context, a *adminapi.Client) (*adminapi.Catalog, error) {
			return a.CreateCatalog(ctx, absolute(args[0]))
		}, drawCatalog)
	}
	return cmd
}

func (p *Program) catalogConfirm() *cobra.Command {
	cmd := &cobra.Command{
		Use: "confirm --serial N", Short: "Let secondaries obey a version of the catalog that removes many zones", Args: exactly(),
		Long: `Let secondaries obey the catalog up to a serial, however many zones that removes. They hold
back a version without most of the zones they serve until it is confirmed; status says
which serial it is, and how many of how many would go.`,
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	serial := cmd.Flags().Uint32("serial", 0, "serial that status shows; confirms all before it as well")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *serial == 0 {
			return &usageError{err: errors.New("which version? give --serial N, as status shows it"), command: cmd.CommandPath()}
		}
		return conn.change(cmd, func(ctx context.Context, a *adminapi.Client) error {
			if err := a.ConfirmCatalog(ctx, *serial); err != nil {
				return err
			}
			return out.done("catalog", "confirmed", fmt.Sprintf("the catalog is confirmed up to serial %d", *serial))
		})
	}
	return cmd
}

func drawCatalog(w *tabwriter.Writer, c *adminapi.Catalog) {
	row(w, "catalog", c.Name)
	row(w, "serial", c.Serial)
	row(w, "members", c.Members)
	if c.Confirmed != 0 {
		row(w, "confirmed", c.Confirmed)
	}
}
