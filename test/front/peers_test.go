package front

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// peersChange: a node leaves and comes back while the others' vip.peers follow late, as a ConfigMap does. No front is restarted, the
// address stays where it is, and the node that nobody knows yet does not take it; writes go on.
func peersChange(t *testing.T, s *site) {
	st := s.startStream("udp", "tcp")
	s.unmoved("a node leaves, and comes before the others know it", func() error {
		holder := s.holder()
		var others []string
		for _, name := range nodeNames() {
			if name != holder {
				others = append(others, name)
			}
		}
		gone, stays := s.nodes[others[0]], s.nodes[others[1]]
		gone.proc.Stop()
		s.nodes[holder].peersAre(stays.Name)
		stays.peersAre(holder)
		before := s.masters(gone.Name)
		gone.start()
		s.until(patient, gone.Name+" waits until it is known", func(ctx context.Context) error {
			now, err := gone.status(ctx)
			if err != nil {
				return err
			}
			for _, f := range now.Faults {
				if f.Part == "unheard" && strings.Contains(f.Reason, "put "+gone.V4.String()+" into vip.peers") {
					return nil
				}
			}
			return fmt.Errorf("%+v", now)
		})
		err := s.stays(holder, before, 2*time.Second)
		s.nodes[holder].peersAre(gone.Name, stays.Name)
		stays.peersAre(gone.Name, holder)
		s.until(patient, gone.Name+" is one of them", func(ctx context.Context) error {
			now, err := gone.status(ctx)
			if err == nil && (len(now.Faults) > 0 || now.Score != 2) {
				err = fmt.Errorf("%+v", now)
			}
			return err
		})
		return errors.Join(err, s.stays(holder, before, 2*time.Second))
	})
	st.check(t)
	// They are as before: the address moves when its holder stops.
	from := s.holder()
	s.nodes[from].proc.Stop()
	if to := s.holder(); to == from {
		t.Errorf("%s has stopped and has the address", from)
	}
	s.nodes[from].start()
	s.settled()
}

// peersAre writes other peers into the node's configuration, and waits until the filter admits them and keepalived knows them.
func (n *node) peersAre(names ...string) {
	n.s.t.Helper()
	var peers []any
	var addrs []string
	for _, name := range names {
		addrs = append(addrs, n.s.Host(name).V4.String())
	}
	slices.Sort(addrs)
	for _, a := range addrs {
		peers = append(peers, a)
	}
	n.object["vip"].(object)["peers"] = peers
	n.write()
	n.s.until(patient, fmt.Sprintf("the peers of %s are %v", n.Name, names), func(context.Context) error {
		admitted := n.s.Shell(n.Name, "nft list set inet zonekeeper peers4")
		told := n.s.Shell(n.Name, "cat "+n.dir+"/keepalived.conf")
		for _, name := range nodeNames() {
			a := n.s.Host(name).V4.String()
			want := slices.Contains(names, name)
			if strings.Contains(admitted, a) != want || strings.Contains(told, "\n        "+a+"\n") != want {
				return fmt.Errorf("%s: the filter has\n%s\nand keepalived.conf\n%s", a, admitted, told)
			}
		}
		return nil
	})
}
