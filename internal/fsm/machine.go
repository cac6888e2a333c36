package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Machine is one copy of the replicated state. See the package comment for who may call what.
type Machine struct {
	settings atomic.Pointer[Settings]

	mu sync.Mutex // guards all below: Apply holds it for one entry
	st state
	// halted is why Apply refuses to go on.
	halted error
	// maxVersion is MaxVersion, but for tests of activation.
	maxVersion uint8
	// gen counts snapshots: a zoneState of an older generation belongs to a snapshot and is copied before it changes.
	gen uint64
	// slots finds zones by ID. dirty lists those with pending changes. Both are derived from st.zones.
	slots map[ZoneID]*slot
	dirty []*slot
	// configs is what Settings shows of st.zones, secondaryKeys of st.secondaries: whose key it is. A change replaces the latter.
	configs       *btree.Map[string, *ZoneConfig]
	secondaryKeys map[zone.Name]string
	history       historyQueue

	dec decoder
	eff Effects // of the entry under way
	// msg and auth are of the update under way; here so that their memory serves all updates.
	msg  update.Message
	auth policy.Request
	// settingsChanged: the entry under way changed a key, zone or setting.
	settingsChanged bool
	// catalogDue are the zones that the entry under way created, deleted or changed the settings of; see updateCatalog.
	catalogDue []ZoneID
}

// slot is a zone's fixed place while its state is copied for snapshots.
type slot struct {
	id  ZoneID
	key string
	cur *zoneState // nil: deleted
	// dirty: listed in Machine.dirty. touched: changed by the entry under way. cut: to be cut after it.
	dirty, touched, cut bool
}

// New gives the machine of a new cluster: no zones, no keys, nothing applied.
func New() *Machine {
	m := newMachine(newState())
	m.publishSettings()
	return m
}

func newMachine(st state) *Machine {
	return &Machine{
		st:         st,
		maxVersion: MaxVersion,
		slots:      make(map[ZoneID]*slot),
		configs:    new(btree.Map[string, *ZoneConfig]),
	}
}

// Effects are what an entry did, for those who answer clients and publish zones. They are the caller's own; what they point
// to is shared and read-only.
type Effects struct {
	Index   uint64
	Replica string // the proposer
	Seq     uint64 // the proposer's sequence number
	TimeMS  int64  // log time after the entry, milliseconds since 1970
	// Results has one element a command, in order.
	Results []Result
	// Rated are the signed updates of groups with a Rate, whatever became of them; not those that were answered before or came too late.
	Rated []RatedUpdates
	// Boundaries are the publish steps that this entry completed, at most one a zone, in the order of zones.
	Boundaries []Boundary
	// Zones tells of zones that came, went, or got other settings or content than through boundaries.
	Zones []ZoneEvent
	// Pending are zones that this entry changed without completing a publish step: propose a Cut when nothing follows.
	Pending []ZoneID
	// Settings: a key, zone or setting changed, Machine.Settings gives another generation.
	Settings bool
	// Checkpoint: a checkpoint of the state after this very entry was asked for.
	Checkpoint bool
	// Verdicts compare the marks of an index, once for each mark that arrived.
	Verdicts []Verdict
	// Panics are mistakes of this program that requests hit, with their stacks: log them loudly. The requests got SERVFAIL.
	Panics []string
	// Activated is the version that came into use, 0 for none.
	Activated uint8
}

// Result is what became of one command.
type Result struct {
	// RCode, TSIGError, EDE and Text are the answer to an Update: DNS response code, error of the TSIG record (RFC 8945
	// section 3), extended DNS error (RFC 8914; 0: none) and its text.
	RCode     uint16
	TSIGError uint16
	EDE       uint16
	Text      string
	// Serial is the zone's after the command; for a duplicate, after the first one. 0 when there is no such zone.
	Serial uint32
	// Duplicate: this very request was applied before, and this is the answer that it got then.
	Duplicate bool
	// Expired: the deadline had passed and nothing was done. Not an answer to a client: the client may have been told
	// nothing, and its retry must count as the first.
	Expired bool
	// Err is why an administrative command was refused, "" when it was done.
	Err string
	// Taken: it was refused for the number that it came with, which another command had taken first. Made anew, with the next
	// one, it may be done.
	Taken bool
	// Managed: it was refused because another actor manages what it would change.
	Managed bool
}

// ZoneEvent tells that a zone came, went or changed other than by boundaries.
type ZoneEvent struct {
	Zone        ZoneID
	Incarnation uint64
	Kind        ZoneEventKind
}

// ZoneEventKind says what happened to a zone.
type ZoneEventKind uint8

// The kinds of zone events.
const (
	ZoneCreated  ZoneEventKind = 1
	ZoneReplaced ZoneEventKind = 2 // other content, a new incarnation
	ZoneChanged  ZoneEventKind = 3 // other settings
	ZoneDeleted  ZoneEventKind = 4
)

