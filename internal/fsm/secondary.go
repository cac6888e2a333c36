package fsm

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/btree"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Bounds of the registry (I8): each secondary of ours holds a stream to each primary, and each target takes a NOTIFY of
// every change.
const (
	maxSecondaries     = 256
	maxNotifyTargets   = 16
	maxSecondaryName   = 63
	maxGuaranteeMS     = 10_000
	defaultGuaranteeMS = 2_000
)

// Secondary is a registered secondary. Its key may transfer every zone. Immutable.
type Secondary struct {
	Name      string
	Key       zone.Name        // canonical; no two secondaries have the same
	Notify    []netip.AddrPort // told of every change of every member of the catalog, and of the catalog
	Foreign   bool             // not run by this program: it reports nothing
	ManagedBy string
}

// Guarantee withholds the answer to an update until a number of our secondaries serve it. The answer is NOERROR in any case.
type Guarantee struct {
	Secondaries uint8  // 0: none
	LimitMS     uint32 // at most 10,000 milliseconds; 0 is 2,000
}

// Limit is for how long an answer is withheld at most.
func (g Guarantee) Limit() time.Duration {
	if g.LimitMS == 0 {
		g.LimitMS = defaultGuaranteeMS
	}
	return time.Duration(g.LimitMS) * time.Millisecond
}

// Check says what is wrong with a guarantee, whatever secondaries there are.
func (g Guarantee) Check() error {
	switch {
	case g.LimitMS > maxGuaranteeMS:
		return fmt.Errorf("guarantee: a limit of %d ms; use at most %d: clients give up waiting", g.LimitMS, maxGuaranteeMS)
	case g.Secondaries == 0 && g.LimitMS != 0:
		return fmt.Errorf("guarantee: a limit of %d ms without a number of secondaries to wait for; give both, or neither", g.LimitMS)
	}
	return nil
}

// stricter is what meets both guarantees: the greater number, and the smaller limit so that no promise about time is broken.
func (g Guarantee) stricter(o Guarantee) Guarantee {
	switch {
	case o.Secondaries == 0:
		return g
	case g.Secondaries == 0:
		return o
	}
	limit := min(g.Limit(), o.Limit())
	return Guarantee{Secondaries: max(g.Secondaries, o.Secondaries), LimitMS: uint32(limit / time.Millisecond)}
}

func (g Guarantee) append(b []byte) []byte {
	b = append(b, g.Secondaries)
	return appendUvarint(b, uint64(g.LimitMS))
}

func (g *Guarantee) read(r *reader) {
	g.Secondaries = r.byte()
	g.LimitMS = r.uint32("limit of a guarantee")
}

// ParseNotifyTarget reads "address:port" or "address:port key NAME"; key is canonical, "" for an unsigned NOTIFY.
func ParseNotifyTarget(text string) (addr netip.AddrPort, key zone.Name, err error) {
	const form = `write address:port, or address:port key NAME`
	words := strings.Fields(text)
	if len(words) != 1 && (len(words) != 3 || words[1] != "key") {
		return addr, "", fmt.Errorf("%q: %s", text, form)
	}
	if addr, err = parseTargetAddr(words[0]); err != nil || len(words) == 1 {
		return addr, "", err
	}
	if key, err = zone.ParseName(words[2]); err != nil {
		return netip.AddrPort{}, "", fmt.Errorf("%q: the key's name: %w; %s", text, err, form)
	}
	return addr, key.Canonical(), nil
}

