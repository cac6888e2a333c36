package front

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/backends"
)

// rereadEvery is how often the configuration file is looked at for another static list of primaries, and for other peers.
const rereadEvery = time.Second

// configFile is the file that this node was started with. Of what changes there only primaries.static and vip.peers are used while it
// runs. Its methods may be called from any goroutine.
type configFile struct {
	running Config
	log     *slog.Logger

	mu       sync.Mutex
	modified time.Time
	list     []backends.Primary
	peers    []netip.Addr
}

// newConfigFile is that of a front that runs with cfg; without a path it is never read.
func newConfigFile(cfg Config, set settings, log *slog.Logger) *configFile {
	return &configFile{running: cfg, log: log, list: staticList(cfg, set), peers: set.peers}
}

// primaries gives the static list, read anew when the file is another. A file that is no configuration gives an error, and is read again.
func (f *configFile) primaries() ([]backends.Primary, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.readLocked()
	return f.list, err
}

// vrrpPeers gives the other front nodes in the same way.
func (f *configFile) vrrpPeers() ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.readLocked()
	return slices.Clone(f.peers), err
}

func (f *configFile) readLocked() error {
	if f.running.path == "" {
		return nil
	}
	st, err := os.Stat(f.running.path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if st.ModTime().Equal(f.modified) {
		return nil
	}
	c, err := LoadConfig(f.running.path)
	if err != nil {
		return err
	}
	set, err := c.settings()
	if err != nil {
		return err
	}
	f.list, f.peers, f.modified = staticList(c, set), set.peers, st.ModTime()
	c.Primaries.Static, c.VIP.Peers = f.running.Primaries.Static, f.running.VIP.Peers
	if !reflect.DeepEqual(c, f.running) {
		f.log.Warn("the configuration has changes beside primaries.static and vip.peers; restart this node to use them", "file", f.running.path)
	}
	return nil
}
