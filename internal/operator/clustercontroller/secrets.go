package clustercontroller

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/pki"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// material is what a pass has found out about the key material.
type material struct {
	// ends is when the first of the certificates ends, zero without any; which names it.
	ends  time.Time
	which string
	// secondaryKeys are the entries of that Secret.
	secondaryKeys map[string][]byte
	// trouble is what keeps certificates from being issued.
	trouble *troubleError
	// replacing says how far the replacement of CAs is.
	replacing []string
}

func (m *material) ending(which string, at time.Time) {
	if !at.IsZero() && (m.ends.IsZero() || at.Before(m.ends)) {
		m.ends, m.which = at, which
	}
}

// secrets makes what is missing and renews what is due.
func (r *Reconciler) secrets(ctx context.Context, in resources.Input) (material, error) {
	var m material
	if err := r.randoms(ctx, in, &m); err != nil {
		return m, err
	}
	authorities, err := r.authorities(ctx, in, &m)
	if err != nil || m.trouble != nil {
		return m, err
	}
	wrote, err := r.certificates(ctx, in, authorities, &m)
	if err != nil {
		return m, err
	}
	if in.HasVIP() {
		for _, name := range in.FrontSecrets() {
			copied, err := r.copyOutside(ctx, in, name)
			if err != nil {
				return m, err
			}
			wrote = wrote || copied
		}
	}
	err = r.succeed(ctx, in, authorities, !wrote, &m)
	return m, err
}

// randoms mints the random values that are missing.
func (r *Reconciler) randoms(ctx context.Context, in resources.Input, m *material) error {
	bySecret := map[string][]resources.Random{}
	var order []string
	for _, v := range resources.Randoms(in) {
		if bySecret[v.Secret] == nil {
			order = append(order, v.Secret)
		}
		bySecret[v.Secret] = append(bySecret[v.Secret], v)
	}
	for _, name := range order {
		values := bySecret[name]
		have, err := r.secret(ctx, in.Cluster.Namespace, name)
		if err != nil {
			return err
		}
		add := map[string][]byte{}
		for _, v := range values {
			if have != nil && len(have.Data[v.File]) > 0 {
				continue
			}
			if v.Sealing && in.State.Formed {
				return &troubleError{reason: v1alpha1.ReasonKeyMissing, message: fmt.Sprintf(
					"Secret %s has no entry %s, without which no primary that starts can read the log; restore it from a backup", name, v.File)}
			}
			text, err := randomText()
			if err != nil {
				return err
			}
			add[v.File] = text
		}
		if have, err = r.write(ctx, in, name, have, add, !values[0].Outlives); err != nil {
			return err
		}
		if name == in.SecondaryKeys() {
			m.secondaryKeys = have.Data
		}
	}
	return nil
}

// randomText is 32 random octets in base64, on one line.
func randomText() ([]byte, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("random secret: %w", err)
	}
	return []byte(base64.StdEncoding.EncodeToString(b) + "\n"), nil
}

