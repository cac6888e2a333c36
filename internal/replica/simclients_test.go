package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// simClients are all clients of a run. They sign requests, send the same request again to any replica when they get no
// answer, count with a compare-and-set, and read behind a barrier.
type simClients struct {
	s       *sim
	reqs    []*simRequest
	props   []*simProposal
	reads   []*simRead
	acks    []*simProposal // answered with a result, in the order of the answers, by replicas whose answers count
	counter int            // the greatest value that a client was told of
}

type requestKind int

const (
	reqAdd   requestKind = iota // adds a name of its own
	reqDel                      // removes the name of an earlier request
	reqCount                    // raises the counter, if it has the value that the client believes
)

// simRequest is a signed request, however often it is sent.
type simRequest struct {
	id       uint64
	kind     requestKind
	target   *simRequest // of reqDel
	value    int         // of reqCount: what the counter has to be
	signed   time.Time
	message  []byte
	attempts int
	answered bool // somebody gave a result
}

func (r *simRequest) name() string { return fmt.Sprintf("n%d.example.test.", r.id) }

// simProposal is one attempt at a request.
type simProposal struct {
	id       uint64
	req      *simRequest
	life     *life
	at       time.Time
	deadline time.Time
	answers  int
	res      fsm.Result
	err      error
	lost     bool // the replica crashed before it answered
	poisoned bool // the replica that answered was known to be wrong
}

// simRead is a read behind a barrier.
type simRead struct {
	barrier uint64
	acks    int // number of results that clients had when it was asked
	counter int // ... and the greatest counter value they knew
	index   uint64
	done    bool
}

const deadlineAfter = 4 * time.Second

func (c *simClients) init(s *sim) { c.s = s }

func counterRR(verb string, value int) string {
	return fmt.Sprintf("%s counter.example.test. 60 TXT %d", verb, value)
}

// act lets one client do something at some replica.
func (c *simClients) act() {
	s := c.s
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	if n.life == nil {
		return
	}
	switch x := s.rng.IntN(100); {
	case x < 40 || len(c.reqs) == 0:
		r := c.request(reqAdd)
		r.message = wire("add " + r.name() + " 60 A 192.0.2.1")
		c.send(n.life, r)
	case x < 50:
		target := c.reqs[s.rng.IntN(len(c.reqs))]
		if target.kind != reqAdd {
			return
		}
		r := c.request(reqDel)
		r.target = target
		r.message = wire("del " + target.name() + " 60 A 192.0.2.1")
		c.send(n.life, r)
	case x < 70:
		r := c.request(reqCount)
		r.value = c.counter
		r.message = wire(counterRR("need", r.value), counterRR("del", r.value), counterRR("add", r.value+1))
		c.send(n.life, r)
	case x < 85:
		// Again: mostly one that nobody has answered, sometimes an old one, as an attacker would.
		r := c.reqs[s.rng.IntN(len(c.reqs))]
		if !r.answered || s.chance(200) {
			c.send(n.life, r)
		}
	default:
		c.startRead(n.life)
	}
}

func (c *simClients) request(kind requestKind) *simRequest {
	r := &simRequest{id: uint64(len(c.reqs)), kind: kind, signed: c.s.now}
	c.reqs = append(c.reqs, r)
	return r
}

// send proposes a request at a replica. Each attempt has an address of its own, so that it can be told apart in the log.
func (c *simClients) send(l *life, r *simRequest) {
	s := c.s
	r.attempts++
	p := &simProposal{id: uint64(len(c.props)), req: r, life: l, at: s.now, deadline: s.now.Add(deadlineAfter)}
	c.props = append(c.props, p)
	u := signedUpdate(r.id, r.signed.UnixMilli(), r.message)
	u.Addr = proposalAddr(p.id)
	prop := &proposal{cmd: u, size: fsm.CommandSize(u), deadline: s.clock(l.node).Add(deadlineAfter)}
	if !s.omit.deadline {
		u.DeadlineMS = prop.deadline.UnixMilli()
	}
	prop.done = func(res fsm.Result, err error) { c.answered(p, res, err) }
	s.tracef("client sends request %d to %s as proposal %d", r.id, l.node.name, p.id)
	l.core.propose(s.clock(l.node), prop)
	s.absorb(l)
	s.checkTaken(p)
}

func proposalAddr(id uint64) netip.Addr {
	var b [16]byte
	b[0] = 0xfd
	binary.BigEndian.PutUint64(b[8:], id)
	return netip.AddrFrom16(b)
}

func proposalOf(addr netip.Addr) uint64 {
	b := addr.As16()
	return binary.BigEndian.Uint64(b[8:])
}

func (c *simClients) answered(p *simProposal, res fsm.Result, err error) {
	s := c.s
	p.answers++
	p.res, p.err, p.poisoned = res, err, p.life.poisoned
	s.tracef("%s answers proposal %d: rcode %d serial %d dup %v expired %v, %v", p.life.node.name, p.id, res.RCode, res.Serial, res.Duplicate, res.Expired, err)
	if p.answers > 1 {
		s.failf("proposal %d is answered %d times", p.id, p.answers)
	}
	if p.life.dead {
		s.failf("proposal %d is answered by a crashed replica", p.id)
	}
	if err != nil || p.poisoned || res.Expired {
		return
	}
	p.req.answered = true
	c.acks = append(c.acks, p)
	if p.req.kind == reqCount && res.RCode == 0 {
		c.counter = max(c.counter, p.req.value+1)
	}
}

// crashed tells the clients that a replica will not answer any more.
func (c *simClients) crashed(l *life) {
	for _, p := range c.props {
		if p.life == l && p.answers == 0 {
			p.lost = true
		}
	}
}

// startRead begins a read at a replica.
func (c *simClients) startRead(l *life) {
	if !c.s.reachable(l.node) || l.poisoned {
		return
	}
	index, err := l.log.Barrier(context.Background())
	if err != nil {
		c.s.failf("barrier: %v", err)
		return
	}
	r := &simRead{barrier: index, acks: len(c.acks), counter: c.counter}
	c.reads = append(c.reads, r)
	l.reads = append(l.reads, r)
}

// read completes the reads whose index is applied, as Replica.Barrier does.
func (c *simClients) read(l *life) bool {
	did := false
	kept := l.reads[:0]
	for _, r := range l.reads {
		switch {
		case l.core.reload != nil || l.core.halt != nil:
			did = true // refused
		case l.core.lastIndex < r.barrier:
			kept = append(kept, r)
		default:
			did = true
			r.index, r.done = l.core.machine.Index(), !l.poisoned
			got, err := counterOf(l.core.machine)
			switch {
			case l.poisoned:
			case err != nil:
				c.s.failf("%s: read: %v", l.node.name, err)
			case got < r.counter:
				c.s.failf("%s: a read behind a barrier gives counter %d, a client had been told %d before", l.node.name, got, r.counter)
			default:
				c.counter = max(c.counter, got)
			}
		}
	}
	l.reads = kept
	return did
}

func counterOf(m *fsm.Machine) (int, error) {
	v, ok := m.Zone(zoneID())
	if !ok {
		return 0, errors.New("no zone")
	}
	set := v.Zone.Get(mustName("counter.example.test."), zone.TypeTXT)
	if set == nil || len(set.Data) != 1 {
		return 0, errors.New("the counter is not there")
	}
	return strconv.Atoi(set.Data[0][1:])
}
