package backup

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Format and FormatVersion begin each manifest. A reader refuses a greater version.
const (
	Format        = "zonekeeper-backup"
	FormatVersion = 1
)

// Names in the archive.
const (
	manifestName = "manifest.json"
	secretsName  = "secrets.age"
	zonesDir     = "zones/"
)

// Manifest says what a backup holds.
type Manifest struct {
	Format        string `json:"format"`
	FormatVersion int    `json:"format_version"`
	// Program is the version that wrote the file, Replica the primary.
	Program string `json:"program"`
	Replica string `json:"replica"`
	// ClusterKeyID tells cluster keys apart; it is no secret.
	ClusterKeyID string `json:"cluster_key_id"`
	// Taken is the primary's clock, LogTime the log's.
	Taken   time.Time `json:"taken"`
	LogTime time.Time `json:"log_time"`
	// LogIndex is the last entry whose effects are in the backup: every zone is as of it.
	LogIndex     uint64 `json:"log_index"`
	StateVersion uint8  `json:"state_version"`

	Limits       fsm.Limits  `json:"limits"`
	Catalog      *Catalog    `json:"catalog,omitempty"`
	Zones        []Zone      `json:"zones"`
	DeletedZones []Deleted   `json:"deleted_zones,omitempty"`
	Keys         []Key       `json:"keys"`
	Secondaries  []Secondary `json:"secondaries,omitempty"`
	// Secrets is nil when the file has none.
	Secrets *SecretsInfo `json:"secrets,omitempty"`
}

// Zone is one zone.
type Zone struct {
	Name string `json:"name"`
	// File is its name in the archive.
	File      string   `json:"file"`
	Serial    uint32   `json:"serial"`
	Records   int      `json:"records"`
	Digest    string   `json:"digest"`
	ManagedBy string   `json:"managed_by,omitempty"`
	Settings  Settings `json:"settings"`
}

// Catalog is the catalog zone. Its content follows from the zones.
type Catalog struct {
	Name      string   `json:"name"`
	Serial    uint32   `json:"serial"`
	ManagedBy string   `json:"managed_by,omitempty"`
	Settings  Settings `json:"settings"`
}

// Deleted is a zone that was deleted, and the highest serial that it had.
type Deleted struct {
	Name   string `json:"name"`
	Serial uint32 `json:"serial"`
}

// Settings are a zone's, in named.conf's words.
type Settings struct {
	UpdatePolicy  string    `json:"update_policy,omitempty"`
	AllowUpdate   string    `json:"allow_update,omitempty"`
	AllowQuery    string    `json:"allow_query,omitempty"`
	AllowTransfer string    `json:"allow_transfer,omitempty"`
	AlsoNotify    []string  `json:"also_notify,omitempty"`
	MaxZoneTTL    uint32    `json:"max_zone_ttl,omitempty"`
	MaxRecords    uint32    `json:"max_records,omitempty"`
	LocalReads    bool      `json:"local_reads,omitempty"`
	Guarantee     Guarantee `json:"guarantee,omitzero"`
}

// Guarantee is what updates wait for.
type Guarantee struct {
	Secondaries uint8  `json:"secondaries"`
	LimitMS     uint32 `json:"limit_ms,omitempty"`
}

// Key is a TSIG key without its secrets.
type Key struct {
	Name      string    `json:"name"`
	ManagedBy string    `json:"managed_by,omitempty"`
	Guarantee Guarantee `json:"guarantee,omitzero"`
	Rate      Rate      `json:"rate,omitzero"`
	// Versions are its valid secrets, newest first.
	Versions []KeyVersion `json:"versions"`
}

// Rate bounds the updates of all keys of a group.
type Rate struct {
	Group     string `json:"group"`
	PerSecond uint32 `json:"per_second"`
}

// KeyVersion is one secret of a key.
type KeyVersion struct {
	Version   uint64    `json:"version"`
	Algorithm string    `json:"algorithm"`
	Created   time.Time `json:"created"`
	NotAfter  time.Time `json:"not_after,omitzero"`
}

