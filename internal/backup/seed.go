package backup

import (
	"errors"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Loaded is a backup in memory, proven.
type Loaded struct {
	Manifest *Manifest
	// Sealed are the secrets as they are in the file, nil without.
	Sealed   []byte
	contents []*zone.Zone
}

// Visitor gives what fills l while a backup is read.
func (l *Loaded) Visitor() Visitor {
	return Visitor{
		Secrets: func(sealed []byte) error { l.Sealed = sealed; return nil },
		Zone:    func(_ *Zone, z *zone.Zone) error { l.contents = append(l.contents, z); return nil },
	}
}

// Restoring says how a backup becomes the content of a cluster.
type Restoring struct {
	Now time.Time
	// FirstVersion is the least version that the cluster takes for a key.
	FirstVersion uint64
	// Seal makes the command for a secret of a key.
	Seal func(name zone.Name, algorithm string, version uint64, secret []byte) *fsm.PutKey
	// Secrets are those of the backup, in the clear; New makes one for a key instead.
	Secrets []Secret
	New     func(algorithm string) ([]byte, error)
	// Seen is the newest serial of a zone that somebody is known to serve.
	Seen func(name string, saved uint32) (serial uint32, ok bool)
}

// ErrNoSecrets: the backup has no secrets, and none were asked to be made.
var ErrNoSecrets = errors.New("the backup has no secrets of its keys")

// Seed makes the content of a cluster of the backup. The zones are not the Loaded's any more.
func (l *Loaded) Seed(r Restoring) (*fsm.Seed, error) {
	m := l.Manifest
	s := fsm.NewSeed(r.Now.UnixMilli())
	if err := s.Do(&fsm.PutLimits{Limits: m.Limits}); err != nil {
		return nil, err
	}
	if err := l.addKeys(s, r); err != nil {
		return nil, err
	}
	elapsed := r.Now.Sub(m.LogTime)
	next := func(name string, saved uint32) uint32 {
		seen, ok := uint32(0), false
		if r.Seen != nil {
			seen, ok = r.Seen(name, saved)
		}
		return NextSerial(saved, elapsed, seen, ok)
	}
	for i, z := range m.Zones {
		if err := s.AddZone(z.Settings.fsm(), z.ManagedBy, fsm.WithSerial(l.contents[i], next(z.Name, z.Serial))); err != nil {
			return nil, err
		}
	}
	for _, d := range m.DeletedZones {
		name, err := zone.ParseName(d.Name)
		if err == nil {
			err = s.AddDeleted(name.Canonical(), next(d.Name, d.Serial))
		}
		if err != nil {
			return nil, fmt.Errorf("deleted zone %s: %w", d.Name, err)
		}
	}
	if c := m.Catalog; c != nil {
		name, err := zone.ParseName(c.Name)
		if err == nil {
			err = s.Do(&fsm.PutCatalog{Name: name, Settings: c.Settings.fsm(), Actor: fsm.Actor{By: c.ManagedBy}})
		}
		if err != nil {
			return nil, fmt.Errorf("catalog %s: %w", c.Name, err)
		}
		s.CatalogSerial(next(c.Name, c.Serial))
	}
	// What was signed up to here may have been applied before the backup, and no table remembers it (C1). What came later is not in the backup.
	if err := s.Do(&fsm.Floor{TimeSigned: uint64(max(m.LogTime.Unix(), 0)) + fsm.MaxFudge}); err != nil {
		return nil, err
	}
	return s, nil
}

// addKeys adds the keys, and then what refers to them: secondaries, to which the guarantees of keys refer in turn.
func (l *Loaded) addKeys(s *fsm.Seed, r Restoring) error {
	secrets := make(map[string][]byte, len(r.Secrets))
	for _, x := range r.Secrets {
		secrets[fmt.Sprint(x.Key, x.Version)] = x.Secret
	}
	version := r.FirstVersion
	for _, k := range l.Manifest.Keys {
		name, err := zone.ParseName(k.Name)
		if err != nil {
			return fmt.Errorf("key %q: %w", k.Name, err)
		}
		versions := k.Versions
		if r.New != nil && len(versions) > 1 {
			versions = versions[:1] // an older one that nobody knows is of no use
		}
		for i := len(versions) - 1; i >= 0; i-- { // the oldest first: each is a rotation of the one before
			v := versions[i]
			secret := secrets[fmt.Sprint(k.Name, v.Version)]
			if r.New != nil {
				if secret, err = r.New(v.Algorithm); err != nil {
					return fmt.Errorf("key %s: %w", k.Name, err)
				}
			}
			if len(secret) == 0 {
				return fmt.Errorf("key %s, version %d: %w; restore with new secrets (every client and secondary then needs its own), "+
					"or take a backup that has them", k.Name, v.Version, ErrNoSecrets)
			}
			put := r.Seal(name.Canonical(), v.Algorithm, version, secret)
			put.Rotate = i < len(versions)-1
			put.By = k.ManagedBy
			if !v.NotAfter.IsZero() {
				if put.NotAfterMS = v.NotAfter.UnixMilli(); !v.NotAfter.After(r.Now) {
					continue // it is over
				}
			}
			if err := s.Do(put); err != nil {
				return err
			}
			version++
		}
	}
	for _, x := range l.Manifest.Secondaries {
		key, err := zone.ParseName(x.Key)
		if err == nil {
			err = s.Do(&fsm.PutSecondary{Name: x.Name, Key: key, Notify: x.Notify, Foreign: x.Foreign, Actor: fsm.Actor{By: x.ManagedBy}})
		}
		if err != nil {
			return fmt.Errorf("secondary %s: %w", x.Name, err)
		}
	}
	for _, k := range l.Manifest.Keys {
		name, err := zone.ParseName(k.Name)
		if err == nil && k.Guarantee != (Guarantee{}) {
			err = s.Do(&fsm.PutKeyGuarantee{Key: name, Guarantee: k.Guarantee.fsm(), Actor: fsm.Actor{By: k.ManagedBy}})
		}
		if err == nil && k.Rate != (Rate{}) {
			err = s.Do(&fsm.PutKeyRate{Key: name, Rate: fsm.Rate(k.Rate), Actor: fsm.Actor{By: k.ManagedBy}})
		}
		if err != nil {
			return fmt.Errorf("key %s: %w", k.Name, err)
		}
	}
	return nil
}

// How far a restored zone's serial is moved past the one in the backup when nobody can be asked.
const (
	// serialBase covers a short while at the highest rate of updates, serialRate (a second) the time since the backup. Being a
	// function of the time it also puts a second restore of one file past what was served after the first.
	serialBase = 1 << 20
	serialRate = 1000
	// serialMost keeps the step such that a secondary that was behind the backup still takes it as one forward (RFC 1982).
	serialMost = 1 << 30
)

// NextSerial is the serial of a restored zone (rule C3): beyond the saved one by more than the updates that may have followed the
// backup, and beyond the newest that is known to be served.
func NextSerial(saved uint32, elapsed time.Duration, seen uint32, hasSeen bool) uint32 {
	step := uint64(serialBase)
	if s := elapsed.Seconds(); s > 0 {
		step += uint64(min(s, 1<<31) * serialRate)
	}
	step = min(step, serialMost)
	if hasSeen && zone.SerialGT(seen, saved) {
		step = max(step, uint64(seen-saved)+1)
	}
	return zone.SerialAdd(saved, uint32(min(step, 1<<31-1)))
}
