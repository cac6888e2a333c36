package adminapi

import "time"

// Paths about secondaries. {name} is a secondary's name, or a zone's or a key's where the path says so.
const (
	// PathSecondaries lists []Secondary; PathSecondary takes PUT (Secondary) and DELETE.
	PathSecondaries = "/v1/secondaries"
	PathSecondary   = "/v1/secondaries/{name}"
	// PathCatalog answers Catalog, and takes a PUT of one that makes it under a name; PathCatalogConfirm takes a POST of ConfirmCatalog.
	PathCatalog        = "/v1/catalog"
	PathCatalogConfirm = "/v1/catalog/confirm"
	// PathKeyGuarantee takes a PUT of Guarantee.
	PathKeyGuarantee = "/v1/keys/{name}/guarantee"
	// PathKeyRate takes a PUT of Rate.
	PathKeyRate = "/v1/keys/{name}/rate"
	// PathPropagation answers []SecondarySerial of a zone.
	PathPropagation = "/v1/zones/{name}/propagation"
)

// Paths between primaries and our own secondaries. What they answer follows the version of the program.
const (
	// PathChanges streams Changes, one JSON object a line, for as long as the secondary reads.
	PathChanges = "/v1/secondaries/{name}/changes"
	// PathReport takes a POST of Report. conflict: the secondary has no stream of changes from this primary, or this is a change
	// of what was never reported to it; a full report while the stream is open is taken.
	PathReport = "/v1/secondaries/{name}/report"
	// PathDigest answers ZoneDigest of the replicated state at ParamSerial, not_found when the history does not reach there.
	PathDigest  = "/v1/replica/zones/{name}/digest"
	ParamSerial = "serial"
	// PathOwn answers SecondaryStatus, at a secondary.
	PathOwn = "/v1/secondary"
)

// Times of the stream between a primary and a secondary.
const (
	// ChangesEvery is the longest time between two lines of Changes.
	ChangesEvery = 200 * time.Millisecond
	// ChangesSilence without a line makes Client.Changes end: the primary is not live.
	ChangesSilence = 600 * time.Millisecond
	// MaxZonesPerMessage bounds the zones, those that are gone too, of one line of Changes and of one Report.
	MaxZonesPerMessage = 2000
)

// ZoneSerial is a zone's serial. Its tags are short because there are many.
type ZoneSerial struct {
	Zone   string `json:"z"`
	Serial uint32 `json:"s"`
}

// Changes is one line of what a primary tells a secondary.
type Changes struct {
	// Ready: the primary answers reads. Reason says why not.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// UnixMS is the primary's clock, milliseconds since 1970.
	UnixMS int64 `json:"unix_ms"`
	// Zones have been published by this primary's named, Gone are no longer served by it.
	Zones []ZoneSerial `json:"zones,omitempty"`
	Gone  []string     `json:"gone,omitempty"`
	// Complete: every zone was sent once since the stream began; one that was never named is gone.
	Complete bool `json:"complete,omitempty"`
	// Catalog is the name of the catalog zone, "" when there is none; Confirmed is the serial up to which its
	// removals are confirmed (see Catalog).
	Catalog   string `json:"catalog,omitempty"`
	Confirmed uint32 `json:"confirmed,omitempty"`
}

// Report is what a secondary tells a primary.
type Report struct {
	// Instance is random for each process; its first report is Full.
	Instance string `json:"instance"`
	// Full: what was reported before is void. Without it Zones and Gone are changes.
	Full  bool         `json:"full,omitempty"`
	Zones []ZoneSerial `json:"zones,omitempty"` // served now, as the secondary's own named answered
	Gone  []string     `json:"gone,omitempty"`  // not served now
	// Status is the secondary's own.
	Status SecondaryStatus `json:"status"`
}

// SecondaryStatus is one of our secondaries as it sees itself.
type SecondaryStatus struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// DNS are address:port, Admin is host:port.
	DNS   []string `json:"dns"`
	Admin string   `json:"admin"`
	// Ready: it serves every zone of the catalog, and they are current. Reason says why not.
	Ready  bool        `json:"ready"`
	Reason string      `json:"reason,omitempty"`
	Named  NamedStatus `json:"named"`
	// Zones are the members of the catalog; ZonesBehind of them are older than a live primary announced, ZonesNotServed are
	// not answered with authority.
	Zones          int `json:"zones"`
	ZonesBehind    int `json:"zones_behind"`
	ZonesNotServed int `json:"zones_not_served"`
	// LagMS is the age of the oldest serial that was announced and is not served yet.
	LagMS int64 `json:"lag_ms"`
	// AsOf: what it serves is no older than this. Zero: never known.
	AsOf time.Time `json:"as_of,omitzero"`
	// SkewMS is its clock minus the median of the primaries'.
	SkewMS int64 `json:"skew_ms"`
	// Held is a version of the catalog that would remove too many zones, nil when there is none.
	Held      *CatalogHold  `json:"held,omitempty"`
	Primaries []PrimaryLink `json:"primaries"`
	// Problems are sentences for people, such as a TSIG mismatch.
	Problems  []string       `json:"problems,omitempty"`
	Transfers TransferCounts `json:"transfers"`
}

// TransferCounts are since the start of the secondary.
type TransferCounts struct {
	IXFR      uint64 `json:"ixfr"`
	AXFR      uint64 `json:"axfr"`
	UpToDate  uint64 `json:"up_to_date"`
	Failovers uint64 `json:"failovers"`
	Refused   uint64 `json:"refused"`
}

// CatalogHold is a version of the catalog zone that waits for a confirmation.
type CatalogHold struct {
	Serial uint32 `json:"serial"`
	// Members there were before, Removed of them would be gone.
	Members int       `json:"members"`
	Removed int       `json:"removed"`
	Since   time.Time `json:"since"`
}

// PrimaryLink is a primary as a secondary sees it.
type PrimaryLink struct {
	Name string `json:"name"`
	DNS  string `json:"dns"` // host:port
	// Live: its stream is heard. Ready: it says that it answers reads.
	Live   bool   `json:"live"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// ZonesBehind of its zones are older than another live primary announced.
	ZonesBehind int `json:"zones_behind"`
}

// Secondary is a registered secondary. Name, Key, Notify and Foreign are its registration, and all that a PUT reads; the rest
// is what the primary that answers knows of it, and absent for foreign ones.
type Secondary struct {
	Name string `json:"name"`
	// Key is the name of its TSIG key, with which it may transfer every zone.
	Key string `json:"key"`
	// Notify are address:port that a signed NOTIFY of every change is sent to. Ours need none.
	Notify []string `json:"notify,omitempty"`
	// Foreign: not run by this program; it follows NOTIFY and its own timers, and reports nothing.
	Foreign bool `json:"foreign,omitempty"`

	Connected bool             `json:"connected"`
	LastSeen  time.Time        `json:"last_seen,omitzero"`
	Status    *SecondaryStatus `json:"status,omitempty"`
	// Behind are the zones that lag most, up to a limit.
	Behind []SecondarySerial `json:"behind,omitempty"`
}

// SecondarySerial is one zone at one secondary.
type SecondarySerial struct {
	Secondary string `json:"secondary"`
	Zone      string `json:"zone"`
	// Serial is served by the secondary, Current is published by the primary that answers.
	Serial  uint32 `json:"serial"`
	Current uint32 `json:"current"`
	// LagMS is how long Current has been published without being served there.
	LagMS int64 `json:"lag_ms"`
	// DelayMS is how long after its publish Serial was seen to be served; nil when nobody watched it become so.
	DelayMS *int64 `json:"delay_ms,omitempty"`
	Error   string `json:"error,omitempty"`
}

// ZoneDigest is the digest of one version of a zone.
type ZoneDigest struct {
	Serial  uint32 `json:"serial"`
	Records int    `json:"records"`
	Digest  string `json:"digest"`
}

// Guarantee withholds the answer to an update until Secondaries of ours serve it, LimitMS at most. 0 secondaries: none.
type Guarantee struct {
	Secondaries int `json:"secondaries"`
	// LimitMS is at most 10000; 0 means DefaultGuaranteeMS. Past it the answer is NOERROR all the same: the update is durable.
	LimitMS int `json:"limit_ms,omitempty"`
}

// DefaultGuaranteeMS is what a guarantee without a limit means.
const DefaultGuaranteeMS = 2000

// Normal is the guarantee as primaries tell it: with its limit.
func (g Guarantee) Normal() Guarantee {
	if g.Secondaries > 0 && g.LimitMS == 0 {
		g.LimitMS = DefaultGuaranteeMS
	}
	return g
}

// Catalog is the catalog zone (RFC 9432).
type Catalog struct {
	Name   string `json:"name"`
	Serial uint32 `json:"serial"`
	// Confirmed: removals up to this serial are obeyed by every secondary, however many they are. 0: none was confirmed.
	Confirmed uint32 `json:"confirmed"`
	Members   int    `json:"members"`
}

// ConfirmCatalog confirms the removals of the catalog's versions up to a serial.
type ConfirmCatalog struct {
	Serial uint32 `json:"serial"`
}
