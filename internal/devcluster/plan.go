package devcluster

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/zonekeeper/zonekeeper/internal/primary"
)

// Names of the files below the cluster's directory.
const (
	planFile       = "cluster.json"
	clusterKeyFile = "cluster.key"
	keyName        = "dev-key."
	keyAlgorithm   = "hmac-sha256"
	secretSize     = 32
)

// plan is what must be the same each time a cluster is started on its directory:
// addresses are part of etcd's membership, and the token says which cluster it is.
type plan struct {
	Version   int    `json:"version"`
	Base      int    `json:"base_port"`
	Listen    string `json:"listen"`
	Primaries int    `json:"primaries"`
	// Secondaries run now. SecondarySecrets are the TSIG secrets of all that ever did.
	Secondaries      int      `json:"secondaries,omitempty"`
	SecondarySecrets []string `json:"secondary_secrets,omitempty"`

	Token  string `json:"token"`
	Secret string `json:"key_secret"`
	// Etcd is where the log is, in the words of the flags. It is absent from files of before there was a choice.
	Etcd string `json:"etcd,omitempty"`
	// Formed says that the cluster exists: from then on a member with an empty disk
	// joins it and never bootstraps another one.
	Formed bool `json:"formed"`
}

const planVersion = 1

// loadPlan reads the plan of a directory, or makes and stores the first one.
func loadPlan(c Config) (p plan, err error) {
	path := filepath.Join(c.Dir, planFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newPlan(c)
	}
	if err != nil {
		return plan{}, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return plan{}, fmt.Errorf("%s: %w; it is not a cluster's file: choose another --dir", path, err)
	}
	if p.Version != planVersion {
		return plan{}, fmt.Errorf("%s: version %d, this program knows %d; use the program that wrote it, or another --dir", path, p.Version, planVersion)
	}
	if p.Primaries != c.Primaries {
		return plan{}, fmt.Errorf("%s: the cluster has %d primaries, not %d; say --primaries %d or choose another --dir", path, p.Primaries, c.Primaries, p.Primaries)
	}
	if p.Etcd == "" {
		p.Etcd = (Config{Etcd: EtcdEmbedded}).etcdKind()
	}
	if kind := c.etcdKind(); p.Etcd != kind {
		return plan{}, fmt.Errorf("%s: the cluster was made with %s, not with %s: its log is there; say %s or choose another --dir", path, p.Etcd, kind, p.Etcd)
	}
	changed, err := p.resize(c.Secondaries, c.Listen)
	if err != nil {
		return plan{}, err
	}
	if changed {
		err = writeJSON(path, p)
	}
	return p, err
}

// Made says whether a directory holds a cluster that Start would resume, and how many primaries and secondaries that has.
func Made(dir string) (primaries, secondaries int, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, planFile))
	if err != nil {
		return 0, 0, false
	}
	var p plan
	if err := json.Unmarshal(b, &p); err != nil {
		return 0, 0, false // Start says what is wrong with it
	}
	return p.Primaries, p.Secondaries, true
}

// newPlan decides ports and secrets, and writes the cluster's key before the plan:
// a plan on disk means that its key is there.
func newPlan(c Config) (plan, error) {
	base := c.Port
	var err error
	if base == 0 {
		base, err = freeBase(c.Primaries, c.Secondaries, c.Listen)
	} else if err = allFree(base, c.Primaries, c.Secondaries, c.Listen); err != nil {
		err = fmt.Errorf("ports from %d on: %w; stop what uses them, or choose another --port (0 picks free ones)", base, err)
	}
	if err != nil {
		return plan{}, err
	}
	p := plan{
		Version: planVersion, Base: base, Listen: c.Listen.String(), Primaries: c.Primaries,
		Token: hex.EncodeToString(random(16)), Secret: base64.StdEncoding.EncodeToString(random(secretSize)),
		Etcd: c.etcdKind(),
	}
	if _, err := p.resize(c.Secondaries, c.Listen); err != nil {
		return plan{}, err
	}
	sealing := base64.StdEncoding.EncodeToString(random(secretSize)) + "\n"
	if err := writeAtomic(filepath.Join(c.Dir, clusterKeyFile), []byte(sealing)); err != nil {
		return plan{}, err
	}
	return p, writeJSON(filepath.Join(c.Dir, planFile), p)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// member is one primary of the plan.
type member struct {
	name   string
	config primary.Config
}

func (m member) dns() netip.AddrPort { return netip.MustParseAddrPort(m.config.DNS.Listen[0]) }

func (m member) adminURL() string {
	if m.config.Admin.TLSCert != "" {
		return "https://" + m.config.Admin.Listen
	}
	return "http://" + m.config.Admin.Listen
}

// configPath is where the member's own process reads its configuration.
func (m member) configPath(dir string) string { return filepath.Join(dir, m.name, "primary.json") }

// members derives every primary's configuration. Pure, if Adjust is.
func (p plan) members(c Config) []member {
	peers, clients, admins := map[string]string{}, map[string]string{}, map[string]string{}
	for i := range p.Primaries {
		name := "primary-" + strconv.Itoa(i)
		peers[name] = "http://" + p.addr(i, offsetPeer)
		clients[name] = "http://" + p.addr(i, offsetClient)
		admins[name] = "http://" + p.addr(i, offsetAdmin)
	}
	var l []member
	for i := range p.Primaries {
		name := "primary-" + strconv.Itoa(i)
		dir := filepath.Join(c.Dir, name)
		pc := primary.DefaultConfig()
		pc.Name = name
		pc.Dir = filepath.Join(dir, "data")
		pc.ClusterKeyFile = filepath.Join(c.Dir, clusterKeyFile)
		pc.DNS.Listen = []string{p.addr(i, offsetDNS)}
		pc.Admin.Listen = p.addr(i, offsetAdmin)
		pc.Admin.Peers = admins
		pc.Named.Path = c.Named
		pc.Named.Dir = filepath.Join(dir, "named")
		if c.NamedDir != "" {
			pc.Named.Dir = filepath.Join(c.NamedDir, name)
		}
		pc.Named.Listen = p.addr(i, offsetNamed)
		pc.Named.ControlPort = primaryPort(p.Base, i, offsetControl)
		if c.Etcd == EtcdExternal {
			pc.Etcd = p.externalEtcd(c)
		} else {
			pc.Etcd.Name = name
			pc.Etcd.DataDir = filepath.Join(dir, "etcd")
			pc.Etcd.PeerURL = peers[name]
			pc.Etcd.ClientURL = clients[name]
			pc.Etcd.InitialCluster = peers
			pc.Etcd.PeerClientURLs = clients
			pc.Etcd.Token = p.Token
			pc.Etcd.Bootstrap = !p.Formed
		}
		if c.Adjust != nil {
			c.Adjust(&pc)
		}
		l = append(l, member{name: name, config: pc})
	}
	return l
}

func (p plan) addr(i, offset int) string {
	host := "127.0.0.1"
	if offset == offsetDNS {
		host = p.Listen
	}
	return net.JoinHostPort(host, strconv.Itoa(primaryPort(p.Base, i, offset)))
}

// relay is the address that clients use.
func (p plan) relay() netip.AddrPort {
	return netip.MustParseAddrPort(net.JoinHostPort(p.Listen, strconv.Itoa(p.Base)))
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return writeAtomic(path, append(b, '\n'))
}

// writeAtomic replaces a file so that a reader sees the old or the new one, whole.
// All files of a cluster may hold secrets: only the owner reads them.
func writeAtomic(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, werr := f.Write(b)
	err = errors.Join(werr, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
