// Package command is the command line of zonekeeper-operator: flags, the connection to the API server, the log.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/zonekeeper/zonekeeper/internal/operator/program"
)

// Exit codes, those of zonekeeper.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Program is the command line with what it needs from outside.
type Program struct {
	Version string
	// Run runs the operator until ctx ends.
	Run func(ctx context.Context, cfg program.Config, env program.Environment) error
	Out io.Writer
	Err io.Writer
}

// Main executes the command line and returns the process's exit code.
func (p *Program) Main(ctx context.Context, args []string) int {
	c := p.Command()
	c.SetArgs(args)
	err := c.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		fmt.Fprintf(p.Err, "error: %s\nsee: zonekeeper-operator --help\n", err)
		return ExitUsage
	default:
		fmt.Fprintf(p.Err, "error: %s\n", err)
		return ExitFailed
	}
}

// usageError is a mistake of the caller.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// Command is the command with its flags.
func (p *Program) Command() *cobra.Command {
	cfg := program.DefaultConfig()
	var kubeconfig, level string
	c := &cobra.Command{
		Use: "zonekeeper-operator", Short: "Make BindClusters in Kubernetes what their specs say", Version: p.Version,
		Long: `Make BindClusters in Kubernetes what their specs say, until interrupted. "zonekeeper operator"
executes this program with the same flags; it is one of its own because what it needs for
Kubernetes would make every other process larger.

SIGTERM and Ctrl-C stop it in order: it ends what is under way and gives its lease back.`,
		SilenceErrors: true, SilenceUsage: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unexpected argument %q", args[0])}
			}
			return nil
		},
	}
	c.SetOut(p.Out)
	c.SetErr(p.Err)
	c.SetVersionTemplate("zonekeeper-operator {{.Version}}\n")
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&cfg.Image, "image", "", "image of primaries, secondaries and fronts where a cluster names none (required)")
	f.StringVar(&cfg.Namespace, "namespace", cfg.Namespace, "namespace of the operator itself, with its lease")
	f.StringVar(&cfg.FrontNamespace, "front-namespace", cfg.FrontNamespace, `namespace of VIPs' fronts; it permits privileged pods ("": no VIPs)`)
	f.StringVar(&cfg.ClusterDomain, "cluster-domain", cfg.ClusterDomain, "domain of Services")
	f.StringVar(&kubeconfig, "kubeconfig", "", "file that says how to reach the API server (default: as a pod does)")
	f.BoolVar(&cfg.LeaderElection, "leader-election", cfg.LeaderElection, "act only while holding the lease; off for one operator alone")
	f.DurationVar(&cfg.LeaseDuration, "lease-duration", cfg.LeaseDuration, "how long a lease that is not renewed counts")
	f.DurationVar(&cfg.Interval, "interval", cfg.Interval, "time between two looks at a cluster")
	f.DurationVar(&cfg.CertificateLifetime, "certificate-lifetime", cfg.CertificateLifetime, "lifetime of certificates; they are renewed after two thirds of it")
	f.DurationVar(&cfg.StopGrace, "stop-grace", cfg.StopGrace, "how long what is under way may take at a stop")
	f.StringVar(&cfg.MetricsListen, "metrics-listen", cfg.MetricsListen, `host:port for /metrics; "" for none`)
	f.StringToStringVar(&cfg.PodMonitorLabels, "pod-monitor-labels", nil, "further labels of PodMonitors, by which a Prometheus may select them: release=prometheus")
	f.StringVar(&cfg.HealthListen, "health-listen", cfg.HealthListen, `host:port for /livez and /readyz; "" for none`)
	f.StringVar(&level, "log-level", cfg.LogLevel.String(), "debug, info, warn or error")
	f.StringVar(&cfg.LogFormat, "log-format", cfg.LogFormat, "text or json")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := cfg.LogLevel.UnmarshalText([]byte(level)); err != nil {
			return &usageError{fmt.Errorf("--log-level: %q; use debug, info, warn or error", level)}
		}
		if err := cfg.Validate(); err != nil {
			return &usageError{err}
		}
		kube, err := connection(kubeconfig)
		if err != nil {
			return &usageError{err}
		}
		return p.Run(cmd.Context(), cfg, program.Environment{Kube: kube, Version: p.Version, Logger: p.logger(cfg)})
	}
	return c
}

// connection is how to reach the API server.
func connection(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		kube, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("not in a pod (%w); name a file with --kubeconfig", err)
		}
		return kube, nil
	}
	kube, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", kubeconfig, err)
	}
	return kube, nil
}

func (p *Program) logger(cfg program.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(p.Err, o))
	}
	return slog.New(slog.NewJSONHandler(p.Err, o))
}
