// Package adminapi is the vocabulary of a primary's admin API: the JSON shapes,
// the paths, the error format, and a client for them. It holds no server logic.
//
// The API is HTTP+JSON. Any primary answers for the whole cluster: a change is
// answered when it is durable on a quorum and this primary has applied it; a read
// shows every change acknowledged before it was asked.
//
//	GET    /livez, /readyz, /metrics
//	GET    /v1/status                  Status
//	POST   /v1/verify                  VerifyReport
//	GET    /v1/members                 []Member
//	DELETE /v1/members/{name}          (the member leaves; refused without a quorum of the others)
//	GET    /v1/zones                   []Zone
//	POST   /v1/zones                   AddZone → Zone
//	GET    /v1/zones/{name}            Zone
//	PUT    /v1/zones/{name}            ZoneSettings → Zone
//	DELETE /v1/zones/{name}?confirm=…  (confirm repeats the name)
//	GET    /v1/zones/{name}/export     text/dns
//	POST   /v1/zones/{name}/import     text/dns → Zone; query: strip_dnssec, replace, move_serial, settings
//	GET    /v1/keys                    []Key, without secrets
//	POST   /v1/keys                    AddKey → Key, with its secret
//	GET    /v1/keys/{name}?secret=true Key
//	POST   /v1/keys/{name}/rotate      RotateKey → Key, with the new secret; both stay valid
//	POST   /v1/keys/{name}/retire      Key; only the newest secret stays valid
//	DELETE /v1/keys/{name}?confirm=…
//	PUT    /v1/keys/{name}/guarantee   Guarantee
//	GET    /v1/zones/{name}/propagation []SecondarySerial
//	GET    /v1/secondaries             []Secondary
//	PUT    /v1/secondaries/{name}      Secondary (its registration)
//	DELETE /v1/secondaries/{name}
//	GET    /v1/catalog                 Catalog
//	PUT    /v1/catalog                 Catalog (its name) → Catalog; before the first secondary, for another name than the default
//	POST   /v1/catalog/confirm         ConfirmCatalog
//	GET    /v1/backup                  TypeBackup; query: recipient (an age recipient, repeatable; "cluster": the cluster's key)
//	GET    /v1/backup/recipient        BackupRecipient
//	POST   /v1/restore                 TypeBackup → Restored; query: new_secrets, ask (address:port, repeatable)
//
// Names in paths are absolute domain names in presentation format, percent-encoded.
package adminapi

import "time"

// Paths of the API; {name} is percent-encoded, the root zone's "." too.
const (
	PathLive       = "/livez"
	PathReady      = "/readyz"
	PathMetrics    = "/metrics"
	PathStatus     = "/v1/status"
	PathVerify     = "/v1/verify"
	PathMembers    = "/v1/members"
	PathMember     = "/v1/members/{name}"
	PathZones      = "/v1/zones"
	PathZone       = "/v1/zones/{name}"
	PathZoneExport = "/v1/zones/{name}/export"
	PathZoneImport = "/v1/zones/{name}/import"
	PathKeys       = "/v1/keys"
	PathKey        = "/v1/keys/{name}"
	PathKeyRotate  = "/v1/keys/{name}/rotate"
	PathKeyRetire  = "/v1/keys/{name}/retire"
)

// Query parameters and media types.
const (
	ParamConfirm = "confirm"
	ParamSecret  = "secret"
	ParamStrip   = "strip_dnssec"
	ParamReplace = "replace"
	ParamMove    = "move_serial"
	// ParamSettings carries a ZoneSettings as JSON beside an imported zone file.
	ParamSettings = "settings"
	TypeJSON      = "application/json"
	// TypeDNS is zone-file text (RFC 4027).
	TypeDNS = "text/dns"
)

