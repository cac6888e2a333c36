package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// kind is what an operation does to the RRset of one name and type, in the words of RFC 2136.
type kind uint8

const (
	addIfAbsent  kind = iota // prerequisite: RRset does not exist (2.4.3)
	addIfNoName              // prerequisite: name is not in use (2.4.5)
	replace                  // prerequisite: RRset exists with this value (2.4.2): compare and set
	deleteIf                 // the same, then delete
	deleteIfAny              // prerequisite: RRset exists, value independent (2.4.1)
	deleteIfName             // prerequisite: name is in use (2.4.4)
	add                      // unconditional
	deleteRR                 // one RR
	deleteAll                // the RRset
	read                     // a query
)

var kindNames = [...]string{"add if absent", "add if no name", "replace", "delete if", "delete if any", "delete if name", "add", "delete RR", "delete all", "read"}

func (k kind) String() string { return kindNames[k] }

// key is an RRset. Each is a register of its own: the keys' histories are checked one by one.
type key struct {
	zone string
	name string // relative to the zone
	typ  zone.Type
}

func (k key) String() string { return fmt.Sprintf("%s.%s %s", k.name, k.zone, k.typ) }

// input is an operation. Values are zone-file text of RDATA.
type input struct {
	kind kind
	key  key
	old  string // of replace, deleteIf
	new  string // what is added, or the RR of deleteRR
}

// output is how an operation ended. unknown: the client gave up; it may have been done once, or not, at any later time.
type output struct {
	unknown bool
	rcode   int
	values  string // of a read: joined as in state
}

// Response codes of prerequisites (RFC 2136 2.2).
const (
	noError  = 0
	nxDomain = 3
	yxDomain = 6
	yxRRset  = 7
	nxRRset  = 8
)

// state is an RRset's values, sorted and joined; "" is no RRset.
type state = string

const valueSeparator = "|"

func join(values []string) state {
	return strings.Join(slices.Sorted(slices.Values(values)), valueSeparator)
}

func split(s state) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, valueSeparator)
}

// apply is what an update does to an RRset, and its answer.
func apply(s state, in input) (rcode int, after state) {
	switch in.kind {
	case addIfAbsent:
		if s != "" {
			return yxRRset, s
		}
		return noError, in.new
	case addIfNoName:
		if s != "" {
			return yxDomain, s
		}
		return noError, in.new
	case replace:
		if s != in.old {
			return nxRRset, s
		}
		return noError, in.new
	case deleteIf:
		if s != in.old {
			return nxRRset, s
		}
		return noError, ""
	case deleteIfAny:
		if s == "" {
			return nxRRset, s
		}
		return noError, ""
	case deleteIfName:
		if s == "" {
			return nxDomain, s
		}
		return noError, ""
	case add:
		values := split(s)
		if !slices.Contains(values, in.new) {
			values = append(values, in.new)
		}
		return noError, join(values)
	case deleteRR:
		return noError, join(slices.DeleteFunc(split(s), func(v string) bool { return v == in.new }))
	case deleteAll:
		return noError, ""
	}
	return noError, s
}

// step says whether an operation may have had this output in this state.
func step(s state, in input, out output) (bool, state) {
	if in.kind == read {
		return out.unknown || out.values == s, s
	}
	rcode, after := apply(s, in)
	return out.unknown || out.rcode == rcode, after
}

// model is a set of RRsets with prerequisites. An operation of unknown outcome has no return: the checker may put it at
// the very end, which is the same as that it was never done.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: partition,
		Init:      func() any { return state("") },
		Step: func(s, in, out any) (bool, any) {
			return step(s.(state), in.(input), out.(output))
		},
		DescribeOperation: func(in, out any) string {
			i, o := in.(input), out.(output)
			text := fmt.Sprintf("%s: %s", i.key, i.kind)
			if i.old != "" {
				text += " " + i.old + " →"
			}
			if i.new != "" {
				text += " " + i.new
			}
			switch {
			case o.unknown:
				return text + " ?"
			case i.kind == read:
				return text + " = {" + o.values + "}"
			}
			return fmt.Sprintf("%s: rcode %d", text, o.rcode)
		},
		DescribeState: func(s any) string { return "{" + s.(state) + "}" },
	}
}

// partition splits a history by RRset.
func partition(history []porcupine.Operation) [][]porcupine.Operation {
	byKey := map[key][]porcupine.Operation{}
	for _, op := range history {
		k := op.Input.(input).key
		byKey[k] = append(byKey[k], op)
	}
	keys := make([]key, 0, len(byKey))
	for k := range byKey {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.zone, b.zone), cmp.Compare(a.name, b.name), cmp.Compare(a.typ, b.typ))
	})
	var out [][]porcupine.Operation
	for _, k := range keys {
		out = append(out, byKey[k])
	}
	return out
}
