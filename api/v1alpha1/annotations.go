package v1alpha1

// Annotations that users set.
const (
	// AnnotationAdopt "true" on a Zone or TSIGKey in the namespace of its cluster takes over what the command line made under its name. The operator
	// removes it when that is done.
	AnnotationAdopt = Group + "/adopt"
	// AnnotationRotateBefore on a TSIGKey is a time (RFC 3339): a secret that is older is replaced now.
	AnnotationRotateBefore = Group + "/rotate-before"
)
