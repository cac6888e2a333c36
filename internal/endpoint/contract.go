package endpoint

import (
	"context"
	"errors"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Writer proposes updates to the replicated log.
type Writer interface {
	// Propose hands over an update and returns without waiting. done is called
	// exactly once, from any goroutine, possibly before Propose returns; it does
	// not block. Updates proposed one after another enter the log in that order.
	// After deadline the update is not appended any more.
	//
	// An error that wraps one of Config.NotApplied proves that the update was not
	// and will not be applied; with any other error it is in doubt. u is always an
	// *fsm.Update; it and its
	// slices belong to the Writer until done is called, and not longer.
	Propose(u fsm.Command, deadline time.Time, done func(fsm.Result, error))
}

// ErrZoneGone is what Reader.Barrier wraps when the zone was deleted.
var ErrZoneGone = errors.New("endpoint: the zone was deleted")

// Reader tells when the local named may answer.
type Reader interface {
	// Barrier returns once the local named serves, of this zone, every update
	// that was acknowledged anywhere before the call. Concurrent calls share
	// their work. Settings then show every change acknowledged before the call; by
	// those a zone may be gone, which is an error that wraps ErrZoneGone.
	Barrier(ctx context.Context, id fsm.ZoneID) (Permit, error)
	// Serving returns without waiting while the local named has a verified copy of
	// the zone, which may be behind.
	Serving(id fsm.ZoneID) (Permit, error)
	// Refresh returns nil once Settings show every change of a key, zone or
	// policy that was acknowledged anywhere before the call.
	Refresh(ctx context.Context) error
}

// Permit reports whether what the local named served when the permit was given it
// has served without a break until now. named may restart between the barrier and
// its answer, and begin with an older version of the zone: such an answer must not
// leave (rule C5).
type Permit func() bool

// Settings are the keys and zones in force at one moment. They are immutable and
// safe for concurrent use.
type Settings interface {
	tsig.Keyring
	// Generation differs between different settings and never decreases.
	Generation() uint64
	// Zone returns the zone with exactly this name, which is in lower case.
	Zone(name zone.Name) (Zone, bool)
	// Enclosing returns the zone with the longest name at or above name.
	Enclosing(name zone.Name) (Zone, bool)
	// Secondary says whether the key, whose name is in lower case, is that of a
	// registered secondary. It may transfer every zone, and ask for its SOA.
	Secondary(key zone.Name) bool
	// Rate gives the group whose updates a second are bounded, together, that
	// the key belongs to; "" for none. The key's name is in lower case.
	Rate(key zone.Name) (group string, perSecond int)
}

// Zone is what the endpoint needs to know of a zone.
type Zone struct {
	ID            fsm.ZoneID
	Policy        *policy.Policy // update-policy, or nil
	AllowUpdate   *policy.ACL    // allow-update, or nil
	AllowQuery    *policy.ACL
	AllowTransfer *policy.ACL
	LocalReads    bool // queries do not wait for the barrier
}

// admits reports whether an UPDATE by s may be looked at at all; whether s may
// make its changes is decided in the log.
func (z *Zone) admits(s policy.Subject) bool {
	switch {
	case s.Signer == "" && !s.Addr.IsValid():
		return false
	case z.Policy != nil:
		return z.Policy.For(s, z.ID.Name).Admit()
	case z.AllowUpdate != nil:
		return z.AllowUpdate.For(s).Admit()
	}
	return false
}
