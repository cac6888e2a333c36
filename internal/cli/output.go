package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
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
		return fmt.Errorf("%q; use table or json", s)
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

// absolute adds the root's dot that people leave out.
func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }
