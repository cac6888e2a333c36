package named

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Initial is what an incarnation serves from its first moment on. A secondary's has keys only.
type Initial struct {
	Keys  []tsig.Key
	Zones iter.Seq2[ZoneConf, *zone.Zone]
}

func (i Initial) all() iter.Seq2[ZoneConf, *zone.Zone] {
	if i.Zones == nil {
		return func(func(ZoneConf, *zone.Zone) bool) {}
	}
	return i.Zones
}

// Content hands over what the next incarnation starts with. It is called before each start, from the goroutine of Run; an
// error postpones the start.
type Content func(ctx context.Context, incarnation uint64) (Initial, error)

// Phase says how far an incarnation has come.
type Phase uint8

// The phases, in the order in which an incarnation passes through them.
const (
	Down     Phase = iota // no process; the next start is pending
	Starting              // started, has not answered yet
	Running               // answers
)

func (p Phase) String() string { return [...]string{"down", "starting", "running"}[p] }

// State is what a Server knows about its process.
type State struct {
	Incarnation uint64 // counts starts, from 1
	Phase       Phase
	PID         int // 0 when Down
	Since       time.Time
	Exits       uint64 // unwanted ends so far: exits, kills after a hang, starts that never answered
	LastExit    string // why the last one ended, with named's last words
	Hangs       uint64 // how many of Exits were kills of a process that no longer answered
}

// Server keeps one named running. Create it with New, then call Run once.
type Server struct {
	cfg     Config
	build   Build
	content Content
	log     *slog.Logger

	restart chan restartRequest

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed and replaced at each change of state
	session *Session      // of the Running incarnation, else nil
}

type restartRequest struct {
	incarnation uint64
	reason      string
}

// New checks the configuration and asks the binary for its version.
func New(ctx context.Context, cfg Config, content Content, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("named configuration: %w", err)
	}
	build, err := Detect(ctx, cfg.Path)
	if err != nil {
		return nil, err
	}
	if len(cfg.ListenProxy) > 0 && !build.ProxyProtocol() {
		return nil, fmt.Errorf("named %s has no PROXY protocol; remove the PROXY listen addresses or use BIND 9.20", build)
	}
	return &Server{
		cfg: cfg, build: build, content: content, log: log.With("named", build.String()),
		restart: make(chan restartRequest, 1), changed: make(chan struct{}),
	}, nil
}

// Build returns the version of the binary.
func (s *Server) Build() Build { return s.build }

// Config returns the configuration given to New.
func (s *Server) Config() Config { return s.cfg }

// Watch returns the state, and a channel that is closed when it changes.
func (s *Server) Watch() (State, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.changed
}

// Session returns the conversation with the running incarnation, or false when there is none.
func (s *Server) Session() (*Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session, s.session != nil
}

// Restart kills the given incarnation, so that a fresh one takes its place. It does nothing when that incarnation is
// already gone.
func (s *Server) Restart(incarnation uint64, reason string) {
	select {
	case s.restart <- restartRequest{incarnation, reason}:
	default: // one is under way
	}
}

func (s *Server) update(f func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
	s.state.Since = time.Now()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Run starts named, and starts it again whenever it ends, until ctx is done. It returns nil after an orderly stop; an
// error means that nothing was ever started because a retry can't help.
//
// The goroutine keeps its thread: the kernel kills named when the thread that started it ends (PR_SET_PDEATHSIG), which
// is the point, but must not happen because the Go runtime retired an idle thread.
func (s *Server) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := ownDirectory(s.cfg)
	if err != nil {
		return err
	}
	pause := s.cfg.RestartMin
	var d doubt
	for ctx.Err() == nil {
		began := time.Now()
		answered, err := s.runOnce(ctx, own)
		if ctx.Err() != nil {
			break
		}
		if s.cfg.Secondary != nil {
			s.exchange(own, d.after(answered, own.hasZones()))
		}
		// A process that served for a while and then died is not in a restart loop.
		if time.Since(began) > 10*s.cfg.RestartMax {
			pause = s.cfg.RestartMin
		}
		s.log.Error("named ended; starting it again", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, s.cfg.RestartMax)
	}
	return nil
}

