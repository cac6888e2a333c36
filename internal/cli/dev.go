package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
)

// devSecondaries is how many a cluster on one machine has unless told otherwise.
const devSecondaries = 2

func (p *Program) devCommand() *cobra.Command {
	cfg := devcluster.DefaultConfig()
	var listen string
	var quiet bool
	cmd := &cobra.Command{
		Use: "dev", Short: "Run a whole cluster on this machine until interrupted",
		Long: `Run a whole cluster on this machine, every primary and every secondary its own process with
its own BIND, until interrupted. When it takes writes and the secondaries serve them,
DIR/dev.json says where everything is.

Started on the same --dir again, the cluster resumes with its data, with another number of
secondaries if --secondaries says so. A process that is killed stays dead; "zonekeeper dev start NAME --dir DIR" starts it again.

With --etcd external the log is not in the primaries: an etcd server is started beside each,
or those of --etcd-endpoints are used.`,
		Args: exactly(),
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", "", "directory of all state [$"+envDir+"] (default: a new temporary one)")
	f.IntVar(&cfg.Primaries, "primaries", cfg.Primaries, "number of primaries: 1, 3 or 5")
	f.IntVar(&cfg.Secondaries, "secondaries", devSecondaries, "number of secondaries, which serve the zones to the world: 0 to 8")
	f.StringSliceVar(&cfg.Zones, "zone", cfg.Zones, "zone to create if it does not exist; repeatable")
	f.IntVar(&cfg.Port, "port", cfg.Port, "port of the endpoint, the others follow; 0 picks free ones")
	f.StringVar(&listen, "listen", cfg.Listen.String(), "address of the endpoint and the primaries' DNS")
	f.StringVar(&cfg.Named, "named", cfg.Named, "path of BIND's named")
	f.StringVar(&cfg.NamedDir, "named-dir", "", "where the named processes keep their files, best a tmpfs; losing it loses nothing (default: below --dir)")
	f.StringVar(&cfg.Etcd, "etcd", cfg.Etcd, "where the log is: embedded in the primaries, or an external etcd in processes of its own")
	f.StringSliceVar(&cfg.EtcdEndpoints, "etcd-endpoints", nil, "client URLs of an etcd that runs already, for --etcd external; repeatable")
	f.BoolVar(&quiet, "quiet", false, "print nothing but errors")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		addr, err := netip.ParseAddr(listen)
		if err != nil {
			return &usageError{err: fmt.Errorf("--listen: %w", err), command: cmd.CommandPath()}
		}
		cfg.Listen = addr
		if cfg.Dir == "" {
			cfg.Dir = p.Getenv(envDir)
		}
		if cfg.Dir == "" {
			if cfg.Dir, err = os.MkdirTemp("", "zonekeeper-dev-"); err != nil {
				return err
			}
		}
		if primaries, secondaries, ok := devcluster.Made(cfg.Dir); ok { // what was not asked for stays as the cluster was made
			if !cmd.Flags().Changed("port") {
				cfg.Port = 0
			}
			if !cmd.Flags().Changed("primaries") {
				cfg.Primaries = primaries
			}
			if !cmd.Flags().Changed("secondaries") {
				cfg.Secondaries = secondaries
			}
		}
		if err := cfg.Validate(); err != nil {
			return &usageError{err: err, command: cmd.CommandPath()}
		}
		level, out := slog.LevelInfo, p.Out
		if quiet {
			level, out = slog.LevelError, io.Discard
		}
		cfg.Logger = slog.New(slog.NewTextHandler(p.Err, &slog.HandlerOptions{Level: level}))
		return p.runDev(cmd.Context(), cfg, out)
	}
	cmd.AddCommand(p.devStartCommand())
	return cmd
}

// runDev runs the cluster until ctx ends.
func (p *Program) runDev(ctx context.Context, cfg devcluster.Config, out io.Writer) error {
	fmt.Fprintf(out, "starting %s in %s\n", servers(cfg.Primaries, cfg.Secondaries), cfg.Dir)
	stop := func() {}
	if out != io.Discard {
		stop = p.progress(func() string { return "waiting for the cluster to take writes" })
	}
	c, err := devcluster.Start(ctx, cfg)
	stop()
	if err != nil {
		return err
	}
	if err := introduce(out, c.Dir(), c.Info()); err != nil {
		return joinClose(err, c)
	}
	<-ctx.Done()
	fmt.Fprintln(out, "stopping")
	return c.Close()
}

func joinClose(err error, c io.Closer) error {
	if cerr := c.Close(); cerr != nil {
		return fmt.Errorf("%w; and while stopping: %w", err, cerr)
	}
	return err
}

func servers(primaries, secondaries int) string {
	text := "1 primary"
	if primaries != 1 {
		text = fmt.Sprintf("%d primaries", primaries)
	}
	switch secondaries {
	case 0:
		return text
	case 1:
		return text + " and 1 secondary"
	}
	return fmt.Sprintf("%s and %d secondaries", text, secondaries)
}

// introduce prints what to paste next.
func introduce(w io.Writer, dir string, i devcluster.Info) error {
	host, port, err := net.SplitHostPort(i.Endpoint)
	if err != nil {
		return err
	}
	zone := "example.test"
	if len(i.Zones) > 0 {
		zone = i.Zones[0]
	}
	exe, err := os.Executable()
	if err != nil {
		exe = "zonekeeper"
	}
	ask := "" // what the world asks
	for _, s := range i.Secondaries[:min(1, len(i.Secondaries))] {
		h, p, err := net.SplitHostPort(s.DNS)
		if err != nil {
			return err
		}
		ask = fmt.Sprintf("dig @%s -p %s www.%s A +short\n", h, p, zone)
	}
	_, err = fmt.Fprintf(w, `ready: %s; the endpoint is %s (UDP and TCP)

Paste into another terminal:

nsupdate -y %s:%s:%s <<END
server %s %s
zone %s
update add www.%s 300 A 192.0.2.1
send
END
dig @%s -p %s www.%s A +short
%s%s verify --dir %s
%s status --dir %s

Ctrl-C stops the cluster; the same --dir resumes it.
`, servers(len(i.Primaries), len(i.Secondaries)), i.Endpoint, i.Key.Algorithm, i.Key.Name, i.Key.Secret,
		host, port, zone, zone, host, port, zone, ask, exe, dir, exe, dir)
	return err
}

func (p *Program) devStartCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "start NAME", Short: "Start a process of a local cluster again after it was killed", Args: exactly("NAME"),
		Example: "  zonekeeper dev start primary-1 --dir /tmp/dev",
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the running cluster [$"+envDir+"]")
	out := p.output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if dir == "" {
			dir = p.Getenv(envDir)
		}
		if dir == "" {
			return &usageError{err: fmt.Errorf("which cluster? give --dir DIR or set $%s", envDir), command: cmd.CommandPath()}
		}
		stop := p.progress(func() string { return "waiting for " + args[0] })
		err := devcluster.StartMember(cmd.Context(), dir, args[0])
		stop()
		if err != nil {
			return err
		}
		return out.done(args[0], "ready", args[0]+" is ready")
	}
	return cmd
}
