package resources

// Authority is a CA of the cluster. Each opens doors of its own, so that what one has signed is nothing worth at the others'.
type Authority string

// Authorities.
const (
	// AdminAuthority signs what shows itself at an admin API: primaries, secondaries, administrators.
	AdminAuthority Authority = "admin"
	// LogAuthority signs the log's members: who has such a certificate can write into the log.
	LogAuthority Authority = "log"
	// FrontAuthority signs fronts: who has such a certificate is believed about clients' addresses.
	FrontAuthority Authority = "front"
)

// Organizational units by which primaries tell restricted certificates from administrators'. They are those of internal/primary.
const (
	UnitSecondary = "zonekeeper-secondary"
	UnitFront     = "zonekeeper-front"
	UnitMonitor   = "zonekeeper-monitor"
	UnitOperator  = "zonekeeper-operator"
)

// Certificate is one that has to be in a Secret.
type Certificate struct {
	// Secret, in the cluster's namespace, has it as CertFile and KeyFile.
	Secret, CertFile, KeyFile string
	Authority                 Authority
	// CommonName and Unit are its subject. A primary takes a secondary's name from there.
	CommonName, Unit string
	// Hosts are the DNS names of the server that shows it; none for clients only.
	Hosts []string
	// Trust are further entries of the Secret: the authority whose certificate each one holds.
	Trust map[string]Authority
}

// Certificates lists all of the cluster. With an external log that one's owner issues the certificate for it.
func Certificates(in Input) []Certificate {
	s, c := in.secrets(), in.Cluster.Name
	var primaries []string
	for i := range maxPrimaries {
		primaries = append(primaries, in.primaryHost(i))
	}
	primaries = append(primaries, in.domain(in.PrimaryName()))
	out := []Certificate{
		{Secret: s.primaryTLS, CertFile: fileCert, KeyFile: fileKey, Authority: AdminAuthority, CommonName: in.PrimaryName(), Hosts: primaries,
			Trust: map[string]Authority{fileCA: AdminAuthority, fileFrontCA: FrontAuthority}},
		{Secret: s.frontTLS, CertFile: fileCert, KeyFile: fileKey, Authority: FrontAuthority, CommonName: in.frontAccount(), Unit: UnitFront,
			Trust: map[string]Authority{fileCA: AdminAuthority}},
		{Secret: OperatorSecret(c), CertFile: fileCert, KeyFile: fileKey, Authority: AdminAuthority, CommonName: "operator", Unit: UnitOperator,
			Trust: map[string]Authority{fileCA: AdminAuthority}},
		{Secret: MonitorSecret(c), CertFile: fileCert, KeyFile: fileKey, Authority: AdminAuthority, CommonName: "monitor", Unit: UnitMonitor,
			Trust: map[string]Authority{fileCA: AdminAuthority}},
	}
	if !in.external() {
		out = append(out, Certificate{Secret: s.logTLS, CertFile: fileCert, KeyFile: fileKey, Authority: LogAuthority, CommonName: in.PrimaryName(),
			Hosts: primaries, Trust: map[string]Authority{fileCA: LogAuthority}})
	}
	for i := range int(in.Cluster.Spec.Secondaries.Replicas) {
		out = append(out, Certificate{Secret: s.secondaryTLS, CertFile: Registered(i) + ".crt", KeyFile: Registered(i) + ".key", Authority: AdminAuthority,
			CommonName: Registered(i), Unit: UnitSecondary, Hosts: []string{in.secondaryHost(i), in.domain(in.SecondaryName())}, Trust: map[string]Authority{fileCA: AdminAuthority}})
	}
	return out
}
