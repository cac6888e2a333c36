package endpoint

import (
	"log/slog"
	"sync"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Keys opens the sealed secrets of replicated keys when they are first used, and
// remembers them. The cost of a change of settings is therefore that of the keys
// it touches, however many there are.
type Keys struct {
	open   func(name zone.Name, version uint64, sealed []byte) ([]byte, error)
	logger *slog.Logger

	mu     sync.RWMutex
	opened map[*fsm.Key][]tsig.Key // an fsm.Key never changes; a changed key is another pointer
}

// NewKeys returns an empty store. open unseals a secret; a secret that can't be
// opened is logged and does not verify anything.
func NewKeys(open func(name zone.Name, version uint64, sealed []byte) ([]byte, error), logger *slog.Logger) *Keys {
	return &Keys{open: open, logger: logger, opened: map[*fsm.Key][]tsig.Key{}}
}

// Settings shows replicated settings to the endpoint.
func (k *Keys) Settings(s *fsm.Settings) Settings { return replicated{s, k} }

// secrets returns the valid secrets of a key, newest first.
func (k *Keys) secrets(key *fsm.Key) []tsig.Key {
	k.mu.RLock()
	keys, ok := k.opened[key]
	k.mu.RUnlock()
	if ok {
		return keys
	}
	for i := range key.Secrets {
		s := &key.Secrets[i]
		if s.State == fsm.KeyRevoked {
			continue
		}
		opened, err := k.secret(key, s)
		if err != nil {
			k.logger.Error("a key's secret can't be used", "key", key.Name.String(), "version", s.Version, "err", err)
			continue
		}
		keys = append(keys, opened)
	}
	k.mu.Lock()
	k.opened[key] = keys
	k.mu.Unlock()
	return keys
}

func (k *Keys) secret(key *fsm.Key, s *fsm.KeySecret) (tsig.Key, error) {
	alg, err := tsig.ParseAlgorithm(s.Algorithm)
	if err != nil {
		return tsig.Key{}, err
	}
	secret, err := k.open(key.Name, s.Version, s.Sealed)
	if err != nil {
		return tsig.Key{}, err
	}
	// Whoever added the key chose the algorithm; that it was HMAC-MD5 is the opt-in.
	return tsig.NewKey(tsig.Key{Name: key.Name, Algorithm: alg, Secret: secret, Version: s.Version, AllowMD5: alg == tsig.HMACMD5})
}

// Prune forgets the opened secrets of keys that these settings no longer have.
// Call it when settings change; it costs one step for each opened key.
func (k *Keys) Prune(s *fsm.Settings) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.opened {
		if s.Key(key.Name) != key {
			delete(k.opened, key)
		}
	}
}

// replicated is Settings over the state machine's.
type replicated struct {
	settings *fsm.Settings
	keys     *Keys
}

func (r replicated) Generation() uint64 { return r.settings.Generation }

func (r replicated) Lookup(name zone.Name) []tsig.Key {
	key := r.settings.Key(name)
	if key == nil {
		return nil
	}
	return r.keys.secrets(key)
}

func (r replicated) Zone(name zone.Name) (Zone, bool) {
	return view(r.settings.Zone(fsm.ZoneID{Name: name}))
}

func (r replicated) Enclosing(name zone.Name) (Zone, bool) {
	return view(r.settings.Enclosing("", name))
}

func view(c *fsm.ZoneConfig) (Zone, bool) {
	if c == nil {
		return Zone{}, false
	}
	return Zone{
		ID: c.ID, Policy: c.Policy, AllowUpdate: c.AllowUpdate, AllowQuery: c.AllowQuery, AllowTransfer: c.AllowTransfer,
		LocalReads: c.Settings.LocalReads,
	}, true
}
