package zonecontroller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/conditions"
)

const (
	// transferLimit bounds the transfer of a zone's first content.
	transferLimit = 5 * time.Minute
	// viewAge is how old the state of a cluster may be that Zones are judged by, all of them together: it has every zone of every primary.
	viewAge = 10 * time.Second
)

// view is the state of a cluster as one primary told it.
type view struct {
	mu     sync.Mutex // held while it is asked for, so that one asks for all
	at     time.Time
	status *adminapi.Status
	// zones are what each primary says of a zone, by its name.
	zones map[string][]placed
}

// placed is a zone at a primary.
type placed struct {
	primary string
	adminapi.ZoneStatus
}

// views are those of all clusters.
type views struct {
	now func() time.Time
	mu  sync.Mutex
	of  map[types.NamespacedName]*view
}

func (v *views) forget(cluster types.NamespacedName) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.of, cluster)
}

// stale makes the next question one to the primaries: something was changed.
func (v *views) stale(cluster types.NamespacedName) { v.forget(cluster) }

// get gives the state of a cluster, no older than viewAge.
func (v *views) get(ctx context.Context, cluster types.NamespacedName, api *clusterapi.Cluster) (*adminapi.Status, map[string][]placed, error) {
	v.mu.Lock()
	w := v.of[cluster]
	if w == nil {
		w = &view{}
		v.of[cluster] = w
	}
	v.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status != nil && v.now().Sub(w.at) < viewAge {
		return w.status, w.zones, nil
	}
	var s *adminapi.Status
	if err := api.Ask(ctx, func(ctx context.Context, a *adminapi.Client) (err error) {
		s, err = a.Status(ctx)
		return err
	}); err != nil {
		return nil, nil, err
	}
	zones := map[string][]placed{}
	for _, r := range s.Replicas {
		if !r.Reachable || !r.Ready {
			continue
		}
		for _, z := range r.Zones {
			zones[z.Name] = append(zones[z.Name], placed{r.Name, z})
		}
	}
	w.at, w.status, w.zones = v.now(), s, zones
	return s, zones, nil
}

// publishedAt finds out who serves the zone.
func (p *pass) publishedAt(ctx context.Context, api *clusterapi.Cluster, z *adminapi.Zone, f *found) error {
	status, zones, err := p.views.get(ctx, client.ObjectKeyFromObject(p.cluster), api)
	if err != nil {
		return err
	}
	var behind []adminapi.SecondarySerial
	if err := api.Ask(ctx, func(ctx context.Context, a *adminapi.Client) (err error) {
		behind, err = a.Propagation(ctx, z.Name)
		return err
	}); err != nil {
		return err
	}
	primaries, trouble, ready := served(status, zones[z.Name])
	current := 0
	for _, s := range behind {
		if s.Error == "" && (s.Serial == s.Current || s.LagMS < maxLag(p.cluster).Milliseconds()) {
			current++
		}
	}
	f.secondaries = fmt.Sprintf("%d/%d", current, len(behind))
	f.healthy = fmt.Sprintf("served by %d of %d primaries and %d of %d secondaries", primaries, len(status.Replicas), current, len(behind))
	switch {
	case trouble != "":
		f.published = conditions.Bad(v1alpha1.ConditionPublished, v1alpha1.ReasonPending, trouble)
		p.views.stale(client.ObjectKeyFromObject(p.cluster)) // it is mended in a moment
	case ready == 0:
		f.published = conditions.Unknown(v1alpha1.ConditionPublished, v1alpha1.ReasonUnreachable, "no primary is ready; see the BindCluster's status")
	default:
		f.published = conditions.Good(v1alpha1.ConditionPublished, "")
		f.soon = current < len(behind)
	}
	return nil
}

// served counts the ready primaries that serve a zone, and says of one what is wrong; a primary that is not ready is its cluster's trouble.
func served(s *adminapi.Status, at []placed) (serving int, trouble string, ready int) {
	by := map[string]adminapi.ZoneStatus{}
	for _, z := range at {
		by[z.primary] = z.ZoneStatus
	}
	for _, r := range s.Replicas {
		if !r.Reachable || !r.Ready {
			continue
		}
		ready++
		switch z, ok := by[r.Name]; {
		case !ok:
			trouble = fmt.Sprintf("%s does not have the zone yet", r.Name)
		case z.State != stateServing:
			trouble = fmt.Sprintf("%s: the zone is %s: %s", r.Name, z.State, z.LastError)
		default:
			serving++
		}
	}
	return serving, trouble, ready
}

// stateServing is adminapi.ZoneStatus's word for a zone that is answered.
const stateServing = "serving"

// maxLag is how far a secondary may be behind.
func maxLag(c *v1alpha1.BindCluster) time.Duration {
	if d := c.Spec.Secondaries.MaxLag.Duration; d > 0 {
		return d
	}
	return 5 * time.Second
}