// Who manages what. Zones, keys and secondaries belong to whoever made them, and nobody else's change is taken unless it takes them over.
const (
	// HeaderManager of a request with an operator's certificate names the object on whose behalf it is made.
	HeaderManager = "Zonekeeper-Manager"
	// HeaderTakeOver "true" makes a change of what somebody else manages, and its maker the manager.
	HeaderTakeOver = "Zonekeeper-Take-Over"
	// ManagedByCLI manages what was made with any other certificate, or without one.
	ManagedByCLI = "cli"
	// ManagedByOperator manages what an operator has made, followed by a space and the object if it named one.
	ManagedByOperator = "operator"
	// MaxManager bounds the name of an object, in octets.
	MaxManager = 512
)

// Status is the state of the cluster as one primary sees it. The primary asks its
// peers for their own part, and says so where one did not answer.
type Status struct {
	// Healthy is the verdict; Summary is the same in one line, with what is wrong.
	Healthy bool   `json:"healthy"`
	Summary string `json:"summary"`
	// Replica answered this request.
	Replica string `json:"replica"`
	// Leader is the member that etcd elected, "" while there is none.
	Leader   string          `json:"leader"`
	Replicas []ReplicaStatus `json:"replicas"`
	// Secondaries are the registered ones, by name.
	Secondaries []Secondary `json:"secondaries,omitempty"`
}

// ReplicaStatus is one primary.
type ReplicaStatus struct {
	Name string `json:"name"`
	// Ready: it takes writes and reads. Reason says why not.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// Reachable is false when the answering primary could not ask it.
	Reachable bool `json:"reachable"`
	Leader    bool `json:"leader"`
	// LogIndex is the newest entry the replica knows, AppliedIndex the last it has applied.
	LogIndex     uint64 `json:"log_index"`
	AppliedIndex uint64 `json:"applied_index"`
	// CheckpointIndex is the last entry covered by a durable checkpoint.
	CheckpointIndex uint64 `json:"checkpoint_index"`
	// CheckpointError is why the last checkpoint could not be written, "" when it could.
	CheckpointError string `json:"checkpoint_error,omitempty"`
	// NoWrites is why it takes no updates although it may be ready for queries, "" when it takes them.
	NoWrites string `json:"no_writes,omitempty"`
	// PublishLag is how far named is behind the state machine.
	PublishLagMS int64        `json:"publish_lag_ms"`
	Named        NamedStatus  `json:"named"`
	Zones        []ZoneStatus `json:"zones"`
	Version      string       `json:"version"`
	Uptime       string       `json:"uptime"`

	// DNS, NamedDNS and Admin are address:port.
	DNS      []string `json:"dns"`
	NamedDNS string   `json:"named_dns"`
	Admin    string   `json:"admin"`
	PID      int      `json:"pid"`
}

// NamedStatus is a replica's BIND.
type NamedStatus struct {
	Running  bool   `json:"running"`
	PID      int    `json:"pid"`
	Version  string `json:"version"`
	Restarts int    `json:"restarts"`
	// LastError is the newest trouble with it, "" when there was none since it started.
	LastError string `json:"last_error,omitempty"`
}

// ZoneStatus is one zone at one replica.
type ZoneStatus struct {
	Name string `json:"name"`
	// Serial, Records and Digest are the state machine's.
	Serial  uint32 `json:"serial"`
	Records int    `json:"records"`
	Digest  string `json:"digest"`
	// PublishedSerial is what named serves.
	PublishedSerial uint32 `json:"published_serial"`
	// State is serving, loading or repairing; LastError says why it is not serving.
	State     string `json:"state"`
	LastError string `json:"last_error,omitempty"`
}

// VerifyReport compares every zone, as transferred from every primary's named,
// with the replicated state.
type VerifyReport struct {
	OK    bool         `json:"ok"`
	Zones []VerifyZone `json:"zones"`
}

// VerifyZone is the comparison of one zone.
type VerifyZone struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Copies are the transfers that were compared.
	Copies []VerifyCopy `json:"copies"`
	// Differences are zone-file lines with a leading "-" (missing in a copy) or "+"
	// (only in it), up to a limit.
	Differences []string `json:"differences,omitempty"`
}

// VerifyCopy is one server's copy of a zone.
type VerifyCopy struct {
	Server  string `json:"server"`
	Serial  uint32 `json:"serial"`
	Records int    `json:"records"`
	Digest  string `json:"digest"`
	// Confirmed: the server's own primary found the copy equal to the replicated state at that serial. While updates go on,
	// copies are of different serials, and this is how they are compared.
	Confirmed bool `json:"confirmed"`
	// Error says why the server could not be asked.
	Error string `json:"error,omitempty"`
}

// Member is one voice in the log's quorum.
type Member struct {
	Name       string   `json:"name"`
	ID         string   `json:"id"`
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls"`
	Leader     bool     `json:"leader"`
	// Learner receives the log and has no vote yet.
	Learner bool `json:"learner"`
}

// ZoneSettings are what can be changed about a zone. The texts are in named.conf's
// words: the inside of update-policy { … }, allow-query { … } and so on.
type ZoneSettings struct {
	// UpdatePolicy and AllowUpdate exclude each other. Both empty: no updates.
	UpdatePolicy  string `json:"update_policy,omitempty"`
	AllowUpdate   string `json:"allow_update,omitempty"`
	AllowQuery    string `json:"allow_query,omitempty"`
	AllowTransfer string `json:"allow_transfer,omitempty"`
	// MaxZoneTTL, in seconds, is what greater TTLs in updates are lowered to; 0 for no limit but that of RFC 2181.
	MaxZoneTTL uint32 `json:"max_zone_ttl,omitempty"`
	// MaxRecords bounds the records of the zone: an update beyond it is answered SERVFAIL, as by BIND, and an import is refused. 0: no limit.
	MaxRecords uint32 `json:"max_records,omitempty"`
	// AlsoNotify are servers told of every change: "address:port", or "address:port key NAME" to sign with that key.
	AlsoNotify []string `json:"also_notify,omitempty"`
	// LocalReads answers queries without the read barrier: faster, possibly old.
	LocalReads bool `json:"local_reads,omitempty"`
	// Guarantee withholds answers to updates until secondaries serve them, nil for none.
	Guarantee *Guarantee `json:"guarantee,omitempty"`
}

// AddZone creates a zone with an SOA, one NS, and the NS's addresses.
type AddZone struct {
	Name     string       `json:"name"`
	Settings ZoneSettings `json:"settings"`
	// NS is the host name of the apex NS record and the SOA's MNAME; "ns.<zone>" when empty.
	NS string `json:"ns,omitempty"`
	// Addresses of NS; needed when it lies in the zone, 127.0.0.1 when empty.
	Addresses []string `json:"addresses,omitempty"`
	// Mailbox is the SOA's RNAME; "hostmaster.<zone>" when empty.
	Mailbox string `json:"mailbox,omitempty"`
}

// ImportOptions go with a zone file's text.
type ImportOptions struct {
	Settings ZoneSettings
	// StripDNSSEC drops RRSIG, NSEC, DNSKEY and their like; without it a signed zone is refused.
	StripDNSSEC bool
	// MoveSerial lets a zone whose name has had this serial or a greater one before begin past that; without it the import is refused.
	MoveSerial bool
	// Replace permits the content of an existing zone to be replaced.
	Replace bool
}

// Zone is a zone and its settings.
type Zone struct {
	Name        string       `json:"name"`
	Serial      uint32       `json:"serial"`
	Records     int          `json:"records"`
	Digest      string       `json:"digest"`
	Incarnation uint64       `json:"incarnation"`
	Settings    ZoneSettings `json:"settings"`
	// ManagedBy is who may change its settings and delete it; see ManagedByCLI. Its records are its clients' in any case.
	ManagedBy string `json:"managed_by,omitempty"`
	// Catalog: it is the catalog zone. Its content follows from the zones, and only its settings can be changed.
	Catalog bool `json:"catalog,omitempty"`
}

// AddKey creates a TSIG key.
type AddKey struct {
	Name string `json:"name"`
	// Algorithm is a TSIG algorithm name such as hmac-sha256 (the default).
	Algorithm string `json:"algorithm,omitempty"`
	// Secret in base64; a random one of the algorithm's length when empty.
	Secret string `json:"secret,omitempty"`
}

// RotateKey adds a new secret to a key; both are valid until the old one is retired.
type RotateKey struct {
	Algorithm string `json:"algorithm,omitempty"`
	Secret    string `json:"secret,omitempty"`
}

// Key is a TSIG key. Secrets are present only in the answers that say so.
type Key struct {
	Name string `json:"name"`
	// Versions, newest first. Two during a rotation.
	Versions []KeyVersion `json:"versions"`
	// ManagedBy is who may change it; see ManagedByCLI.
	ManagedBy string `json:"managed_by,omitempty"`
	// Guarantee holds for all updates signed with the key, nil for none.
	Guarantee *Guarantee `json:"guarantee,omitempty"`
	// Rate bounds them, nil for none.
	Rate *Rate `json:"rate,omitempty"`
}

// Rate bounds the updates that are signed with the keys of a group, together, at all primaries together. What is beyond it gets SERVFAIL and is not applied.
type Rate struct {
	// Group is the same for all keys that share the bound, such as a tenant's name: up to 255 octets of printable ASCII. "" for no bound.
	Group string `json:"group"`
	// PerSecond is 1 to 1,000,000, and 0 without a group.
	PerSecond int `json:"per_second"`
}

// KeyVersion is one secret of a key.
type KeyVersion struct {
	Version   uint64 `json:"version"`
	Algorithm string `json:"algorithm"`
	Secret    string `json:"secret,omitempty"`
	// Created is log time.
	Created time.Time `json:"created"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	// HTTPStatus is not in the body: it is the response's.
	HTTPStatus int `json:"-"`
	// Code is stable and for programs: one of the Code… constants.
	Code string `json:"code"`
	// Message names what failed and the value; Remedy what to do about it.
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	// Lines are the places in an imported zone file.
	Lines []LineError `json:"lines,omitempty"`
}

// LineError is one mistake in an imported text.
type LineError struct {
	// Line counts from 1; 0 is a mistake of the zone as a whole, such as a missing SOA.
	Line    int    `json:"line"`
	Message string `json:"message"`
}

// Codes of errors.
const (
	CodeInvalid     = "invalid"     // 400: the request or a value in it
	CodeForbidden   = "forbidden"   // 403: not for this certificate
	CodeNotFound    = "not_found"   // 404
	CodeConflict    = "conflict"    // 409: exists already, or needs a confirmation
	CodeManaged     = "managed"     // 409: somebody else manages it; nothing was changed
	CodeUnavailable = "unavailable" // 503: no quorum, not ready; nothing was changed
	CodeInDoubt     = "in_doubt"    // 504: the change may yet be applied; ask for the state before repeating it
	CodeInternal    = "internal"    // 500
)

// Paths between primaries. They are not for clients: what they answer follows the version of the program.
const (
	// PathReplica answers ReplicaStatus, of the asked primary alone.
	PathReplica = "/v1/replica"
	// PathCopy answers VerifyCopy: the zone as this primary's own named has it.
	PathCopy = "/v1/replica/zones/{name}"
	// PathClock answers Clock.
	PathClock = "/v1/clock"
	// PathCheckpoint streams the newest durable checkpoint; the header HeaderIndex has its log index.
	PathCheckpoint = "/v1/checkpoint"
	HeaderIndex    = "Zonekeeper-Log-Index"
)

// Clock is a primary's clock, and what else its peers must know every few seconds.
type Clock struct {
	// DiskFull: it has no room for more of the log.
	DiskFull bool  `json:"disk_full,omitempty"`
	UnixMS   int64 `json:"unix_ms"`
	// Publishing is how far its named has come; nil while nothing is published.
	Publishing *Publishing `json:"publishing,omitempty"`
}

// Publishing is how far a primary's named has come.
type Publishing struct {
	// Applied is the log index that its state machine has, Published the one up to which named has every change.
	Applied   uint64 `json:"applied"`
	Published uint64 `json:"published"`
	// Bytes are the octets of changes that wait for named.
	Bytes int `json:"bytes"`
}
