package publish

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// keyState is what the publisher knows about the tenants' keys. Guarded by Publisher.mu.
type keyState struct {
	wanted  uint64 // fingerprint of the keys that named is to have
	held    uint64 // of those it has
	heldBy  uint64 // the incarnation of named that has them
	since   uint64 // log index of the oldest change that named has not got, 0: none
	expires int64  // log time in milliseconds at which the next key ends, 0: none
	timeMS  int64  // newest log time
	lastErr error
}

// keysChanged looks whether a change of settings concerns keys.
func (p *Publisher) keysChanged(index uint64) {
	p.keys.wanted, p.keys.expires = fingerprint(p.machine.Settings(), p.keys.timeMS)
	if p.keys.wanted != p.keys.held && p.keys.since == 0 {
		p.keys.since = max(index, 1)
		p.wakeLocked()
	}
	if p.keys.wanted == p.keys.held {
		p.keys.since = 0
	}
}

// keysExpire looks whether a key has ended at a log time.
func (p *Publisher) keysExpire(timeMS int64, index uint64) {
	p.keys.timeMS = max(p.keys.timeMS, timeMS)
	if p.keys.expires != 0 && timeMS > p.keys.expires {
		p.keysChanged(index)
	}
}

// fingerprint identifies the valid keys as of a log time, and says when the first of them ends.
func fingerprint(s *fsm.Settings, timeMS int64) (sum uint64, expires int64) {
	h := fnv.New64a()
	var b [8]byte
	s.Keys(func(k *fsm.Key) bool {
		for i := range k.Secrets {
			v := &k.Secrets[i]
			if !v.Valid(timeMS) {
				continue
			}
			if v.NotAfterMS != 0 && (expires == 0 || v.NotAfterMS < expires) {
				expires = v.NotAfterMS
			}
			_, _ = h.Write([]byte(k.Name)) // never fails (hash.Hash)
			_, _ = h.Write(binary.BigEndian.AppendUint64(b[:0], v.Version))
			_, _ = h.Write([]byte{byte(v.State)})
		}
		return true
	})
	return h.Sum64() | 1, expires // never 0, which is "none yet"
}

// openKeys unseals the keys that named is to have.
func (p *Publisher) openKeys(s *fsm.Settings, timeMS int64) ([]tsig.Key, error) {
	var keys []tsig.Key
	var failed error
	s.Keys(func(k *fsm.Key) bool {
		for i := range k.Secrets {
			v := &k.Secrets[i]
			if !v.Valid(timeMS) {
				continue
			}
			algorithm, err := tsig.ParseAlgorithm(v.Algorithm)
			if err != nil {
				failed = fmt.Errorf("key %s: %w", k.Name, err)
				return false
			}
			secret, err := p.cfg.Opener.Open(string(k.Name), v.Version, v.Sealed)
			if err != nil {
				failed = fmt.Errorf("key %s: %w", k.Name, err)
				return false
			}
			keys = append(keys, tsig.Key{Name: k.Name, Algorithm: algorithm, Secret: secret, Version: v.Version, AllowMD5: true})
		}
		return true
	})
	return keys, failed
}

// takeKeys gives the keys of a start.
func (p *Publisher) takeKeys(incarnation uint64) ([]tsig.Key, error) {
	p.mu.Lock()
	settings, timeMS, sum := p.machine.Settings(), p.keys.timeMS, p.keys.wanted
	p.mu.Unlock()
	keys, err := p.openKeys(settings, timeMS)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keysHeld(incarnation, sum)
	return keys, nil
}

func (p *Publisher) keysHeld(incarnation, sum uint64) {
	p.keys.heldBy, p.keys.held, p.keys.lastErr = incarnation, sum, nil
	if p.keys.held == p.keys.wanted {
		p.keys.since = 0
	}
	p.wakeLocked()
}

// keeper gives named the keys whenever they change. Changes that arrive meanwhile go together.
func (p *Publisher) keeper(ctx context.Context) {
	for ctx.Err() == nil {
		p.mu.Lock()
		s, since, wanted, timeMS, changed := p.session, p.keys.since, p.keys.wanted, p.keys.timeMS, p.waitLocked()
		var settings *fsm.Settings
		if p.machine != nil {
			settings = p.machine.Settings()
		}
		p.mu.Unlock()
		if s == nil || since == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		keys, err := p.openKeys(settings, timeMS)
		if err == nil {
			err = s.SetKeys(ctx, keys)
		}
		if err == nil {
			p.mu.Lock()
			p.keysHeld(s.Incarnation(), wanted)
			p.mu.Unlock()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		p.log.Error("named did not take the keys; trying again", "err", err)
		p.mu.Lock()
		p.keys.lastErr = err
		p.mu.Unlock()
		p.metrics.failures.Inc()
		select {
		case <-time.After(p.cfg.RetryMin * 4):
		case <-s.Gone():
		case <-ctx.Done():
		}
	}
}
