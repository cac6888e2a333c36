package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/front"
)

// How long a question to a front may take. keepalived asks once a second and believes the second failure: with half a second for the
// second one a front that hangs is known after 2.5 s at most, and clients wait less than three. Drains have a limit of their own.
const (
	frontProbeTimeout  = 500 * time.Millisecond
	frontStatusTimeout = 5 * time.Second
)

func (p *Program) frontCommand() *cobra.Command {
	cmd := group("front", "Run one front node until interrupted; its configuration, status and drain", p.frontSubcommands()...)
	cmd.Long = `Run one front node: the address that clients use, before the primaries. It runs HAProxy for
TCP, relays UDP itself, and runs keepalived, which moves the address between nodes.

The configuration is a JSON file; docs/front.md describes it. SIGTERM and Ctrl-C drain the
node and stop it in order; SIGUSR1 drains it only.`
	var path string
	cmd.Flags().StringVar(&path, "config", "", "configuration file")
	help := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if path == "" || len(args) > 0 {
			return help(cmd, args)
		}
		cfg, err := front.LoadConfig(path)
		if err != nil {
			return &usageError{err: err}
		}
		log, err := p.logger(cfg.LogLevel, cfg.LogFormat)
		if err != nil {
			return &usageError{err: err}
		}
		return processError(cfg.Name, p.RunFront(cmd.Context(), cfg, p.Version, log.With("front", cfg.Name)), front.ErrConfig)
	}
	return cmd
}

// withFront makes a command that reads a front's configuration first.
func withFront(cmd *cobra.Command, run func(cmd *cobra.Command, cfg front.Config) error) *cobra.Command {
	var path string
	cmd.Args = exactly()
	cmd.Flags().StringVar(&path, "config", "", "configuration file (required)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if path == "" {
			return &usageError{err: errors.New("--config is missing; name the configuration file"), command: cmd.CommandPath()}
		}
		cfg, err := front.LoadConfig(path)
		if err != nil {
			return &usageError{err: err}
		}
		return run(cmd, cfg)
	}
	return cmd
}

func (p *Program) frontSubcommands() []*cobra.Command {
	check := &cobra.Command{Use: "check", Short: "Check a configuration, and have HAProxy and keepalived check what is made of it"}
	out := p.output(check)
	withFront(check, func(cmd *cobra.Command, cfg front.Config) error {
		if err := front.Check(cmd.Context(), cfg); err != nil {
			return &usageError{err: err}
		}
		return out.done(cfg.Name, "valid", "the configuration of "+cfg.Name+" is valid, and so is what HAProxy and keepalived get")
	})
	render := withFront(&cobra.Command{Use: "render", Short: "Print the configurations that HAProxy and keepalived get"}, func(_ *cobra.Command, cfg front.Config) error {
		files, err := front.Render(cfg)
		if err != nil {
			return &usageError{err: err}
		}
		for i, f := range files {
			if i > 0 {
				fmt.Fprintln(p.Out)
			}
			fmt.Fprintf(p.Out, "### %s\n%s", f.Name, f.Text)
		}
		return nil
	})
	return []*cobra.Command{check, render, p.frontStatusCommand(), p.frontDrainCommand(), p.frontProbeCommand()}
}

// frontClient talks to the front on this machine by its UNIX socket.
func frontClient(socket string) (*adminapi.Client, error) {
	return adminapi.NewClient("http://front", &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}})
}

// askFront asks the front that runs with cfg on this machine.
func askFront(ctx context.Context, cfg front.Config, limit time.Duration, ask func(context.Context, *adminapi.Client) (*adminapi.FrontStatus, error)) (*adminapi.FrontStatus, error) {
	c, err := frontClient(front.SocketPath(cfg.Dir))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := ask(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; is the front running on this machine, and are you its user?", cfg.Name, err)
	}
	return s, nil
}

func (p *Program) frontStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show the front on this machine: who has the address, what is wrong, every primary",
		Long: `Show the front on this machine: who has the address, what is wrong, every primary.

The exit code is 0 only when nothing is wrong with the node and a primary is ready. To be
without the address is not wrong.`,
	}
	out := p.output(cmd)
	return withFront(cmd, func(cmd *cobra.Command, cfg front.Config) error {
		s, err := askFront(cmd.Context(), cfg, frontStatusTimeout, func(ctx context.Context, c *adminapi.Client) (*adminapi.FrontStatus, error) { return c.Front(ctx) })
		if err != nil {
			return err
		}
		if err := out.print(s, func(w *tabwriter.Writer) { drawFront(w, s) }); err != nil {
			return err
		}
		if !s.Healthy {
			return &silentError{}
		}
		return nil
	})
}

