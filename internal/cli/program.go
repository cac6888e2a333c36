package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/front"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Program is the command line with what it needs from outside.
type Program struct {
	Version string
	// RunPrimary runs one primary until ctx ends.
	RunPrimary func(ctx context.Context, cfg primary.Config, version string, log *slog.Logger) error
	// RunSecondary runs one secondary until ctx ends.
	RunSecondary func(ctx context.Context, cfg secondary.Config, version string, log *slog.Logger) error
	// RunFront runs one front node until ctx ends.
	RunFront func(ctx context.Context, cfg front.Config, version string, log *slog.Logger) error
	// Executable is the path of this program, and Exec becomes another one; it returns only when it can't.
	Executable func() (string, error)
	Exec       func(path string, args []string) error
	// Getenv reads the environment.
	Getenv func(string) string
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	// Terminal: Err is one, so long work shows its progress there.
	Terminal bool
}

// Run executes one command and returns the process's exit code. When ctx ends the
// command stops in order.
func (p *Program) Run(ctx context.Context, args []string) int {
	root := p.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	var silent *silentError
	if !errors.As(err, &silent) {
		fmt.Fprintf(p.Err, "error: %s\n", err)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		if usage.command != "" {
			fmt.Fprintf(p.Err, "see: %s --help\n", usage.command)
		}
		return ExitUsage
	}
	return ExitFailed
}

// usageError is a mistake of the caller: exit code 2.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// silentError ends with exit code 1 after the answer itself has said what is wrong.
type silentError struct{}

func (*silentError) Error() string { return "failed" }

// command builds the tree. There is no state between two calls.
func (p *Program) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "zonekeeper",
		Short: "One highly available address for nsupdate, in front of several BIND hidden primaries",
		Long: `One highly available address for nsupdate, in front of several BIND hidden primaries.

Commands that talk to a cluster find it by --admin (or $ZONEKEEPER_ADMIN), a primary's
admin address, or by --dir (or $ZONEKEEPER_DIR), the directory of a local cluster that
"zonekeeper dev" runs.

Exit codes: 0 success, 1 failure, 2 a mistake in the command or a configuration.`,
		Version:           p.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{err: fmt.Errorf("unknown command %q", args[0]), command: "zonekeeper"}
			}
			return cmd.Help()
		},
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetVersionTemplate("zonekeeper {{.Version}}\n")
	root.SetHelpCommand(helpCommand(root))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, command: cmd.CommandPath()}
	})
	root.AddCommand(
		p.devCommand(),
		p.primaryCommand(),
		p.etcdCommand(),
		p.probeCommand(),
		p.installCommand(),
		p.statusCommand(),
		p.verifyCommand(),
		p.zoneCommand(),
		p.keyCommand(),
		p.secondaryCommand(),
		p.frontCommand(),
		p.operatorCommand(),
		p.openstackCommand(),
		p.catalogCommand(),
		p.memberCommand(),
		p.backupCommand(),
		p.restoreCommand(),
		p.benchCommand(),
		p.versionCommand(),
	)
	return root
}

// exactly checks the number of arguments; names says what they are, optional ones in brackets. None may be empty: an
// unset variable of a script must not stand for the root zone.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		for i, name := range names {
			if i >= len(args) && !strings.HasPrefix(name, "[") {
				return &usageError{err: fmt.Errorf("missing argument: %s", name), command: cmd.CommandPath()}
			}
			if i < len(args) && args[i] == "" {
				return &usageError{err: fmt.Errorf("the argument %s is empty", name), command: cmd.CommandPath()}
			}
		}
		if len(args) > len(names) {
			return &usageError{err: fmt.Errorf("unexpected argument %q", args[len(names)]), command: cmd.CommandPath()}
		}
		return nil
	}
}

// helpCommand is cobra's, but a topic that does not exist is a mistake and not an answer.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			topic, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return &usageError{err: fmt.Errorf("unknown command %q", strings.Join(args, " ")), command: "zonekeeper"}
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}

// group is a command that only has subcommands.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{err: fmt.Errorf("unknown command %q for %s", args[0], cmd.CommandPath()), command: cmd.CommandPath()}
			}
			return cmd.Help()
		},
	}
	c.AddCommand(subs...)
	return c
}

func (p *Program) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the program's version", Args: exactly()}
	out := p.output(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		v := struct {
			Version string `json:"version"`
		}{p.Version}
		return out.print(v, func(w *tabwriter.Writer) { fmt.Fprintln(w, "zonekeeper", v.Version) })
	}
	return cmd
}
