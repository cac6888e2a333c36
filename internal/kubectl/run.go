package kubectl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// Exit codes, those of zonekeeper.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

const usage = `Show how BindClusters are, and run zonekeeper in one of their primaries.

Usage:
  kubectl zonekeeper status [CLUSTER] [flags]
  kubectl zonekeeper run CLUSTER [flags] -- COMMAND
  kubectl zonekeeper version

COMMAND is one of zonekeeper that talks to a cluster, such as verify, or zone export example.org.
It runs in a ready primary, with that one's certificate; you need the right to exec into pods there.

Flags:
  -n, --namespace NAME   namespace of the BindClusters (default: that of the context)
  -A, --all-namespaces   those of all namespaces
  -o, --output FORMAT    table or json (default table)
      --context NAME     context of the kubeconfig
      --kubeconfig FILE  kubeconfig (default: $KUBECONFIG, ~/.kube/config)
      --domain NAME      domain of Services, for run (default cluster.local)

Exit codes: 0 all are ready, 1 one is not or could not be read, 2 a mistake in the command; of run: COMMAND's.
`

// Program is the plugin with what it needs from outside.
type Program struct {
	Version string
	Out     io.Writer
	Err     io.Writer
	// Now is the time from which ages are counted.
	Now func() time.Time
	// Execute runs a program with this process's own input and output, and returns its exit code.
	Execute func(ctx context.Context, name string, args []string) (int, error)
}

// options are the flags of all commands.
type options struct {
	namespace, context, kubeconfig, output, domain string
	all                                            bool
	cluster                                        string
	command                                        []string // of run, behind "--"
}

// Run executes one command and returns the process's exit code.
func (p *Program) Run(ctx context.Context, args []string) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		fmt.Fprint(p.Out, usage)
		return ExitOK
	}
	var do func(context.Context, options) (int, error)
	switch args[0] {
	case "version", "--version":
		fmt.Fprintf(p.Out, "kubectl-zonekeeper %s\n", p.Version)
		return ExitOK
	case "status":
		do = p.status
	case "run":
		do = p.run
	default:
		return p.mistake(fmt.Errorf("unknown command %q; use status, run or version", args[0]))
	}
	o, err := parse(args[0], args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.Out, usage)
		return ExitOK
	}
	if err != nil {
		return p.mistake(err)
	}
	code, err := do(ctx, o)
	if err != nil {
		fmt.Fprintf(p.Err, "error: %s\n", err)
		return ExitFailed
	}
	return code
}

func (p *Program) mistake(err error) int {
	fmt.Fprintf(p.Err, "error: %s\nsee: kubectl zonekeeper --help\n", err)
	return ExitUsage
}

// parse takes flags before and after the name, as kubectl does.
func parse(command string, args []string) (options, error) {
	var o options
	if i := slices.Index(args, "--"); i >= 0 {
		args, o.command = args[:i], args[i+1:]
	}
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	for _, name := range []string{"n", "namespace"} {
		f.StringVar(&o.namespace, name, "", "")
	}
	for _, name := range []string{"A", "all-namespaces"} {
		f.BoolVar(&o.all, name, false, "")
	}
	for _, name := range []string{"o", "output"} {
		f.StringVar(&o.output, name, "table", "")
	}
	f.StringVar(&o.context, "context", "", "")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "")
	f.StringVar(&o.domain, "domain", "cluster.local", "")
	for {
		if err := f.Parse(args); err != nil {
			return o, err
		}
		if f.NArg() == 0 {
			break
		}
		if o.cluster != "" {
			return o, fmt.Errorf("more than one name: %q and %q; name one BindCluster, or none for all", o.cluster, f.Arg(0))
		}
		o.cluster, args = f.Arg(0), f.Args()[1:]
	}
	switch {
	case command == "run" && (o.cluster == "" || o.all):
		return o, errors.New("name the BindCluster: kubectl zonekeeper run CLUSTER -- verify")
	case command == "run" && len(o.command) == 0:
		return o, errors.New("no command; put it behind \"--\": kubectl zonekeeper run " + o.cluster + " -- verify")
	case command != "run" && len(o.command) > 0:
		return o, fmt.Errorf("%s takes nothing behind \"--\"", command)
	case o.output != "table" && o.output != "json":
		return o, fmt.Errorf("output %q; use table or json", o.output)
	case o.all && o.namespace != "":
		return o, errors.New("--namespace and --all-namespaces exclude each other; remove one")
	case o.all && o.cluster != "":
		return o, errors.New("a name and --all-namespaces exclude each other; name the namespace with --namespace")
	}
	return o, nil
}

// connect reaches the cluster that kubectl would, and finds the namespace that is meant.
func connect(o options) (*reader, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	c := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context})
	cfg, err := c.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("kubeconfig: %w; name one with --kubeconfig or $KUBECONFIG", err)
	}
	namespace := o.namespace
	switch {
	case o.all:
		namespace = ""
	case namespace == "":
		if namespace, _, err = c.Namespace(); err != nil {
			return nil, "", fmt.Errorf("kubeconfig: %w", err)
		}
	}
	r, err := newReader(cfg)
	return r, namespace, err
}