func drawFront(w *tabwriter.Writer, s *adminapi.FrontStatus) {
	fmt.Fprintf(w, "%s\n\n", s.Summary)
	row(w, "FRONT", "MODE", "VRRP", "SINCE", "HOLDS", "SCORE", "VERSION")
	state, since, holds := "-", "-", "-"
	if v := s.VIP; v != nil {
		state, since, holds = v.State, v.Since.UTC().Format(time.RFC3339), dash(strings.Join(v.Held, ","))
	}
	row(w, s.Name, s.Mode, state, since, holds, s.Score, s.Version)
	fmt.Fprintln(w)
	if len(s.Faults) > 0 {
		row(w, "FAULT", "REASON")
		for _, f := range s.Faults {
			row(w, f.Part, f.Reason)
		}
		fmt.Fprintln(w)
	}
	row(w, "PRIMARY", "ADDRESS", "UDP", "TCP", "WHY NOT")
	for _, x := range s.Primaries {
		why := x.Reason
		if why == "" && !strings.HasPrefix(x.HAProxy, "UP") {
			why = x.HAProxyReason
		}
		row(w, x.Name, x.Address, x.State, dash(x.HAProxy), dash(why))
	}
	fmt.Fprintln(w)
	row(w, "PROGRAM", "PID", "RESTARTS")
	for _, c := range s.Children {
		pid := "-"
		if c.PID != 0 {
			pid = fmt.Sprint(c.PID)
		}
		row(w, c.Name, pid, c.Restarts)
	}
	if s.Stale != "" {
		fmt.Fprintf(w, "\nthe list of primaries is not confirmed %s\n", s.Stale)
	}
	drawLimits(w, s.Limits)
	if v := s.VIP; v != nil && v.Strangers > 0 {
		fmt.Fprintf(w, "\n%d VRRP packets of strangers were dropped (from %s): name them in vip.peers if they are fronts, else let the firewall keep protocol 112 out\n",
			v.Strangers, dash(strings.Join(v.StrangersFrom, ", ")))
	}
}

// drawLimits shows nothing while no limit was hit.
func drawLimits(w *tabwriter.Writer, limits map[string]int64) {
	if len(limits) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, "LIMIT", "TURNED AWAY")
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		row(w, name, limits[name])
	}
}

func (p *Program) frontDrainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drain", Short: "Take the front on this machine out of service until it is started again",
		Long: `Take the front on this machine out of service until it is started again: TCP connections end
after the answer in flight, then the address moves to another node.`,
	}
	out := p.output(cmd)
	return withFront(cmd, func(cmd *cobra.Command, cfg front.Config) error {
		// Two steps of the drain have this limit each.
		limit := 2*time.Duration(cfg.DrainTimeout) + frontStatusTimeout
		s, err := askFront(cmd.Context(), cfg, limit, func(ctx context.Context, c *adminapi.Client) (*adminapi.FrontStatus, error) { return c.DrainFront(ctx) })
		if err != nil {
			return err
		}
		if s.VIP != nil && len(s.VIP.Held) > 0 {
			return fmt.Errorf("%s: %s is still here; look at keepalived in the front's log", cfg.Name, strings.Join(s.VIP.Held, ", "))
		}
		return out.done(cfg.Name, "drained", cfg.Name+" is drained; start it again to bring it back")
	})
}

func (p *Program) frontProbeCommand() *cobra.Command {
	var socket string
	var ready bool
	cmd := &cobra.Command{
		Use: "probe", Short: "Exit with 0 while the front on this machine works", Args: exactly(),
		Long: `Exit with 0 while the front on this machine works; keepalived and Kubernetes ask this way.

With --ready: while it serves clients as well, which needs HAProxy and the relay, but neither
the address nor a primary.`,
	}
	cmd.Flags().StringVar(&socket, "socket", front.SocketPath(front.DefaultConfig().Dir), "the front's socket, front.sock in its directory")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it serves clients")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := frontClient(socket)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), frontProbeTimeout)
		defer cancel()
		ask := c.Live
		if ready {
			ask = c.Ready
		}
		if err := ask(ctx); err != nil {
			return fmt.Errorf("the front at %s: %w", socket, err)
		}
		return nil
	}
	return cmd
}
