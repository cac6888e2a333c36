package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BindCluster is one highly available address for DNS updates (RFC 2136): hidden primaries that share one replicated log, secondaries
// that serve the zones to the world, and the addresses by which clients reach the primaries.
//
// The smallest one is: spec: {exposures: [{name: updates, type: ClusterIP}]}. Then create a Zone and a TSIGKey that refer to it.
// Content of zones belongs to those who send updates; no controller stands between them and the primaries.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.secondaries.replicas,statuspath=.status.secondaries.replicas,selectorpath=.status.secondaries.selector
// +kubebuilder:resource:shortName=bindc,categories=zonekeeper
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Primaries",type=string,JSONPath=`.status.primaries.summary`
// +kubebuilder:printcolumn:name="Secondaries",type=string,JSONPath=`.status.secondaries.summary`
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.status.addresses[0].addresses[0]`
// +kubebuilder:printcolumn:name="Zones",type=integer,JSONPath=`.status.zones`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Version",type=string,priority=1,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40",messageExpression="'metadata.name \"' + self.metadata.name + '\" has more than 40 characters; use at most 40: names of pods and Services begin with it'"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')",messageExpression="'metadata.name \"' + self.metadata.name + '\" can not begin the names of Services; use a letter, then letters (lower case), digits and \"-\"'"
type BindCluster struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what you want.
	// +optional
	// +kubebuilder:default={}
	Spec BindClusterSpec `json:"spec,omitzero"`
	// status is what there is; the operator writes it.
	// +optional
	Status BindClusterStatus `json:"status,omitzero"`
}

// BindClusterList is a list of BindClusters.
//
// +kubebuilder:object:root=true
type BindClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BindCluster `json:"items"`
}

// BindClusterSpec is what a BindCluster shall be.
//
// +kubebuilder:validation:XValidation:rule="has(self.externalLog) == has(oldSelf.externalLog)",message="externalLog can be set at creation only: the log does not move between etcds; make another BindCluster and import the zones there"
type BindClusterSpec struct {
	// primaries are the hidden primaries: they take updates, each holds all data, and a majority of them must be up.
	// +optional
	// +kubebuilder:default={}
	Primaries PrimariesSpec `json:"primaries,omitzero"`

	// secondaries serve the zones to the world; they have no part in updates.
	// +optional
	// +kubebuilder:default={}
	Secondaries SecondariesSpec `json:"secondaries,omitzero"`

	// exposures are the ways by which clients reach the primaries. Several at once are allowed: to move clients from one address to
	// another add the new one, move them, then remove the old one.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Exposures []Exposure `json:"exposures,omitempty"`

	// limits bound what one client can take at an exposure, so that it takes nothing from others.
	// +optional
	// +kubebuilder:default={}
	Limits ClientLimits `json:"limits,omitzero"`

	// zoneDefaults hold for every Zone that does not say otherwise.
	// +optional
	ZoneDefaults *ZoneDefaults `json:"zoneDefaults,omitempty"`

	// allowedNamespaces says from which other namespaces a Zone or TSIGKey may refer to this cluster, and for which names. Its own
	// namespace always may, without limits. Of several rules that match a namespace the first one counts.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	AllowedNamespaces []AllowedNamespaces `json:"allowedNamespaces,omitempty"`

	// externalLog keeps the log in an etcd that you run, instead of in the primaries.
	// +optional
	ExternalLog *ExternalLog `json:"externalLog,omitempty"`

	// backup is where ScheduledBackups of this cluster are stored.
	// +optional
	Backup *BackupDestination `json:"backup,omitempty"`

	// images of the pods. The operator's own version decides where nothing is given.
	// +optional
	// +kubebuilder:default={}
	Images Images `json:"images,omitzero"`

	// certificates says who signs for the connections between the parts of the cluster.
	// +optional
	// +kubebuilder:default={}
	Certificates Certificates `json:"certificates,omitzero"`

	// networkPolicy says by which kind of objects traffic is narrowed to what the cluster needs. Kubernetes: NetworkPolicies. Cilium: as
	// well CiliumNetworkPolicies, which can name nodes; with VIP exposures on Cilium nothing else does. None: nothing.
	// +optional
	// +kubebuilder:validation:Enum=Kubernetes;Cilium;None
	// +kubebuilder:default=Kubernetes
	NetworkPolicy string `json:"networkPolicy,omitempty"`

	// ipFamilies of Services and pods, the first one preferred; what the Kubernetes cluster itself offers.
	// +optional
	// +listType=atomic
	// +kubebuilder:default={IPv4}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="size(self) < 2 || self[0] != self[1]",messageExpression="'ipFamilies has ' + self[0] + ' twice; remove one, or use IPv4 and IPv6'"
	IPFamilies []IPFamily `json:"ipFamilies,omitempty"`

	// monitoredFrom selects the namespaces from which metrics may be read.
	// +optional
	MonitoredFrom *metav1.LabelSelector `json:"monitoredFrom,omitempty"`

	// logLevel of all pods.
	// +optional
	// +kubebuilder:validation:Enum=debug;info;warn;error
	// +kubebuilder:default=info
	LogLevel string `json:"logLevel,omitempty"`

	// paused stops the operator from changing anything about this cluster; status goes on. Updates never depend on the operator.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// deletionPolicy of volumes and of the cluster key. Retain: they outlive this object, and one of the same name resumes with all
	// zones. Delete: everything goes with it, for good.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// IPFamily is IPv4 or IPv6.
//
// +kubebuilder:validation:Enum=IPv4;IPv6
type IPFamily string

// PrimariesSpec describes the primaries.
type PrimariesSpec struct {
	// replicas is 1, 3 or 5. Three survive the loss of one, five of two; one has no redundancy. Changing it adds or removes members of the
	// log one at a time.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:XValidation:rule="self in [1, 3, 5]",message="use 1, 3 or 5: an even number survives no more failures than the odd number below it"
	Replicas int32 `json:"replicas,omitempty"`

	// storage of each primary: the log and checkpoints.
	// +optional
	// +kubebuilder:default={}
	Storage Storage `json:"storage,omitzero"`

	// namedMemory bounds the memory-backed volume in which a primary's BIND keeps its files. About four times the size of all zones as text.
	// +optional
	// +kubebuilder:default="512Mi"
	NamedMemory resource.Quantity `json:"namedMemory,omitzero"`

	// resources of each primary's container. The memory-backed volume counts as its memory.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`

	// placement of the pods.
	// +optional
	// +kubebuilder:default={nodes: Required, zones: Preferred}
	Placement Placement `json:"placement,omitzero"`
}

