package zonecontroller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/axfr"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/conditions"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/tenancy"
	"github.com/zonekeeper/zonekeeper/internal/operator/zoneobject"
)

// advance makes the primaries have the zone as spec says. Its error is Kubernetes' alone: what primaries say is in what it found.
func (p *pass) advance(ctx context.Context) (found, error) {
	f := found{
		programmed: conditions.Unknown(v1alpha1.ConditionProgrammed, v1alpha1.ReasonPending, "the Zone is not accepted"),
		published:  conditions.Unknown(v1alpha1.ConditionPublished, v1alpha1.ReasonPending, "the primaries do not have the zone as spec says"),
	}
	if !p.verdict.Accepted {
		return f, nil
	}
	if err := lookup.Keep(ctx, p.cfg.Client, Kind, lookup.Finalizer, p.zone); err != nil {
		return f, err
	}
	keys, err := p.accepted(ctx)
	if err != nil {
		return f, err
	}
	settings, err := zoneobject.Settings(p.zone, p.cluster.Spec.ZoneDefaults, keys)
	if err != nil {
		f.programmed = conditions.Bad(v1alpha1.ConditionProgrammed, v1alpha1.ReasonNoSuchKey, err.Error())
		return f, nil
	}
	api, err := p.primaries(ctx)
	if err == nil {
		f.zone, err = p.program(ctx, api, settings, keys, &f)
	}
	if err != nil {
		f.programmed = lookup.Failure(v1alpha1.ConditionProgrammed, err)
		return f, nil
	}
	f.programmed = conditions.Good(v1alpha1.ConditionProgrammed, "")
	return f, lookup.Adopted(ctx, p.cfg.Client, Kind, p.zone)
}

// primaries reaches the cluster on behalf of the Zone.
func (p *pass) primaries(ctx context.Context) (*clusterapi.Cluster, error) {
	api, err := p.cfg.Clusters.Of(ctx, p.cluster)
	if err != nil {
		return nil, err
	}
	return api.As(tenancy.Manager(Kind, p.zone)), nil
}

// name of the zone, absolute.
func (p *pass) name() string { return strings.TrimSuffix(string(p.zone.Spec.ZoneName), ".") + "." }

// program makes the zone, or puts its settings where they differ, and gives what the primaries have then.
func (p *pass) program(ctx context.Context, api *clusterapi.Cluster, settings adminapi.ZoneSettings, keys zoneobject.Keys, f *found) (*adminapi.Zone, error) {
	now, err := get(ctx, api, p.name())
	if err != nil {
		return nil, err
	}
	if now == nil {
		if err := p.mayMake(); err != nil {
			return nil, err
		}
		if err := p.bootstrap(ctx, api, settings, keys); err != nil {
			return nil, err
		}
		p.cfg.Recorder.Eventf(p.zone, nil, corev1.EventTypeNormal, "Created", "Create", "zone %s is made", p.name())
		p.views.stale(client.ObjectKeyFromObject(p.cluster))
		if now, err = get(ctx, api, p.name()); err != nil || now == nil {
			return nil, errors.Join(err, fmt.Errorf("zone %s was made and is gone again; look at the log of the primaries for who has deleted it", p.name()))
		}
	}
	m, why := tenancy.Manages(now.ManagedBy, Kind, p.zone, p.cluster)
	if m == tenancy.Foreign {
		return now, &lookup.Trouble{Reason: v1alpha1.ReasonManagedElsewhere, Message: fmt.Sprintf("zone %s: %s", p.name(), why)}
	}
	if err := p.share(ctx, api, now, &settings, f); err != nil {
		return now, err
	}
	if m == tenancy.Own && reflect.DeepEqual(now.Settings, normal(settings)) {
		return now, p.publishedAt(ctx, api, now, f)
	}
	if p.cluster.Spec.Paused {
		return now, lookup.ErrPaused
	}
	if m == tenancy.Inherited {
		api = api.TakingOver()
	}
	if err := p.put(ctx, api, settings); err != nil {
		return now, err
	}
	p.cfg.Logger.Info("a zone's settings are put", "zone", p.name(), "object", client.ObjectKeyFromObject(p.zone).String())
	if now, err = get(ctx, api, p.name()); err != nil || now == nil {
		return nil, errors.Join(err, fmt.Errorf("zone %s was deleted just now; look at the log of the primaries for who did it", p.name()))
	}
	return now, p.publishedAt(ctx, api, now, f)
}

