package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// zoneStatus is one zone everywhere, as `status --zone` shows it.
type zoneStatus struct {
	Zone        string                     `json:"zone"`
	Primaries   []zoneAtPrimary            `json:"primaries"`
	Secondaries []adminapi.SecondarySerial `json:"secondaries"`
}

// zoneAtPrimary is the zone at one primary. Error says why it is not known, or why it is not served.
type zoneAtPrimary struct {
	Primary string `json:"primary"`
	*adminapi.ZoneStatus
	Error string `json:"error,omitempty"`
}

// zoneStatusOf picks a zone out of the status, and asks for it at the secondaries. A zone that does not exist is an error.
func zoneStatusOf(ctx context.Context, a *adminapi.Client, s *adminapi.Status, name string) (*zoneStatus, error) {
	z, err := a.Zone(ctx, name)
	if err != nil {
		return nil, err
	}
	out := &zoneStatus{Zone: z.Name}
	if out.Secondaries, err = a.Propagation(ctx, z.Name); err != nil {
		return nil, err
	}
	for _, r := range s.Replicas {
		one := zoneAtPrimary{Primary: r.Name, Error: r.Reason}
		if r.Reachable {
			one.Error = "it does not have the zone"
			for _, have := range r.Zones {
				if have.Name == z.Name {
					one.ZoneStatus, one.Error = &have, have.LastError
				}
			}
		}
		out.Primaries = append(out.Primaries, one)
	}
	return out, nil
}

// served says whether every primary and every secondary serves the zone, with whatever serial.
func (z *zoneStatus) served() bool {
	for _, p := range z.Primaries {
		if p.ZoneStatus == nil || p.State != "serving" {
			return false
		}
	}
	for _, s := range z.Secondaries {
		if s.Error != "" {
			return false
		}
	}
	return true
}

func drawZoneStatus(w *tabwriter.Writer, z *zoneStatus) {
	fmt.Fprintf(w, "%s\n\n", z.Zone)
	row(w, "PRIMARY", "SERIAL", "PUBLISHED", "RECORDS", "DIGEST", "STATE", "ERROR")
	for _, p := range z.Primaries {
		if p.ZoneStatus == nil {
			row(w, p.Primary, "-", "-", "-", "-", "-", dash(p.Error))
			continue
		}
		row(w, p.Primary, p.Serial, p.PublishedSerial, p.Records, short(p.Digest), p.State, dash(p.Error))
	}
	fmt.Fprintln(w)
	if len(z.Secondaries) == 0 {
		fmt.Fprintln(w, "no secondary of ours is registered")
		return
	}
	row(w, "SECONDARY", "SERVES", "CURRENT", "DELAY", "LAG", "ERROR")
	for _, s := range z.Secondaries {
		delay := "-"
		if s.DelayMS != nil {
			delay = fmt.Sprintf("%d ms", *s.DelayMS)
		}
		row(w, s.Secondary, s.Serial, s.Current, delay, fmt.Sprintf("%d ms", s.LagMS), dash(strings.TrimSpace(s.Error)))
	}
}