// Secondary is a registered secondary.
type Secondary struct {
	Name      string   `json:"name"`
	Key       string   `json:"key"`
	Notify    []string `json:"notify,omitempty"`
	Foreign   bool     `json:"foreign,omitempty"`
	ManagedBy string   `json:"managed_by,omitempty"`
}

// SecretsInfo says who can read the secrets.
type SecretsInfo struct {
	// Recipients are the age recipients that the secrets are encrypted to; that of the cluster's key is among them when it was asked for.
	Recipients []string `json:"recipients"`
}

func settingsFrom(s fsm.ZoneSettings) Settings {
	return Settings{
		UpdatePolicy: s.UpdatePolicy, AllowUpdate: s.AllowUpdate, AllowQuery: s.AllowQuery, AllowTransfer: s.AllowTransfer,
		AlsoNotify: s.AlsoNotify, MaxZoneTTL: s.MaxTTL, MaxRecords: s.MaxRecords, LocalReads: s.LocalReads, Guarantee: guaranteeFrom(s.Guarantee),
	}
}

func (s Settings) fsm() fsm.ZoneSettings {
	return fsm.ZoneSettings{
		UpdatePolicy: s.UpdatePolicy, AllowUpdate: s.AllowUpdate, AllowQuery: s.AllowQuery, AllowTransfer: s.AllowTransfer,
		AlsoNotify: s.AlsoNotify, MaxTTL: s.MaxZoneTTL, MaxRecords: s.MaxRecords, LocalReads: s.LocalReads, Guarantee: s.Guarantee.fsm(),
	}
}

func guaranteeFrom(g fsm.Guarantee) Guarantee {
	return Guarantee{Secondaries: g.Secondaries, LimitMS: g.LimitMS}
}

func (g Guarantee) fsm() fsm.Guarantee {
	return fsm.Guarantee{Secondaries: g.Secondaries, LimitMS: g.LimitMS}
}

// fileOf names a zone's file: its name as people write it, with what a file system might not like escaped as in a URL. A name that is too
// long for a file system is replaced by a number.
func fileOf(n zone.Name, number int) string {
	text := url.PathEscape(strings.TrimSuffix(n.String(), "."))
	switch {
	case text == "":
		text = "root"
	case len(text) > 200 || strings.HasPrefix(text, "."):
		text = fmt.Sprintf("number-%d", number)
	}
	return zonesDir + text + ".zone"
}

// ErrFormat: the file is no backup, or one that a newer program wrote.
var ErrFormat = errors.New("not a backup that this program can read")

// check refuses a manifest that the rest of the program could not rely on.
func (m *Manifest) check() error {
	if m.Format != Format {
		return fmt.Errorf("%w: its manifest says format %q, want %q", ErrFormat, m.Format, Format)
	}
	if m.FormatVersion < 1 || m.FormatVersion > FormatVersion {
		return fmt.Errorf("%w: format version %d, this program knows up to %d: use the program that wrote it (%s)", ErrFormat, m.FormatVersion, FormatVersion, m.Program)
	}
	seen := make(map[string]bool, len(m.Zones))
	for _, z := range m.Zones {
		if !strings.HasPrefix(z.File, zonesDir) || seen[z.File] {
			return fmt.Errorf("%w: zone %s has file %q; each needs its own in %s", ErrFormat, z.Name, z.File, zonesDir)
		}
		seen[z.File] = true
		if n, err := zone.ParseName(z.Name); err != nil || n.Canonical().String() != z.Name {
			return fmt.Errorf("%w: zone %q is not an absolute name in lower case", ErrFormat, z.Name)
		}
	}
	return nil
}

// Zone finds a zone by its name, with or without the final dot, in any case; nil when it is not in the backup.
func (m *Manifest) Zone(name string) *Zone {
	want := strings.ToLower(strings.TrimSuffix(name, ".")) + "."
	for i := range m.Zones {
		if m.Zones[i].Name == want {
			return &m.Zones[i]
		}
	}
	return nil
}

// Records is the number of records of all zones.
func (m *Manifest) Records() (n int) {
	for _, z := range m.Zones {
		n += z.Records
	}
	return n
}