// share puts the zone's part of its tenant's quota into its settings.
func (p *pass) share(ctx context.Context, api *clusterapi.Cluster, z *adminapi.Zone, settings *adminapi.ZoneSettings, f *found) error {
	if len(p.tenants) == 0 {
		return nil
	}
	_, zones, err := p.views.get(ctx, client.ObjectKeyFromObject(p.cluster), api)
	if err != nil {
		return err
	}
	quota, sum := *p.quota().Records, int64(0)
	var has []int64
	for _, name := range p.tenants {
		most := int64(0)
		for _, at := range zones[name] {
			most = max(most, int64(at.Records))
		}
		switch {
		case name == z.Name:
			most = int64(z.Records)
		case len(zones[name]) == 0:
			continue // it is not there, and may never be: it gets its part when it is made
		}
		has, sum = append(has, most), sum+most
	}
	settings.MaxRecords = zoneobject.Share(quota, has, int64(z.Records), z.Settings.MaxRecords)
	f.tenant = fmt.Sprintf("; tenant %s has %d of %d records", p.verdict.Tenant, sum, quota)
	return nil
}

// normal is settings as primaries tell them.
func normal(s adminapi.ZoneSettings) adminapi.ZoneSettings {
	if s.Guarantee != nil {
		g := s.Guarantee.Normal()
		s.Guarantee = &g
	}
	return s
}

// mayMake: a zone that the object has had before, and that is gone, was deleted by somebody. Made anew it would be served without its records.
func (p *pass) mayMake() error {
	switch {
	case p.cluster.Spec.Paused:
		return lookup.ErrPaused
	case p.zone.Status.Incarnation != 0:
		return &lookup.Trouble{Reason: v1alpha1.ReasonManagedElsewhere, Message: fmt.Sprintf(
			"zone %s was deleted at the primaries, and not by this object; import it again (zonekeeper zone import), or delete this Zone and make it anew to begin with spec.bootstrap", p.name())}
	}
	return nil
}

// put makes the settings those of spec.
func (p *pass) put(ctx context.Context, api *clusterapi.Cluster, settings adminapi.ZoneSettings) error {
	return api.Change(ctx, func(ctx context.Context, a *adminapi.Client) (bool, error) {
		z, err := zoneAt(ctx, a, p.name())
		return z != nil && reflect.DeepEqual(z.Settings, normal(settings)) && z.ManagedBy == adminapi.ManagedByOperator+" "+tenancy.Manager(Kind, p.zone), err
	}, func(ctx context.Context, a *adminapi.Client) error {
		_, err := a.SetZone(ctx, p.name(), settings)
		return err
	})
}

// bootstrap makes the zone with its first content.
func (p *pass) bootstrap(ctx context.Context, api *clusterapi.Cluster, settings adminapi.ZoneSettings, keys zoneobject.Keys) error {
	text, err := p.content(ctx, api, keys)
	if err != nil {
		return &lookup.Trouble{Reason: v1alpha1.ReasonBootstrapFailed, Message: err.Error()}
	}
	// A name that has been a zone before keeps its place in the order of serials, or secondaries would not take the new content.
	o := adminapi.ImportOptions{Settings: settings, MoveSerial: true, StripDNSSEC: p.zone.Spec.Bootstrap != nil && p.zone.Spec.Bootstrap.StripDNSSEC}
	err = api.Import(ctx, func(ctx context.Context, a *adminapi.Client) (bool, error) {
		z, err := zoneAt(ctx, a, p.name())
		return z != nil, err
	}, func(ctx context.Context, a *adminapi.Client) error {
		_, err := a.ImportZone(ctx, p.name(), strings.NewReader(text), o)
		return err
	})
	if adminapi.IsCode(err, adminapi.CodeInvalid) {
		return &lookup.Trouble{Reason: v1alpha1.ReasonBootstrapFailed, Message: err.Error()}
	}
	return err
}

