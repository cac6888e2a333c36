package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// ExposureType is how an address comes to the front.
//
// +kubebuilder:validation:Enum=VIP;LoadBalancer;ClusterIP
type ExposureType string

// Exposure types.
const (
	// ExposureVIP is an address that keepalived moves between nodes.
	ExposureVIP ExposureType = "VIP"
	// ExposureLoadBalancer is a Service of type LoadBalancer before scaled front pods.
	ExposureLoadBalancer ExposureType = "LoadBalancer"
	// ExposureClusterIP is a Service of type ClusterIP before scaled front pods.
	ExposureClusterIP ExposureType = "ClusterIP"
)

// Exposure is one way by which clients reach the primaries. Holding an address confers no right: any front takes any request to any
// primary, and who may change what is decided by the log.
//
// +kubebuilder:validation:XValidation:rule="has(self.vip) == (self.type == 'VIP')",messageExpression="'exposure \"' + self.name + '\" has type ' + self.type + (has(self.vip) ? ' and the section vip; remove the section, or use type: VIP' : ' and no section vip; name a VirtualIP in vip.virtualIP')"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancer) || self.type == 'LoadBalancer'",messageExpression="'exposure \"' + self.name + '\" has type ' + self.type + ' and the section loadBalancer; remove the section, or use type: LoadBalancer'"
// +kubebuilder:validation:XValidation:rule="!has(self.clusterIP) || self.type == 'ClusterIP'",messageExpression="'exposure \"' + self.name + '\" has type ' + self.type + ' and the section clusterIP; remove the section, or use type: ClusterIP'"
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",messageExpression="'exposure \"' + self.name + '\" can not change from type ' + oldSelf.type + ' to ' + self.type + ' without a gap; add another exposure, move the clients, then remove this one'"
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || self.type != 'VIP'",messageExpression="'exposure \"' + self.name + '\" has type VIP and replicas; remove replicas: there is one front on each node that the VirtualIP selects'"
type Exposure struct {
	// name of the exposure; the names of its objects end with it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",messageExpression="'name \"' + self + '\" can not be part of an object\\'s name; use letters (lower case), digits and \"-\"'"
	Name string `json:"name"`
	// type: VIP, an address that moves between nodes; LoadBalancer, a cloud's; ClusterIP, for clients inside of the Kubernetes cluster and
	// for networks that route to its Services.
	Type ExposureType `json:"type"`
	// vip is needed for type VIP.
	// +optional
	VIP *VIPExposure `json:"vip,omitempty"`
	// loadBalancer is for type LoadBalancer.
	// +optional
	LoadBalancer *LoadBalancerExposure `json:"loadBalancer,omitempty"`
	// clusterIP is for type ClusterIP.
	// +optional
	ClusterIP *ClusterIPExposure `json:"clusterIP,omitempty"`
	// replicas is the number of front pods of types LoadBalancer and ClusterIP; 2 when empty.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Replicas *int32 `json:"replicas,omitempty"`
	// resources of each front pod.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`
}

// VIPExposure names the address.
type VIPExposure struct {
	// virtualIP is the name of a VirtualIP in the same namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	VirtualIP string `json:"virtualIP"`
}

// LoadBalancerExposure is about the Service of type LoadBalancer.
//
// +kubebuilder:validation:XValidation:rule="(has(self.proxyFrom) && size(self.proxyFrom) > 0) == (has(self.proxyProtocol) && self.proxyProtocol)",message="proxyProtocol and proxyFrom go together: with proxyProtocol: true list in proxyFrom the prefixes from which the load balancer sends; without it remove proxyFrom"
type LoadBalancerExposure struct {
	// class of the load balancer (loadBalancerClass).
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Class string `json:"class,omitempty"`
	// annotations for the Service, as the cloud wants them.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]string `json:"annotations,omitempty"`
	// sourceRanges may reach it; everybody when empty.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	SourceRanges []Prefix `json:"sourceRanges,omitempty"`
	// proxyProtocol: the load balancer sends a PROXY protocol header, so that primaries see the clients' addresses. Switch it on there
	// as well (Octavia: annotation loadbalancer.openstack.org/proxy-protocol).
	// +optional
	ProxyProtocol bool `json:"proxyProtocol,omitempty"`
	// proxyFrom are the prefixes from which such headers are believed: those of the load balancer.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	ProxyFrom []Prefix `json:"proxyFrom,omitempty"`
}

// ClusterIPExposure is about the Service of type ClusterIP.
type ClusterIPExposure struct {
	// address of the Service, within the Service range; one is chosen when empty. It can not change.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",messageExpression="'address can not change from ' + oldSelf + ' to ' + self + '; add another exposure with it, move the clients, then remove this one'"
	Address Address `json:"address,omitempty"`
	// annotations for the Service.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]string `json:"annotations,omitempty"`
}
