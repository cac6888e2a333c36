package front

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/backends"
)

// staticEvery is how often the configuration file is looked at for another static list of primaries.
const staticEvery = time.Second

// configFile is the file that this node was started with. Of what changes there only primaries.static is used while it runs.
type configFile struct {
	running Config
	log     *slog.Logger

	modified time.Time
	list     []backends.Primary
}

// primaries gives the list, read anew when the file is another. A file that is no configuration gives an error, and is read again.
func (f *configFile) primaries() ([]backends.Primary, error) {
	st, err := os.Stat(f.running.path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if f.list != nil && st.ModTime().Equal(f.modified) {
		return f.list, nil
	}
	c, err := LoadConfig(f.running.path)
	if err != nil {
		return nil, err
	}
	set, err := c.settings()
	if err != nil {
		return nil, err
	}
	f.list, f.modified = staticList(c, set), st.ModTime()
	c.Primaries.Static = f.running.Primaries.Static
	if !reflect.DeepEqual(c, f.running) {
		f.log.Warn("the configuration has changes beside primaries.static; restart this node to use them", "file", f.running.path)
	}
	return f.list, nil
}
