package v1alpha1

// Conditions of a BindCluster. True is good in all of them.
const (
	// ConditionReady sums up the other conditions; of every kind.
	ConditionReady = "Ready"
	// ConditionWritable: a majority of primaries takes updates.
	ConditionWritable = "Writable"
	// ConditionConsistent: no replica differs from another.
	ConditionConsistent = "Consistent"
	// ConditionSecondariesCurrent: every secondary is ready and has what primaries have.
	ConditionSecondariesCurrent = "SecondariesCurrent"
	// ConditionExposed: every exposure has an address and a ready front.
	ConditionExposed = "Exposed"
	// ConditionCertificatesValid: no certificate ends soon.
	ConditionCertificatesValid = "CertificatesValid"
	// ConditionRolledOut: every pod runs what spec says.
	ConditionRolledOut = "RolledOut"
)

// Conditions of Zones, TSIGKeys, VirtualIPs and ScheduledBackups, besides Ready.
const (
	// ConditionAccepted: the cluster lets this object use it.
	ConditionAccepted = "Accepted"
	// ConditionProgrammed: the primaries have what spec says.
	ConditionProgrammed = "Programmed"
	// ConditionPublished: a Zone: every primary serves it; a VirtualIP: one node has the address.
	ConditionPublished = "Published"
	// ConditionNetworkReady: a VirtualIP: the network below the nodes lets its addresses through.
	ConditionNetworkReady = "NetworkReady"
	// ConditionFrontsReady: a VirtualIP: the addresses would survive the loss of a node.
	ConditionFrontsReady = "FrontsReady"
)

// Reasons that every kind uses.
const (
	ReasonHealthy     = "Healthy"
	ReasonPending     = "Pending"     // the operator has not come to it yet
	ReasonPaused      = "Paused"      // spec.paused
	ReasonUnreachable = "Unreachable" // no primary answers the operator; updates may go on all the same
	ReasonInvalid     = "Invalid"     // spec can't be obeyed; the message says what to change
)

// Reasons of BindClusters.
const (
	ReasonBootstrapping       = "Bootstrapping"       // the first start waits for all primaries
	ReasonMembersMissing      = "MembersMissing"      // fewer primaries are ready than wanted, a majority is
	ReasonQuorumLost          = "QuorumLost"          // no majority: updates are answered SERVFAIL
	ReasonReplicaDiffers      = "ReplicaDiffers"      // a minority differs and reloads
	ReasonNoMajorityState     = "NoMajorityState"     // no strict majority has one state: all stopped
	ReasonScaling             = "Scaling"             // a member joins or leaves
	ReasonRollingOut          = "RollingOut"          // one pod after another gets the new template
	ReasonRolloutHeld         = "RolloutHeld"         // the gate is closed; the message says for what it waits
	ReasonRolloutStopped      = "RolloutStopped"      // what runs already differs from the rest: nothing more is rolled out
	ReasonSecondariesBehind   = "SecondariesBehind"   //
	ReasonRemovalHeld         = "RemovalHeld"         // secondaries hold a catalog that removes most zones
	ReasonNoAddress           = "NoAddress"           // an exposure waits for its address
	ReasonFrontsMissing       = "FrontsMissing"       // an exposure has no ready front
	ReasonCertificateEnding   = "CertificateEnding"   // less than a third of its life is left and it could not be renewed
	ReasonKeyMissing          = "KeyMissing"          // the Secret with the cluster key is gone: no pod may start without it
	ReasonImageCannotRun      = "ImageCannotRun"      // a pod of the new template does not start
	ReasonStorageNotExpanding = "StorageNotExpanding" // the storage class refuses to grow volumes
	ReasonStateMissing        = "StateMissing"        // the Secret with the state of the first start is gone, and volumes are there
)

// Reasons of the other kinds.
const (
	ReasonNoSuchCluster       = "NoSuchCluster"       // the BindCluster does not exist
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed" // no rule of allowedNamespaces matches
	ReasonNameNotAllowed      = "NameNotAllowed"      // the name is outside of the tenant's suffixes
	ReasonNameTaken           = "NameTaken"           // another object, or somebody by the command line, has it
	ReasonParentNotConsenting = "ParentNotConsenting" // the zone above belongs to another tenant, which does not list this one
	ReasonQuotaExceeded       = "QuotaExceeded"       //
	ReasonNoSuchKey           = "NoSuchKey"           // a rule names a TSIGKey that does not exist, or is not accepted
	ReasonNoSuchSecret        = "NoSuchSecret"        //
	ReasonBootstrapFailed     = "BootstrapFailed"     // the zone file or the transfer; the message has the lines
	ReasonManagedElsewhere    = "ManagedElsewhere"    // made by the command line; see spec.deletionPolicy and the annotation adopt
	ReasonRotating            = "Rotating"            // two secrets are valid
	ReasonAddressConflict     = "AddressConflict"     // somebody else has the address
	ReasonNotUsed             = "NotUsed"             // a VirtualIP that no exposure names
	ReasonUsedTwice           = "UsedTwice"           // a VirtualIP that several exposures name
	ReasonNoHolder            = "NoHolder"            // no node has the addresses
	ReasonTwoHolders          = "TwoHolders"          // several nodes say that they have the addresses: they do not hear each other
	ReasonNetworkClosed       = "NetworkClosed"       // the network does not let the addresses through; the message says what is missing
)
