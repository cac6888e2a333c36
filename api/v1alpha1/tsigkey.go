package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TSIGKey is a shared secret with which clients sign updates, queries and transfers (RFC 8945).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=tsig,categories=zonekeeper
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.status.keyName`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`
// +kubebuilder:printcolumn:name="Rotated",type=date,JSONPath=`.status.rotated`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TSIGKey struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what you want.
	Spec TSIGKeySpec `json:"spec"`
	// status is what there is; the operator writes it.
	// +optional
	Status TSIGKeyStatus `json:"status,omitzero"`
}

// TSIGKeyList is a list of TSIGKeys.
//
// +kubebuilder:object:root=true
type TSIGKeyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TSIGKey `json:"items"`
}

// TSIGKeySpec is what a TSIGKey shall be.
//
// +kubebuilder:validation:XValidation:rule="(has(self.keyName) ? self.keyName : \"\") == (has(oldSelf.keyName) ? oldSelf.keyName : \"\")",messageExpression="'keyName can not change from \"' + (has(oldSelf.keyName) ? oldSelf.keyName : \"\") + '\" to \"' + (has(self.keyName) ? self.keyName : \"\") + '\": clients sign with it; make another TSIGKey'"
// +kubebuilder:validation:XValidation:rule="!(has(self.secretRef) && has(self.rotation))",message="secretRef and rotation exclude each other: with a given Secret put the new value there, and both are valid for overlap; remove one"
// +kubebuilder:validation:XValidation:rule="!has(self.rotation) || duration(self.overlap) < duration(self.rotation.every)",messageExpression="'overlap ' + self.overlap + ' is not shorter than rotation.every ' + self.rotation.every + '; there are two secrets at most: shorten overlap'"
type TSIGKeySpec struct {
	// clusterRef is the BindCluster that knows the key.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="clusterRef can not change; make another TSIGKey"
	ClusterRef ClusterReference `json:"clusterRef"`

	// keyName is the key's name in messages; NAME.NAMESPACE of this object when empty. Each name has one owner in a cluster: the first.
	// +optional
	KeyName DomainName `json:"keyName,omitempty"`

	// algorithm of the signatures. It can change: the next secret has it.
	// +optional
	// +kubebuilder:validation:Enum=hmac-sha1;hmac-sha224;hmac-sha256;hmac-sha384;hmac-sha512
	// +kubebuilder:default=hmac-sha256
	Algorithm string `json:"algorithm,omitempty"`

	// secretRef is an entry of a Secret with the shared secret in base64, that you give. A new value there is a rotation. Without it the
	// operator makes one.
	// +optional
	SecretRef *SecretKeyReference `json:"secretRef,omitempty"`

	// rotation makes new secrets by itself, when the secret is made by the operator.
	// +optional
	Rotation *KeyRotation `json:"rotation,omitempty"`

	// overlap is how long the secret before stays valid after a rotation: until every client has the new one.
	// +optional
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m')",messageExpression="'overlap is ' + self + '; use 1m or more, so that clients can change'"
	Overlap metav1.Duration `json:"overlap,omitzero"`

	// output is the Secret with the key and ready configuration for clients.
	// +optional
	// +kubebuilder:default={}
	Output KeyOutput `json:"output,omitzero"`

	// propagation withholds the answer to updates signed with this key until secondaries serve them.
	// +optional
	Propagation *Propagation `json:"propagation,omitempty"`

	// deletionPolicy: Delete revokes the key when this object is deleted; Retain leaves it valid.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// KeyRotation says when a new secret is made.
type KeyRotation struct {
	// every is the time between rotations, such as 720h.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1h')",messageExpression="'every is ' + self + '; use 1h or more'"
	Every metav1.Duration `json:"every"`
}

// KeyOutput describes the Secret for clients. It always has the entries name, algorithm and secret.
type KeyOutput struct {
	// secretName of the Secret; the name of this object when empty.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
	// formats are further entries, each with what that client's configuration needs: nsupdate.key, external-dns.args, cert-manager.yaml,
	// named.conf, kea.json.
	// +optional
	// +listType=set
	// +kubebuilder:default={Nsupdate}
	// +kubebuilder:validation:MaxItems=5
	Formats []KeyFormat `json:"formats,omitempty"`
}

// KeyFormat is a client for which configuration is written.
//
// +kubebuilder:validation:Enum=Nsupdate;ExternalDNS;CertManager;BIND;Kea
type KeyFormat string

// TSIGKeyStatus is what a TSIGKey is.
type TSIGKeyStatus struct {
	// observedGeneration is the generation of spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// summary says in one line whether the key works, and if not, what to do.
	// +optional
	Summary string `json:"summary,omitempty"`
	// conditions: Ready sums up Accepted (the name is this object's) and Programmed (the primaries have the secret).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// keyName in messages.
	// +optional
	KeyName string `json:"keyName,omitempty"`
	// secretName of the Secret for clients.
	// +optional
	SecretName string `json:"secretName,omitempty"`
	// version of the newest secret.
	// +optional
	Version int64 `json:"version,omitempty"`
	// rotated is when the newest secret became valid.
	// +optional
	Rotated *metav1.Time `json:"rotated,omitempty"`
	// retireAt is when the secret before ends; empty when there is one only.
	// +optional
	RetireAt *metav1.Time `json:"retireAt,omitempty"`
	// nextRotation is when the next secret is made.
	// +optional
	NextRotation *metav1.Time `json:"nextRotation,omitempty"`
	// tenant is the rule of the cluster's allowedNamespaces by which the key is there.
	// +optional
	Tenant string `json:"tenant,omitempty"`
	// updatesPerSecond is the quota of the tenant, as primaries hold it now: for updates signed with all of its keys together.
	// +optional
	UpdatesPerSecond *int32 `json:"updatesPerSecond,omitempty"`
}
