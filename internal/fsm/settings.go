package fsm

import (
	"fmt"

	"github.com/tidwall/btree"

	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// KeyState says whether a secret of a key verifies requests.
type KeyState uint8

// The states of a secret.
const (
	KeyActive   KeyState = 1 // the newest: what clients are given
	KeyPrevious KeyState = 2 // valid during a rotation, until deleted
	KeyRevoked  KeyState = 3 // not valid, kept without its secret to explain refusals
)

// String gives the state's name as the command line shows it.
func (s KeyState) String() string {
	switch s {
	case KeyActive:
		return "active"
	case KeyPrevious:
		return "previous"
	case KeyRevoked:
		return "revoked"
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// Key is a TSIG key with its secrets, newest first. Immutable.
type Key struct {
	Name      zone.Name // canonical
	ManagedBy string
	Secrets   []KeySecret
	Guarantee Guarantee // for all updates signed with it
	Rate      Rate      // bounds them
}

// KeySecret is one secret of a key.
type KeySecret struct {
	Version    uint64
	Algorithm  string // TSIG algorithm name without the final dot
	Sealed     []byte // see package seal; nil when revoked
	SecretID   [16]byte
	State      KeyState
	CreatedMS  int64 // log time
	NotAfterMS int64 // log time; 0: no end
}

// Valid says whether the secret verifies requests at a log time in milliseconds.
func (s *KeySecret) Valid(logTimeMS int64) bool {
	return s.State != KeyRevoked && (s.NotAfterMS == 0 || logTimeMS <= s.NotAfterMS)
}

// secret finds the secret of a version.
func (k *Key) secret(version uint64) *KeySecret {
	for i := range k.Secrets {
		if k.Secrets[i].Version == version {
			return &k.Secrets[i]
		}
	}
	return nil
}

// keyRecord is a key with what only Apply needs. Immutable: a change replaces it.
type keyRecord struct {
	*Key
	id    uint32 // stands for the key in the dedupe table; never used twice
	floor uint64 // requests signed at or before (seconds since 1970) and not in the dedupe table get BADTIME
}

// ZoneConfig is a zone's settings, parsed. Immutable.
type ZoneConfig struct {
	ID ZoneID
	// Incarnation is the index of the entry that created the zone: a zone deleted and added again is another zone.
	Incarnation uint64
	ManagedBy   string
	Settings    ZoneSettings
	// Policy and AllowUpdate are never both set; neither: nobody may update.
	Policy        *policy.Policy
	AllowUpdate   *policy.ACL
	AllowQuery    *policy.ACL
	AllowTransfer *policy.ACL

	catalog bool
}

// IsCatalog says that the zone is the catalog zone: nobody updates it, and it is no member of itself.
func (c *ZoneConfig) IsCatalog() bool { return c.catalog }

// Settings is everything that is configured, as of one entry. Immutable, so that one request sees one state throughout.
type Settings struct {
	// Generation rises with every change of a key, zone or setting.
	Generation uint64
	// Index is that of the entry that made this generation.
	Index uint64
	// NextKeyVersion is the least version that PutKey accepts.
	NextKeyVersion uint64

	keys          *btree.Map[zone.Name, *keyRecord]
	zones         *btree.Map[string, *ZoneConfig]
	secondaries   *btree.Map[string, *Secondary]
	secondaryKeys map[zone.Name]string
	catalog       catalog
}

// Key finds a key by its name in any case; nil when there is none.
func (s *Settings) Key(name zone.Name) *Key {
	k, ok := s.keys.Get(name.Canonical())
	if !ok {
		return nil
	}
	return k.Key
}

// Keys calls fn for each key, in the order of their names' octets, until it returns false.
func (s *Settings) Keys(fn func(*Key) bool) {
	s.keys.Scan(func(_ zone.Name, k *keyRecord) bool { return fn(k.Key) })
}

// NumKeys is the number of keys.
func (s *Settings) NumKeys() int { return s.keys.Len() }

// Zone finds a zone by its exact name; nil when there is none.
func (s *Settings) Zone(id ZoneID) *ZoneConfig {
	z, _ := s.zones.Get(id.key())
	return z
}

// Enclosing finds the zone that a name belongs to: the one with the longest name at or above it. nil when there is none.
func (s *Settings) Enclosing(view string, name zone.Name) *ZoneConfig {
	for name = name.Canonical(); ; name = name.Parent() {
		if z := s.Zone(ZoneID{View: view, Name: name}); z != nil {
			return z
		}
		if len(name) <= 1 {
			return nil
		}
	}
}

// Zones calls fn for each zone, in the order of their views' and names' octets, until it returns false.
func (s *Settings) Zones(fn func(*ZoneConfig) bool) {
	s.zones.Scan(func(_ string, z *ZoneConfig) bool { return fn(z) })
}

// NumZones is the number of zones.
func (s *Settings) NumZones() int { return s.zones.Len() }

// Secondaries calls fn for each registered secondary, in the order of their names, until it returns false.
func (s *Settings) Secondaries(fn func(*Secondary) bool) {
	s.secondaries.Scan(func(_ string, x *Secondary) bool { return fn(x) })
}

// Secondary finds a registered secondary; nil when there is none of that name.
func (s *Settings) Secondary(name string) *Secondary {
	x, _ := s.secondaries.Get(name)
	return x
}

// SecondaryKey says whether a key, whose name is canonical, is that of a registered secondary.
func (s *Settings) SecondaryKey(key zone.Name) bool { return s.secondaryKeys[key] != "" }

// Catalog gives the catalog zone and the serial up to which its removals are confirmed (0: none); false while there is none.
func (s *Settings) Catalog() (id ZoneID, confirmed uint32, ok bool) {
	return s.catalog.id, s.catalog.confirmed, s.catalog.exists()
}

// Guarantee is what an update of a zone waits for when it is signed with a key ("": with none): what meets both the zone's
// guarantee and the key's.
func (s *Settings) Guarantee(id ZoneID, key zone.Name) Guarantee {
	var g Guarantee
	if z := s.Zone(id); z != nil {
		g = z.Settings.Guarantee
	}
	if k := s.Key(key); k != nil {
		g = g.stricter(k.Guarantee)
	}
	return g
}

// key is the zone's place in ordered maps.
func (id ZoneID) key() string {
	if id.View == "" {
		return "\x00" + string(id.Name) // as below, without a second concatenation in the hot path
	}
	return id.View + "\x00" + string(id.Name)
}

// validate says what is wrong with a zone's ID.
func (id ZoneID) validate() error {
	if id.View != "" {
		return fmt.Errorf("view %q: views are not offered; leave it empty", id.View)
	}
	if id.Name == "" {
		return fmt.Errorf("zone name missing; give its absolute name")
	}
	return nil
}

// Check says what is wrong with the settings of a zone before they are put into the log, where Apply would refuse them.
func (s ZoneSettings) Check(id ZoneID) error {
	_, err := parseZoneConfig(id, s)
	return err
}

// parseZoneConfig parses a zone's settings.
func parseZoneConfig(id ZoneID, s ZoneSettings) (*ZoneConfig, error) {
	if s.UpdatePolicy != "" && s.AllowUpdate != "" {
		return nil, fmt.Errorf("zone %s: update-policy and allow-update exclude each other; leave one empty", id)
	}
	c := &ZoneConfig{ID: id, Settings: s}
	var err error
	if s.UpdatePolicy != "" {
		if c.Policy, err = policy.ParsePolicy(s.UpdatePolicy); err != nil {
			return nil, fmt.Errorf("zone %s: update-policy: %w", id, err)
		}
	}
	acl := func(what, text, byDefault string) *policy.ACL {
		if text == "" {
			text = byDefault
		}
		if text == "" || err != nil {
			return nil
		}
		a, perr := policy.ParseACL(text)
		if perr != nil {
			err = fmt.Errorf("zone %s: %s: %w", id, what, perr)
		}
		return a
	}
	c.AllowUpdate = acl("allow-update", s.AllowUpdate, "")
	c.AllowQuery = acl("allow-query", s.AllowQuery, "any;")
	c.AllowTransfer = acl("allow-transfer", s.AllowTransfer, "none;")
	if err != nil {
		return nil, err
	}
	for _, a := range s.AlsoNotify {
		if _, _, err := ParseNotifyTarget(a); err != nil {
			return nil, fmt.Errorf("zone %s: also-notify %w", id, err)
		}
	}
	if err := s.Guarantee.Check(); err != nil {
		return nil, fmt.Errorf("zone %s: %w", id, err)
	}
	return c, nil
}
