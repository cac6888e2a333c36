package log

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// layout is where things lie in etcd; see the package comment.
type layout struct{ prefix string }

// newLayout puts the layout's version into the path: another version is another log.
func newLayout(prefix string) layout { return layout{prefix: strings.TrimRight(prefix, "/") + "/v1/"} }

func (l layout) epochKey(replica string) string { return l.prefix + "epoch/" + replica }
func (l layout) logKey(replica string) string   { return l.prefix + "log/" + replica }
func (l layout) logPrefix() string              { return l.prefix + "log/" }
func (l layout) headKey() string                { return l.prefix + "head" }

// replicaOf returns the replica a log key belongs to.
func (l layout) replicaOf(key []byte) (string, error) {
	name, ok := strings.CutPrefix(string(key), l.logPrefix())
	if !ok || name == "" {
		return "", fmt.Errorf("log: key %q is not below %q: %w", key, l.logPrefix(), ErrCorrupt)
	}
	return name, nil
}

// recordFormat is the first octet of every record's value. A reader halts on one that it does not know.
const recordFormat = 1

// appendRecord appends a record's value to b: format, epoch and sequence number as varints, data. The numbers repeat
// what etcd knows as key versions; a difference proves that somebody wrote to the keys behind our back.
func appendRecord(b []byte, epoch, seq uint64, data []byte) []byte {
	b = append(b, recordFormat)
	b = binary.AppendUvarint(b, epoch)
	b = binary.AppendUvarint(b, seq)
	return append(b, data...)
}

// parseRecord reads what appendRecord wrote. data aliases value.
func parseRecord(value []byte) (epoch, seq uint64, data []byte, err error) {
	if len(value) == 0 {
		return 0, 0, nil, fmt.Errorf("log: empty record: %w", ErrCorrupt)
	}
	if value[0] != recordFormat {
		return 0, 0, nil, fmt.Errorf("log: record format %d, this version reads %d; upgrade it: %w", value[0], recordFormat, ErrCorrupt)
	}
	rest := value[1:]
	for _, p := range []*uint64{&epoch, &seq} {
		v, n := binary.Uvarint(rest)
		if n <= 0 || v == 0 {
			return 0, 0, nil, fmt.Errorf("log: truncated record header %x: %w", value[:min(len(value), 20)], ErrCorrupt)
		}
		*p, rest = v, rest[n:]
	}
	return epoch, seq, rest, nil
}

// sequence checks that each replica's sequence numbers are dense. A follower may start anywhere, so a replica's first
// record sets the mark.
type sequence struct{ last map[string]Record }

func newSequence() *sequence { return &sequence{last: make(map[string]Record)} }

// check accepts r as the next record, or says how it contradicts the ones before.
func (s *sequence) check(r Record) error {
	prev, seen := s.last[r.Replica]
	switch {
	case !seen:
	case r.Seq != prev.Seq+1:
		return fmt.Errorf("log: record %d of replica %q has sequence number %d after %d at %d: %w",
			r.Index, r.Replica, r.Seq, prev.Seq, prev.Index, ErrCorrupt)
	case r.Epoch < prev.Epoch:
		return fmt.Errorf("log: record %d of replica %q has epoch %d after %d at %d: %w",
			r.Index, r.Replica, r.Epoch, prev.Epoch, prev.Index, ErrCorrupt)
	case r.Index <= prev.Index:
		return fmt.Errorf("log: record %d of replica %q comes after %d: %w", r.Index, r.Replica, prev.Index, ErrCorrupt)
	}
	r.Data = nil // keep the numbers, not the batch
	s.last[r.Replica] = r
	return nil
}
