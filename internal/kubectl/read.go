package kubectl

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Report is what status shows.
type Report struct {
	Clusters []Cluster `json:"clusters"`
	// Notes say what could not be read.
	Notes []string `json:"notes,omitempty"`
}

// Cluster is a BindCluster with the objects that refer to it.
type Cluster struct {
	BindCluster v1alpha1.BindCluster `json:"bindCluster"`
	VirtualIPs  []v1alpha1.VirtualIP `json:"virtualIPs,omitempty"`
	Zones       []v1alpha1.Zone      `json:"zones,omitempty"`
	Keys        []v1alpha1.TSIGKey   `json:"keys,omitempty"`
}

// reader asks the API server.
type reader struct{ rest *rest.RESTClient }

func newReader(cfg *rest.Config) (*reader, error) {
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		return nil, err
	}
	gv := v1alpha1.GroupVersion()
	own := rest.CopyConfig(cfg)
	own.GroupVersion, own.APIPath = &gv, "/apis"
	own.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	own.ContentType, own.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	c, err := rest.RESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return &reader{c}, nil
}

func (r *reader) list(ctx context.Context, namespace, resource string, into runtime.Object) error {
	if err := r.rest.Get().Namespace(namespace).Resource(resource).Do(ctx).Into(into); err != nil {
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("list %s: %w; are the definitions installed? helm install zonekeeper", resource, err)
		}
		return fmt.Errorf("list %s: %w", resource, err)
	}
	return nil
}

// listAll lists in all namespaces or, without the right to, in one.
func (r *reader) listAll(ctx context.Context, namespace, resource string, into runtime.Object, report *Report) error {
	err := r.list(ctx, "", resource, into)
	if !apierrors.IsForbidden(err) {
		return err
	}
	if namespace == "" {
		return err
	}
	report.Notes = append(report.Notes, fmt.Sprintf("%s of other namespaces are not shown: you may not list them", resource))
	return r.list(ctx, namespace, resource, into)
}

func (r *reader) cluster(ctx context.Context, namespace, name string) (v1alpha1.BindCluster, error) {
	var c v1alpha1.BindCluster
	if err := r.rest.Get().Namespace(namespace).Resource("bindclusters").Name(name).Do(ctx).Into(&c); err != nil {
		return c, fmt.Errorf("BindCluster %s/%s: %w", namespace, name, err)
	}
	return c, nil
}

// read gives the BindClusters of a namespace ("" for all of them), or the one of that name, with what refers to them from anywhere.
func (r *reader) read(ctx context.Context, namespace, name string) (Report, error) {
	var report Report
	var clusters v1alpha1.BindClusterList
	if name == "" {
		if err := r.list(ctx, namespace, "bindclusters", &clusters); err != nil {
			return report, err
		}
	} else {
		one, err := r.cluster(ctx, namespace, name)
		if err != nil {
			return report, err
		}
		clusters.Items = []v1alpha1.BindCluster{one}
	}
	if len(clusters.Items) == 0 {
		return report, nil
	}
	var zones v1alpha1.ZoneList
	if err := r.listAll(ctx, namespace, "zones", &zones, &report); err != nil {
		return report, err
	}
	var keys v1alpha1.TSIGKeyList
	if err := r.listAll(ctx, namespace, "tsigkeys", &keys, &report); err != nil {
		return report, err
	}
	var vips v1alpha1.VirtualIPList
	if err := r.list(ctx, namespace, "virtualips", &vips); err != nil {
		return report, err
	}
	for _, b := range clusters.Items {
		c := Cluster{BindCluster: b}
		for _, z := range zones.Items {
			if refers(z.Spec.ClusterRef, z.Namespace, b) {
				c.Zones = append(c.Zones, z)
			}
		}
		for _, k := range keys.Items {
			if refers(k.Spec.ClusterRef, k.Namespace, b) {
				c.Keys = append(c.Keys, k)
			}
		}
		for _, e := range b.Spec.Exposures {
			for _, v := range vips.Items {
				if e.VIP != nil && v.Namespace == b.Namespace && v.Name == e.VIP.VirtualIP {
					c.VirtualIPs = append(c.VirtualIPs, v)
				}
			}
		}
		report.Clusters = append(report.Clusters, c)
	}
	return report, nil
}

// refers says whether a reference made in a namespace means the cluster.
func refers(ref v1alpha1.ClusterReference, from string, to v1alpha1.BindCluster) bool {
	if ref.Namespace != "" {
		from = ref.Namespace
	}
	return ref.Name == to.Name && from == to.Namespace
}
