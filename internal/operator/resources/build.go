package resources

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Object is any Kubernetes object.
type Object interface {
	runtime.Object
	metav1.Object
}

// Problem is why an exposure has no objects. The rest of the cluster has its own all the same.
type Problem struct {
	Exposure string
	// Message names the value and the remedy.
	Message string
}

// Build gives all objects of the cluster, those that others need first. Objects in the cluster's namespace are owned by it; those of
// VIPs' fronts are in another one and can't be: they are found by their labels. An error is a mistake of the caller.
func Build(in Input) ([]Object, []Problem, error) {
	if err := in.Validate(); err != nil {
		return nil, nil, err
	}
	b := builder{Input: in}
	if err := b.primaries(); err != nil {
		return nil, nil, err
	}
	if err := b.secondaries(); err != nil {
		return nil, nil, err
	}
	for _, e := range in.Cluster.Spec.Exposures {
		var err error
		if e.Type == v1alpha1.ExposureVIP {
			err = b.vip(e)
		} else {
			err = b.frontService(e)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	b.frontAccess()
	b.policies()
	b.monitors()
	return b.objects, b.problems, nil
}

// builder gathers objects.
type builder struct {
	Input
	objects  []Object
	problems []Problem
}

// add takes an object of the cluster's own namespace.
func (b *builder) add(o Object) {
	o.SetNamespace(b.Cluster.Namespace)
	o.SetOwnerReferences([]metav1.OwnerReference{b.Owner()})
	b.objects = append(b.objects, o)
}

// Owner is the reference to the cluster that everything has which goes with it.
func (in Input) Owner() metav1.OwnerReference {
	c := in.Cluster
	yes := true
	return metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion().String(), Kind: "BindCluster", Name: c.Name, UID: c.UID, Controller: &yes, BlockOwnerDeletion: &yes}
}

// addFront takes an object of the namespace of VIPs' fronts.
func (b *builder) addFront(o Object) {
	o.SetNamespace(b.Settings.FrontNamespace)
	b.objects = append(b.objects, o)
}

func (b *builder) problem(exposure, message string) {
	b.problems = append(b.problems, Problem{Exposure: exposure, Message: message})
}
