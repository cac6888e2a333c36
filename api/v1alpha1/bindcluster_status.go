package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BindClusterStatus is what a BindCluster is.
type BindClusterStatus struct {
	// observedGeneration is the generation of spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// summary says in one line whether the cluster is healthy, and if not, what to do.
	// +optional
	Summary string `json:"summary,omitempty"`
	// conditions: Ready sums up; Writable, Consistent, SecondariesCurrent, Exposed, CertificatesValid and RolledOut say what it sums up.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// addresses by which clients reach the cluster, by exposure.
	// +optional
	// +listType=map
	// +listMapKey=exposure
	Addresses []ExposureStatus `json:"addresses,omitempty"`
	// primaries as they are.
	// +optional
	Primaries PrimariesStatus `json:"primaries,omitzero"`
	// secondaries as they are.
	// +optional
	Secondaries SecondariesStatus `json:"secondaries,omitzero"`
	// zones is the number of zones in the cluster, whoever made them.
	// +optional
	Zones int32 `json:"zones,omitempty"`
	// keys is the number of TSIG keys in the cluster, whoever made them.
	// +optional
	Keys int32 `json:"keys,omitempty"`
	// version of the program that a majority of primaries runs.
	// +optional
	Version string `json:"version,omitempty"`
	// tenants use the cluster from other namespaces.
	// +optional
	// +listType=map
	// +listMapKey=name
	Tenants []TenantStatus `json:"tenants,omitempty"`
}

// ExposureStatus is one exposure.
type ExposureStatus struct {
	// exposure is its name.
	Exposure string `json:"exposure"`
	// addresses that clients use; empty while there is none.
	// +optional
	// +listType=atomic
	Addresses []string `json:"addresses,omitempty"`
	// ready front pods, of those wanted: 2/2.
	// +optional
	Ready string `json:"ready,omitempty"`
	// message says what is missing.
	// +optional
	Message string `json:"message,omitempty"`
}

// PrimariesStatus is about all primaries.
type PrimariesStatus struct {
	// summary is ready/wanted, such as 3/3.
	// +optional
	Summary string `json:"summary,omitempty"`
	// replicas that exist; differs from spec while members are added or removed.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// ready primaries.
	// +optional
	Ready int32 `json:"ready,omitempty"`
	// leader of the log.
	// +optional
	Leader string `json:"leader,omitempty"`
	// members of the log.
	// +optional
	// +listType=map
	// +listMapKey=name
	Members []MemberStatus `json:"members,omitempty"`
}

// MemberStatus is one primary.
type MemberStatus struct {
	// name in the log: primary-0 for pod NAME-primary-0.
	Name string `json:"name"`
	// ready: it takes updates and answers queries.
	Ready bool `json:"ready"`
	// message says why it is not ready.
	// +optional
	Message string `json:"message,omitempty"`
	// learner: it joins, and has no vote yet.
	// +optional
	Learner bool `json:"learner,omitempty"`
	// node on which it runs.
	// +optional
	Node string `json:"node,omitempty"`
	// version of its program.
	// +optional
	Version string `json:"version,omitempty"`
	// bindVersion of its named.
	// +optional
	BindVersion string `json:"bindVersion,omitempty"`
	// applied is the index of the last log entry that it applied.
	// +optional
	Applied int64 `json:"applied,omitempty"`
}

// SecondariesStatus is about all secondaries.
type SecondariesStatus struct {
	// summary is ready/wanted, such as 2/2.
	// +optional
	Summary string `json:"summary,omitempty"`
	// replicas that exist.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// ready secondaries: they serve every zone, and are current.
	// +optional
	Ready int32 `json:"ready,omitempty"`
	// selector of the pods, for autoscalers.
	// +optional
	Selector string `json:"selector,omitempty"`
	// heldCatalog is set when a version of the catalog would remove most zones and waits for: zonekeeper catalog confirm
	// +optional
	HeldCatalog string `json:"heldCatalog,omitempty"`
}

// TenantStatus is what one rule of allowedNamespaces is used for.
type TenantStatus struct {
	// name of the rule.
	Name string `json:"name"`
	// zones that it has.
	Zones int32 `json:"zones"`
	// records in them.
	Records int64 `json:"records"`
	// overQuota says what is beyond the quota.
	// +optional
	OverQuota string `json:"overQuota,omitempty"`
}
