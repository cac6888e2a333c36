package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Zone is a DNS zone of a BindCluster: that it exists, and who may do what with it. Its records belong to those who send updates
// (nsupdate, external-dns, cert-manager, DHCP servers); the operator writes records when it makes the zone, and never again.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=zkzone,categories=zonekeeper
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name="Zone",type=string,JSONPath=`.spec.zoneName`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Serial",type=integer,JSONPath=`.status.serial`
// +kubebuilder:printcolumn:name="Records",type=integer,JSONPath=`.status.records`
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.clusterRef.name`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Zone struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what you want.
	Spec ZoneSpec `json:"spec"`
	// status is what there is; the operator writes it.
	// +optional
	Status ZoneStatus `json:"status,omitzero"`
}

// ZoneList is a list of Zones.
//
// +kubebuilder:object:root=true
type ZoneList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Zone `json:"items"`
}

// ZoneSpec is what a Zone shall be.
//
// +kubebuilder:validation:XValidation:rule="has(self.bootstrap) == has(oldSelf.bootstrap)",message="bootstrap can be set at creation only, because records belong to those who send updates; to replace the content of a zone use: zonekeeper zone import"
type ZoneSpec struct {
	// zoneName is the name of the zone, such as example.org.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",messageExpression="'zoneName can not change from ' + oldSelf + ' to ' + self + '; make another Zone'"
	ZoneName DomainName `json:"zoneName"`

	// clusterRef is the BindCluster that has the zone.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="clusterRef can not change: zones do not move by themselves; export the zone, make a Zone in the other cluster, import it there"
	ClusterRef ClusterReference `json:"clusterRef"`

	// bootstrap is the content with which the zone begins, if it does not exist yet. It can not change afterwards. Without it: an SOA and the
	// name servers of the cluster's zoneDefaults.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="bootstrap can not change, because records belong to those who send updates; to replace the content of a zone use: zonekeeper zone import"
	Bootstrap *ZoneBootstrap `json:"bootstrap,omitempty"`

	// updatePolicy says who may change which records. The first rule that applies decides; without one nobody may change anything.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	UpdatePolicy []UpdateRule `json:"updatePolicy,omitempty"`

	// allowQuery says who may ask the primaries about the zone, by keys and addresses; everybody when empty. A zone that not everybody may
	// query is not served by secondaries.
	// +optional
	AllowQuery *Peers `json:"allowQuery,omitempty"`

	// allowTransfer says who may transfer the zone, besides the cluster's secondaries; nobody when empty.
	// +optional
	AllowTransfer *Peers `json:"allowTransfer,omitempty"`

	// alsoNotify are servers that are told of each change.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	AlsoNotify []NotifyTarget `json:"alsoNotify,omitempty"`

	// propagation withholds the answer to updates until secondaries serve them.
	// +optional
	Propagation *Propagation `json:"propagation,omitempty"`

	// maxTTL is what greater TTLs in updates are lowered to.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	MaxTTL *int32 `json:"maxTTL,omitempty"`

	// localReads answers queries at the primaries without making sure that they show every acknowledged update: faster, possibly old.
	// +optional
	LocalReads bool `json:"localReads,omitempty"`

	// childZonesFrom are the other namespaces that may have zones below this one. Their records hide what is below here.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	ChildZonesFrom []string `json:"childZonesFrom,omitempty"`

	// deletionPolicy: Retain keeps the zone and all of its records when this object is deleted; an object made anew finds them again.
	// Delete deletes the zone; secondaries stop serving it.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// ZoneBootstrap is the first content of a zone.
//
// +kubebuilder:validation:XValidation:rule="(has(self.zoneFile) ? 1 : 0) + (has(self.transfer) ? 1 : 0) + (has(self.nameServers) || has(self.mailbox) ? 1 : 0) <= 1",message="bootstrap has more than one source; keep one of zoneFile, transfer, and nameServers with mailbox"
type ZoneBootstrap struct {
	// nameServers are the apex NS records, the first one the SOA's MNAME.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=13
	NameServers []NameServer `json:"nameServers,omitempty"`
	// mailbox is the SOA's RNAME, as a domain name: hostmaster.example.org for hostmaster@example.org.
	// +optional
	Mailbox DomainName `json:"mailbox,omitempty"`
	// zoneFile is an entry of a ConfigMap in the same namespace with the zone as text (RFC 1035, section 5). The serial is kept.
	// +optional
	ZoneFile *ConfigMapKeyReference `json:"zoneFile,omitempty"`
	// transfer takes the zone from a server (AXFR). The serial is kept.
	// +optional
	Transfer *TransferSource `json:"transfer,omitempty"`
	// stripDNSSEC drops signatures and keys of a signed zone; without it such a zone is refused.
	// +optional
	StripDNSSEC bool `json:"stripDNSSEC,omitempty"`
}

// NameServer is one apex NS record.
type NameServer struct {
	// name of the server.
	Name DomainName `json:"name"`
	// addresses of the server; needed when its name lies in the zone.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Addresses []Address `json:"addresses,omitempty"`
}

// ConfigMapKeyReference names one entry of a ConfigMap in the same namespace.
type ConfigMapKeyReference struct {
	// name of the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key of the entry.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// TransferSource is a server from which a zone is taken.
type TransferSource struct {
	// server is its address.
	Server Address `json:"server"`
	// port of the server.
	// +optional
	// +kubebuilder:default=53
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// keyRef is a TSIGKey with which the transfer is signed.
	// +optional
	KeyRef *LocalReference `json:"keyRef,omitempty"`
}

// UpdateRule grants or denies changes, like a rule of BIND's update-policy.
//
// +kubebuilder:validation:XValidation:rule="!(self.match in ['Name', 'Subdomain', 'Wildcard']) || has(self.name)",messageExpression="'a rule with match: ' + self.match + ' has no name; give the name that it is about, or use match: Zone'"
// +kubebuilder:validation:XValidation:rule="self.match in ['Name', 'Subdomain', 'Wildcard'] || !has(self.name)",messageExpression="'a rule with match: ' + self.match + ' has the name ' + self.name + ', which it does not use; remove it, or use match: Name, Subdomain or Wildcard'"
// +kubebuilder:validation:XValidation:rule="!has(self.name) || (self.match == 'Wildcard') == self.name.startsWith('*.')",messageExpression="'a rule with match: ' + self.match + ' has the name ' + self.name + '; begin it with \"*.\" for match: Wildcard, and only there'"
type UpdateRule struct {
	// action: Grant or Deny.
	// +optional
	// +kubebuilder:validation:Enum=Grant;Deny
	// +kubebuilder:default=Grant
	Action string `json:"action,omitempty"`
	// keyRef is the TSIGKey, in this namespace, whose holders the rule is about.
	KeyRef LocalReference `json:"keyRef"`
	// match says which names the rule covers. Zone: all of the zone. Name: exactly name. Subdomain: name and what is below.
	// Wildcard: what name, which begins with "*.", stands for. Self: the name that the key has. SelfSubdomain: that and what is below.
	// SelfWildcard: only what is below.
	// +optional
	// +kubebuilder:validation:Enum=Zone;Name;Subdomain;Wildcard;Self;SelfSubdomain;SelfWildcard
	// +kubebuilder:default=Zone
	Match string `json:"match,omitempty"`
	// name that the rule is about.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?([a-z0-9_]([a-z0-9_/-]{0,61}[a-z0-9_])?)([.][a-z0-9_]([a-z0-9_/-]{0,61}[a-z0-9_])?)*[.]?$')",messageExpression="'\"' + self + '\" is not a domain name; write it whole and in lower case, such as _acme-challenge.www.example.org'"
	Name string `json:"name,omitempty"`
	// types of records. Empty: all but those that hold the zone together (SOA, NS and those of DNSSEC), as in BIND; ANY: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Types []RecordTypeLimit `json:"types,omitempty"`
}

// RecordTypeLimit is a type of records, such as TXT; with a number in parentheses no name may have more of them: TXT(4).
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=24
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][A-Z0-9-]*([(][1-9][0-9]{0,4}[)])?$')",messageExpression="'\"' + self + '\" is not a type of records; write it as TXT, or TXT(4) for at most four at one name'"
type RecordTypeLimit string

// Peers are who may do something: whoever signs with one of the keys, and whoever comes from one of the prefixes.
type Peers struct {
	// keyRefs are TSIGKeys in this namespace.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	KeyRefs []LocalReference `json:"keyRefs,omitempty"`
	// prefixes of addresses. They count only where the client's address is proven: see the documentation of exposures.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Prefixes []Prefix `json:"prefixes,omitempty"`
}

// NotifyTarget is a server that is told of changes (NOTIFY, RFC 1996).
type NotifyTarget struct {
	// address of the server.
	Address Address `json:"address"`
	// port of the server.
	// +optional
	// +kubebuilder:default=53
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// keyRef is a TSIGKey with which the message is signed.
	// +optional
	KeyRef *LocalReference `json:"keyRef,omitempty"`
}

// Propagation withholds the answer to an update until secondaries serve it. It is durable before that in any case.
type Propagation struct {
	// secondaries that must serve an update.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Secondaries int32 `json:"secondaries"`
	// limit is the longest wait; after it the answer says how many secondaries serve the update.
	// +optional
	// +kubebuilder:default="2s"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('10s')",messageExpression="'limit is ' + self + '; use 1ms to 10s'"
	Limit metav1.Duration `json:"limit,omitzero"`
}

// ZoneStatus is what a Zone is.
type ZoneStatus struct {
	// observedGeneration is the generation of spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// summary says in one line whether the zone works, and if not, what to do.
	// +optional
	Summary string `json:"summary,omitempty"`
	// conditions: Ready sums up Accepted (may be there), Programmed (the primaries have it as spec says) and Published (they serve it).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// serial of the zone when the operator last looked.
	// +optional
	Serial int64 `json:"serial,omitempty"`
	// records of the zone when the operator last looked.
	// +optional
	Records int64 `json:"records,omitempty"`
	// incarnation tells a zone from one of the same name that was deleted.
	// +optional
	Incarnation int64 `json:"incarnation,omitempty"`
	// secondaries that serve it, of those that are registered, when the operator last looked: 2/2.
	// +optional
	Secondaries string `json:"secondaries,omitempty"`
	// tenant is the rule of the cluster's allowedNamespaces by which the zone is there.
	// +optional
	Tenant string `json:"tenant,omitempty"`
}
