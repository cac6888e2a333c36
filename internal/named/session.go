package named

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// commandTimeout bounds one control channel command. A reconfig with 10,000 zones takes seconds.
const commandTimeout = 60 * time.Second

// ErrGone is returned by a Session whose incarnation has ended.
var ErrGone = errors.New("this incarnation of named has ended")

// Session is the conversation with one incarnation. Its secrets die with the incarnation: nothing said here ever reaches
// a later one. Its methods are safe for concurrent use; callers order what concerns one zone.
type Session struct {
	cfg         Config
	build       Build
	own         owner
	incarnation uint64
	key         tsig.Key // signs UPDATEs, queries, transfers
	ctl         *control
	ctlSecret   []byte
	log         *slog.Logger

	commands atomic.Int32 // running now
	gone     chan struct{}
	once     sync.Once

	loads     atomic.Uint64 // zone files written
	evidence  evidence      // of the files that a secondary's incarnation has found
	listening atomic.Bool   // on all addresses

	mu    sync.Mutex // guards what follows, and the key file
	keys  []tsig.Key
	refs  map[zone.Name]bool   // keys that some zone's ACL has named
	files map[zone.Name]string // by canonical zone name
}

func newSession(cfg Config, b Build, own owner, incarnation uint64, log *slog.Logger) (*Session, error) {
	key, err := tsig.NewKey(tsig.Key{Name: zone.MustParseName(PublishKeyName), Algorithm: tsig.HMACSHA256, Secret: randomSecret()})
	if err != nil {
		return nil, err
	}
	secret := randomSecret()
	return &Session{
		cfg: cfg, build: b, own: own, incarnation: incarnation, key: key, ctl: newControl(cfg.Control, secret), ctlSecret: secret,
		log: log, gone: make(chan struct{}), refs: map[zone.Name]bool{}, files: map[zone.Name]string{},
	}, nil
}

// Incarnation numbers the process this session speaks to.
func (s *Session) Incarnation() uint64 { return s.incarnation }

// Gone is closed when the incarnation has ended.
func (s *Session) Gone() <-chan struct{} { return s.gone }

// Addr is where named answers queries.
func (s *Session) Addr() netip.AddrPort { return s.cfg.Listen[0] }

func (s *Session) close() {
	s.once.Do(func() {
		close(s.gone)
		s.ctl.Close()
	})
}

func (s *Session) busy() bool { return s.commands.Load() > 0 }

// command runs one control channel command.
func (s *Session) command(ctx context.Context, text string) (string, error) {
	select {
	case <-s.gone:
		return "", ErrGone
	default:
	}
	s.commands.Add(1)
	defer s.commands.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	return s.ctl.do(ctx, text)
}

// Ping asks named for its status over the control channel.
func (s *Session) Ping(ctx context.Context) error {
	_, err := s.ctl.do(ctx, "status")
	return err
}

func (s *Session) newFile(n zone.Name) string { return zoneFile(n, s.loads.Add(1)) }

// ZoneFile returns the path of the file from which named loaded the zone, "" when it has none.
func (s *Session) ZoneFile(n zone.Name) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if file := s.files[n.Canonical()]; file != "" {
		return s.own.zonePath(file)
	}
	return ""
}

// AddZone writes the zone's file and makes named load and serve it. The zone must be new to
// named. When AddZone returns, loading has begun; SOA tells when it is done.
func (s *Session) AddZone(ctx context.Context, conf ZoneConf, z *zone.Zone) error {
	if err := s.admitKeys(ctx, conf); err != nil {
		return err
	}
	file := s.newFile(conf.Name)
	if err := s.own.writeZone(file, z); err != nil {
		return err
	}
	if _, err := s.command(ctx, "addzone "+quoteName(conf.Name)+" "+renderZone(s.cfg, conf, file)); err != nil {
		s.own.removeZone(file)
		return fmt.Errorf("add zone %s to named: %w", conf.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[conf.Name.Canonical()] = file
	return nil
}

// DeleteZone makes named forget the zone and delete its files. A zone that named does not have is no error.
func (s *Session) DeleteZone(ctx context.Context, name zone.Name) error {
	_, err := s.command(ctx, "delzone -clean "+quoteName(name))
	var refused *CommandError
	unknown := errors.As(err, &refused) && refused.NotFound()
	if err != nil && !unknown {
		return fmt.Errorf("delete zone %s from named: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, name.Canonical())
	return nil
}

// ModifyZone changes the zone's ACLs. Its content stays and it is served throughout.
func (s *Session) ModifyZone(ctx context.Context, conf ZoneConf) error {
	if err := s.admitKeys(ctx, conf); err != nil {
		return err
	}
	s.mu.Lock()
	file := s.files[conf.Name.Canonical()]
	s.mu.Unlock()
	if _, err := s.command(ctx, "modzone "+quoteName(conf.Name)+" "+renderZone(s.cfg, conf, file)); err != nil {
		return fmt.Errorf("modify zone %s in named: %w", conf.Name, err)
	}
	return nil
}

// SetKeys replaces the tenants' keys. Transfers and UPDATEs in flight go on. When it returns, named accepts the new keys
// and no key that is absent.
func (s *Session) SetKeys(ctx context.Context, keys []tsig.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setKeysLocked(ctx, keys)
}

func (s *Session) setKeysLocked(ctx context.Context, keys []tsig.Key) error {
	if err := s.own.write(keysFile, s.keyFile(keys)); err != nil {
		return err
	}
	if _, err := s.command(ctx, "reconfig"); err != nil {
		return fmt.Errorf("give named the new keys: %w", err)
	}
	s.keys = keys
	return nil
}

// admitKeys makes sure that every key which conf names exists, because named refuses a zone that names another one.
func (s *Session) admitKeys(ctx context.Context, conf ZoneConf) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := false
	for _, n := range referencedKeys([]ZoneConf{conf}) {
		if !s.refs[n] {
			s.refs[n] = true
			missing = missing || !hasKey(s.keys, n)
		}
	}
	if !missing {
		return nil
	}
	return s.setKeysLocked(ctx, s.keys)
}

// renderKeys returns the key file of a start.
func (s *Session) renderKeys(keys []tsig.Key, zones []ZoneConf) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range referencedKeys(zones) {
		s.refs[n] = true
	}
	s.keys = keys
	return s.keyFile(keys)
}

// keyFile returns the file with our own keys, the tenants' keys, and placeholders for keys that ACLs name but nobody has:
// one reference to an undefined key makes named refuse its whole configuration, and with a random secret nobody can sign.
func (s *Session) keyFile(keys []tsig.Key) []byte {
	all := append([]tsig.Key{
		s.key,
		{Name: zone.MustParseName(controlKeyName), Algorithm: tsig.HMACSHA256, Secret: s.ctlSecret},
	}, keys...)
	for n := range s.refs {
		if !hasKey(all, n) {
			all = append(all, tsig.Key{Name: n, Algorithm: tsig.HMACSHA256, Secret: randomSecret()})
		}
	}
	return renderKeys(all)
}

func hasKey(keys []tsig.Key, n zone.Name) bool {
	for _, k := range keys {
		if k.Name.Equal(n) {
			return true
		}
	}
	return false
}
