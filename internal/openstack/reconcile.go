package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
)

// Status is what a call has found and done. The plan is of the last look: its actions are what is missing.
type Status struct {
	plan.Plan
	NetworkID string
	Steps     int // actions carried out
	Looks     int
}

// Done says that nothing is missing and there is no problem.
func (s Status) Done() bool { return len(s.Actions) == 0 && len(s.Problems) == 0 }

// Ref names what shall be removed.
type Ref struct {
	Owner plan.Owner
	// NetworkID and Addresses help where the ports that say them are gone.
	NetworkID string
	Addresses []netip.Addr
}

// Look says what is missing and writes nothing.
func (s *Session) Look(ctx context.Context, d plan.Desired) (Status, error) {
	networks, err := s.networks(ctx, d)
	if err != nil {
		return Status{}, err
	}
	st, err := s.look(ctx, networks)
	if err != nil {
		return Status{}, err
	}
	return Status{Plan: plan.Make(st, d), NetworkID: st.NetworkID, Looks: 1}, nil
}

// Reconcile looks, does what is missing, and looks again until nothing is. Problems of single nodes or addresses are in the Status; an
// error is a *Fault, or several, or ctx's. The Status counts with an error as well.
func (s *Session) Reconcile(ctx context.Context, d plan.Desired) (Status, error) {
	return s.rounds(ctx, d.Owner, func(ctx context.Context) (plan.Plan, string, error) {
		st, err := s.Look(ctx, d)
		return st.Plan, st.NetworkID, err
	})
}

// Delete leaves nothing of the owner's and touches nothing else. It may be repeated.
func (s *Session) Delete(ctx context.Context, r Ref) (Status, error) {
	return s.rounds(ctx, r.Owner, func(ctx context.Context) (plan.Plan, string, error) {
		networks, err := s.networksOf(ctx, r)
		if err != nil {
			return plan.Plan{}, "", err
		}
		st, err := s.look(ctx, networks)
		if err != nil {
			return plan.Plan{}, "", err
		}
		return plan.Remove(st, r.Owner, r.Addresses), st.NetworkID, nil
	})
}

func (s *Session) networks(ctx context.Context, d plan.Desired) ([]string, error) {
	if d.NetworkID != "" {
		return []string{d.NetworkID}, nil
	}
	return s.network(ctx, d.Nodes)
}

// rounds looks and does until there is nothing to do. The last look is never followed by a write: what is done is always verified.
func (s *Session) rounds(ctx context.Context, o plan.Owner, look func(context.Context) (plan.Plan, string, error)) (Status, error) {
	var status Status
	var last, wrote error
	for round := range s.cfg.Rounds {
		if last != nil {
			if err := s.pause(ctx, round, last); err != nil {
				return status, err
			}
		}
		var p plan.Plan
		var network string
		p, network, last = look(ctx)
		status.Looks++
		if last != nil {
			if !temporary(last) {
				return status, last
			}
			continue
		}
		status.Plan, status.NetworkID = p, network
		if len(p.Actions) == 0 {
			return status, nil
		}
		if round == s.cfg.Rounds-1 {
			break
		}
		d := &doer{s: s, owner: o, network: network, ports: map[netip.Addr]string{}}
		last = d.all(ctx, p.Actions)
		wrote = last
		status.Steps += d.done
		if last != nil && !temporary(last) {
			return status, last
		}
	}
	if err := cmp.Or(last, wrote); err != nil { // why there is still something to do
		return status, err
	}
	return status, &Fault{Kind: NotConverged, Doing: "make Neutron what VirtualIP " + o.Name + " says", Said: fmt.Sprintf("after %d looks there is still: %s", status.Looks, status.Actions[0]), Remedy: remedy(NotConverged)}
}

// temporary: every fault in it may pass by itself.
func temporary(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // a list of errors is asked for itself
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !temporary(e) })
	}
	var f *Fault
	return errors.As(err, &f) && f.Temporary()
}

// pause waits between rounds: what the API asks for, or twice as long each time, less up to a half, so that several do not come back at
// once. What is longer than a call may take is the caller's.
func (s *Session) pause(ctx context.Context, round int, last error) error {
	d := min(s.cfg.Pause<<(round-1), s.cfg.MaxPause)
	d -= rand.N(d / 2)
	var f *Fault
	if errors.As(last, &f) && f.RetryAfter > 0 {
		if d = f.RetryAfter; d > s.cfg.MaxPause {
			return last
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), last)
	}
}

// Remnant is what an owner has in the project.
type Remnant struct {
	Owner   plan.Owner `json:"owner"`
	Objects []string   `json:"objects"`
}

// Remnants lists everything that carries the mark, by owner. Which of them are still wanted only their clusters know.
func (s *Session) Remnants(ctx context.Context) ([]Remnant, error) {
	var st plan.State
	var err error
	if st.Ports, err = s.ports(ctx, url.Values{}); err != nil {
		return nil, err
	}
	if err := s.groups(ctx, &st); err != nil {
		return nil, err
	}
	if err := s.floating(ctx, &st); err != nil {
		return nil, err
	}
	found := map[plan.Owner][]string{}
	add := func(description, what string) {
		if o, ok := plan.OwnerOf(description); ok {
			found[o] = append(found[o], what)
		}
	}
	for _, p := range st.Ports {
		add(p.Description, fmt.Sprintf("port %s %v", p.ID, p.Addresses))
	}
	for _, g := range st.Groups {
		add(g.Description, "security group "+g.ID)
	}
	for _, f := range st.FloatingIPs {
		add(f.Description, "floating IP "+f.Address.String())
	}
	var out []Remnant
	for o, objects := range found {
		out = append(out, Remnant{o, objects})
	}
	slices.SortFunc(out, func(a, b Remnant) int {
		return strings.Compare(a.Owner.Description(), b.Owner.Description())
	})
	return out, nil
}

func joined(tags []string) string { return strings.Join(tags, ",") }
