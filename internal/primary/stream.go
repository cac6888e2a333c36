package primary

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// stream is what one of our secondaries has not been told yet. Guarded by hub.mu, but for the channels.
type stream struct {
	name     string
	pending  map[zone.Name]served // no larger than the number of zones
	complete bool                 // all that was there when the stream began has been told
	wake     chan struct{}
	// replaced is closed when the secondary has opened another stream.
	replaced chan struct{}
}

// Times of a stream.
const (
	// streamHeartbeat leaves room for a late timer within adminapi.ChangesEvery.
	streamHeartbeat = adminapi.ChangesEvery / 2
	// streamPause lets changes gather: a secondary takes them together anyhow.
	streamPause = 5 * time.Millisecond
	// streamWrite is for how long a secondary may not read before it is cut off.
	streamWrite = 2 * time.Second
)

func (s *stream) add(z zone.Name, what served) {
	s.pending[z] = what
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// subscribe opens a secondary's stream; another one of the same name ends.
func (h *hub) subscribe(name string) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.streams[name]; old != nil {
		h.log.Warn("a secondary opened another stream; the old one ends. Is there another secondary of that name?", "secondary", name)
		close(old.replaced)
	}
	s := &stream{name: name, pending: make(map[zone.Name]served, len(h.shown)), wake: make(chan struct{}, 1), replaced: make(chan struct{})}
	for z, serial := range h.shown {
		s.pending[z] = served{serial: serial}
	}
	h.streams[name] = s
	return s
}

// unsubscribe ends a stream. The secondary does not count any more, unless it has opened another one.
func (h *hub) unsubscribe(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[s.name] == s {
		delete(h.streams, s.name)
		h.tracker.Lost(s.name)
	}
}

// next fills a line with changes, and reports whether there are more.
func (h *hub) next(s *stream, line *adminapi.Changes) (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	line.Complete = s.complete
	for z, what := range s.pending {
		if len(line.Zones)+len(line.Gone) == adminapi.MaxZonesPerMessage {
			return true
		}
		if what.gone {
			line.Gone = append(line.Gone, z.String())
		} else {
			line.Zones = append(line.Zones, adminapi.ZoneSerial{Zone: z.String(), Serial: what.serial})
		}
		delete(s.pending, z)
	}
	s.complete, line.Complete = true, true
	return false
}

// changes streams what this primary's named serves to one of our secondaries, until it stops reading or is no longer registered.
func (a *admin) changes(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := a.checkSecondary(r, name); err != nil {
		writeError(w, err)
		return
	}
	s := a.p.hub.subscribe(name)
	defer a.p.hub.unsubscribe(s)
	a.log.Info("a secondary is connected", "secondary", name, "from", r.RemoteAddr)
	err := a.stream(w, r, s)
	a.log.Info("a secondary is no longer connected", "secondary", name, "from", r.RemoteAddr, "err", err)
}

// errReplaced ends a stream whose secondary has opened another one.
var errReplaced = errors.New("the secondary has opened another stream")

func (a *admin) stream(w http.ResponseWriter, r *http.Request, s *stream) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, rc := json.NewEncoder(w), http.NewResponseController(w)
	beat := time.NewTicker(streamHeartbeat)
	defer beat.Stop()
	wait := func(timer <-chan time.Time, wake <-chan struct{}) error {
		select {
		case <-timer:
		case <-wake:
		case <-s.replaced:
			return errReplaced
		case <-r.Context().Done():
			return context.Cause(r.Context())
		}
		return nil
	}
	for {
		line := a.state()
		more := a.p.hub.next(s, &line)
		if err := rc.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
			return err
		}
		if err := out.Encode(line); err != nil {
			return err
		}
		if err := rc.Flush(); err != nil {
			return err
		}
		if !more {
			if err := wait(time.After(streamPause), nil); err != nil {
				return err
			}
			if err := wait(beat.C, s.wake); err != nil {
				return err
			}
		}
		if err := a.checkSecondary(r, s.name); err != nil {
			return err // its registration has ended
		}
	}
}

// state is a line without changes.
func (a *admin) state() adminapi.Changes {
	line := adminapi.Changes{Ready: true, UnixMS: time.Now().UnixMilli()}
	if err := a.p.notReady(); err != nil {
		line.Ready, line.Reason = false, err.Error()
	}
	if id, confirmed, ok := a.p.hub.machine().Settings().Catalog(); ok {
		line.Catalog, line.Confirmed = id.Name.String(), confirmed
	}
	return line
}
