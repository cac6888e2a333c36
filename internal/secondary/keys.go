package secondary

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// keys reads the secrets of all keys that named needs.
func (s *secondary) keys() ([]tsig.Key, error) {
	all := append([]KeyConfig{s.cfg.Key}, s.cfg.DNS.TransferKeys...)
	out := make([]tsig.Key, len(all))
	for i, k := range all {
		var err error
		if out[i], err = k.load(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// content implements named.Content: keys only, the zones are on disk.
func (s *secondary) content(context.Context, uint64) (named.Initial, error) {
	keys, err := s.keys()
	if err != nil {
		return named.Initial{}, fmt.Errorf("keys for named: %w", err)
	}
	return named.Initial{Keys: keys}, s.ring.set(keys)
}

// ring is the keys that named has, for the proxy. It has none before named has.
type ring struct{ keys atomic.Pointer[tsig.Ring] }

func (r *ring) set(keys []tsig.Key) error {
	made, err := tsig.NewRing(keys...)
	if err == nil {
		r.keys.Store(&made)
	}
	return err
}

// Lookup implements tsig.Keyring.
func (r *ring) Lookup(name zone.Name) []tsig.Key {
	if keys := r.keys.Load(); keys != nil {
		return keys.Lookup(name)
	}
	return nil
}

const keysEvery = 2 * time.Second

// watchKeys gives named a secret that was replaced on disk. One that can't be read leaves the old one in use.
func (s *secondary) watchKeys(ctx context.Context) {
	given, _ := s.keys() // unreadable: whatever can be read later is news
	for pause(ctx, keysEvery) {
		now, err := s.keys()
		if err != nil {
			s.problem("keys", fmt.Sprintf("a key can't be read, the old one stays in use: %v", err))
			continue
		}
		sess, ok := s.named.Session()
		if !ok || sameKeys(given, now) {
			continue
		}
		if err := sess.SetKeys(ctx, now); err != nil {
			s.log.Warn("named did not take the new secrets", "err", err)
			continue
		}
		if err := s.ring.set(now); err != nil {
			s.log.Warn("the proxy did not take the new secrets; primaries answer all questions of named", "err", err)
		}
		s.log.Info("named has new secrets")
		given = now
	}
}

func sameKeys(a, b []tsig.Key) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].Secret, b[i].Secret) {
			return false
		}
	}
	return true
}
