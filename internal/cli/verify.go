package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

func (p *Program) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "Transfer every zone from every BIND and compare them", Args: exactly(),
		Long: `Transfer every zone from the BIND of every primary and secondary and compare them with the
replicated state. A secondary may be a few changes behind: it is compared with what was then.

The exit code is 0 only when all are the same; differences are printed as zone-file lines,
"-" for what a copy lacks and "+" for what only it has.`,
	}
	conn, out := p.connection(cmd, longTimeout), p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return conn.read(cmd, func(ctx context.Context, a *adminapi.Client) error {
			stop := p.progress(func() string { return "comparing every copy of every zone" })
			r, err := a.Verify(ctx)
			stop()
			if err != nil {
				return err
			}
			if err := out.print(r, func(w *tabwriter.Writer) { drawVerify(w, r) }); err != nil {
				return err
			}
			if !r.OK {
				return &silentError{}
			}
			return nil
		})
	}
	return cmd
}

func drawVerify(w *tabwriter.Writer, r *adminapi.VerifyReport) {
	copies, differ, unknown := 0, 0, 0
	row(w, "ZONE", "SERVER", "SERIAL", "RECORDS", "DIGEST", "RESULT")
	for _, z := range r.Zones {
		differs := false
		for _, c := range z.Copies {
			copies++
			switch {
			case c.Error != "":
				row(w, z.Name, c.Server, "-", "-", "-", c.Error)
				continue
			case z.OK || c.Confirmed || c.Digest == z.Copies[0].Digest: // the first is the replicated state
				row(w, z.Name, c.Server, c.Serial, c.Records, short(c.Digest), "same")
			default:
				differs = true
				row(w, z.Name, c.Server, c.Serial, c.Records, short(c.Digest), "differs")
			}
		}
		switch {
		case differs:
			differ++
		case !z.OK:
			unknown++
		}
	}
	_ = w.Flush() // differences are not columns
	for _, z := range r.Zones {
		for _, d := range z.Differences {
			fmt.Fprintf(w, "%s: %s\n", z.Name, d)
		}
	}
	if r.OK {
		fmt.Fprintf(w, "\nall %d copies of %s are the same\n", copies, count(len(r.Zones), "zone"))
		return
	}
	fmt.Fprintln(w)
	for _, bad := range []struct {
		n    int
		what string
	}{{differ, "differ"}, {unknown, "could not be compared everywhere"}} {
		if bad.n > 0 {
			fmt.Fprintf(w, "%d of %s %s\n", bad.n, count(len(r.Zones), "zone"), bad.what)
		}
	}
}
