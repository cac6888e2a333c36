package secondary

import (
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/named"
)

// saw implements named.SecondaryConf.Saw. Every sighting counts; those that named's log passed on are in the status as well, one
// sentence for each kind, or for each zone: strangers decide how many there are.
func (s *secondary) saw(x named.Sighting) {
	s.metrics.sightings.WithLabelValues(string(x.Kind)).Inc()
	if !x.Shown {
		return
	}
	key, text := string(x.Kind), ""
	switch x.Kind {
	case named.ForeignNotify:
		text = "a NOTIFY was refused, because it is not its own proxy's; the last came " + x.Text
	case named.BadSignature:
		text = "a message whose signature is wrong was refused, maybe a NOTIFY; the last came " + x.Text
	case named.UnreadableFile:
		key += " " + x.Zone
		text = fmt.Sprintf("zone %s could not be loaded from its file, and is transferred anew: %s", x.Zone, x.Text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems.note(key, text, time.Now()) // named's own line is in the log
}
