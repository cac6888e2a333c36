package v1alpha1

// Annotations that users set.
const (
	// AnnotationAdopt "true" on a Zone or TSIGKey in the namespace of its cluster takes over what the command line made under its name. The operator
	// removes it when that is done.
	AnnotationAdopt = Group + "/adopt"
	// AnnotationReplaceCAs on a BindCluster is a time (RFC 3339): CAs of the operator that are older get a new key, without a moment in which anybody is not
	// believed. It takes about a quarter of an hour and two rollouts of the primaries.
	AnnotationReplaceCAs = Group + "/replace-cas-before"
	// AnnotationRotateBefore on a TSIGKey is a time (RFC 3339): a secret that is older is replaced now.
	AnnotationRotateBefore = Group + "/rotate-before"
)