// parseTargetAddr reads an address that a NOTIFY can be sent to.
func parseTargetAddr(text string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return a, fmt.Errorf("%q: %w; write address:port, such as 192.0.2.1:53 or [2001:db8::1]:53", text, err)
	case a.Port() == 0, a.Addr().IsUnspecified(), a.Addr().IsMulticast():
		return netip.AddrPort{}, fmt.Errorf("%q is no address and port of one host that a NOTIFY can be sent to", text)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// parseSecondary checks what does not depend on the state.
func parseSecondary(c *PutSecondary) (*Secondary, error) {
	if err := checkSecondaryName(c.Name); err != nil {
		return nil, err
	}
	s := &Secondary{Name: c.Name, Key: c.Key.Canonical(), Foreign: c.Foreign, ManagedBy: c.By}
	if s.Key == "" {
		return nil, fmt.Errorf("secondary %s: key missing; name the TSIG key that it transfers with", c.Name)
	}
	if len(c.Notify) > maxNotifyTargets {
		return nil, fmt.Errorf("secondary %s: %d addresses to notify; use at most %d", c.Name, len(c.Notify), maxNotifyTargets)
	}
	for _, text := range c.Notify {
		a, err := parseTargetAddr(text)
		if err != nil {
			return nil, fmt.Errorf("secondary %s: notify %w", c.Name, err)
		}
		if slices.Contains(s.Notify, a) {
			return nil, fmt.Errorf("secondary %s: notify %s stands there twice; remove one", c.Name, a)
		}
		s.Notify = append(s.Notify, a)
	}
	return s, nil
}

// Check says what is wrong with a registration, whatever the state, before it is put into the log.
func (c *PutSecondary) Check() error {
	_, err := parseSecondary(c)
	return err
}

// checkSecondaryName keeps names to what fits a certificate's common name, a label of a metric and a path alike.
func checkSecondaryName(name string) error {
	ok := name != "" && len(name) <= maxSecondaryName && name[0] != '.' && name[0] != '-'
	for i := range len(name) {
		c := name[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.')
	}
	if !ok {
		return fmt.Errorf("secondary name %q: use 1 to %d lower-case letters, digits, hyphens and dots, a letter or digit first", name, maxSecondaryName)
	}
	return nil
}

func (m *Machine) putSecondary(c *PutSecondary) error {
	s, err := parseSecondary(c)
	if err != nil {
		return err
	}
	what := "secondary " + c.Name
	old, exists := m.st.secondaries.Get(c.Name)
	if exists {
		if err := checkActor(what, old.ManagedBy, c.Actor); err != nil {
			return err
		}
	} else if m.st.secondaries.Len() >= maxSecondaries {
		return fmt.Errorf("%s: %d secondaries are registered; remove one first", what, maxSecondaries)
	}
	if _, ok := m.st.keys.Get(s.Key); !ok {
		return fmt.Errorf("%s: key %s does not exist; add it first", what, s.Key)
	}
	if other := m.secondaryWithKey(s.Key); other != "" && other != s.Name {
		return fmt.Errorf("%s: key %s is that of secondary %s; give each its own, so that one can be revoked alone", what, s.Key, other)
	}
	m.st.secondaries.Set(s.Name, s)
	m.secondariesChanged()
	return nil
}

func (m *Machine) deleteSecondary(c *DeleteSecondary) error {
	old, ok := m.st.secondaries.Get(c.Name)
	if !ok {
		return fmt.Errorf("secondary %q is not registered", c.Name)
	}
	if err := checkActor("secondary "+c.Name, old.ManagedBy, c.Actor); err != nil {
		return err
	}
	m.st.secondaries.Delete(c.Name)
	m.secondariesChanged()
	return nil
}

// secondariesChanged makes what is derived from the registry.
func (m *Machine) secondariesChanged() {
	m.settingsChanged = true
	m.secondaryKeys = keysOf(m.st.secondaries) // a new map: Settings that were handed out share the old one
}

func keysOf(secondaries *btree.Map[string, *Secondary]) map[zone.Name]string {
	keys := make(map[zone.Name]string, secondaries.Len())
	secondaries.Scan(func(name string, s *Secondary) bool {
		keys[s.Key] = name
		return true
	})
	return keys
}

// secondaryWithKey names the secondary whose key it is, "" when it is nobody's.
func (m *Machine) secondaryWithKey(key zone.Name) string { return m.secondaryKeys[key] }

func (m *Machine) putKeyGuarantee(c *PutKeyGuarantee) error {
	return m.changeKey(c.Key, c.Actor, func(k *Key) error {
		k.Guarantee = c.Guarantee
		return m.checkGuarantee(c.Guarantee)
	})
}

// checkGuarantee refuses a guarantee that can't be kept: with fewer secondaries every update would wait in vain.
func (m *Machine) checkGuarantee(g Guarantee) error {
	if err := g.Check(); err != nil {
		return err
	}
	ours := 0
	m.st.secondaries.Scan(func(_ string, s *Secondary) bool {
		if !s.Foreign {
			ours++
		}
		return true
	})
	if int(g.Secondaries) > ours {
		return fmt.Errorf("guarantee: %d secondaries, but only %d of ours are registered (foreign ones report nothing); register them first, or ask for fewer",
			g.Secondaries, ours)
	}
	return nil
}

// checkReferences refuses settings of a zone that name what does not exist.
func (m *Machine) checkReferences(c *ZoneConfig) error {
	if err := m.checkGuarantee(c.Settings.Guarantee); err != nil {
		return fmt.Errorf("zone %s: %w", c.ID, err)
	}
	for _, text := range c.Settings.AlsoNotify {
		_, key, err := ParseNotifyTarget(text)
		if err != nil {
			return fmt.Errorf("zone %s: also-notify %w", c.ID, err)
		}
		if _, ok := m.st.keys.Get(key); key != "" && !ok {
			return fmt.Errorf("zone %s: also-notify %s: the key does not exist; add it first", c.ID, text)
		}
	}
	return nil
}

// checkKeyUnused refuses to delete a key that a secondary lives by.
func (m *Machine) checkKeyUnused(name zone.Name) error {
	if s := m.secondaryWithKey(name); s != "" {
		return fmt.Errorf("key %s is that of secondary %s, which could transfer nothing any more; remove the secondary or give it another key first", name, s)
	}
	return nil
}

// secondary reads a registration of a checkpoint.
func (c *checkpointReader) secondary(r *reader) error {
	put := &PutSecondary{}
	put.readFields(r)
	if r.err != nil {
		return r.err
	}
	s, err := parseSecondary(put)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	c.st.secondaries.Set(s.Name, s)
	return nil
}

// append writes a registration into a checkpoint.
func (s *Secondary) append(b []byte) []byte {
	put := &PutSecondary{Name: s.Name, Key: s.Key, Foreign: s.Foreign, Actor: Actor{By: s.ManagedBy}}
	for _, a := range s.Notify {
		put.Notify = append(put.Notify, a.String())
	}
	return put.appendFields(b)
}
