package keycontroller

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/keyobject"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// handOut makes the Secret for clients have the key's newest secret, and gives it; nil while there is no key.
func (p *pass) handOut(ctx context.Context, key *adminapi.Key) (*corev1.Secret, error) {
	if key == nil || len(key.Versions) == 0 {
		return nil, nil //nolint:nilnil // there is nothing to hand out
	}
	var zones v1alpha1.ZoneList
	if err := p.cfg.Client.List(ctx, &zones, client.InNamespace(p.key.Namespace)); err != nil {
		return nil, fmt.Errorf("Zones of namespace %s: %w", p.key.Namespace, err)
	}
	data, err := keyobject.Output(p.key, key, keyobject.Server(p.cluster), keyobject.ZonesOf(p.key, zones.Items))
	if err != nil {
		return nil, &lookup.Trouble{Reason: v1alpha1.ReasonInvalid, Message: err.Error()}
	}
	name := client.ObjectKey{Namespace: p.key.Namespace, Name: keyobject.SecretName(p.key)}
	var s corev1.Secret
	switch err := p.cfg.Client.Get(ctx, name, &s); {
	case apierrors.IsNotFound(err):
		s = corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: map[string]string{resources.LabelManagedBy: resources.Manager},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.key, v1alpha1.GroupVersion().WithKind(Kind))}}, Type: corev1.SecretTypeOpaque}
		p.fill(&s, data, key.Versions[0].Version)
		if err := p.cfg.Client.Create(ctx, &s); err != nil {
			return nil, fmt.Errorf("Secret %s: %w", name, err)
		}
		return &s, nil
	case err != nil:
		return nil, fmt.Errorf("Secret %s: %w", name, err)
	}
	if !metav1.IsControlledBy(&s, p.key) {
		return nil, &lookup.Trouble{Reason: v1alpha1.ReasonNameTaken, Message: fmt.Sprintf("Secret %s exists and is not this TSIGKey's; choose another name in output.secretName, or delete it", name)}
	}
	if version, _ := handed(&s); version == key.Versions[0].Version && reflect.DeepEqual(s.Data, data) {
		return &s, nil
	}
	p.fill(&s, data, key.Versions[0].Version)
	if err := p.cfg.Client.Update(ctx, &s); err != nil {
		return nil, fmt.Errorf("Secret %s: %w", name, err)
	}
	return &s, nil
}

// fill puts the entries into a Secret, and since when they are of that version.
func (p *pass) fill(s *corev1.Secret, data map[string][]byte, version uint64) {
	s.Data = data
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	if have, _ := handed(s); have != version {
		s.Annotations[keyobject.AnnotationVersion] = strconv.FormatUint(version, 10)
		s.Annotations[keyobject.AnnotationSince] = p.cfg.Now().UTC().Format(time.RFC3339)
	}
}

// handed is the version in a Secret, and since when; 0 when it does not say.
func handed(s *corev1.Secret) (uint64, time.Time) {
	version, err := strconv.ParseUint(s.Annotations[keyobject.AnnotationVersion], 10, 64)
	since, err2 := time.Parse(time.RFC3339, s.Annotations[keyobject.AnnotationSince])
	if err != nil || err2 != nil {
		return 0, time.Time{}
	}
	return version, since
}