// expireBatch is how many dedupe entries one log entry removes at most, beside four for each of its commands: the removal
// keeps up with any rate of updates, and an idle night's backlog costs no entry more than about a millisecond.
const expireBatch = 1024

// Apply applies the log entry with this index. The index is the log's: greater than the one before, not dense.
//
// An error (ErrVersion, ErrFormat, ErrSequence) leaves the state as it was and is final: every later call returns it too.
func (m *Machine) Apply(index uint64, entry []byte) (Effects, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.halted != nil {
		return Effects{}, m.halted
	}
	e, err := m.dec.entry(entry, m.maxVersion)
	if err == nil {
		err = m.admit(index, &e)
	}
	if err != nil {
		m.halted = fmt.Errorf("apply log index %d: %w", index, err)
		return Effects{}, m.halted
	}

	r, _ := m.st.replicas.Get(e.Replica)
	r.epoch, r.seq = e.Epoch, e.Seq
	m.st.replicas.Set(e.Replica, r)
	m.st.index = index
	m.st.timeMS = max(m.st.timeMS, e.TimeMS) // C7: log time never runs backwards
	m.st.dedupe.expire(m.now(), expireBatch+4*len(e.Commands))

	m.eff = Effects{Index: index, Replica: e.Replica, Seq: e.Seq, TimeMS: m.st.timeMS, Results: make([]Result, len(e.Commands))}
	for i, c := range e.Commands {
		m.eff.Results[i] = m.command(c, &e)
	}
	m.updateCatalog()
	m.cutDue()
	if m.settingsChanged {
		m.settingsChanged = false
		m.st.generation++
		m.publishSettings()
		m.eff.Settings = true
	}
	eff := m.eff
	m.eff = Effects{}
	return eff, nil
}

// now is log time in seconds, the unit of TSIG.
func (m *Machine) now() uint64 { return uint64(m.st.timeMS) / 1000 }

// admit decides whether an entry may be applied at all. It changes nothing.
func (m *Machine) admit(index uint64, e *Entry) error {
	if index <= m.st.index {
		return fmt.Errorf("%w: index %d was applied already", ErrSequence, m.st.index)
	}
	if e.Version > m.st.version {
		return fmt.Errorf("%w: entry of version %d, activated is %d: its proposer (replica %q) is faulty", ErrVersion, e.Version, m.st.version, e.Replica)
	}
	r, _ := m.st.replicas.Get(e.Replica)
	if e.Seq != r.seq+1 {
		return fmt.Errorf("%w: replica %q, sequence %d follows %d: entries are missing or doubled; reload a checkpoint", ErrSequence, e.Replica, e.Seq, r.seq)
	}
	if e.Epoch < r.epoch {
		return fmt.Errorf("%w: replica %q, epoch %d follows %d", ErrSequence, e.Replica, e.Epoch, r.epoch)
	}
	for _, c := range e.Commands {
		// An activation stands alone, so that a program that does not know the version stops before any change.
		if a, ok := c.(*Activate); ok && len(e.Commands) == 1 && a.Version > m.maxVersion && m.refuseActivate(a) == "" {
			return fmt.Errorf("%w: version %d is activated, this replica goes up to %d: upgrade it", ErrVersion, a.Version, m.maxVersion)
		}
	}
	return nil
}

func (m *Machine) command(c Command, e *Entry) Result {
	switch c := c.(type) {
	case *Update:
		return m.update(c)
	case *PutKey:
		return refused(m.putKey(c))
	case *DeleteKey:
		return refused(m.deleteKey(c))
	case *PutZone:
		return m.zoneResult(c.Zone, m.putZone(c))
	case *DeleteZone:
		return m.zoneResult(c.Zone, m.deleteZone(c))
	case *ImportBegin:
		return refused(m.importBegin(c))
	case *ImportChunk:
		return refused(m.importChunk(c))
	case *ImportCommit:
		return m.importCommit(c)
	case *ImportAbort:
		return refused(m.importAbort(c))
	case *Cut:
		return m.zoneResult(c.Zone, m.requestCut(c.Zone))
	case *BumpSerial:
		return m.zoneResult(c.Zone, m.bumpSerial(c))
	case *Mark:
		return refused(m.mark(c, e.Replica))
	case *Checkpoint:
		m.eff.Checkpoint = true
		return Result{}
	case *Support:
		m.support(e.Replica, c.Version)
		return Result{}
	case *Activate:
		return m.activate(c, len(e.Commands) == 1)
	case *Floor:
		return refused(m.raiseFloor(c))
	case *PutLimits:
		return refused(m.putLimits(c))
	case *PutSecondary:
		return refused(m.putSecondary(c))
	case *DeleteSecondary:
		return refused(m.deleteSecondary(c))
	case *PutKeyGuarantee:
		return refused(m.putKeyGuarantee(c))
	case *PutKeyRate:
		return refused(m.putKeyRate(c))
	case *PutCatalog:
		return m.zoneResult(ZoneOf(c.Name), m.putCatalog(c))
	case *ConfirmCatalog:
		return m.zoneResult(m.st.catalog.id, m.confirmCatalog(c))
	case *SeedChunk:
		return refused(m.seedChunk(c))
	case *SeedCommit:
		return refused(m.seedCommit(c))
	case *SeedAbort:
		return refused(m.seedAbort(c))
	}
	// The decoder made c; a kind without a case here is a mistake of this program.
	panic(fmt.Sprintf("fsm: command %s is decoded but not applied", c.Kind()))
}