// SecondariesSpec describes the secondaries.
type SecondariesSpec struct {
	// replicas is the number of secondaries. It is this object's scale, so that a HorizontalPodAutoscaler can set it.
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 64",message="use 0 to 64 secondaries"
	Replicas int32 `json:"replicas"`

	// storage of each secondary: the zones, which it serves on from there while no primary can be reached.
	// +optional
	// +kubebuilder:default={}
	Storage Storage `json:"storage,omitzero"`

	// resources of each secondary's container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`

	// service is how the world reaches each secondary. Each has a Service of its own, whose address does not move: put it behind one NS name.
	// +optional
	// +kubebuilder:default={}
	Service SecondaryService `json:"service,omitzero"`

	// maxLag is the age of the oldest change not served yet from which on a secondary is not ready.
	// +optional
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('100ms')",messageExpression="'maxLag is ' + self + '; use 100ms or more'"
	MaxLag metav1.Duration `json:"maxLag,omitzero"`

	// placement of the pods.
	// +optional
	// +kubebuilder:default={nodes: Preferred, zones: Preferred}
	Placement Placement `json:"placement,omitzero"`
}

// SecondaryService is the Service before each secondary.
type SecondaryService struct {
	// type of the Services.
	// +optional
	// +kubebuilder:validation:Enum=ClusterIP;LoadBalancer;NodePort
	// +kubebuilder:default=ClusterIP
	Type string `json:"type,omitempty"`
	// annotations for the Services, as the cloud's load balancers want them.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]string `json:"annotations,omitempty"`
	// loadBalancerClass of the Services, with type LoadBalancer.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	LoadBalancerClass string `json:"loadBalancerClass,omitempty"`
	// clientAddresses is preserved when BIND sees the clients' own addresses: response rate limiting is on then. With hidden all clients
	// of a node share one address and there is none. preserved with LoadBalancer or NodePort sets externalTrafficPolicy: Local.
	// +optional
	// +kubebuilder:validation:Enum=preserved;hidden
	// +kubebuilder:default=hidden
	ClientAddresses string `json:"clientAddresses,omitempty"`
}

