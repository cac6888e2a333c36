package resources

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

func (in Input) newService(meta metav1.ObjectMeta, selector map[string]string, ports []corev1.ServicePort) *corev1.Service {
	s := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta,
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: selector, Ports: ports, IPFamilyPolicy: ptr(corev1.IPFamilyPolicySingleStack)},
	}
	for _, f := range in.families() {
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPFamily(f))
	}
	if len(s.Spec.IPFamilies) > 1 {
		s.Spec.IPFamilyPolicy = ptr(corev1.IPFamilyPolicyRequireDualStack)
	}
	return s
}

// headless gives each pod a name. Pods that are not ready have theirs as well: members find each other before any is ready, and fronts
// judge by themselves.
func (in Input) headless(name, component string, ports []corev1.ContainerPort) *corev1.Service {
	var sp []corev1.ServicePort
	for _, p := range ports {
		sp = append(sp, corev1.ServicePort{Name: p.Name, Port: p.ContainerPort, TargetPort: intstr.FromString(p.Name), Protocol: p.Protocol})
	}
	s := in.newService(in.meta(name, component), in.Selector(component), sp)
	s.Spec.ClusterIP, s.Spec.PublishNotReadyAddresses = corev1.ClusterIPNone, true
	return s
}

// dnsPorts are 53 in front of the pods' port.
func dnsPorts() []corev1.ServicePort {
	return []corev1.ServicePort{
		{Name: "dns", Port: portService, TargetPort: intstr.FromString("dns"), Protocol: corev1.ProtocolUDP},
		{Name: "dns-tcp", Port: portService, TargetPort: intstr.FromString("dns-tcp"), Protocol: corev1.ProtocolTCP},
	}
}

// secondaryService is the stable address of secondary i.
func (in Input) secondaryService(i int) *corev1.Service {
	want := in.Cluster.Spec.Secondaries.Service
	meta := in.meta(in.secondaryPod(i), ComponentSecondary)
	meta.Annotations = want.Annotations
	s := in.newService(meta, with(in.Selector(ComponentSecondary), appsv1.StatefulSetPodNameLabel, in.secondaryPod(i)), dnsPorts())
	if want.Type != "" {
		s.Spec.Type = corev1.ServiceType(want.Type)
	}
	if want.LoadBalancerClass != "" && s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		s.Spec.LoadBalancerClass = &want.LoadBalancerClass
	}
	if want.ClientAddresses == "preserved" && s.Spec.Type != corev1.ServiceTypeClusterIP {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	return s
}

// exposureService is what clients of an exposure of type LoadBalancer or ClusterIP see.
func (in Input) exposureService(e v1alpha1.Exposure) *corev1.Service {
	meta := in.meta(in.FrontName(e.Name), ComponentFront)
	meta.Labels = with(meta.Labels, LabelExposure, e.Name)
	s := in.newService(meta, in.frontSelector(e.Name), dnsPorts())
	if c := e.ClusterIP; c != nil {
		s.Annotations = c.Annotations
		s.Spec.ClusterIP = string(c.Address)
	}
	if e.Type != v1alpha1.ExposureLoadBalancer {
		return s
	}
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	// The header says the client's address wherever the packet comes from; without one only a node with a front pod keeps it.
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	if l := e.LoadBalancer; l != nil {
		s.Annotations, s.Spec.LoadBalancerSourceRanges = l.Annotations, texts(l.SourceRanges)
		if l.Class != "" {
			s.Spec.LoadBalancerClass = &l.Class
		}
		if l.ProxyProtocol {
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
		}
	}
	return s
}
