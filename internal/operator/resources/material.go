package resources

import (
	"slices"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Random is a value that is made once: 32 random octets in base64, on one line.
type Random struct {
	// Secret, in the cluster's namespace, has it as File.
	Secret, File string
	// Outlives: what is encrypted or signed with it is on the cluster's volumes, so it stays when they stay.
	Outlives bool
	// Sealing: without it the log can't be read. When it is lost nothing replaces it.
	Sealing bool
}

// Randoms lists all of the cluster.
func Randoms(in Input) []Random {
	s := in.secrets()
	out := []Random{
		{Secret: s.clusterKey, File: fileClusterKey, Outlives: true, Sealing: true},
		{Secret: s.frontKey, File: fileFrontKey},
	}
	for i := range int(in.Cluster.Spec.Secondaries.Replicas) {
		out = append(out, Random{Secret: s.secondaryKeys, File: SecondarySecretFile(i), Outlives: true})
	}
	return out
}

// SecondarySecretFile is the entry with the TSIG secret of secondary i.
func SecondarySecretFile(i int) string { return Registered(i) + nameOfSecretFile }

// SecondaryKeys is the Secret with the secondaries' TSIG secrets, whether or not there are any.
func (in Input) SecondaryKeys() string { return in.secrets().secondaryKeys }

// Bootstrap is the Secret with the cluster's State.
func (in Input) Bootstrap() string { return in.Cluster.Name + "-bootstrap" }

// AuthoritySecret is the Secret with a CA's certificate and key.
func (in Input) AuthoritySecret(a Authority) string { return in.Cluster.Name + "-ca-" + string(a) }

// Authorities of the cluster. The log's is its owner's business where that is external.
func Authorities(in Input) []Authority {
	if in.external() {
		return []Authority{AdminAuthority, FrontAuthority}
	}
	return []Authority{AdminAuthority, LogAuthority, FrontAuthority}
}

// HasVIP says that objects of the cluster are in the fronts' namespace.
func (in Input) HasVIP() bool {
	return in.Settings.FrontNamespace != "" &&
		slices.ContainsFunc(in.Cluster.Spec.Exposures, func(e v1alpha1.Exposure) bool { return e.Type == v1alpha1.ExposureVIP })
}

// FrontSecrets are the Secrets that fronts of VIPs mount. Their copies in the fronts' namespace are called Outside(name).
func (in Input) FrontSecrets() []string {
	s := in.secrets()
	return []string{s.frontTLS, s.frontKey}
}

// OutsideLabels are those of objects in the fronts' namespace.
func (in Input) OutsideLabels() map[string]string {
	return with(in.Labels(ComponentFront), LabelClusterNamespace, in.Cluster.Namespace)
}