// authorities gives the CAs, which it makes and renews unless cert-manager does.
func (r *Reconciler) authorities(ctx context.Context, in resources.Input, m *material) (map[resources.Authority]pki.Succession, error) {
	issuer := in.Cluster.Spec.Certificates.Issuer
	out := map[resources.Authority]pki.Succession{}
	for _, name := range resources.Authorities(in) {
		secret := in.AuthoritySecret(name)
		if issuer != nil {
			known, err := r.applyCertificate(ctx, in, name)
			if err != nil {
				return nil, err
			}
			if !known {
				m.trouble = &troubleError{reason: v1alpha1.ReasonInvalid, message: fmt.Sprintf(
					"spec.certificates.issuer is %s %q and cert-manager is not installed; install it, or remove issuer to have the operator issue certificates", issuer.Kind, issuer.Name)}
				return nil, nil
			}
		}
		have, err := r.secret(ctx, in.Cluster.Namespace, secret)
		if err != nil {
			return nil, err
		}
		if have != nil && len(have.Data[resources.FileCert]) > 0 {
			s, err := pki.ParseSuccession(have.Data)
			if err != nil {
				m.trouble = &troubleError{reason: v1alpha1.ReasonInvalid, message: fmt.Sprintf("Secret %s: %v; restore it, or delete it and every Secret with certificates of this cluster", secret, err)}
				return nil, nil
			}
			if issuer != nil || s.UnderWay() || !s.Current.Due(r.now()) {
				m.ending("CA "+string(name), s.Current.NotAfter())
				out[name] = s
				continue
			}
			if s.Current, err = s.Current.Renewed(r.cfg.Lifetimes.Authority, r.now()); err != nil {
				return nil, err
			}
			if err := r.writeSuccession(ctx, in, secret, have, s); err != nil {
				return nil, err
			}
			out[name] = s
			continue
		}
		if issuer != nil {
			m.trouble = &troubleError{reason: v1alpha1.ReasonPending, message: fmt.Sprintf("cert-manager has not issued the CA in Secret %s yet; see: kubectl describe certificate %s", secret, secret)}
			return nil, nil
		}
		a, err := pki.NewAuthority(authorityName(in, name), r.cfg.Lifetimes.Authority, r.now())
		if err != nil {
			return nil, err
		}
		out[name] = pki.Succession{Current: a}
		if err := r.writeSuccession(ctx, in, secret, have, out[name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// certificates issues the leaves that are missing or due, and puts CAs' certificates beside them. wrote: something was.
func (r *Reconciler) certificates(ctx context.Context, in resources.Input, authorities map[resources.Authority]pki.Succession, m *material) (wrote bool, err error) {
	bySecret := map[string][]resources.Certificate{}
	var order []string
	for _, c := range resources.Certificates(in) {
		if bySecret[c.Secret] == nil {
			order = append(order, c.Secret)
		}
		bySecret[c.Secret] = append(bySecret[c.Secret], c)
	}
	for _, name := range order {
		have, err := r.secret(ctx, in.Cluster.Namespace, name)
		if err != nil {
			return wrote, err
		}
		var data map[string][]byte
		if have != nil {
			data = have.Data
		}
		due, err := dueEntries(bySecret[name], data, authorities, r.cfg.Lifetimes.Leaf, r.now(), func(c resources.Certificate, why string) {
			r.log.Info("certificate issued", "namespace", in.Cluster.Namespace, "cluster", in.Cluster.Name, "secret", name, "subject", c.CommonName, "why", why)
			r.metrics.issued.Inc()
		}, m)
		if err != nil {
			return wrote, err
		}
		wrote = wrote || len(due) > 0
		if _, err := r.write(ctx, in, name, have, due, true); err != nil {
			return wrote, err
		}
	}
	return wrote, nil
}

// dueEntries are the entries of one Secret that have to be written so that it has all certificates of want, none of them due. It tells of
// each certificate that it issues.
func dueEntries(want []resources.Certificate, have map[string][]byte, authorities map[resources.Authority]pki.Succession, life time.Duration, now time.Time,
	issued func(resources.Certificate, string), m *material) (map[string][]byte, error) {
	due := map[string][]byte{}
	for _, c := range want {
		ca := authorities[c.Authority].Current
		leaf := pki.Leaf{CommonName: c.CommonName, Unit: c.Unit, Hosts: c.Hosts}
		why, ends := ca.Examine(leaf, have[c.CertFile], have[c.KeyFile], now)
		if why != "" {
			cert, key, err := ca.Issue(leaf, life, now)
			if err != nil {
				return nil, err
			}
			due[c.CertFile], due[c.KeyFile] = cert, key
			issued(c, why)
			_, ends = ca.Examine(leaf, cert, key, now)
		}
		m.ending(c.Secret+"/"+c.CertFile, ends)
		for _, file := range slices.Sorted(maps.Keys(c.Trust)) {
			if pem := authorities[c.Trust[file]].Trust(); !bytes.Equal(have[file], pem) {
				due[file] = pem
			}
		}
	}
	return due, nil
}

// secret reads one from the API server, nil when there is none.
func (r *Reconciler) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	var s corev1.Secret
	err := r.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("Secret %s/%s: %w", namespace, name, err)
	}
	return &s, nil
}

// write puts entries into a Secret, and leaves all others as they are. Without any it writes nothing. owned: it goes with the cluster.
func (r *Reconciler) write(ctx context.Context, in resources.Input, name string, have *corev1.Secret, entries map[string][]byte, owned bool) (*corev1.Secret, error) {
	if have != nil && len(entries) == 0 {
		return have, nil
	}
	if have == nil {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: in.Cluster.Namespace, Labels: in.Labels(resources.ComponentPrimary)}, Data: entries}
		if owned {
			s.OwnerReferences = []metav1.OwnerReference{in.Owner()}
		}
		if err := r.client.Create(ctx, s); err != nil {
			return nil, fmt.Errorf("Secret %s/%s: %w", s.Namespace, name, err)
		}
		return s, nil
	}
	next := have.DeepCopy()
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	maps.Copy(next.Data, entries)
	// With the version that was read: another writer in between is an error, and not overwritten.
	if err := r.client.Update(ctx, next); err != nil {
		return nil, fmt.Errorf("Secret %s/%s: %w", next.Namespace, name, err)
	}
	return next, nil
}

// copyOutside makes the copy of a Secret in the fronts' namespace what it is here. copied: it was not.
func (r *Reconciler) copyOutside(ctx context.Context, in resources.Input, name string) (copied bool, err error) {
	from, err := r.secret(ctx, in.Cluster.Namespace, name)
	if err != nil {
		return false, err
	}
	if from == nil {
		return false, fmt.Errorf("Secret %s/%s is gone", in.Cluster.Namespace, name)
	}
	have, err := r.secret(ctx, in.Settings.FrontNamespace, in.Outside(name))
	if err != nil {
		return false, err
	}
	if have == nil {
		s := &corev1.Secret{Data: from.Data, ObjectMeta: metav1.ObjectMeta{Name: in.Outside(name), Namespace: in.Settings.FrontNamespace, Labels: in.OutsideLabels()}}
		if err := r.client.Create(ctx, s); err != nil {
			return false, fmt.Errorf("Secret %s/%s: %w; the namespace of VIPs' fronts has to exist", s.Namespace, s.Name, err)
		}
		return true, nil
	}
	if reflect.DeepEqual(have.Data, from.Data) {
		return false, nil
	}
	have.Data = from.Data
	if err := r.client.Update(ctx, have); err != nil {
		return false, fmt.Errorf("Secret %s/%s: %w", have.Namespace, have.Name, err)
	}
	return true, nil
}
