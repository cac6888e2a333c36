package primary

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/fsm/seal"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// keyring opens the replicated keys' secrets with the cluster's key, each once. It is safe for concurrent use.
type keyring struct {
	sealer *seal.Sealer
	log    *slog.Logger

	mu     sync.RWMutex
	opened map[zone.Name]openedKey
}

// openedKey remembers from which replicated key the secrets came: a key that changes is another *fsm.Key.
type openedKey struct {
	from *fsm.Key
	keys []tsig.Key
}

func newKeyring(s *seal.Sealer, log *slog.Logger) *keyring {
	return &keyring{sealer: s, log: log, opened: make(map[zone.Name]openedKey)}
}

// of gives a key's valid secrets, newest first. The slice is shared: read only.
func (k *keyring) of(key *fsm.Key) []tsig.Key {
	k.mu.RLock()
	o := k.opened[key.Name]
	k.mu.RUnlock()
	if o.from == key {
		return o.keys
	}
	keys := k.open(key)
	k.mu.Lock()
	k.opened[key.Name] = openedKey{key, keys}
	k.mu.Unlock()
	return keys
}

func (k *keyring) open(key *fsm.Key) []tsig.Key {
	var out []tsig.Key
	for _, s := range key.Secrets {
		if s.State == fsm.KeyRevoked {
			continue
		}
		tk, err := k.openSecret(key.Name, s)
		if err != nil {
			// A replica with another cluster key verifies nothing of this name: BADKEY, and here is why.
			k.log.Error("a key's secret can't be opened; is the cluster key file the same at every replica?",
				"key", key.Name, "version", s.Version, "err", err)
			continue
		}
		out = append(out, tk)
	}
	return out
}

func (k *keyring) openSecret(name zone.Name, s fsm.KeySecret) (tsig.Key, error) {
	alg, err := tsig.ParseAlgorithm(s.Algorithm)
	if err != nil {
		return tsig.Key{}, err
	}
	secret, err := k.sealer.Open(string(name), s.Version, s.Sealed)
	if err != nil {
		return tsig.Key{}, err
	}
	// HMAC-MD5 is opt-in for each key: whoever added this one asked for it by name.
	return tsig.NewKey(tsig.Key{Name: name, Algorithm: alg, Secret: secret, Version: s.Version, AllowMD5: alg == tsig.HMACMD5})
}

// check refuses a cluster key that opens none of the replicated secrets: it is another cluster's. One that opens some is
// let pass, because what went wrong with the others may have gone wrong elsewhere, and this primary can still serve.
func (k *keyring) check(s *fsm.Settings) error {
	names, usable := 0, 0
	s.Keys(func(key *fsm.Key) bool {
		if !slices.ContainsFunc(key.Secrets, func(s fsm.KeySecret) bool { return s.State != fsm.KeyRevoked }) {
			return true
		}
		names++
		if len(k.of(key)) > 0 {
			usable++
		}
		return true
	})
	if names > 0 && usable == 0 {
		return fmt.Errorf("it opens none of the secrets of the cluster's %d TSIG keys, so it is another cluster's: use the file that the other primaries have", names)
	}
	return nil
}

// ring is the keyring as of one generation of the settings.
type ring struct {
	k        *keyring
	settings *fsm.Settings
}

// Lookup implements tsig.Keyring.
func (r ring) Lookup(name zone.Name) []tsig.Key {
	key := r.settings.Key(name)
	if key == nil {
		return nil
	}
	return r.k.of(key)
}

// replicatedKeys is the keyring as of now.
type replicatedKeys struct{ p *Primary }

// Lookup implements tsig.Keyring.
func (r replicatedKeys) Lookup(name zone.Name) []tsig.Key {
	return ring{r.p.keys, r.p.replica.Settings()}.Lookup(name)
}
