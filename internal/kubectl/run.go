package kubectl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Exit codes, those of zonekeeper.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

const usage = `Show how BindClusters are.

Usage:
  kubectl zonekeeper status [CLUSTER] [flags]
  kubectl zonekeeper version

Flags:
  -n, --namespace NAME   namespace of the BindClusters (default: that of the context)
  -A, --all-namespaces   those of all namespaces
  -o, --output FORMAT    table or json (default table)
      --context NAME     context of the kubeconfig
      --kubeconfig FILE  kubeconfig (default: $KUBECONFIG, ~/.kube/config)

Exit codes: 0 all are ready, 1 one is not or could not be read, 2 a mistake in the command.
`

// Program is the plugin with what it needs from outside.
type Program struct {
	Version string
	Out     io.Writer
	Err     io.Writer
	// Now is the time from which ages are counted.
	Now func() time.Time
}

// options are the flags of status.
type options struct {
	namespace, context, kubeconfig, output string
	all                                    bool
	cluster                                string
}

// Run executes one command and returns the process's exit code.
func (p *Program) Run(ctx context.Context, args []string) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		fmt.Fprint(p.Out, usage)
		return ExitOK
	}
	switch args[0] {
	case "version", "--version":
		fmt.Fprintf(p.Out, "kubectl-zonekeeper %s\n", p.Version)
		return ExitOK
	case "status":
	default:
		return p.mistake(fmt.Errorf("unknown command %q; use status or version", args[0]))
	}
	o, err := parse(args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.Out, usage)
		return ExitOK
	}
	if err != nil {
		return p.mistake(err)
	}
	ready, err := p.status(ctx, o)
	if err != nil {
		fmt.Fprintf(p.Err, "error: %s\n", err)
		return ExitFailed
	}
	if !ready {
		return ExitFailed
	}
	return ExitOK
}

func (p *Program) mistake(err error) int {
	fmt.Fprintf(p.Err, "error: %s\nsee: kubectl zonekeeper --help\n", err)
	return ExitUsage
}

// parse takes flags before and after the name, as kubectl does.
func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("status", flag.ContinueOnError)
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
	case o.output != "table" && o.output != "json":
		return o, fmt.Errorf("output %q; use table or json", o.output)
	case o.all && o.namespace != "":
		return o, errors.New("--namespace and --all-namespaces exclude each other; remove one")
	case o.all && o.cluster != "":
		return o, errors.New("a name and --all-namespaces exclude each other; name the namespace with --namespace")
	}
	return o, nil
}

// connect finds the cluster as kubectl does, and the namespace that is meant.
func connect(o options) (*rest.Config, string, error) {
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
	return cfg, namespace, nil
}
