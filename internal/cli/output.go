package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// output is the -o flag.
type output struct {
	format string
	w      io.Writer
}

func (p *Program) output(cmd *cobra.Command) *output {
	o := &output{w: p.Out}
	cmd.Flags().VarP(o, "output", "o", "table or json")
	o.format = "table"
	return o
}

// String, Set and Type implement pflag.Value.
func (o *output) String() string { return o.format }

// Type implements pflag.Value.
func (o *output) Type() string { return "format" }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	if s != "table" && s != "json" {
		return errors.New("use table or json")
	}
	o.format = s
	return nil
}

// print writes v as JSON, or what table draws.
func (o *output) print(v any, table func(*tabwriter.Writer)) error {
	if o.format == "json" {
		e := json.NewEncoder(o.w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	tw := tabwriter.NewWriter(o.w, 0, 4, 2, ' ', 0)
	table(tw)
	return tw.Flush()
}

// outcome is what a command prints that changes something and has nothing to show of it.
type outcome struct {
	Name   string `json:"name"`
	Result string `json:"result"`
}

// done prints an outcome, or the sentence that says the same to people.
func (o *output) done(name, result, sentence string) error {
	return o.print(outcome{name, result}, func(w *tabwriter.Writer) { fmt.Fprintln(w, sentence) })
}

// caller is connection.read or connection.change.
type caller func(*cobra.Command, func(context.Context, *adminapi.Client) error) error

// answer asks a primary and prints what it says.
func answer[T any](cmd *cobra.Command, call caller, out *output,
	question func(context.Context, *adminapi.Client) (T, error), draw func(*tabwriter.Writer, T),
) error {
	return call(cmd, func(ctx context.Context, a *adminapi.Client) error {
		v, err := question(ctx, a)
		if err != nil {
			return err
		}
		return out.print(v, func(w *tabwriter.Writer) { draw(w, v) })
	})
}

// row writes one line of cells.
func row(w io.Writer, cells ...any) {
	s := make([]string, len(cells))
	for i, c := range cells {
		s[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(w, strings.Join(s, "\t"))
}

// short cuts a digest to what a person compares.
func short(digest string) string {
	const shown = 12
	if len(digest) > shown {
		return digest[:shown]
	}
	return digest
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count is a number with its noun, whose plural ends in s.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// absolute adds the root's dot that people leave out.
func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }
