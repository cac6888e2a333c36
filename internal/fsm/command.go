package fsm

import (
	"fmt"
	"net/netip"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Kind names a command in the log. The numbers are part of the format and never change their meaning.
type Kind uint8

// The kinds of commands.
const (
	KindUpdate       Kind = 1
	KindPutKey       Kind = 2
	KindDeleteKey    Kind = 3
	KindPutZone      Kind = 4
	KindDeleteZone   Kind = 5
	KindImportBegin  Kind = 6
	KindImportChunk  Kind = 7
	KindImportCommit Kind = 8
	KindImportAbort  Kind = 9
	KindCut          Kind = 10
	KindBumpSerial   Kind = 11
	KindMark         Kind = 12
	KindCheckpoint   Kind = 13
	KindSupport      Kind = 14
	KindActivate     Kind = 15
	KindFloor        Kind = 16
	KindPutLimits    Kind = 17

	KindPutSecondary    Kind = 18
	KindDeleteSecondary Kind = 19
	KindPutKeyGuarantee Kind = 20
	KindPutCatalog      Kind = 21
	KindConfirmCatalog  Kind = 22
	KindPutKeyRate      Kind = 23

	KindSeedChunk  Kind = 30
	KindSeedCommit Kind = 31
	KindSeedAbort  Kind = 32
)

// String gives the command's name as logs show it.
func (k Kind) String() string {
	switch k {
	case KindUpdate:
		return "update"
	case KindPutKey:
		return "put-key"
	case KindDeleteKey:
		return "delete-key"
	case KindPutZone:
		return "put-zone"
	case KindDeleteZone:
		return "delete-zone"
	case KindImportBegin:
		return "import-begin"
	case KindImportChunk:
		return "import-chunk"
	case KindImportCommit:
		return "import-commit"
	case KindImportAbort:
		return "import-abort"
	case KindCut:
		return "cut"
	case KindBumpSerial:
		return "bump-serial"
	case KindMark:
		return "mark"
	case KindCheckpoint:
		return "checkpoint"
	case KindSupport:
		return "support"
	case KindActivate:
		return "activate"
	case KindFloor:
		return "floor"
	case KindPutLimits:
		return "put-limits"
	case KindPutSecondary:
		return "put-secondary"
	case KindDeleteSecondary:
		return "delete-secondary"
	case KindPutKeyGuarantee:
		return "put-key-guarantee"
	case KindPutKeyRate:
		return "put-key-rate"
	case KindPutCatalog:
		return "put-catalog"
	case KindConfirmCatalog:
		return "confirm-catalog"
	case KindSeedChunk:
		return "seed-chunk"
	case KindSeedCommit:
		return "seed-commit"
	case KindSeedAbort:
		return "seed-abort"
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// newCommand gives an empty command of a kind, nil when the kind is unknown.
func newCommand(k Kind) Command {
	switch k {
	case KindUpdate:
		return &Update{}
	case KindPutKey:
		return &PutKey{}
	case KindDeleteKey:
		return &DeleteKey{}
	case KindPutZone:
		return &PutZone{}
	case KindDeleteZone:
		return &DeleteZone{}
	case KindImportBegin:
		return &ImportBegin{}
	case KindImportChunk:
		return &ImportChunk{}
	case KindImportCommit:
		return &ImportCommit{}
	case KindImportAbort:
		return &ImportAbort{}
	case KindCut:
		return &Cut{}
	case KindBumpSerial:
		return &BumpSerial{}
	case KindMark:
		return &Mark{}
	case KindCheckpoint:
		return &Checkpoint{}
	case KindSupport:
		return &Support{}
	case KindActivate:
		return &Activate{}
	case KindFloor:
		return &Floor{}
	case KindPutLimits:
		return &PutLimits{}
	case KindPutSecondary:
		return &PutSecondary{}
	case KindDeleteSecondary:
		return &DeleteSecondary{}
	case KindPutKeyGuarantee:
		return &PutKeyGuarantee{}
	case KindPutKeyRate:
		return &PutKeyRate{}
	case KindPutCatalog:
		return &PutCatalog{}
	case KindConfirmCatalog:
		return &ConfirmCatalog{}
	case KindSeedChunk:
		return &SeedChunk{}
	case KindSeedCommit:
		return &SeedCommit{}
	case KindSeedAbort:
		return &SeedAbort{}
	}
	return nil
}

// Command is one step of an entry. The set is closed: only this package's types implement it, by pointer.
type Command interface {
	Kind() Kind
	appendFields(b []byte) []byte
	readFields(r *reader)
}

// ZoneID identifies a zone. View is "" until views are offered; Name is canonical (lower case).
type ZoneID struct {
	View string
	Name zone.Name
}

// ZoneOf gives the ID of the zone of that name in the only view there is.
func ZoneOf(name zone.Name) ZoneID { return ZoneID{Name: name.Canonical()} }

// String gives the zone's name in presentation format, preceded by its view if it has one.
func (id ZoneID) String() string {
	if id.View == "" {
		return id.Name.String()
	}
	return id.View + "/" + id.Name.String()
}

// FingerprintSize is the number of octets of a request's fingerprint: SHA-256 over the key's version and the full computed
// HMAC, truncated. Never over the MAC as sent: a truncated one or another message ID would look new (rule C1).
const FingerprintSize = 16

// Fingerprint identifies a signed request.
type Fingerprint [FingerprintSize]byte

// Update is a client's RFC 2136 request.
type Update struct {
	View string
	// KeyName is the verified signer, "" for an unsigned request. The fields down to Fudge belong to it.
	KeyName     zone.Name
	KeyVersion  uint64
	Fingerprint Fingerprint
	TimeSigned  uint64 // seconds since 1970, as signed
	Fudge       uint16 // seconds, as signed; more than MaxFudge counts as MaxFudge
	TCP         bool
	// Addr is the client's address. Only when AddrProven is it authority; else it is for the record (D4).
	Addr       netip.Addr
	AddrProven bool
	// DeadlineMS: at a later log time the request is not applied (rule C2). Milliseconds since 1970; 0: none.
	DeadlineMS int64
	// Wire is the message without its TSIG record.
	Wire []byte
}

// MaxFudge caps the fudge of a request, in seconds: how long a dedupe entry must live follows from it (rule C1).
const MaxFudge = 300

// PutKey adds a key or, with Rotate, a new secret to a key that exists.
type PutKey struct {
	Name      zone.Name
	Algorithm string // TSIG algorithm name in presentation format without the final dot, such as "hmac-sha256"
	// Version must be greater than any ever used in the cluster: see Settings.NextKeyVersion. It tells the secrets of
	// one name apart for ever, also after the key was deleted and added again (rule C6).
	Version uint64
	Sealed  []byte // the secret, sealed with the cluster's key; see package seal
	// SecretID is equal for equal secrets (a keyed hash; see package seal). A secret that was deleted minutes ago must
	// not return: requests signed with it could be replayed under the new version.
	SecretID [16]byte
	// NotAfterMS: after this log time the secret is not valid. Milliseconds since 1970; 0: no end.
	NotAfterMS int64
	// Rotate keeps the present secret valid beside the new one until it is deleted. Without it the key must not exist.
	Rotate bool
	Actor
}

// DeleteKey revokes one secret of a key, or the whole key when Version is 0.
type DeleteKey struct {
	Name    zone.Name
	Version uint64
	Actor
}

// Actor says who makes an administrative change. Keys and zones belong to whoever created them; another actor's change is
// refused unless it takes over, so that an operator and a command line do not undo each other's work.
type Actor struct {
	By       string
	TakeOver bool
}

// ZoneSettings are a zone's settings in named.conf's words.
type ZoneSettings struct {
	// UpdatePolicy is the inside of update-policy { … }, AllowUpdate of allow-update { … }. At most one is set; with
	// neither nobody may update the zone.
	UpdatePolicy string
	AllowUpdate  string
	AllowQuery   string // "" is "any;", as in BIND
	// AllowTransfer "" is "none;": BIND's old default, any, would show a tenant's zone to everyone.
	AllowTransfer string
	AlsoNotify    []string // as ParseNotifyTarget reads them
	MaxTTL        uint32   // seconds; greater TTLs are lowered (BIND's max-zone-ttl). 0: no limit
	// MaxRecords bounds the records of the zone (BIND's max-records): an update beyond it is SERVFAIL, an import is refused. 0: no limit
	MaxRecords uint32
	LocalReads bool // queries skip the read barrier
	Guarantee  Guarantee
}

// PutZone creates a zone or changes its settings.
type PutZone struct {
	Zone     ZoneID
	Create   bool
	Settings ZoneSettings
	// RRs are the content of a zone to be created, with its SOA and NS; see NewZoneRRs. A serial that the zone's name
	// has used before is moved past (rule C3).
	RRs []zone.RR
	Actor
}

// DeleteZone deletes a zone. Confirm repeats its name. Incarnation, if not 0, is that of the zone that is meant: a command
// whose proposer was in doubt about it may enter the log late, and must not delete a zone that came in the place of that one.
type DeleteZone struct {
	Zone    ZoneID
	Confirm zone.Name
	Actor
	Incarnation uint64
}

// ImportBegin opens the import of a zone that may be too large for one entry. Nothing is visible before ImportCommit.
type ImportBegin struct {
	ID       string // chosen by the proposer, unique among the imports under way
	Zone     ZoneID
	Settings ZoneSettings
	// Replace permits the zone to exist: its content is replaced, the serial must be greater than its own.
	Replace bool
	// MoveSerial permits a serial that this name has used before: the imported zone starts past the highest one.
	// Without it such an import is refused (rule C3).
	MoveSerial bool
	Actor
}

// ImportChunk adds records to an import. Seq counts 1, 2, 3, ….
type ImportChunk struct {
	ID  string
	Seq uint64
	RRs []zone.RR
}

// ImportCommit checks that what arrived is what was sent, and makes the zone visible.
type ImportCommit struct {
	ID      string
	Records uint64
	Digest  zone.Digest // as zone.DigestRRs gives it
}

// ImportAbort forgets an import.
type ImportAbort struct {
	ID string
}

// Cut makes a zone's pending changes a publish boundary now; with an empty ID those of every zone.
type Cut struct {
	Zone ZoneID
}

// BumpSerial moves a zone's serial past its own and, if HasPast, past Past, the highest seen elsewhere (rule C3).
type BumpSerial struct {
	Zone    ZoneID
	Past    uint32
	HasPast bool
}

// Mark says that the proposer has a durable checkpoint of an index, and its digest (rule C4).
type Mark struct {
	Replica string // must be the entry's
	Index   uint64
	Digest  Digest
}

// Checkpoint asks every replica for a checkpoint of the state after this very entry, so that digests can be compared.
type Checkpoint struct{}

// Support says up to which version the proposer's program knows entries and semantics (rule C8).
type Support struct {
	Version uint8
}

// Activate raises the version in use, once all Members reported support. Programs that do not know it then stop.
type Activate struct {
	Version uint8
	Members []string
}

// Floor refuses requests signed by Key (all keys when "") at or before a time that the dedupe table does not know. It
// closes the door to replays after a restore from a backup, whose table is older than the log was.
type Floor struct {
	Key        zone.Name
	TimeSigned uint64 // seconds since 1970
}

// PutLimits replaces the limits of the state.
type PutLimits struct {
	Limits Limits
}

// PutSecondary registers a secondary or replaces its registration. The key must exist and be no other secondary's.
type PutSecondary struct {
	Name    string // lower-case letters, digits, hyphens and dots; at most 63
	Key     zone.Name
	Notify  []string // address:port
	Foreign bool
	Actor
}

// DeleteSecondary ends a registration.
type DeleteSecondary struct {
	Name string
	Actor
}

// PutKeyGuarantee replaces what updates signed with a key wait for.
type PutKeyGuarantee struct {
	Key       zone.Name
	Guarantee Guarantee
	Actor
}

// PutKeyRate replaces the bound of updates signed with a key and all others of its group. A program that does not know it stops at it, so it is proposed when
// all primaries know it.
type PutKeyRate struct {
	Key  zone.Name
	Rate Rate
	Actor
}

// PutCatalog makes the cluster's catalog zone (RFC 9432), or changes its settings. There is one; its name does not change.
type PutCatalog struct {
	Name     zone.Name
	Settings ZoneSettings // nothing that is about updates
	Actor
}

// ConfirmCatalog lets secondaries obey the removals of all versions of the catalog up to a serial, however many they are.
type ConfirmCatalog struct {
	Serial uint32
	Actor
}

func (*Update) Kind() Kind       { return KindUpdate }
func (*PutKey) Kind() Kind       { return KindPutKey }
func (*DeleteKey) Kind() Kind    { return KindDeleteKey }
func (*PutZone) Kind() Kind      { return KindPutZone }
func (*DeleteZone) Kind() Kind   { return KindDeleteZone }
func (*ImportBegin) Kind() Kind  { return KindImportBegin }
func (*ImportChunk) Kind() Kind  { return KindImportChunk }
func (*ImportCommit) Kind() Kind { return KindImportCommit }
func (*ImportAbort) Kind() Kind  { return KindImportAbort }
func (*Cut) Kind() Kind          { return KindCut }
func (*BumpSerial) Kind() Kind   { return KindBumpSerial }
func (*Mark) Kind() Kind         { return KindMark }
func (*Checkpoint) Kind() Kind   { return KindCheckpoint }
func (*Support) Kind() Kind      { return KindSupport }
func (*Activate) Kind() Kind     { return KindActivate }
func (*Floor) Kind() Kind        { return KindFloor }
func (*PutLimits) Kind() Kind    { return KindPutLimits }

func (*PutSecondary) Kind() Kind    { return KindPutSecondary }
func (*DeleteSecondary) Kind() Kind { return KindDeleteSecondary }
func (*PutKeyGuarantee) Kind() Kind { return KindPutKeyGuarantee }

// Kind implements Command.
func (*PutKeyRate) Kind() Kind     { return KindPutKeyRate }
func (*PutCatalog) Kind() Kind     { return KindPutCatalog }
func (*ConfirmCatalog) Kind() Kind { return KindConfirmCatalog }
