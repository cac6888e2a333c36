package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
)

// DomainName is a domain name in presentation format, such as example.org, in lower case; a dot at its end changes nothing.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=254
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9_]([a-z0-9_/-]{0,61}[a-z0-9_])?)([.][a-z0-9_]([a-z0-9_/-]{0,61}[a-z0-9_])?)*[.]?$')",messageExpression="'\"' + self + '\" is not a domain name; write labels of letters (lower case), digits, \"-\" and \"_\", at most 63 each, with dots between, such as example.org'"
type DomainName string

// Address is an IPv4 or IPv6 address.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:XValidation:rule="isIP(self)",messageExpression="'\"' + self + '\" is not an IP address; write it as 192.0.2.1 or 2001:db8::1'"
type Address string

// Prefix is an IPv4 or IPv6 prefix.
//
// +kubebuilder:validation:MinLength=4
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",messageExpression="'\"' + self + '\" is not a prefix; write it as 192.0.2.0/24 or 2001:db8::/32'"
type Prefix string

// LocalReference names an object in the same namespace.
type LocalReference struct {
	// name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ClusterReference names a BindCluster. In another namespace than the referrer's that cluster's allowedNamespaces decide.
type ClusterReference struct {
	// name of the BindCluster.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name"`
	// namespace of the BindCluster; that of this object when empty.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// SecretKeyReference names one entry of a Secret in the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key of the entry in the Secret's data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// DeletionPolicy says what remains in the world when an object is deleted.
//
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// Deletion policies.
const (
	// DeletionRetain keeps what the object stood for; an object made anew finds it again.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionDelete deletes it for good.
	DeletionDelete DeletionPolicy = "Delete"
)

// Storage describes the volume of each pod of a kind.
//
// +kubebuilder:validation:XValidation:rule="(has(self.storageClassName) ? self.storageClassName : \"\") == (has(oldSelf.storageClassName) ? oldSelf.storageClassName : \"\")",messageExpression="'storageClassName can not change from \"' + (has(oldSelf.storageClassName) ? oldSelf.storageClassName : \"\") + '\" to \"' + (has(self.storageClassName) ? self.storageClassName : \"\") + '\", because the class of a volume can not; set it back'"
type Storage struct {
	// size of the volume. It can grow, where the storage class allows it, and never shrinks.
	// +optional
	// +kubebuilder:default="10Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",messageExpression="'size was ' + string(oldSelf) + ' and can not shrink to ' + string(self) + '; give ' + string(oldSelf) + ' or more'"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Gi')) >= 0",messageExpression="'size is ' + string(self) + '; give 1Gi or more: logs and checkpoints are preallocated'"
	Size resource.Quantity `json:"size,omitzero"`
	// storageClassName of the volume; the cluster's default class when empty.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	StorageClassName string `json:"storageClassName,omitempty"`
}

// Strictness says whether a wish about places decides where a pod can run.
//
// +kubebuilder:validation:Enum=Required;Preferred;Ignored
type Strictness string

// Strictness values.
const (
	// SpreadRequired: a pod that can't be placed so waits.
	SpreadRequired Strictness = "Required"
	// SpreadPreferred: it is placed so where possible.
	SpreadPreferred Strictness = "Preferred"
	// SpreadIgnored: no wish.
	SpreadIgnored Strictness = "Ignored"
)

// Toleration lets pods run on tainted nodes, as in a pod's own tolerations.
type Toleration struct {
	// key of the taint; empty with operator Exists: every taint.
	// +optional
	// +kubebuilder:validation:MaxLength=316
	Key string `json:"key,omitempty"`
	// operator: Exists matches any value, Equal wants value.
	// +optional
	// +kubebuilder:validation:Enum=Exists;Equal
	// +kubebuilder:default=Equal
	Operator string `json:"operator,omitempty"`
	// value of the taint.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`
	// effect of the taint; all effects when empty.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect string `json:"effect,omitempty"`
}
