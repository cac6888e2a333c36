package log

import (
	"bytes"
	"errors"
	"testing"
)

func TestRecordRoundTrip(t *testing.T) {
	for _, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("ab"), 5000)} {
		for _, n := range []uint64{1, 127, 128, 1 << 40} {
			epoch, seq, got, err := parseRecord(appendRecord(nil, n, n+1, data))
			if err != nil || epoch != n || seq != n+1 || !bytes.Equal(got, data) {
				t.Errorf("round trip of %d, %d octets = %d, %d, %d octets, %v", n, len(data), epoch, seq, len(got), err)
			}
		}
	}
}

// FuzzParseRecord: whatever lies in etcd, the parser neither panics nor accepts what it could not have written.
func FuzzParseRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 1, 1})
	f.Add([]byte{2, 1, 1})
	f.Add([]byte{1, 0x80})
	f.Add(appendRecord(nil, 300, 70000, []byte("data")))
	f.Fuzz(func(t *testing.T, b []byte) {
		epoch, seq, data, err := parseRecord(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v is not ErrCorrupt", err)
			}
			return
		}
		if epoch == 0 || seq == 0 {
			t.Errorf("accepted epoch %d, sequence number %d", epoch, seq)
		}
		e2, s2, d2, err := parseRecord(appendRecord(nil, epoch, seq, data))
		if err != nil || e2 != epoch || s2 != seq || !bytes.Equal(d2, data) {
			t.Errorf("%x does not survive a round trip", b)
		}
	})
}

func TestSequence(t *testing.T) {
	rec := func(index uint64, replica string, epoch, seq uint64) Record {
		return Record{Index: index, Replica: replica, Epoch: epoch, Seq: seq}
	}
	for _, tc := range []struct {
		name string
		in   []Record
		bad  int // position of the record that must be refused; -1: none
	}{
		{"two replicas", []Record{rec(5, "a", 1, 7), rec(6, "b", 1, 1), rec(9, "a", 2, 8), rec(10, "b", 1, 2)}, -1},
		{"a gap", []Record{rec(5, "a", 1, 7), rec(6, "a", 1, 9)}, 1},
		{"twice", []Record{rec(5, "a", 1, 7), rec(6, "a", 1, 7)}, 1},
		{"an older epoch", []Record{rec(5, "a", 2, 7), rec(6, "a", 1, 8)}, 1},
		{"backwards", []Record{rec(5, "a", 1, 7), rec(4, "a", 1, 8)}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSequence()
			for i, r := range tc.in {
				if err := s.check(r); (err != nil) != (i == tc.bad) {
					t.Errorf("record %d: %v", i, err)
				} else if err != nil && !errors.Is(err, ErrCorrupt) {
					t.Errorf("record %d: %v is not ErrCorrupt", i, err)
				}
			}
		})
	}
}
