package cluster

import (
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// TestModel: the checker accepts what a correct cluster may show, and rejects each way of breaking a promise.
func TestModel(t *testing.T) {
	k := key{"example.test", "r", zone.TypeA}
	op := func(client int, call, ret int64, in input, out output) porcupine.Operation {
		in.key = k
		return porcupine.Operation{ClientId: client, Call: call, Return: ret, Input: in, Output: out}
	}
	ok := output{}
	rcode := func(r int) output { return output{rcode: r} }
	sees := func(v ...string) output { return output{values: join(v)} }
	added := op(0, 0, 10, input{kind: addIfAbsent, new: "a"}, ok)
	get := func(call int64, v ...string) porcupine.Operation {
		return op(9, call, call+1, input{kind: read}, sees(v...))
	}
	for _, c := range []struct {
		name string
		good bool
		ops  []porcupine.Operation
	}{
		{"read your write", true, []porcupine.Operation{added, get(20, "a")}},
		{"I1: an acknowledged write is lost", false, []porcupine.Operation{added, get(20)}},
		{"a write seen while it is under way", true, []porcupine.Operation{added, get(5, "a")}},
		{"I3: a write seen, then not", false, []porcupine.Operation{added, get(3, "a"), get(6)}},
		{"a value that nobody wrote", false, []porcupine.Operation{added, get(20, "a", "b")}},
		{"two compare-and-set of one value", false, []porcupine.Operation{added,
			op(1, 20, 30, input{kind: replace, old: "a", new: "b"}, ok), op(2, 20, 30, input{kind: replace, old: "a", new: "c"}, ok)}},
		{"one of them is refused", true, []porcupine.Operation{added,
			op(1, 20, 30, input{kind: replace, old: "a", new: "b"}, ok), op(2, 20, 30, input{kind: replace, old: "a", new: "c"}, rcode(nxRRset)), get(40, "b")}},
		{"I4: an add returns after an acknowledged delete", false, []porcupine.Operation{added,
			op(1, 20, 30, input{kind: deleteRR, new: "a"}, ok), get(40, "a")}},
		{"an unknown write is done", true, []porcupine.Operation{added,
			op(1, 20, forever, input{kind: add, new: "b"}, output{unknown: true}), get(30, "a", "b")}},
		{"an unknown write is not done", true, []porcupine.Operation{added,
			op(1, 20, forever, input{kind: add, new: "b"}, output{unknown: true}), get(30, "a")}},
		{"an unknown write is done and undone", false, []porcupine.Operation{added,
			op(1, 20, forever, input{kind: add, new: "b"}, output{unknown: true}), get(30, "a", "b"), get(40, "a")}},
		{"prerequisites", true, []porcupine.Operation{
			op(0, 0, 1, input{kind: deleteIfName}, rcode(nxDomain)), op(0, 2, 3, input{kind: addIfNoName, new: "a"}, ok),
			op(0, 4, 5, input{kind: addIfNoName, new: "b"}, rcode(yxDomain)), op(0, 6, 7, input{kind: addIfAbsent, new: "b"}, rcode(yxRRset)),
			op(0, 8, 9, input{kind: deleteIf, old: "b"}, rcode(nxRRset)), op(0, 10, 11, input{kind: deleteIfAny}, ok),
			op(0, 12, 13, input{kind: deleteAll}, ok), get(20)}},
	} {
		if got := porcupine.CheckOperations(model(), c.ops); got != c.good {
			t.Errorf("%s: linearizable = %v", c.name, got)
		}
	}
}
