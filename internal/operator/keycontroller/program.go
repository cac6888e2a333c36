package keycontroller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/conditions"
	"github.com/zonekeeper/zonekeeper/internal/operator/keyobject"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/tenancy"
)

// advance makes the primaries have the key as spec says, and clients the Secret. Its error is Kubernetes' alone: what primaries say is in what it found.
func (p *pass) advance(ctx context.Context) (found, error) {
	f := found{programmed: conditions.Unknown(v1alpha1.ConditionProgrammed, v1alpha1.ReasonPending, "the TSIGKey is not accepted")}
	if !p.verdict.Accepted {
		return f, nil
	}
	if err := lookup.Keep(ctx, p.cfg.Client, Kind, lookup.Finalizer, p.key); err != nil {
		return f, err
	}
	err := p.program(ctx, &f)
	var api apierrors.APIStatus
	switch {
	case errors.As(err, &api):
		return f, err
	case err != nil:
		f.programmed = lookup.Failure(v1alpha1.ConditionProgrammed, err)
		return f, nil
	}
	f.programmed = conditions.Good(v1alpha1.ConditionProgrammed, "")
	return f, lookup.Adopted(ctx, p.cfg.Client, Kind, p.key)
}

// maxSteps is how many steps one pass makes at most: a key that is added and handed out, or a retirement and the rotation that waited for it.
const maxSteps = 4

// program makes steps until nothing is to be done now.
func (p *pass) program(ctx context.Context, f *found) error {
	cluster, err := p.cfg.Clusters.Of(ctx, p.cluster)
	if err != nil {
		return err
	}
	cluster = cluster.As(tenancy.Manager(Kind, p.key))
	given, err := p.given(ctx)
	if err != nil {
		return err
	}
	for range maxSteps {
		if f.key, err = get(ctx, cluster, keyobject.Name(p.key)); err != nil {
			return err
		}
		if f.key != nil {
			if err := p.own(ctx, cluster, f.key); err != nil {
				return err
			}
		}
		secret, err := p.handOut(ctx, f.key)
		if err != nil {
			return err
		}
		f.step = keyobject.Decide(p.observed(f.key, given, secret))
		if f.step.Do == keyobject.Nothing {
			break
		}
		if p.cluster.Spec.Paused {
			return lookup.ErrPaused
		}
		if err := p.do(ctx, cluster, f.step, f.key); err != nil {
			return err
		}
	}
	if f.step.Reason != "" {
		return &lookup.Trouble{Reason: f.step.Reason, Message: f.step.Message}
	}
	if err := p.guarantee(ctx, cluster, f.key); err != nil {
		return err
	}
	return p.rate(ctx, cluster, f.key)
}

// rate puts the bound of the tenant's updates, where it differs. Not while primaries of two versions may run: an older one would stop at it.
func (p *pass) rate(ctx context.Context, cluster *clusterapi.Cluster, key *adminapi.Key) error {
	var want, have adminapi.Rate
	if p.verdict.Rate != nil {
		want = *p.verdict.Rate
	}
	if key.Rate != nil {
		have = *key.Rate
	}
	switch {
	case have == want:
		return nil
	case p.cluster.Spec.Paused:
		return lookup.ErrPaused
	case !meta.IsStatusConditionTrue(p.cluster.Status.Conditions, v1alpha1.ConditionRolledOut):
		return &lookup.Trouble{Reason: v1alpha1.ReasonPending, Message: "the quota for updates a second waits until all primaries run one version (condition RolledOut of the BindCluster); the key works"}
	}
	err := cluster.Change(ctx, func(ctx context.Context, a *adminapi.Client) (bool, error) {
		k, err := keyAt(ctx, a, key.Name)
		return k != nil && (k.Rate == nil && want == adminapi.Rate{} || k.Rate != nil && *k.Rate == want), err
	}, func(ctx context.Context, a *adminapi.Client) error { return a.SetKeyRate(ctx, key.Name, want) })
	if err == nil {
		key.Rate = &want
	}
	return err
}

// observed is what decides about the next step.
func (p *pass) observed(key *adminapi.Key, given string, secret *corev1.Secret) keyobject.Observed {
	o := keyobject.Observed{Now: p.cfg.Now(), Spec: p.key.Spec, Key: key, Given: given}
	// An annotation that is no time asks for nothing.
	o.RotateBefore, _ = time.Parse(time.RFC3339, p.key.Annotations[v1alpha1.AnnotationRotateBefore])
	if secret != nil {
		o.Handed, o.HandedSince = handed(secret)
	}
	return o
}

// own takes over what another object of the namespace has left, and refuses what is not this object's.
func (p *pass) own(ctx context.Context, cluster *clusterapi.Cluster, key *adminapi.Key) error {
	m, why := tenancy.Manages(key.ManagedBy, Kind, p.key, p.cluster)
	switch {
	case m == tenancy.Foreign:
		return &lookup.Trouble{Reason: v1alpha1.ReasonManagedElsewhere, Message: fmt.Sprintf("key %s: %s", key.Name, why)}
	case m == tenancy.Own:
		return nil
	case p.cluster.Spec.Paused:
		return lookup.ErrPaused
	}
	g := adminapi.Guarantee{}
	if key.Guarantee != nil {
		g = *key.Guarantee
	}
	mine := adminapi.ManagedByOperator + " " + tenancy.Manager(Kind, p.key)
	return cluster.TakingOver().Change(ctx, func(ctx context.Context, a *adminapi.Client) (bool, error) {
		k, err := keyAt(ctx, a, key.Name)
		return k != nil && k.ManagedBy == mine, err
	}, func(ctx context.Context, a *adminapi.Client) error { return a.SetKeyGuarantee(ctx, key.Name, g) })
}

