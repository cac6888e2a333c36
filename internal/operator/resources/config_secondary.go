package resources

import (
	"fmt"
	"path"

	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
)

// secondaryConfig is what secondary i reads.
func (in Input) secondaryConfig(i int) secondary.Config {
	s := in.Cluster.Spec
	c := secondary.DefaultConfig()
	c.Name = Registered(i)
	c.Dir = pathData
	c.DNS.Listen = in.listen(portDNS)
	if a := s.Secondaries.Service.ClientAddresses; a != "" {
		c.DNS.ClientAddresses = a
	}
	c.Admin.Listen = in.listenOne(portAdmin)
	c.Admin.Advertise = fmt.Sprintf("%s:%d", in.secondaryHost(i), portAdmin)
	c.Admin.TLSCert = path.Join(pathTLS, Registered(i)+".crt")
	c.Admin.TLSKey = path.Join(pathTLS, Registered(i)+".key")
	c.Admin.TLSClientCA = path.Join(pathTLS, fileCA)
	for j := range in.State.Peers {
		c.Primaries = append(c.Primaries, secondary.PrimaryConfig{
			Name: Member(j), DNS: fmt.Sprintf("%s:%d", in.primaryHost(j), portDNS), Admin: url(in.primaryHost(j), portAdmin),
		})
	}
	c.Key.Name = SecondaryKey(i)
	c.Key.SecretFile = path.Join(pathKeys, Registered(i)+nameOfSecretFile)
	c.Named.Listen = fmt.Sprintf("127.0.0.1:%d", portNamed)
	c.Named.ControlPort = portControl
	if d := s.Secondaries.MaxLag.Duration; d > 0 {
		c.MaxLag = conf.Duration(d)
	}
	c.LogLevel, c.LogFormat = orInfo(s.LogLevel), "json"
	return c
}

// secondaryFiles are the configurations of all secondaries by file name, and the digest of what makes them restart.
func (in Input) secondaryFiles() (files map[string]string, restart string, err error) {
	files = map[string]string{}
	for i := range int(in.Cluster.Spec.Secondaries.Replicas) {
		c := in.secondaryConfig(i)
		if files[in.secondaryPod(i)+".json"], err = sparse(c, secondary.DefaultConfig()); err != nil {
			return nil, "", err
		}
	}
	text, err := sparse(in.secondaryConfig(0), secondary.DefaultConfig())
	return files, digest(text), err
}
