package fsm

import (
	"errors"
	"fmt"
)

// Version1 is the first version of entries, checkpoints and semantics. MaxVersion is the newest that this program knows.
const (
	Version1   uint8 = 1
	MaxVersion       = Version1
)

// Errors of Apply and Restore; match with errors.Is. Each is final: the machine applies nothing more.
var (
	// ErrVersion: written by a newer program. Run that program here, or one newer still.
	ErrVersion = errors.New("fsm: unknown version")
	// ErrFormat: the octets are not what this package writes. Reload from a verified checkpoint of another replica.
	ErrFormat = errors.New("fsm: malformed data")
	// ErrSequence: an entry is missing or came twice. Reload from a verified checkpoint and follow the log again.
	ErrSequence = errors.New("fsm: entry out of sequence")
)

// MaxEntryBytes is what proposers keep an entry below: the log's own request limit is 1.5 MiB.
const MaxEntryBytes = 1 << 20

// Header says who proposed an entry, and when.
type Header struct {
	// Version of the entry; 0 stands for the first when encoding.
	Version uint8
	// Replica is the proposer's stable name.
	Replica string
	// Epoch is the log's fencing epoch of the proposer; it never falls.
	Epoch uint64
	// Seq numbers the proposer's entries in the log: 1, 2, 3, …, through all epochs.
	Seq uint64
	// TimeMS is the proposer's clock in milliseconds since 1970.
	TimeMS int64
}

// Entry is one log entry: a batch of commands that are applied in order, each by itself.
type Entry struct {
	Header
	Commands []Command
}

// EncodeEntry gives the octets of an entry for the log.
func EncodeEntry(e Entry) []byte {
	n := 64 + len(e.Replica)
	for _, c := range e.Commands {
		n += CommandSize(c)
	}
	return AppendEntry(make([]byte, 0, n), e)
}

// AppendEntry appends the octets of an entry to b.
func AppendEntry(b []byte, e Entry) []byte {
	v := e.Version
	if v == 0 {
		v = Version1
	}
	b = append(b, v)
	b = appendString(b, e.Replica)
	b = appendUvarint(b, e.Epoch)
	b = appendUvarint(b, e.Seq)
	b = appendUvarint(b, uint64(e.TimeMS))
	b = appendUvarint(b, uint64(len(e.Commands)))
	for _, c := range e.Commands {
		b = AppendCommand(b, c)
	}
	return b
}

// AppendCommand appends one command: its kind, its length, its fields.
func AppendCommand(b []byte, c Command) []byte {
	b = append(b, byte(c.Kind()))
	// The length takes as few octets as it needs, so the fields are written first, after room for the usual two.
	at := len(b)
	b = append(b, 0, 0)
	b = c.appendFields(b)
	n := len(b) - at - 2
	if n >= 0x80 && n < 1<<14 {
		b[at], b[at+1] = byte(n)|0x80, byte(n>>7)
		return b
	}
	var head [10]byte
	h := appendUvarint(head[:0], uint64(n))
	if len(h) < 2 {
		copy(b[at+1:], b[at+2:])
		b = b[:len(b)-1]
	} else {
		b = append(b, make([]byte, len(h)-2)...)
		copy(b[at+len(h):], b[at+2:at+2+n])
	}
	copy(b[at:], h)
	return b
}

// CommandSize is an upper bound of the octets that a command takes in an entry, for those who fill batches.
func CommandSize(c Command) int {
	const overhead = 16
	switch c := c.(type) {
	case *Update:
		return len(c.Wire) + len(c.KeyName) + len(c.View) + 96
	case *PutZone:
		return overhead + len(c.appendFields(nil))
	case *ImportChunk:
		n := 64 + len(c.ID)
		for _, rr := range c.RRs {
			n += len(rr.Name) + len(rr.Data) + 10
		}
		return n
	default:
		return overhead + len(c.appendFields(nil))
	}
}

// DecodeEntry reads an entry, strictly: every octet has its meaning. Octet strings of the commands alias b.
func DecodeEntry(b []byte) (Entry, error) {
	var d decoder
	return d.entry(b, MaxVersion)
}

// decoder reads entries one after another and reuses its memory: what it returned last is overwritten by the next call.
type decoder struct {
	commands []Command
	updates  []Update
	body     reader // of the command under way
}

func (d *decoder) entry(b []byte, maxVersion uint8) (Entry, error) {
	r := reader{b: b}
	var e Entry
	e.Version = r.byte()
	if r.err == nil && (e.Version == 0 || e.Version > maxVersion) {
		return Entry{}, fmt.Errorf("%w %d of a log entry, this replica takes up to %d: upgrade it", ErrVersion, e.Version, maxVersion)
	}
	e.Replica = r.string()
	e.Epoch = r.uvarint()
	e.Seq = r.uvarint()
	e.TimeMS = r.millis("time")
	n := r.count("commands")
	d.commands = d.commands[:0]
	if cap(d.updates) < n {
		d.updates = make([]Update, 0, n)
	}
	d.updates = d.updates[:0]
	for i := 0; i < n && r.err == nil; i++ {
		c, err := d.command(&r)
		if err != nil {
			return Entry{}, fmt.Errorf("log entry of replica %q, sequence %d, command %d: %w", e.Replica, e.Seq, i, err)
		}
		d.commands = append(d.commands, c)
	}
	if err := r.done("log entry"); err != nil {
		return Entry{}, err
	}
	e.Commands = d.commands
	return e, nil
}

func (d *decoder) command(r *reader) (Command, error) {
	kind := Kind(r.byte())
	body := &d.body
	*body = reader{b: r.octets(), err: r.err}
	if r.err != nil {
		return nil, r.err
	}
	if kind == KindUpdate { // by far the most frequent: no allocation
		d.updates = append(d.updates, Update{})
		u := &d.updates[len(d.updates)-1]
		if n := len(d.updates); n > 1 {
			body.known = d.updates[n-2].KeyName // batches come from few keys
		}
		u.readFields(body)
		return u, body.done("update")
	}
	c := newCommand(kind)
	if c == nil {
		return nil, fmt.Errorf("%w: command kind %d: upgrade this replica", ErrVersion, kind)
	}
	c.readFields(body)
	return c, body.done(kind.String())
}
