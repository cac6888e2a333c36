package clustercontroller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/pki"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

func authorityName(in resources.Input, a resources.Authority) string {
	return fmt.Sprintf("%s %s/%s", a, in.Cluster.Namespace, in.Cluster.Name)
}

// writeSuccession writes the Secret of a CA: what is nil goes.
func (r *Reconciler) writeSuccession(ctx context.Context, in resources.Input, secret string, have *corev1.Secret, s pki.Succession) error {
	data, err := s.Data()
	if err != nil {
		return err
	}
	if have != nil {
		have = have.DeepCopy()
	}
	for file, text := range data {
		if text == nil {
			delete(data, file)
			if have != nil {
				delete(have.Data, file)
			}
		}
	}
	_, err = r.write(ctx, in, secret, have, data, true)
	return err
}

// replaceBefore is the time before which CAs have to be made; zero when nobody asks for that.
func replaceBefore(c *v1alpha1.BindCluster) (time.Time, error) {
	text := c.Annotations[v1alpha1.AnnotationReplaceCAs]
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("annotation %s is %q; write a time such as 2026-01-02T15:04:05Z", v1alpha1.AnnotationReplaceCAs, text)
	}
	return at, nil
}

// succeed makes the next step of each CA whose key is replaced. written: this pass had nothing to write.
func (r *Reconciler) succeed(ctx context.Context, in resources.Input, authorities map[resources.Authority]pki.Succession, written bool, m *material) error {
	before, err := replaceBefore(in.Cluster)
	if err != nil {
		m.replacing = append(m.replacing, err.Error())
	}
	if in.Cluster.Spec.Certificates.Issuer != nil {
		if !before.IsZero() {
			m.replacing = append(m.replacing, fmt.Sprintf("annotation %s has no effect on cert-manager's CAs", v1alpha1.AnnotationReplaceCAs))
		}
		return nil
	}
	o := pki.Observed{Now: r.now(), ReplaceBefore: before, Written: written, Calm: calm(in.Cluster), Wait: r.cfg.TrustWait}
	for _, name := range resources.Authorities(in) {
		s, secret := authorities[name], in.AuthoritySecret(name)
		step := s.Decide(o)
		if s.UnderWay() {
			m.replacing = append(m.replacing, underWay(name, s, o))
		}
		if step == pki.Stay {
			continue
		}
		next, err := s.Do(step, authorityName(in, name), r.cfg.Lifetimes.Authority, r.now())
		if err != nil {
			return err
		}
		have, err := r.secret(ctx, in.Cluster.Namespace, secret)
		if err != nil {
			return err
		}
		if err := r.writeSuccession(ctx, in, secret, have, next); err != nil {
			return err
		}
		text := map[pki.Step]string{pki.Begin: "has a successor, which everybody is told to trust", pki.Switch: "signs with its new key; the old one is trusted for a while",
			pki.Finish: "is replaced: the old one is trusted no more"}[step]
		if text != "" {
			r.events.Eventf(in.Cluster, nil, corev1.EventTypeNormal, "CAReplaced", "Replace/"+string(name), "CA %s %s", name, text) // by the action they are kept apart
			r.log.Info("a CA is replaced", "namespace", in.Cluster.Namespace, "cluster", in.Cluster.Name, "ca", name, "step", text)
		}
	}
	return nil
}

// calm: all pods are there, run what they shall, and are well, as the last pass has seen it.
func calm(c *v1alpha1.BindCluster) bool {
	for _, kind := range []string{v1alpha1.ConditionWritable, v1alpha1.ConditionConsistent, v1alpha1.ConditionSecondariesCurrent, v1alpha1.ConditionExposed, v1alpha1.ConditionRolledOut} {
		cond := meta.FindStatusCondition(c.Status.Conditions, kind)
		if cond == nil || cond.Status != "True" || cond.Reason == v1alpha1.ReasonMembersMissing {
			return false
		}
	}
	return c.Status.ObservedGeneration == c.Generation
}

// underWay says in words how far a replacement is.
func underWay(name resources.Authority, s pki.Succession, o pki.Observed) string {
	what := "its successor is made known"
	if s.Next == nil {
		what = "its successor signs, the old one is still trusted"
	}
	left := "until everything is written"
	switch {
	case s.SettledAt.IsZero():
	case o.Now.Sub(s.SettledAt) < o.Wait:
		left = "until " + s.SettledAt.Add(o.Wait).UTC().Format(time.RFC3339)
	case !o.Calm:
		left = "until every other condition is True: who is not well may not have got what is trusted"
	default:
		left = "until the next pass"
	}
	return fmt.Sprintf("CA %s is replaced: %s, %s", name, what, left)
}

// logTrust is a digest of the CAs that members of the log have to trust while that CA is replaced, "" otherwise: they read it at their start, so it is part of their
// pods' template.
func (r *Reconciler) logTrust(ctx context.Context, in resources.Input) (string, error) {
	if in.Cluster.Spec.ExternalLog != nil || in.Cluster.Spec.Certificates.Issuer != nil {
		return "", nil
	}
	have, err := r.secret(ctx, in.Cluster.Namespace, in.AuthoritySecret(resources.LogAuthority))
	if err != nil || have == nil || len(have.Data[resources.FileCert]) == 0 {
		return "", err
	}
	s, err := pki.ParseSuccession(have.Data)
	if err != nil || !s.UnderWay() {
		return "", nil //nolint:nilerr // authorities says it
	}
	sum := sha256.Sum256(s.Trust())
	return hex.EncodeToString(sum[:8]), nil
}
