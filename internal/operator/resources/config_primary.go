package resources

import (
	"fmt"
	"path"

	"github.com/zonekeeper/zonekeeper/internal/primary"
)

// Bounds of the log's store: a quarter of the volume, because a rewritten store, the write-ahead log and checkpoints want room as well.
const (
	minLogQuota = 64 << 20
	maxLogQuota = 2 << 30
)

// primaryConfig is what primary i reads.
func (in Input) primaryConfig(i int) primary.Config {
	s := in.Cluster.Spec
	c := primary.DefaultConfig()
	c.Name = Member(i)
	c.Dir = pathData
	c.ClusterKeyFile = path.Join(pathClusterKey, fileClusterKey)
	c.DNS.Listen = in.listen(portDNS)
	c.DNS.ListenFront = in.listen(portFront)
	c.DNS.FrontTLSCert = path.Join(pathTLS, fileCert)
	c.DNS.FrontTLSKey = path.Join(pathTLS, fileKey)
	c.DNS.FrontTLSClientCA = path.Join(pathTLS, fileFrontCA)
	c.DNS.ProxyKeyFile = path.Join(pathFrontKey, fileFrontKey)
	c.Admin.Listen = in.listenOne(portAdmin)
	c.Admin.TLSCert = path.Join(pathTLS, fileCert)
	c.Admin.TLSKey = path.Join(pathTLS, fileKey)
	c.Admin.TLSClientCA = path.Join(pathTLS, fileCA)
	if n := max(in.State.Peers, i+1); n > 1 {
		c.Admin.Peers = map[string]string{}
		for j := range n {
			c.Admin.Peers[Member(j)] = url(in.primaryHost(j), portAdmin)
		}
	}
	c.Named.Dir = pathNamed
	c.Named.Listen = fmt.Sprintf("127.0.0.1:%d", portNamed)
	c.Named.ControlPort = portControl
	c.Etcd.CA = path.Join(pathLogTLS, fileCA)
	c.Etcd.Cert = path.Join(pathLogTLS, fileCert)
	c.Etcd.Key = path.Join(pathLogTLS, fileKey)
	if l := s.ExternalLog; l != nil {
		c.Etcd.Endpoints, c.Etcd.Prefix = l.Endpoints, l.Prefix
	} else {
		in.memberConfig(i, &c.Etcd)
	}
	c.LogLevel, c.LogFormat = orInfo(s.LogLevel), "json"
	return c
}

func (in Input) memberConfig(i int, e *primary.EtcdConfig) {
	e.PeerURL = url(in.primaryHost(i), portLogPeer)
	e.ClientURL = url(in.primaryHost(i), portLogClient)
	e.ListenPeerURL = "https://" + in.listenOne(portLogPeer)
	e.ListenClientURL = "https://" + in.listenOne(portLogClient)
	e.Token = in.State.Token
	e.Bootstrap = !in.State.Formed && i < in.State.Initial
	e.InitialCluster = map[string]string{Member(i): e.PeerURL}
	for j := range in.State.Initial {
		e.InitialCluster[Member(j)] = url(in.primaryHost(j), portLogPeer)
	}
	e.PeerClientURLs = map[string]string{}
	for j := range max(in.State.Members, in.State.Initial) {
		e.PeerClientURLs[Member(j)] = url(in.primaryHost(j), portLogClient)
	}
	size := in.Cluster.Spec.Primaries.Storage.Size
	e.QuotaBytes = min(max(size.Value()/4, minLogQuota), maxLogQuota)
}

// primaryFiles are the configurations of all primaries by file name, and the digest of what makes them restart.
func (in Input) primaryFiles() (files map[string]string, restart string, err error) {
	files = map[string]string{}
	for i := range in.State.Members {
		c := in.primaryConfig(i)
		if files[in.PrimaryPod(i)+".json"], err = sparse(c, primary.DefaultConfig()); err != nil {
			return nil, "", err
		}
	}
	// What only an empty disk asks for changes while members come and go, and nobody needs to restart for it.
	c := in.primaryConfig(0)
	c.Etcd.Bootstrap, c.Etcd.InitialCluster, c.Etcd.PeerClientURLs = false, nil, nil
	text, err := sparse(c, primary.DefaultConfig())
	return files, digest(text), err
}

func orInfo(level string) string {
	if level == "" {
		return "info"
	}
	return level
}