// content is the text with which the zone begins.
func (p *pass) content(ctx context.Context, api *clusterapi.Cluster, keys zoneobject.Keys) (string, error) {
	b := p.zone.Spec.Bootstrap
	switch {
	case b != nil && b.ZoneFile != nil:
		var m corev1.ConfigMap
		err := p.cfg.Client.Get(ctx, client.ObjectKey{Namespace: p.zone.Namespace, Name: b.ZoneFile.Name}, &m)
		text, ok := m.Data[b.ZoneFile.Key]
		switch {
		case apierrors.IsNotFound(err):
			return "", fmt.Errorf("bootstrap.zoneFile: there is no ConfigMap %s in namespace %s; create it", b.ZoneFile.Name, p.zone.Namespace)
		case err != nil:
			return "", fmt.Errorf("bootstrap.zoneFile: %w", err)
		case !ok:
			return "", fmt.Errorf("bootstrap.zoneFile: ConfigMap %s has no entry %s; add it", b.ZoneFile.Name, b.ZoneFile.Key)
		}
		return text, nil
	case b != nil && b.Transfer != nil:
		return p.transferred(ctx, api, b.Transfer, keys)
	}
	return zoneobject.Content(p.zone, p.cluster.Spec.ZoneDefaults)
}

// transferred takes the content from another server.
func (p *pass) transferred(ctx context.Context, api *clusterapi.Cluster, from *v1alpha1.TransferSource, keys zoneobject.Keys) (string, error) {
	var key *axfr.Key
	if from.KeyRef != nil {
		name, ok := keys[from.KeyRef.Name]
		if !ok {
			return "", fmt.Errorf("bootstrap.transfer names the TSIGKey %s, which does not exist or is not accepted; create it in this namespace, or see its conditions", from.KeyRef.Name)
		}
		err := api.Ask(ctx, func(ctx context.Context, a *adminapi.Client) error {
			k, err := a.Key(ctx, strings.TrimSuffix(name, ".")+".", true)
			if err == nil && len(k.Versions) > 0 {
				key = &axfr.Key{Name: k.Name, Algorithm: k.Versions[0].Algorithm, Secret: k.Versions[0].Secret}
			}
			return err
		})
		if err != nil {
			return "", fmt.Errorf("bootstrap.transfer: the secret of TSIGKey %s: %w", from.KeyRef.Name, err)
		}
	}
	port := from.Port
	if port == 0 {
		port = 53
	}
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	return axfr.Fetch(ctx, p.name(), net.JoinHostPort(string(from.Server), strconv.Itoa(int(port))), key)
}

// deleteZone deletes the zone at the primaries, if it is this object's.
func (p *pass) deleteZone(ctx context.Context) error {
	if p.cluster.Spec.Paused {
		return lookup.ErrPaused
	}
	api, err := p.primaries(ctx)
	if err != nil {
		return err
	}
	z, err := get(ctx, api, p.name())
	if err != nil {
		return err
	}
	if z == nil || z.ManagedBy != adminapi.ManagedByOperator+" "+tenancy.Manager(Kind, p.zone) {
		return nil
	}
	err = api.Change(ctx, func(ctx context.Context, a *adminapi.Client) (bool, error) {
		now, err := zoneAt(ctx, a, p.name())
		return now == nil || now.Incarnation != z.Incarnation, err
	}, func(ctx context.Context, a *adminapi.Client) error { return a.DeleteZone(ctx, p.name(), p.name()) })
	if adminapi.IsCode(err, adminapi.CodeNotFound) {
		return nil
	}
	return err
}

// get asks for the zone; nil when there is none.
func get(ctx context.Context, api *clusterapi.Cluster, name string) (z *adminapi.Zone, err error) {
	err = api.Ask(ctx, func(ctx context.Context, a *adminapi.Client) (err error) {
		z, err = zoneAt(ctx, a, name)
		return err
	})
	return z, err
}

func zoneAt(ctx context.Context, a *adminapi.Client, name string) (*adminapi.Zone, error) {
	z, err := a.Zone(ctx, name)
	if adminapi.IsCode(err, adminapi.CodeNotFound) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	return z, err
}
