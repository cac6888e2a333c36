package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/openstack"
)

func (p *Program) openstackCommand() *cobra.Command {
	return group("openstack", "What VIPs have made in an OpenStack project: gc", p.openstackGC())
}

// cloudsKey stands for the file's name in a Secret.
const cloudsKey = "clouds.yaml"

func (p *Program) openstackGC() *cobra.Command {
	cmd := &cobra.Command{
		Use: "gc", Short: "List what VirtualIPs have made in an OpenStack project, and remove what one has left behind", Args: exactly(),
		Long: `List what VirtualIPs have made in an OpenStack project, by the mark in its description. With --remove,
remove everything of that one and nothing else: address pairs and the group on nodes' ports,
floating IPs, the security group, the reserving ports.

Only you know which VirtualIPs still live, so it asks before it removes; --yes answers.`,
		Example: `  zonekeeper openstack gc --clouds clouds.yaml
  zonekeeper openstack gc --clouds clouds.yaml --cluster shoot--p--s --remove dns/front`,
	}
	out := p.output(cmd)
	var clouds, ca, cluster, remove string
	var yes bool
	f := cmd.Flags()
	f.StringVar(&clouds, "clouds", cloudsKey, "clouds.yaml with one cloud")
	f.StringVar(&ca, "cacert", "", "file with the CA bundle of the API (default: the system's)")
	f.StringVar(&cluster, "cluster", "", "only of this Kubernetes cluster; needed with --remove")
	f.StringVar(&remove, "remove", "", "NAMESPACE/NAME of the VirtualIP whose objects shall go")
	f.BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if remove != "" && cluster == "" {
			return &usageError{err: errors.New("--remove without --cluster; name the cluster that the list shows"), command: cmd.CommandPath()}
		}
		s, err := session(cmd, clouds, ca)
		if err != nil {
			return err
		}
		all, err := s.Remnants(cmd.Context())
		if err != nil {
			return err
		}
		found := []openstack.Remnant{}
		for _, r := range all {
			if (cluster == "" || r.Owner.Cluster == cluster) && (remove == "" || r.Owner.Name == remove) {
				found = append(found, r)
			}
		}
		if remove == "" {
			return out.print(found, func(w *tabwriter.Writer) { drawRemnants(w, found) })
		}
		if len(found) == 0 {
			return fmt.Errorf("VirtualIP %s of cluster %s has nothing in this project; see zonekeeper openstack gc", remove, cluster)
		}
		if !yes && !p.agreed(found[0]) {
			return errors.New("nothing was removed: not confirmed; answer yes, or use --yes")
		}
		st, err := s.Delete(cmd.Context(), openstack.Ref{Owner: found[0].Owner})
		if err != nil {
			return fmt.Errorf("%s removed, then: %w", count(st.Steps, "step"), err)
		}
		return out.done(remove, "removed", fmt.Sprintf("removed what VirtualIP %s of cluster %s had made, in %s", remove, cluster, count(st.Steps, "step")))
	}
	return cmd
}

// session opens the cloud of a file.
func session(cmd *cobra.Command, clouds, ca string) (*openstack.Session, error) {
	data := map[string][]byte{}
	for key, path := range map[string]string{cloudsKey: clouds, "cacert": ca} {
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w; name a file that can be read", err)
		}
		data[key] = text
	}
	creds, err := openstack.FromSecret(data, cloudsKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", clouds, err)
	}
	sessions, err := openstack.NewSessions(openstack.DefaultConfig())
	if err != nil {
		return nil, err
	}
	return sessions.Open(cmd.Context(), creds)
}

// agreed asks whether everything that is listed may go.
func (p *Program) agreed(r openstack.Remnant) bool {
	fmt.Fprintf(p.Err, "VirtualIP %s of cluster %s has:\n  %s\nand address pairs and a group on nodes' ports. Remove all of it? [yes/no] ", r.Owner.Name, r.Owner.Cluster, strings.Join(r.Objects, "\n  "))
	line, _ := bufio.NewReader(p.In).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}

func drawRemnants(w *tabwriter.Writer, found []openstack.Remnant) {
	row(w, "CLUSTER", "VIRTUALIP", "OBJECT")
	for _, r := range found {
		for _, o := range r.Objects {
			row(w, r.Owner.Cluster, r.Owner.Name, o)
		}
	}
}
