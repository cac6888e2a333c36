package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

func (p *Program) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show members, leader, log, and every zone's serial and digest on every replica", Args: exactly(),
		Long: `Show members, leader, log, and every zone's serial and digest on every replica.

The exit code is 0 only when the cluster is healthy; the first line says what is wrong.

With --zone: that zone alone, at every primary and at every secondary, with how long the
newest change took to get there (DELAY) and how long a newer one has been missing (LAG).
The exit code is 0 only when all of them serve it.`,
	}
	conn, out := p.connection(cmd, usualTimeout), p.output(cmd)
	only := cmd.Flags().String("zone", "", "show this zone, at every primary and secondary")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return conn.read(cmd, func(ctx context.Context, a *adminapi.Client) error {
			s, err := a.Status(ctx)
			if err != nil {
				return err
			}
			show, healthy := any(s), s.Healthy
			draw := func(w *tabwriter.Writer) { drawStatus(w, s) }
			if cmd.Flags().Changed("zone") {
				z, err := zoneStatusOf(ctx, a, s, *only)
				if err != nil {
					return err
				}
				show, healthy, draw = z, z.served(), func(w *tabwriter.Writer) { drawZoneStatus(w, z) }
			}
			if err := out.print(show, draw); err != nil {
				return err
			}
			if !healthy {
				return &silentError{}
			}
			return nil
		})
	}
	return cmd
}

func drawStatus(w *tabwriter.Writer, s *adminapi.Status) {
	fmt.Fprintf(w, "%s\n\n", s.Summary)
	row(w, "REPLICA", "READY", "LEADER", "LOG", "APPLIED", "CHECKPOINT", "PUBLISH LAG", "NAMED", "DNS", "WHY NOT")
	for _, r := range s.Replicas {
		if !r.Reachable {
			row(w, r.Name, "no", "-", "-", "-", "-", "-", "-", "-", dash(r.Reason))
			continue
		}
		named := "stopped"
		if r.Named.Running {
			named = r.Named.Version
		}
		row(w, r.Name, yesNo(r.Ready), yesNo(r.Leader), r.LogIndex, r.AppliedIndex, r.CheckpointIndex,
			fmt.Sprintf("%d ms", r.PublishLagMS), dash(named), strings.Join(r.DNS, ","), dash(r.Reason))
	}
	fmt.Fprintln(w)
	drawSecondaries(w, s.Secondaries)
	row(w, "ZONE", "REPLICA", "SERIAL", "PUBLISHED", "RECORDS", "DIGEST", "STATE", "ERROR")
	for _, name := range zoneNames(s) {
		for _, r := range s.Replicas {
			for _, z := range r.Zones {
				if z.Name == name {
					row(w, name, r.Name, z.Serial, z.PublishedSerial, z.Records, short(z.Digest), z.State, dash(z.LastError))
				}
			}
		}
	}
}

// drawSecondaries shows nothing where none is registered.
func drawSecondaries(w *tabwriter.Writer, list []adminapi.Secondary) {
	if len(list) == 0 {
		return
	}
	row(w, "SECONDARY", "CONNECTED", "READY", "ZONES", "BEHIND", "LAG", "DATA AS OF", "NAMED", "DNS", "WHY NOT")
	for _, x := range list {
		st := x.Status
		switch {
		case x.Foreign:
			row(w, x.Name, "foreign", "-", "-", "-", "-", "-", "-", dash(strings.Join(x.Notify, ",")), "-")
			continue
		case st == nil:
			row(w, x.Name, yesNo(x.Connected), "-", "-", "-", "-", "-", "-", "-", "it has not reported since this primary started")
			continue
		}
		named, asOf := "stopped", "-"
		if st.Named.Running {
			named = st.Named.Version
		}
		if !st.AsOf.IsZero() {
			asOf = st.AsOf.UTC().Format(time.RFC3339)
		}
		why := st.Reason
		if !x.Connected {
			why = "last seen at " + x.LastSeen.UTC().Format(time.RFC3339)
		}
		row(w, x.Name, yesNo(x.Connected), yesNo(st.Ready), st.Zones, st.ZonesBehind, fmt.Sprintf("%d ms", st.LagMS), asOf, dash(named),
			dash(strings.Join(st.DNS, ",")), dash(why))
	}
	fmt.Fprintln(w)
	drawTroubles(w, list)
}

// drawTroubles shows what secondaries say of themselves, and the zones that lag most.
func drawTroubles(w *tabwriter.Writer, list []adminapi.Secondary) {
	behind, said := false, false
	for _, x := range list {
		behind = behind || len(x.Behind) > 0
		if x.Status == nil {
			continue
		}
		for _, p := range x.Status.Problems {
			said = true
			fmt.Fprintf(w, "%s: %s\n", x.Name, p)
		}
	}
	if said {
		fmt.Fprintln(w)
	}
	if !behind {
		return
	}
	row(w, "BEHIND", "ZONE", "SERVES", "CURRENT", "LAG", "ERROR")
	for _, x := range list {
		for _, z := range x.Behind {
			row(w, x.Name, z.Zone, z.Serial, z.Current, fmt.Sprintf("%d ms", z.LagMS), dash(z.Error))
		}
	}
	fmt.Fprintln(w)
}

// zoneNames lists the zones of all replicas in the canonical order of names (RFC 4034 section 6.1).
func zoneNames(s *adminapi.Status) []string {
	var l []string
	seen := map[string]bool{}
	for _, r := range s.Replicas {
		for _, z := range r.Zones {
			if !seen[z.Name] {
				seen[z.Name] = true
				l = append(l, z.Name)
			}
		}
	}
	slices.SortFunc(l, func(x, y string) int {
		xn, xerr := zone.ParseName(x)
		yn, yerr := zone.ParseName(y)
		if xerr != nil || yerr != nil { // of a newer version's kind
			return cmp.Compare(x, y)
		}
		return xn.Compare(yn)
	})
	return l
}

func (p *Program) memberCommand() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List the members of the log's quorum", Args: exactly()}
	lconn, lout := p.connection(list, usualTimeout), p.output(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return answer(cmd, lconn.read, lout, func(ctx context.Context, a *adminapi.Client) ([]adminapi.Member, error) {
			return a.Members(ctx)
		}, func(w *tabwriter.Writer, ms []adminapi.Member) {
			row(w, "NAME", "ID", "LEADER", "LEARNER", "PEER", "CLIENT")
			for _, m := range ms {
				row(w, m.Name, m.ID, yesNo(m.Leader), yesNo(m.Learner), dash(strings.Join(m.PeerURLs, ",")), dash(strings.Join(m.ClientURLs, ",")))
			}
		})
	}
	remove := &cobra.Command{
		Use: "remove NAME", Short: "Take a member out of the quorum for good", Args: exactly("NAME"),
		Long: `Take a member out of the quorum for good.

It is refused when the others are not a live quorum. A member that comes back with its
disk, or with an empty one, needs no removal: it resumes or replaces itself.`,
	}
	rconn, rout := p.connection(remove, usualTimeout), p.output(remove)
	remove.RunE = func(cmd *cobra.Command, args []string) error {
		return rconn.change(cmd, func(ctx context.Context, a *adminapi.Client) error {
			if err := a.RemoveMember(ctx, args[0]); err != nil {
				return err
			}
			return rout.done(args[0], "removed", args[0]+" left the quorum")
		})
	}
	return group("member", "The members of the log's quorum", list, remove)
}
