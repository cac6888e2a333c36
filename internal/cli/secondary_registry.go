package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// secondaryRegistry are the commands about which secondaries the cluster has.
func (p *Program) secondaryRegistry() []*cobra.Command {
	return []*cobra.Command{p.secondaryAdd(), p.secondaryList(), p.secondaryRemove()}
}

func (p *Program) secondaryAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Register a secondary, or change its registration", Args: exactly("NAME"),
		Long: `Register a secondary, or change its registration: what is not given is its default again.

Its key may transfer every zone and the catalog zone (RFC 9432), which lists them; the
first registration makes the catalog. A foreign secondary is a server that is not run by
this program, such as Knot, NSD, PowerDNS or somebody else's BIND: name the addresses
that are told of every change.`,
		Example: `  zonekeeper key add secondary-0
  zonekeeper secondary add secondary-0
  zonekeeper secondary add ns2.example.net --foreign --key ns2-key --notify 192.0.2.2:53`,
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	conn.detachable(cmd)
	var s adminapi.Secondary
	cmd.Flags().StringVar(&s.Key, "key", "", "its TSIG key, which no other secondary has (default NAME)")
	cmd.Flags().StringSliceVar(&s.Notify, "notify", nil, "address:port that a NOTIFY, signed with its key, is sent to; repeatable. Only foreign ones need it")
	cmd.Flags().BoolVar(&s.Foreign, "foreign", false, "it is not run by this program, and reports nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.Name = args[0]
		if s.Key == "" {
			s.Key = s.Name
		}
		s.Key = absolute(s.Key)
		return conn.change(cmd, func(ctx context.Context, a *adminapi.Client) error {
			if err := a.PutSecondary(ctx, s); err != nil {
				return err
			}
			return out.done(s.Name, "registered", fmt.Sprintf("secondary %s is registered with key %s", s.Name, s.Key))
		})
	}
	return cmd
}

func (p *Program) secondaryList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the registered secondaries", Args: exactly()}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return answer(cmd, conn.read, out, func(ctx context.Context, a *adminapi.Client) ([]adminapi.Secondary, error) {
			return a.Secondaries(ctx)
		}, func(w *tabwriter.Writer, l []adminapi.Secondary) {
			row(w, "SECONDARY", "KEY", "STATE", "NOTIFY")
			for _, s := range l {
				row(w, s.Name, s.Key, secondaryState(s), dash(strings.Join(s.Notify, " ")))
			}
		})
	}
	return cmd
}

// secondaryState is what the primary that was asked knows of a secondary, in a word or sentence.
func secondaryState(s adminapi.Secondary) string {
	switch {
	case s.Foreign:
		return "foreign"
	case !s.Connected:
		return "not connected"
	case s.Status == nil:
		return "connected"
	case s.Status.Ready:
		return "ready"
	}
	return "not ready: " + s.Status.Reason
}

func (p *Program) secondaryRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "End a registration", Args: exactly("NAME"),
		Long: `End a registration: its key transfers nothing any more, unless a zone's allow-transfer
names it. What it holds it serves until it expires; the key itself stays until it is deleted.`,
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	conn.detachable(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return conn.change(cmd, func(ctx context.Context, a *adminapi.Client) error {
			if err := a.DeleteSecondary(ctx, args[0]); err != nil {
				return err
			}
			return out.done(args[0], "removed", fmt.Sprintf("secondary %s is not registered any more", args[0]))
		})
	}
	return cmd
}