// do makes one step. before is the key as it was decided from; nil when there was none.
func (p *pass) do(ctx context.Context, cluster *clusterapi.Cluster, s keyobject.Step, before *adminapi.Key) error {
	name := keyobject.Name(p.key)
	var version uint64
	if before != nil {
		version = before.Versions[0].Version
	}
	made := func(ctx context.Context, a *adminapi.Client) (bool, error) {
		k, err := keyAt(ctx, a, name)
		return k != nil && len(k.Versions) > 0 && k.Versions[0].Version != version, err
	}
	var err error
	event, text := "Created", "key %s is made"
	switch s.Do {
	case keyobject.Nothing:
		return nil
	case keyobject.Add:
		err = cluster.Change(ctx, made, func(ctx context.Context, a *adminapi.Client) error {
			_, err := a.AddKey(ctx, adminapi.AddKey{Name: name, Algorithm: s.Algorithm, Secret: s.Secret})
			return err
		})
	case keyobject.Rotate:
		event, text = "Rotated", "key %s has a new secret; the one before stays valid for the overlap"
		err = cluster.Change(ctx, made, func(ctx context.Context, a *adminapi.Client) error {
			_, err := a.RotateKey(ctx, name, adminapi.RotateKey{Algorithm: s.Algorithm, Secret: s.Secret})
			return err
		})
	case keyobject.Retire:
		event, text = "Retired", "of key %s only the newest secret is valid now"
		err = cluster.Change(ctx, func(ctx context.Context, a *adminapi.Client) (bool, error) {
			k, err := keyAt(ctx, a, name)
			return k != nil && len(k.Versions) == 1, err
		}, func(ctx context.Context, a *adminapi.Client) error {
			_, err := a.RetireKey(ctx, name)
			return err
		})
	}
	if err == nil {
		p.cfg.Recorder.Eventf(p.key, nil, corev1.EventTypeNormal, event, event, text, name)
	}
	return err
}

// guarantee puts what updates signed with the key wait for, where it differs.
func (p *pass) guarantee(ctx context.Context, cluster *clusterapi.Cluster, key *adminapi.Key) error {
	var want, have adminapi.Guarantee
	if g := p.key.Spec.Propagation; g != nil {
		want = adminapi.Guarantee{Secondaries: int(g.Secondaries), LimitMS: int(g.Limit.Milliseconds())}.Normal()
	}
	if key.Guarantee != nil {
		have = *key.Guarantee
	}
	if have == want {
		return nil
	}
	if p.cluster.Spec.Paused {
		return lookup.ErrPaused
	}
	return cluster.Change(ctx, func(ctx context.Context, a *adminapi.Client) (bool, error) {
		k, err := keyAt(ctx, a, key.Name)
		return k != nil && (k.Guarantee == nil && want == adminapi.Guarantee{} || k.Guarantee != nil && *k.Guarantee == want), err
	}, func(ctx context.Context, a *adminapi.Client) error { return a.SetKeyGuarantee(ctx, key.Name, want) })
}

// given is the secret of secretRef; "" without one.
func (p *pass) given(ctx context.Context) (string, error) {
	ref := p.key.Spec.SecretRef
	if ref == nil {
		return "", nil
	}
	var s corev1.Secret
	err := p.cfg.Client.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: ref.Name}, &s)
	switch text := strings.TrimSpace(string(s.Data[ref.Key])); {
	case apierrors.IsNotFound(err):
		return "", &lookup.Trouble{Reason: v1alpha1.ReasonNoSuchSecret, Message: fmt.Sprintf("secretRef: there is no Secret %s in namespace %s; create it", ref.Name, p.key.Namespace)}
	case err != nil:
		return "", fmt.Errorf("secretRef: %w", err)
	case text == "":
		return "", &lookup.Trouble{Reason: v1alpha1.ReasonNoSuchSecret, Message: fmt.Sprintf("secretRef: Secret %s has no entry %s, or an empty one; put the shared secret there, in base64", ref.Name, ref.Key)}
	default:
		return text, nil
	}
}

// deleteKey revokes the key, if it is this object's.
func (p *pass) deleteKey(ctx context.Context) error {
	if p.cluster.Spec.Paused {
		return lookup.ErrPaused
	}
	cluster, err := p.cfg.Clusters.Of(ctx, p.cluster)
	if err != nil {
		return err
	}
	cluster = cluster.As(tenancy.Manager(Kind, p.key))
	name := keyobject.Name(p.key)
	mine := adminapi.ManagedByOperator + " " + tenancy.Manager(Kind, p.key)
	k, err := get(ctx, cluster, name)
	if err != nil || k == nil || k.ManagedBy != mine {
		return err
	}
	err = cluster.Change(ctx, func(ctx context.Context, a *adminapi.Client) (bool, error) {
		k, err := keyAt(ctx, a, name)
		return k == nil || k.ManagedBy != mine, err
	}, func(ctx context.Context, a *adminapi.Client) error { return a.DeleteKey(ctx, name, name) })
	if adminapi.IsCode(err, adminapi.CodeNotFound) {
		return nil
	}
	return err
}

// get asks for the key with its secrets; nil when there is none.
func get(ctx context.Context, cluster *clusterapi.Cluster, name string) (k *adminapi.Key, err error) {
	err = cluster.Ask(ctx, func(ctx context.Context, a *adminapi.Client) (err error) {
		k, err = keyAt(ctx, a, name)
		return err
	})
	return k, err
}

func keyAt(ctx context.Context, a *adminapi.Client, name string) (*adminapi.Key, error) {
	k, err := a.Key(ctx, name, true)
	if adminapi.IsCode(err, adminapi.CodeNotFound) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	return k, err
}