// Placement says where the pods of one kind run.
type Placement struct {
	// nodes: no two on one node. Required is what makes the loss of a node harmless; Preferred is for clusters with fewer nodes.
	// +optional
	// +kubebuilder:default=Preferred
	Nodes Strictness `json:"nodes,omitempty"`
	// zones: spread over availability zones (topology.kubernetes.io/zone). Required survives the loss of a zone from three zones on.
	// +optional
	// +kubebuilder:default=Preferred
	Zones Strictness `json:"zones,omitempty"`
	// nodeSelector: only nodes with these labels.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []Toleration `json:"tolerations,omitempty"`
	// priorityClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// ClientLimits bound one client, that is an IPv4 address or an IPv6 /64, at each front pod.
type ClientLimits struct {
	// connections over TCP, of all clients.
	// +optional
	// +kubebuilder:default=10000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Connections int32 `json:"connections,omitempty"`
	// connectionsPerAddress at once, of one client.
	// +optional
	// +kubebuilder:default=200
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	ConnectionsPerAddress int32 `json:"connectionsPerAddress,omitempty"`
	// datagramsPerSecond of one client.
	// +optional
	// +kubebuilder:default=2000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	DatagramsPerSecond int32 `json:"datagramsPerSecond,omitempty"`
	// exempt prefixes have no limits: many clients behind one address translation look like one.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Exempt []Prefix `json:"exempt,omitempty"`
}

// ZoneDefaults hold for Zones that do not say otherwise.
type ZoneDefaults struct {
	// nameServers are the apex NS records of a new zone.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=13
	NameServers []NameServer `json:"nameServers,omitempty"`
	// mailbox is the SOA's RNAME of a new zone, as a domain name: hostmaster.example.org for hostmaster@example.org.
	// +optional
	Mailbox DomainName `json:"mailbox,omitempty"`
	// propagation is how many secondaries serve an update before it is acknowledged.
	// +optional
	Propagation *Propagation `json:"propagation,omitempty"`
}

// AllowedNamespaces lets a tenant's namespaces use the cluster.
//
// +kubebuilder:validation:XValidation:rule="(self.from == 'Selector') == has(self.selector)",messageExpression="'allowedNamespaces \"' + self.name + '\" has from: ' + self.from + (has(self.selector) ? ' and a selector; remove the selector, or use from: Selector' : ' and no selector; give one, or use from: All')"
type AllowedNamespaces struct {
	// name of the rule: the tenant. Its quota is shared by all of its namespaces.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// from: All namespaces, or those that selector matches.
	// +kubebuilder:validation:Enum=All;Selector
	From string `json:"from"`
	// selector of namespaces by their labels. A tenant must not be able to set these labels: kubernetes.io/metadata.name is safe.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// zoneSuffixes: its zones are these names or below them.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	ZoneSuffixes []DomainName `json:"zoneSuffixes"`
	// quota of the tenant; without one nothing is bounded.
	// +optional
	Quota *Quota `json:"quota,omitempty"`
}

// Quota bounds a tenant.
type Quota struct {
	// zones is the number of Zones.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Zones *int32 `json:"zones,omitempty"`
	// records is the number of records in all of its zones together.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Records *int64 `json:"records,omitempty"`
	// updatesPerSecond is the rate of updates signed with its keys, all of them together, at all primaries together; bursts of a second's worth pass. What is
	// beyond it gets SERVFAIL, is not applied, and can be sent again.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	UpdatesPerSecond *int32 `json:"updatesPerSecond,omitempty"`
}

// ExternalLog is an etcd that you run.
//
// +kubebuilder:validation:XValidation:rule="self.prefix == oldSelf.prefix",messageExpression="'prefix can not change from ' + oldSelf.prefix + ' to ' + self.prefix + ': everything is below it; set it back'"
type ExternalLog struct {
	// endpoints are etcd's client URLs.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=9
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="isURL(self) && url(self).getScheme() == 'https' && url(self).getPort() != ''",messageExpression="'\"' + self + '\" is not an etcd with TLS; write https://host:2379'"
	Endpoints []string `json:"endpoints"`
	// prefix of all keys. No other cluster may have the same one.
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",messageExpression="'prefix \"' + self + '\" must begin with \"/\", such as /zonekeeper/production'"
	Prefix string `json:"prefix"`
	// certificate is a Secret of type kubernetes.io/tls with ca.crt beside it, which etcd accepts.
	Certificate LocalReference `json:"certificate"`
}

// BackupDestination is an S3 bucket.
type BackupDestination struct {
	// endpoint is the URL of the object store.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() == 'https'",messageExpression="'endpoint \"' + self + '\" is not an https URL; write it as https://s3.example.org'"
	Endpoint string `json:"endpoint"`
	// bucket must exist.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	Bucket string `json:"bucket"`
	// prefix of all objects in the bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Prefix string `json:"prefix,omitempty"`
	// region, where the object store wants one.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Region string `json:"region,omitempty"`
	// credentials is a Secret with the entries access-key-id and secret-access-key.
	Credentials LocalReference `json:"credentials"`
}

// Images are the images of the pods.
type Images struct {
	// zonekeeper has our program, BIND, HAProxy and keepalived. The operator's default when empty; give a digest (name@sha256:…) to pin it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Zonekeeper string `json:"zonekeeper,omitempty"`
	// bind is any image with BIND 9.18 or later (named and rndc in $PATH). Our static program is put into it by an init container, so
	// that a fix of BIND waits for nobody. Empty: BIND of the image zonekeeper.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Bind string `json:"bind,omitempty"`
	// pullPolicy of all of them.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	// +kubebuilder:default=IfNotPresent
	PullPolicy corev1.PullPolicy `json:"pullPolicy,omitempty"`
	// pullSecrets for private registries.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	PullSecrets []LocalReference `json:"pullSecrets,omitempty"`
}

// Certificates says who signs.
type Certificates struct {
	// issuer is cert-manager's Issuer or ClusterIssuer of CA certificates for this cluster. Without it the operator makes CAs of its own,
	// and renews what they signed.
	// +optional
	Issuer *IssuerReference `json:"issuer,omitempty"`
}

// IssuerReference names an issuer of cert-manager.
type IssuerReference struct {
	// name of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// kind of the issuer.
	// +optional
	// +kubebuilder:validation:Enum=Issuer;ClusterIssuer
	// +kubebuilder:default=Issuer
	Kind string `json:"kind,omitempty"`
}