func refused(err error) Result {
	if err != nil {
		return Result{Err: err.Error(), Taken: errors.Is(err, errTaken), Managed: errors.Is(err, errManaged)}
	}
	return Result{}
}

// zoneResult is refused, with the zone's serial.
func (m *Machine) zoneResult(id ZoneID, err error) Result {
	res := refused(err)
	if s := m.slots[id]; s != nil {
		res.Serial = s.cur.zone.Serial()
	}
	return res
}

func (m *Machine) putLimits(c *PutLimits) error {
	if err := c.Limits.Validate(); err != nil {
		return err
	}
	m.st.limits = c.Limits
	m.trimAllHistory()
	return nil
}

// publishSettings makes the present settings visible.
func (m *Machine) publishSettings() {
	m.settings.Store(&Settings{
		Generation:     m.st.generation,
		Index:          m.st.index,
		NextKeyVersion: m.st.keyVersion + 1,
		keys:           m.st.keys.Copy(),
		zones:          m.configs.Copy(),
		secondaries:    m.st.secondaries.Copy(),
		secondaryKeys:  m.secondaryKeys,
		catalog:        m.st.catalog,
	})
}

// Settings gives the settings as of the last entry that changed them. It never waits.
func (m *Machine) Settings() *Settings { return m.settings.Load() }

// Index is that of the last entry applied, 0 before the first.
func (m *Machine) Index() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.st.index
}

// TimeMS is log time, in milliseconds since 1970.
func (m *Machine) TimeMS() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.st.timeMS
}

// Version is the activated version: entries must not be newer.
func (m *Machine) Version() uint8 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.st.version
}

// Limits gives the limits in force.
func (m *Machine) Limits() Limits {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.st.limits
}

// Halted is why Apply refuses to go on, nil while it doesn't.
func (m *Machine) Halted() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.halted
}

// LastSeq gives a proposer's newest epoch and sequence number in the log; zeros when it has proposed nothing.
func (m *Machine) LastSeq(replica string) (epoch, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, _ := m.st.replicas.Get(replica)
	return r.epoch, r.seq
}

// Stats are sizes of the state, for metrics.
type Stats struct {
	Zones, Keys, Imports int
	Records              int // of all zones
	Dedupe               int
	HistoryBytes         uint64
	DirtyZones           int // with changes that are not yet a publish step
}

// Stats counts. It takes time in proportion to the number of zones.
func (m *Machine) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{
		Zones: m.st.zones.Len(), Keys: m.st.keys.Len(), Imports: m.st.imports.Len(),
		Dedupe: m.st.dedupe.table.Len(), HistoryBytes: m.history.bytes, DirtyZones: len(m.dirty),
	}
	m.st.zones.Scan(func(_ string, z *zoneState) bool {
		s.Records += z.zone.Records()
		return true
	})
	return s
}

// addSlot makes a zone's state the machine's current one.
func (m *Machine) addSlot(z *zoneState) *slot {
	s := &slot{id: z.conf.ID, key: z.conf.ID.key(), cur: z}
	m.slots[s.id] = s
	m.st.zones.Set(s.key, z)
	m.configs.Set(s.key, z.conf)
	return s
}

// writable gives the zone's state for changing it, copied first if a snapshot shares it.
func (m *Machine) writable(s *slot) *zoneState {
	if s.cur.gen != m.gen {
		c := *s.cur
		c.zone = s.cur.zone.Snapshot()
		c.gen = m.gen
		s.cur = &c
		m.st.zones.Set(s.key, s.cur)
	}
	return s.cur
}

// touch notes that the entry under way changed a zone.
func (m *Machine) touch(s *slot) {
	s.touched = true
	if !s.dirty {
		s.dirty = true
		m.dirty = append(m.dirty, s)
	}
}

// sortSlots puts zones in the order of their keys, so that effects do not depend on what happened before.
func sortSlots(list []*slot) {
	slices.SortFunc(list, func(a, b *slot) int { return strings.Compare(a.key, b.key) })
}

// highestSerial is the highest serial that a zone's name has had, dead or alive.
func (m *Machine) highestSerial(id ZoneID) (uint32, bool) {
	if s := m.slots[id]; s != nil {
		return s.cur.zone.Serial(), true
	}
	g, ok := m.st.graves.Get(id.key())
	return g.serial, ok
}

// usedSerial says whether a zone's name has used a serial, or one after it.
func usedSerial(serial, highest uint32) bool { return !zone.SerialGT(serial, highest) }
