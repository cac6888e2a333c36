package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// forgetAfterMS is how long a deleted secret must not return. A request signed with it up to MaxFudge after its deletion
// (a client's clock may be that fast) verifies until MaxFudge after that; under another version the dedupe table would
// not know it.
const forgetAfterMS = 2 * MaxFudge * 1000

// errManaged refuses a change to what another actor manages.
var errManaged = errors.New("is managed by")

// checkActor refuses changes to what another actor manages.
func checkActor(what string, owner string, a Actor) error {
	if owner != a.By && !a.TakeOver {
		return fmt.Errorf("%s %w %s, not by %s; change it there, or take it over", what, errManaged, quoteActor(owner), quoteActor(a.By))
	}
	return nil
}

// errTaken refuses a number that must not be used twice. Two replicas may choose the same one at the same time.
var errTaken = errors.New("was used before")

func quoteActor(by string) string {
	if by == "" {
		return "nobody in particular"
	}
	return fmt.Sprintf("%q", by)
}

func (m *Machine) putKey(c *PutKey) error {
	name := c.Name.Canonical()
	what := fmt.Sprintf("key %s", name)
	old, exists := m.st.keys.Get(name)
	switch {
	case name == "":
		return errors.New("key name missing; give its absolute name")
	case c.Algorithm == "" || len(c.Sealed) == 0:
		return fmt.Errorf("%s: algorithm and secret are required", what)
	case c.Version <= m.st.keyVersion:
		return fmt.Errorf("%s: version %d %w; use %d or more", what, c.Version, errTaken, m.st.keyVersion+1)
	case c.NotAfterMS != 0 && c.NotAfterMS <= m.st.timeMS:
		return fmt.Errorf("%s: end of validity %d is past; log time is %d", what, c.NotAfterMS, m.st.timeMS)
	case exists && !c.Rotate:
		return fmt.Errorf("%s exists; rotate it, or delete it first", what)
	case !exists && c.Rotate:
		return fmt.Errorf("%s does not exist; add it first", what)
	}
	if err := m.checkForgotten(what, c.SecretID); err != nil {
		return err
	}
	m.sweepForgotten()

	secret := KeySecret{
		Version: c.Version, Algorithm: c.Algorithm, Sealed: c.Sealed, SecretID: c.SecretID, State: KeyActive,
		CreatedMS: m.st.timeMS, NotAfterMS: c.NotAfterMS,
	}
	rec := &keyRecord{Key: &Key{Name: name, ManagedBy: c.By, Secrets: []KeySecret{secret}}}
	if exists {
		if err := checkActor(what, old.ManagedBy, c.Actor); err != nil {
			return err
		}
		rec.id, rec.floor, rec.Guarantee, rec.Rate = old.id, old.floor, old.Guarantee, old.Rate
		for _, s := range old.Secrets {
			switch {
			case s.SecretID == c.SecretID && c.SecretID != [16]byte{} && s.State != KeyRevoked:
				return fmt.Errorf("%s: version %d has this secret already; rotate to another one", what, s.Version)
			case s.State == KeyPrevious && s.Valid(m.st.timeMS):
				return fmt.Errorf("%s: version %d is still valid from the last rotation; retire it first", what, s.Version)
			case s.State == KeyPrevious: // its time is over
				m.forget(&s)
			case s.State == KeyActive:
				s.State = KeyPrevious
				rec.Secrets = append(rec.Secrets, s)
			}
		}
	} else {
		m.st.keyID++
		rec.id = m.st.keyID
	}
	m.st.keyVersion = c.Version
	m.st.keys.Set(name, rec)
	m.settingsChanged = true
	return nil
}

// changeKey changes what holds for a key beside its secrets, unless somebody else manages it or change refuses.
func (m *Machine) changeKey(of zone.Name, by Actor, change func(*Key) error) error {
	name := of.Canonical()
	old, ok := m.st.keys.Get(name)
	if !ok {
		return fmt.Errorf("key %s does not exist", of)
	}
	what := fmt.Sprintf("key %s", name)
	if err := checkActor(what, old.ManagedBy, by); err != nil {
		return err
	}
	key, rec := *old.Key, *old
	if err := change(&key); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	key.ManagedBy = by.By
	rec.Key = &key
	m.st.keys.Set(name, &rec)
	m.settingsChanged = true
	return nil
}

func (m *Machine) deleteKey(c *DeleteKey) error {
	name := c.Name.Canonical()
	what := fmt.Sprintf("key %s", name)
	old, ok := m.st.keys.Get(name)
	if !ok {
		return fmt.Errorf("%s does not exist", what)
	}
	if err := checkActor(what, old.ManagedBy, c.Actor); err != nil {
		return err
	}
	if c.Version == 0 {
		if err := m.checkKeyUnused(name); err != nil {
			return err
		}
		for i := range old.Secrets {
			m.forget(&old.Secrets[i])
		}
		m.st.keys.Delete(name)
		m.settingsChanged = true
		return nil
	}
	target := old.secret(c.Version)
	switch {
	case target == nil:
		return fmt.Errorf("%s has no version %d", what, c.Version)
	case target.State == KeyRevoked:
		return fmt.Errorf("%s: version %d is revoked already", what, c.Version)
	case target.State == KeyActive:
		return fmt.Errorf("%s: version %d is the active one; rotate first, or delete the key", what, c.Version)
	}
	m.forget(target)
	key := *old.Key
	key.ManagedBy = c.By
	key.Secrets = slices.Clone(old.Secrets)
	s := key.secret(c.Version)
	s.State, s.Sealed = KeyRevoked, nil
	rec := *old
	rec.Key = &key
	m.st.keys.Set(name, &rec)
	m.settingsChanged = true
	return nil
}

// forget keeps a deleted secret from returning too soon.
func (m *Machine) forget(s *KeySecret) {
	m.sweepForgotten()
	if s.SecretID != [16]byte{} && s.State != KeyRevoked {
		m.st.forgotten.Set(string(s.SecretID[:]), m.st.timeMS+forgetAfterMS)
	}
}

func (m *Machine) checkForgotten(what string, id [16]byte) error {
	until, ok := m.st.forgotten.Get(string(id[:]))
	if ok && m.st.timeMS <= until {
		return fmt.Errorf("%s: this secret was deleted a short while ago, and requests signed with it could be applied twice; "+
			"wait %d s, or use another secret", what, (until-m.st.timeMS)/1000+1)
	}
	return nil
}

// sweepForgotten drops the secrets whose time is over. Deleting keys is rare, so the list is short.
func (m *Machine) sweepForgotten() {
	var over []string
	m.st.forgotten.Scan(func(id string, until int64) bool {
		if m.st.timeMS > until {
			over = append(over, id)
		}
		return true
	})
	for _, id := range over {
		m.st.forgotten.Delete(id)
	}
}

// raiseFloor raises one key's floor, or all.
func (m *Machine) raiseFloor(c *Floor) error {
	raise := func(k *keyRecord) {
		if c.TimeSigned > k.floor {
			up := *k
			up.floor = c.TimeSigned
			m.st.keys.Set(k.Name, &up)
		}
	}
	if c.Key != "" {
		k, ok := m.st.keys.Get(c.Key.Canonical())
		if !ok {
			return fmt.Errorf("key %s does not exist", c.Key)
		}
		raise(k)
		return nil
	}
	var all []*keyRecord
	m.st.keys.Scan(func(_ zone.Name, k *keyRecord) bool {
		all = append(all, k)
		return true
	})
	for _, k := range all {
		raise(k)
	}
	return nil
}
