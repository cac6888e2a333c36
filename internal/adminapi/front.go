package adminapi

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Paths of a front node. It serves them, PathLive, PathReady and PathMetrics on a loopback address, and on a UNIX socket, where
// PathFrontDrain is as well.
const (
	// PathFront answers FrontStatus.
	PathFront = "/v1/front"
	// PathFrontDrain takes a POST, and answers FrontStatus when the node is drained.
	PathFrontDrain = "/v1/front/drain"
)

// FrontStatus is one front node as it sees itself.
type FrontStatus struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Mode    string `json:"mode"` // vip, loadbalancer or service
	// Healthy: nothing is wrong with this node, and a primary is ready. Summary is the sentence that says so, or why not.
	Healthy bool   `json:"healthy"`
	Summary string `json:"summary"`
	// Faults are what is wrong with this node. In mode vip the address is elsewhere while there is one.
	Faults []FrontFault `json:"faults,omitempty"`
	// VIP is nil outside mode vip.
	VIP *FrontVIP `json:"vip,omitempty"`
	// Score is what this node is worth as the holder: 2 a primary is ready, 1 one answers, 0 none does.
	Score     int            `json:"score"`
	Primaries []FrontPrimary `json:"primaries"`
	// Stale says since when and why the list of primaries could not be confirmed.
	Stale    string       `json:"stale,omitempty"`
	Children []FrontChild `json:"children"`
	// Limits counts what was turned away, by limit; only those that were hit.
	Limits map[string]int64 `json:"limits,omitempty"`
}

// FrontFault is one thing that is wrong with a node.
type FrontFault struct {
	Part   string `json:"part"` // haproxy, relay, conflict or drain
	Reason string `json:"reason"`
}

// FrontVIP is about the addresses that move.
type FrontVIP struct {
	State string    `json:"state"` // master, backup or fault, as keepalived says
	Since time.Time `json:"since"`
	Held  []string  `json:"held"` // on the interface now
	// Strangers counts VRRP packets of others than the peers, all of which were dropped; StrangersFrom are their addresses, at most 64.
	Strangers     uint64   `json:"strangers"`
	StrangersFrom []string `json:"strangers_from,omitempty"`
}

// FrontPrimary is one primary as the two halves of a front see it.
type FrontPrimary struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	State   string `json:"state"` // for UDP, by the front's own checks: ready, alive or down
	Reason  string `json:"reason,omitempty"`
	// HAProxy is HAProxy's word, such as UP or DOWN, for TCP; HAProxyReason is its last check.
	HAProxy       string `json:"haproxy,omitempty"`
	HAProxyReason string `json:"haproxy_reason,omitempty"`
}

// FrontChild is a program that a front runs.
type FrontChild struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"` // 0: it does not run
	Restarts uint64 `json:"restarts"`
}

// Live returns nil when the process works.
func (c *Client) Live(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, PathLive, nil, "", nil, io.Discard)
}

// Front returns the state of a front node.
func (c *Client) Front(ctx context.Context) (*FrontStatus, error) {
	return call[FrontStatus](ctx, c, http.MethodGet, PathFront, nil, nil)
}

// DrainFront takes a front node out of service until it is started again. It returns when the node is drained.
func (c *Client) DrainFront(ctx context.Context) (*FrontStatus, error) {
	return call[FrontStatus](ctx, c, http.MethodPost, PathFrontDrain, nil, nil)
}