// runOnce is the life of one incarnation: files, start, first answer, watching, end. answered says whether it came to the
// first answer; without an error it has ended in order.
func (s *Server) runOnce(ctx context.Context, own owner) (answered bool, err error) {
	var incarnation uint64
	s.update(func(st *State) {
		st.Incarnation++
		incarnation = st.Incarnation
	})
	defer func() {
		s.endSession()
		s.update(func(st *State) {
			st.Phase, st.PID = Down, 0
			if ctx.Err() == nil {
				st.Exits++
				st.LastExit = err.Error()
				if errors.Is(err, errHung) {
					st.Hangs++
				}
			}
		})
	}()
	sess, err := s.prepare(ctx, own, incarnation)
	if err != nil {
		return false, fmt.Errorf("prepare the start of named: %w", err)
	}
	c, err := startChild(s.cfg, own, s.log)
	if err != nil {
		return false, err
	}
	s.update(func(st *State) { st.Phase, st.PID = Starting, c.pid() })
	if s.cfg.Secondary == nil {
		return s.watch(ctx, c, sess)
	}
	stopKeeping := s.keepRecord(ctx, own)
	answered, err = s.watch(ctx, c, sess)
	stopKeeping()
	if err == nil {
		s.sealRecord(own)
	}
	return answered, err
}

var errHung = errors.New("it does not answer")

// watch owns the child from its start to its end: this one loop decides about it.
func (s *Server) watch(ctx context.Context, c *child, sess *Session) (running bool, err error) {
	defer sess.close()
	probe := newProber(s.cfg, sess.Ping)
	defer probe.stop()
	startBy := time.NewTimer(s.cfg.StartTimeout)
	defer startBy.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			if !c.stop(s.cfg.StopTimeout) {
				return running, c.describe(fmt.Errorf("it was asked to end and did not do so in order within %s", s.cfg.StopTimeout))
			}
			return running, nil
		case err := <-c.exited:
			return running, c.describe(err)
		case <-startBy.C:
			if !running {
				c.kill()
				return running, c.describe(fmt.Errorf("%w: not once within %s of its start", errHung, s.cfg.StartTimeout))
			}
		case r := <-s.restart:
			if r.incarnation == sess.incarnation {
				c.kill()
				return running, c.describe(fmt.Errorf("killed: %s", r.reason))
			}
		case err := <-probe.results:
			switch {
			case err == nil && !running:
				running = true
				s.startSession(sess)
				s.log.Info("named is running", "pid", c.pid(), "incarnation", sess.incarnation, "listen", s.cfg.Listen[0])
				failures = 0
			case err == nil:
				failures = 0
			case running && !sess.busy():
				// Some commands stop named's network threads for as long as they last; they have time limits of their own.
				if failures++; failures >= s.cfg.ProbeFailures {
					c.kill()
					return running, c.describe(fmt.Errorf("%w: %d queries in a row, the last: %w", errHung, failures, err))
				}
			}
		}
	}
}

func (s *Server) startSession(sess *Session) {
	s.mu.Lock()
	s.session = sess
	s.mu.Unlock()
	s.update(func(st *State) { st.Phase = Running })
}

func (s *Server) endSession() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = nil
}

// prepare empties a hidden primary's directory and writes what the next incarnation reads. Secrets are new each time: whatever still
// speaks to the last incarnation can't be mistaken for this one's publisher.
func (s *Server) prepare(ctx context.Context, own owner, incarnation uint64) (*Session, error) {
	init, err := s.content(ctx, incarnation)
	if err != nil {
		return nil, err
	}
	sess, err := newSession(s.cfg, s.build, own, incarnation, s.log)
	if err != nil {
		return nil, err
	}
	if s.cfg.Secondary != nil {
		err = own.keep()
		if err == nil {
			sess.evidence, err = s.sortOut(ctx, own)
			sess.listening.Store(len(sess.evidence.doubtful) == 0)
		}
	} else {
		err = own.clear()
	}
	if err != nil {
		return nil, err
	}
	var zones []ZoneConf
	var zoneFiles []string
	for conf, z := range init.all() {
		file := sess.newFile(conf.Name)
		if err := own.writeZone(file, z); err != nil {
			return nil, err
		}
		sess.files[conf.Name.Canonical()] = file
		zones, zoneFiles = append(zones, conf), append(zoneFiles, file)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	conf := renderConf(s.cfg, s.build)
	if s.cfg.Secondary != nil {
		conf = renderSecondary(sess.reachable(), s.build)
	}
	files := []struct {
		name string
		text []byte
	}{
		{confFile, conf},
		{keysFile, sess.renderKeys(init.Keys, zones)},
		{newZonesFile, renderNewZones(s.cfg, zones, zoneFiles)},
	}
	for _, f := range files {
		// named refuses to start on a file of new zones that holds none.
		if len(f.text) == 0 {
			continue
		}
		if err := own.write(f.name, f.text); err != nil {
			return nil, err
		}
	}
	return sess, nil
}

func randomSecret() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}
