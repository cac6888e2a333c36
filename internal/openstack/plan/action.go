package plan

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Kind of an action.
type Kind int

// The actions.
const (
	CreateGroup Kind = iota
	CreateRule
	DeleteRule
	CreatePort
	TagPort
	TagGroup
	UpdatePort
	CreateFloating
	AssociateFloating
	DisassociateFloating
	DeleteFloating
	DeleteGroup
	DeletePort
)

func (k Kind) String() string {
	return [...]string{"create security group", "create rule", "delete rule", "create port", "tag port", "tag security group", "update port", "create floating IP", "associate floating IP",
		"disassociate floating IP", "delete floating IP", "delete security group", "delete port"}[k]
}

// NewGroup stands for the ID of the group that an earlier action of the same plan makes.
const NewGroup = "(new)"

// Action is one request, or one request with its tags.
type Action struct {
	Kind     Kind
	ID       string     // of what is changed; for rules, of their group
	What     string     // what a person calls it
	Why      string     // the reason, one clause
	Address  netip.Addr // CreatePort: to reserve, the zero Addr for any; floating IPs: the VIP
	SubnetID string
	PortID   string // floating IPs: where it leads; "" stands for the port of Address that this plan makes
	Pool     string
	Rule     Rule
	Pairs    []Pair   // UpdatePort: all of them, ours and others'
	Groups   []string // UpdatePort: all of them
	SetPairs bool
	SetGroup bool
	Revision int
	Tags     []string
	Node     string
}

func (a Action) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", a.Kind, a.What)
	if a.SetPairs {
		b.WriteString(" pairs=[")
		for i, p := range a.Pairs {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(p.Address)
		}
		b.WriteByte(']')
	}
	if a.SetGroup {
		fmt.Fprintf(&b, " groups=%v", a.Groups)
	}
	return b.String() + ": " + a.Why
}

// Problem is what the plan can't solve.
type Problem struct {
	Subject string // an address or a node
	Text    string // what is so, and what to do
}

// Plan is what to do, in this order.
type Plan struct {
	Actions  []Action
	Problems []Problem
	Nodes    []NodeState
	VIPs     []VIPState
}

// NodeState says whether a node may have the addresses now.
type NodeState struct {
	Name, PortID string
	Allowed      bool   // all addresses arrive there
	Reason       string // why not
}

// VIPState is where an address is reserved.
type VIPState struct {
	Address  netip.Addr
	PortID   string
	Floating netip.Addr
	Foreign  bool // the port is somebody else's
}

// Print writes it for people.
func (p Plan) Print(w io.Writer) error {
	var b strings.Builder
	for i, a := range p.Actions {
		fmt.Fprintf(&b, "%2d. %s\n", i+1, a)
	}
	for _, x := range p.Problems {
		fmt.Fprintf(&b, "problem: %s: %s\n", x.Subject, x.Text)
	}
	if len(p.Actions)+len(p.Problems) == 0 {
		b.WriteString("nothing to do\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
