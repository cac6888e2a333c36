// Command externaldns makes one synchronisation of external-dns: its rfc2136 provider, its TXT registry and its plan, as its controller
// uses them (controller/controller.go, RunOnce). The endpoints that are wanted come as JSON on standard input; the arguments are
// external-dns' own. It prints how much there was to change. The whole program can't be built from the module proxy alone: some of the
// other providers' modules are missing there.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/pkg/apis/externaldns"
	"sigs.k8s.io/external-dns/plan"
	"sigs.k8s.io/external-dns/provider"
	"sigs.k8s.io/external-dns/provider/rfc2136"
	"sigs.k8s.io/external-dns/registry/txt"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := sync(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// summary is what a synchronisation found to change.
type summary struct{ Create, Update, Delete int }

func sync(ctx context.Context) error {
	var wanted []*endpoint.Endpoint
	if err := json.NewDecoder(os.Stdin).Decode(&wanted); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	cfg := externaldns.NewConfig()
	if err := cfg.ParseFlags(os.Args[1:]); err != nil {
		return err
	}
	filter := endpoint.NewDomainFilter(cfg.DomainFilter)
	dns, err := rfc2136.New(ctx, cfg, filter)
	if err != nil {
		return err
	}
	reg, err := txt.New(cfg, dns)
	if err != nil {
		return err
	}
	current, err := reg.Records(ctx)
	if err != nil {
		return fmt.Errorf("list the records: %w", err)
	}
	ctx = context.WithValue(ctx, provider.RecordsContextKey, current)
	wanted, err = reg.AdjustEndpoints(wanted)
	if err != nil {
		return err
	}
	p := (&plan.Plan{
		Policies: []plan.Policy{plan.Policies[cfg.Policy]}, Current: current, Desired: wanted,
		DomainFilter:   endpoint.MatchAllDomainFilters{filter, reg.GetDomainFilter()},
		ManagedRecords: cfg.ManagedDNSRecordTypes, ExcludeRecords: cfg.ExcludeDNSRecordTypes, OwnerID: reg.OwnerID(),
	}).Calculate()
	if p.Changes.HasChanges() {
		if err := reg.ApplyChanges(ctx, p.Changes); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(summary{len(p.Changes.Create), len(p.Changes.UpdateNew), len(p.Changes.Delete)})
}
