package zone

import (
	"slices"
)

// RRset is all RRs of one type at one name, in class IN. It is immutable once it is in a Zone.
type RRset struct {
	// Owner is the owner name in the case in which named would show it.
	Owner Name
	Type  Type
	// TTL is in seconds and the same for all RRs of the set (RFC 2181 5.2).
	TTL uint32
	// Data is the RDATA in canonical order (CompareData), without duplicates.
	Data []string
}

// NewRRset returns an RRset with data put in order and without duplicates; of duplicates that differ in case only the
// first is kept. It takes data over.
func NewRRset(owner Name, t Type, ttl uint32, data ...string) *RRset {
	s := &RRset{Owner: owner, Type: t, TTL: ttl, Data: data}
	if !s.ordered() {
		slices.SortStableFunc(data, func(a, b string) int { return CompareData(t, a, b) })
		s.Data = slices.Clip(slices.CompactFunc(data, func(a, b string) bool { return CompareData(t, a, b) == 0 }))
	}
	return s
}

// SingleRRset returns the RRset of one RR, in one piece of memory: most RRsets have no more.
func SingleRRset(owner Name, t Type, ttl uint32, data string) *RRset {
	s := &struct {
		RRset
		data [1]string
	}{data: [1]string{data}}
	s.RRset = RRset{Owner: owner, Type: t, TTL: ttl, Data: s.data[:]}
	return &s.RRset
}

// ordered reports whether Data ascends strictly.
func (s *RRset) ordered() bool {
	for i := 1; i < len(s.Data); i++ {
		if CompareData(s.Type, s.Data[i-1], s.Data[i]) >= 0 {
			return false
		}
	}
	return true
}

// Find returns the position of RDATA d in Data, and whether it is there (in any case of its names); otherwise the
// position where it belongs.
func (s *RRset) Find(d string) (int, bool) {
	return slices.BinarySearchFunc(s.Data, d, func(a, b string) int { return CompareData(s.Type, a, b) })
}

// Has reports whether the set has RDATA d.
func (s *RRset) Has(d string) bool {
	_, ok := s.Find(d)
	return ok
}

// With returns a set that has RDATA d as well; RDATA that equals d is replaced by d, so that d's case prevails.
func (s *RRset) With(d string) *RRset {
	i, found := s.Find(d)
	data := make([]string, 0, len(s.Data)+1)
	data = append(append(data, s.Data[:i]...), d)
	if found {
		i++
	}
	return &RRset{Owner: s.Owner, Type: s.Type, TTL: s.TTL, Data: slices.Clip(append(data, s.Data[i:]...))}
}

// Without returns a set that lacks RDATA d; nil when nothing is left, s itself when d was not there.
func (s *RRset) Without(d string) *RRset {
	i, found := s.Find(d)
	if !found {
		return s
	}
	if len(s.Data) == 1 {
		return nil
	}
	data := make([]string, 0, len(s.Data)-1)
	return &RRset{Owner: s.Owner, Type: s.Type, TTL: s.TTL, Data: append(append(data, s.Data[:i]...), s.Data[i+1:]...)}
}

// RRs returns the RRs of the set.
func (s *RRset) RRs() []RR {
	rrs := make([]RR, len(s.Data))
	for i := range s.Data {
		rrs[i] = s.RR(i)
	}
	return rrs
}

// RR returns the RR with RDATA Data[i].
func (s *RRset) RR(i int) RR {
	return RR{Name: s.Owner, Type: s.Type, Class: ClassIN, TTL: s.TTL, Data: s.Data[i]}
}

// Same reports whether s and o are identical, the case of names included.
func (s *RRset) Same(o *RRset) bool {
	return s == o || s != nil && o != nil && s.Owner == o.Owner && s.Type == o.Type && s.TTL == o.TTL && slices.Equal(s.Data, o.Data)
}
