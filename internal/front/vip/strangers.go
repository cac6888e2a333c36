package vip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
)

// Dropped is the VRRP that a filter has kept out since it was made.
type Dropped struct {
	Packets uint64
	From    []netip.Addr // of the last ten minutes, at most 64 of each family, sorted
}

// Strangers reads what the filter has counted; see Filter, which must have been made before.
func Strangers(ctx context.Context) (Dropped, error) {
	out, err := exec.CommandContext(ctx, "nft", "-j", "list", "table", "inet", table).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return Dropped{}, fmt.Errorf("read the VRRP filter's counter: nft: %w", err)
	}
	return parseDropped(out)
}

// nftTable is what we read of nft's JSON (libnftables-json(5)): a list of objects of which each has one of these members.
type nftTable struct {
	Objects []struct {
		Counter *struct {
			Name    string `json:"name"`
			Packets uint64 `json:"packets"`
		} `json:"counter"`
		Set *struct {
			Name string            `json:"name"`
			Elem []json.RawMessage `json:"elem"` // a text, or an element where it has a timeout
		} `json:"set"`
	} `json:"nftables"`
}

// element is one that has a timeout.
type element struct {
	Elem struct {
		Val string `json:"val"`
	} `json:"elem"`
}

// parseDropped reads the table as nft lists it.
func parseDropped(text []byte) (d Dropped, err error) {
	var t nftTable
	if err := json.Unmarshal(text, &t); err != nil {
		return d, fmt.Errorf("read the VRRP filter's counter: what nft says: %w", err)
	}
	counted := false
	for _, o := range t.Objects {
		switch {
		case o.Counter != nil && o.Counter.Name == strangersName:
			d.Packets, counted = o.Counter.Packets, true
		case o.Set != nil && (o.Set.Name == strangersName+"4" || o.Set.Name == strangersName+"6"):
			for _, raw := range o.Set.Elem {
				var e element
				if err := json.Unmarshal(raw, &e); err != nil {
					return d, fmt.Errorf("read the VRRP filter's set %s: what nft says: %w", o.Set.Name, err)
				}
				if a, err := netip.ParseAddr(e.Elem.Val); err == nil {
					d.From = append(d.From, a)
				}
			}
		}
	}
	if !counted {
		return d, fmt.Errorf("read the VRRP filter's counter: table inet %s has none that is called %s; somebody has replaced it: restart this front", table, strangersName)
	}
	slices.SortFunc(d.From, netip.Addr.Compare)
	return d, nil
}
