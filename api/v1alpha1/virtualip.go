package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VirtualIP is addresses that keepalived moves between nodes (VRRP, RFC 9568). An exposure of a BindCluster names it; on each node that it
// selects runs a front, and one of them has the addresses.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=vip,categories=zonekeeper
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.addresses[0]`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Holder",type=string,JSONPath=`.status.holder`
// +kubebuilder:printcolumn:name="Nodes",type=string,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.status.cluster`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40",messageExpression="'metadata.name \"' + self.metadata.name + '\" has more than 40 characters; use at most 40'"
type VirtualIP struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what you want.
	Spec VirtualIPSpec `json:"spec"`
	// status is what there is; the operator writes it.
	// +optional
	Status VirtualIPStatus `json:"status,omitzero"`
}

// VirtualIPList is a list of VirtualIPs.
//
// +kubebuilder:object:root=true
type VirtualIPList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VirtualIP `json:"items"`
}

// VirtualIPSpec is what a VirtualIP shall be.
//
// +kubebuilder:validation:XValidation:rule="has(self.openstack) || !has(oldSelf.openstack) || oldSelf.openstack.management != 'Manage'",message="openstack can not be taken away while the operator manages what is there: nobody would know how to remove it; set openstack.management: Verify first to keep it there, or delete the VirtualIP"
type VirtualIPSpec struct {
	// addresses move together. Each belongs to the nodes' network and to no node. Give the length of the prefix: 192.0.2.100/32.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Addresses []Prefix `json:"addresses"`

	// interface of the nodes that carries the addresses and VRRP, such as eth0.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9._-]+$')",messageExpression="'\"' + self + '\" is no interface\\'s name; name the one with the nodes\\' addresses, such as eth0'"
	Interface string `json:"interface"`

	// routerID is VRRP's. It belongs to this VirtualIP alone in the nodes' network.
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 255",message="use 1 to 255, nobody else's in this network"
	RouterID int32 `json:"routerID"`

	// nodeSelector picks the nodes. At least two are needed for the address to survive one; all Linux nodes when empty.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// tolerations of the front pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// advertInterval is VRRP's. A dead node is noticed after about three of them.
	// +optional
	// +kubebuilder:default="200ms"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('1s')",messageExpression="'advertInterval is ' + self + '; use 100ms to 1s, in steps of 10ms'"
	AdvertInterval metav1.Duration `json:"advertInterval,omitzero"`

	// openstack makes the network let the addresses through: Neutron drops packets from addresses that are not a port's own.
	// +optional
	OpenStack *OpenStackVIP `json:"openstack,omitempty"`
}

// Values of OpenStackVIP.Management.
const (
	// ManagementManage: the operator makes it so.
	ManagementManage = "Manage"
	// ManagementVerify: it only looks.
	ManagementVerify = "Verify"
)

// OpenStackVIP is what has to be so in OpenStack for the addresses to arrive.
//
// +kubebuilder:validation:XValidation:rule="!has(self.floatingIP) || !has(self.floatingPool)",message="floatingIP and floatingPool exclude each other: give the one that exists, or the pool to take one from"
type OpenStackVIP struct {
	// management: Manage makes it so; Verify only looks, and the status says what is missing, where others (Terraform) own Neutron.
	// +optional
	// +kubebuilder:validation:Enum=Manage;Verify
	// +kubebuilder:default=Verify
	Management string `json:"management,omitempty"`
	// cloud is an entry of a Secret with a clouds.yaml that has one cloud; without that entry the Secret has Gardener's (authURL, domainName, tenantName,
	// username and password, or applicationCredentialID and applicationCredentialSecret; caCert).
	Cloud SecretKeyReference `json:"cloud"`
	// network is the ID of the nodes' network; found from their ports when empty.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Network string `json:"network,omitempty"`
	// clients may send DNS messages to the addresses; everybody when empty.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Clients []Prefix `json:"clients,omitempty"`
	// floatingIP exists, and leads to the first IPv4 address.
	// +optional
	FloatingIP Address `json:"floatingIP,omitempty"`
	// floatingPool is the ID of an external network from which a floating IP is taken, which goes with the VirtualIP.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	FloatingPool string `json:"floatingPool,omitempty"`
}

// VirtualIPStatus is what a VirtualIP is.
type VirtualIPStatus struct {
	// observedGeneration is the generation of spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// summary says in one line whether the address works, and if not, what to do.
	// +optional
	Summary string `json:"summary,omitempty"`
	// conditions: Ready sums up Accepted (an exposure uses it, and only one), NetworkReady (the network lets the addresses through), FrontsReady
	// (enough nodes can take the addresses) and Published (one node has them).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// cluster is the BindCluster whose exposure uses it.
	// +optional
	Cluster string `json:"cluster,omitempty"`
	// exposure of that cluster.
	// +optional
	Exposure string `json:"exposure,omitempty"`
	// addresses that clients use.
	// +optional
	// +listType=atomic
	Addresses []string `json:"addresses,omitempty"`
	// holder is the node that has the addresses.
	// +optional
	Holder string `json:"holder,omitempty"`
	// holderSince is when it took them, by its clock.
	// +optional
	HolderSince *metav1.Time `json:"holderSince,omitempty"`
	// ready nodes, of those selected: 3/3.
	// +optional
	Ready string `json:"ready,omitempty"`
	// nodes that are selected.
	// +optional
	// +listType=map
	// +listMapKey=name
	Nodes []VIPNodeStatus `json:"nodes,omitempty"`
	// network is what there is, and what is missing, in the network below the nodes; only with spec.openstack.
	// +optional
	Network *VIPNetworkStatus `json:"network,omitempty"`
}

// VIPNetworkStatus is about the network below the nodes.
type VIPNetworkStatus struct {
	// message says what was found.
	// +optional
	Message string `json:"message,omitempty"`
	// pending are the changes that are missing: the operator makes them with management Manage, somebody else has to with Verify.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Pending []string `json:"pending,omitempty"`
	// floatingAddresses lead to the addresses from outside.
	// +optional
	// +listType=atomic
	FloatingAddresses []string `json:"floatingAddresses,omitempty"`
}

// States of VIPNodeStatus besides those of VRRP.
const (
	// VIPNodeMaster: this node has the addresses.
	VIPNodeMaster = "master"
	// VIPNodeBackup: it takes them when the one that has them does not.
	VIPNodeBackup = "backup"
	// VIPNodeFault: it can't have them; the message says why.
	VIPNodeFault = "fault"
	// VIPNodeWaiting: no front is allowed there yet, because the network does not let the addresses through.
	VIPNodeWaiting = "waiting"
	// VIPNodeAbsent: no front runs there.
	VIPNodeAbsent = "absent"
	// VIPNodeSilent: a front runs there and has not said anything for long.
	VIPNodeSilent = "silent"
)

// VIPNodeStatus is the front of one node.
type VIPNodeStatus struct {
	// name of the node.
	Name string `json:"name"`
	// state of VRRP: master, backup or fault; or waiting (for the network), absent (no front runs) or silent (a front runs and says nothing).
	State string `json:"state"`
	// since when, by the node's clock.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// ready: this node could have the addresses and serve clients.
	Ready bool `json:"ready"`
	// message says what is missing.
	// +optional
	Message string `json:"message,omitempty"`
}
