package devcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// InfoFile is the name of the file below the cluster's directory that describes it.
const InfoFile = "dev.json"

// Info is dev.json: scripts and tests outside this program rely on its shape. All
// addresses are address:port.
type Info struct {
	// Endpoint is the relay: any live primary, UDP and TCP.
	Endpoint    string          `json:"endpoint"`
	Key         KeyInfo         `json:"key"`
	Zones       []string        `json:"zones"`
	Primaries   []PrimaryInfo   `json:"primaries"`
	Secondaries []SecondaryInfo `json:"secondaries"`
	// Etcd are the servers of the log when it is external and runs in processes of this cluster.
	Etcd []EtcdInfo `json:"etcd,omitempty"`
}

// KeyInfo is a TSIG key that may do everything with every zone.
type KeyInfo struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Secret    string `json:"secret"` // base64
}

// PrimaryInfo is one primary. PID and NamedPID are 0 while the process is not running.
type PrimaryInfo struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	NamedPID int    `json:"named_pid"`
	DNS      string `json:"dns"`
	NamedDNS string `json:"named_dns"`
	Admin    string `json:"admin"`
}

// SecondaryInfo is one secondary.
type SecondaryInfo struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	NamedPID int    `json:"named_pid"`
	DNS      string `json:"dns"`
	Admin    string `json:"admin"`
}

// EtcdInfo is one server of an external etcd. PID is 0 while the process is not running.
type EtcdInfo struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	Client string `json:"client"` // URL
}

// ReadInfo reads dev.json of a cluster's directory.
func ReadInfo(dir string) (Info, error) {
	path := filepath.Join(dir, InfoFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, fmt.Errorf("%w; start the cluster first: zonekeeper dev --dir %s", err, dir)
	}
	if err != nil {
		return Info{}, err
	}
	var i Info
	if err := json.Unmarshal(b, &i); err != nil {
		return Info{}, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}
