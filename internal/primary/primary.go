package primary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/endpoint"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/fsm/seal"
	"github.com/zonekeeper/zonekeeper/internal/log"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/notify"
	"github.com/zonekeeper/zonekeeper/internal/propagation"
	"github.com/zonekeeper/zonekeeper/internal/publish"
	"github.com/zonekeeper/zonekeeper/internal/replica"
)

// Primary is one running primary. See Run.
type Primary struct {
	cfg     Config
	version string
	log     *slog.Logger
	started time.Time
	clock   *clock
	metrics *prometheus.Registry

	files     dnsFiles
	keys      *keyring
	peers     *peers
	space     *space
	lag       *lag
	member    *log.Member // nil with an external etcd
	elog      *log.EtcdLog
	replica   *replica.Replica
	named     *named.Server
	publisher *publish.Publisher
	hub       *hub
	tracker   *propagation.Tracker
	notifier  *notify.Sender
	endpoint  *endpoint.Server
	quotas    atomic.Pointer[endpoint.Server] // the same, for what runs before there is one
	admin     *admin

	// why is the reason for not being ready, nil when ready. Start and stop order write it, and the clock watch.
	why  atomic.Pointer[string]
	skew atomic.Pointer[string]
	// quorum is why updates can't be taken, nil when they can; see watchQuorum.
	quorum atomic.Pointer[string]
	// opened is closed when replica and elog are set: before, the admin API says "not ready" to whatever needs them.
	opened chan struct{}
}

// notReady says why this primary should get no requests; nil when it should.
func (p *Primary) notReady() error {
	for _, why := range []*string{p.why.Load(), p.skew.Load(), p.quorum.Load()} {
		if why != nil {
			return fmt.Errorf("%w: %s", errNotReady, *why)
		}
	}
	if why := p.space.verdict.Load().leave; why != nil {
		return fmt.Errorf("%w: %w", errNotReady, why)
	}
	if why := p.lag.verdict.Load().Leave; why != nil {
		return fmt.Errorf("%w: %w", errNotReady, why)
	}
	select {
	case <-p.opened:
	default:
		return errNotReady
	}
	if s := p.replica.Status(); !s.Serving {
		return fmt.Errorf("%w: %s", errNotReady, s.Reason)
	}
	if st, _ := p.named.Watch(); st.Phase != named.Running {
		// Writes would go on, but a client that reads back what it wrote is better served by another primary.
		return fmt.Errorf("%w: named is %s: %s", errNotReady, st.Phase, st.LastExit)
	}
	return nil
}

func (p *Primary) setReady(why string) {
	if why == "" {
		p.log.Info("ready")
		p.why.Store(nil)
		return
	}
	p.why.Store(&why)
}

// Run runs a primary until ctx ends, which stops it in order and is no error, or until it can't go on. An error that wraps
// ErrConfig is the operator's to mend: nothing was overwritten.
func Run(ctx context.Context, cfg Config, version string, logger *slog.Logger) error {
	p := &Primary{cfg: cfg, version: version, log: logger, started: time.Now(), clock: newClock(), metrics: adminapi.NewRegistry(version), opened: make(chan struct{})}
	p.setReady("starting")
	lock, err := conf.LockDir(cfg.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer func() { _ = lock.Close() }() // releases the lock; the process ends anyway
	clusterKey, err := seal.ReadKeyFile(cfg.ClusterKeyFile)
	if err != nil {
		return fmt.Errorf("%w: cluster_key_file: %w", ErrConfig, err)
	}
	sealer, err := seal.New(clusterKey)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	p.keys = newKeyring(sealer, logger)
	if p.admin, err = newAdmin(p, sealer, clusterKey); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := p.assemble(ctx, sealer); err != nil {
		return err
	}
	return p.run(ctx)
}

// ErrConfig marks errors that a person has to mend: configuration, a data directory that is damaged or in use.
var ErrConfig = errors.New("configuration")

// assemble makes the parts, from the log upward. Nothing of it answers clients yet.
func (p *Primary) assemble(ctx context.Context, sealer *seal.Sealer) error {
	var err error
	if p.files, err = loadDNSFiles(p.cfg.DNS, p.log); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	hc, err := adminClient(p.cfg.Admin)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if p.peers, err = newPeers(p.cfg.Name, p.cfg.Admin.Peers, hc); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if p.space, err = p.newSpace(); err != nil {
		return err
	}
	if err := p.registerQuorum(p.metrics); err != nil {
		return err
	}
	if p.lag, err = newLag(p.metrics); err != nil {
		return err
	}
	if err := p.newHub(); err != nil {
		return err
	}

	ncfg, err := p.namedConfig()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := p.newPublisher(ctx, ncfg, sealer); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// openLog starts the embedded member, or connects to the external etcd.
func (p *Primary) openLog(ctx context.Context) error {
	lcfg := log.DefaultConfig()
	lcfg.Replica = p.cfg.Name
	lcfg.Prefix = p.cfg.Etcd.Prefix
	lcfg.Logger = p.log
	e := p.cfg.Etcd
	var tls *log.TLSFiles
	if e.CA != "" {
		tls = &log.TLSFiles{CA: e.CA, Cert: e.Cert, Key: e.Key}
	}
	var err error
	if e.External() {
		p.elog, err = log.Dial(ctx, lcfg, log.DialConfig{Endpoints: e.Endpoints, TLS: tls})
		return err
	}
	mcfg := log.DefaultMemberConfig()
	mcfg.Name, mcfg.DataDir = e.Name, e.DataDir
	mcfg.PeerURL, mcfg.ClientURL = e.PeerURL, e.ClientURL
	mcfg.ListenPeerURL, mcfg.ListenClientURL = e.ListenPeerURL, e.ListenClientURL
	mcfg.InitialCluster, mcfg.Token, mcfg.Bootstrap, mcfg.Peers = e.InitialCluster, e.Token, e.Bootstrap, e.PeerClientURLs
	mcfg.TLS, mcfg.Logger, mcfg.QuotaBytes = tls, p.log, e.QuotaBytes
	if p.member, err = log.Start(ctx, mcfg); err != nil {
		return err
	}
	p.elog, err = p.member.Open(lcfg)
	return err
}

// members are the names of all replicas.
func (p *Primary) members() []string {
	names := append(p.peers.names(), p.cfg.Name)
	return names
}

// run is the start order, the life, and the stop order of a primary.
func (p *Primary) run(ctx context.Context) error {
	// What a part does for others must outlive them: parts stop in reverse order, each by its own context.
	g, gctx := errgroup.WithContext(context.WithoutCancel(ctx))
	stopping, stop := context.WithCancel(gctx)
	defer stop()
	go func() {
		select {
		case <-ctx.Done():
		case <-gctx.Done():
		}
		stop()
	}()

	// 1. The admin API: from the first moment somebody may ask why this primary is not ready.
	srv, err := p.serveAdmin()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer p.closeAdmin(srv)

	// 2. The log. A member waits here for a quorum of its cluster.
	p.setReady("waiting for a quorum of the log's members")
	if err := p.openLog(stopping); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it had begun
		}
		if errors.Is(err, log.ErrConfig) {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		return err
	}
	defer p.closeLog()

	// 3. The state machine follows the log from the newest checkpoint on.
	if err := p.openReplica(); err != nil {
		return err
	}
	replicaCtx, stopReplica := context.WithCancel(gctx)
	defer stopReplica()
	replicaDone := make(chan struct{})
	g.Go(func() error {
		defer close(replicaDone)
		return p.replica.Run(replicaCtx)
	})

	// 4. The first barrier: what this replica shows from here on is no older than what was acknowledged before (C5).
	p.setReady("catching up with the log")
	if err := p.catchUp(stopping); err != nil {
		stopReplica()
		return errors.Join(ignoreCanceled(err), g.Wait())
	}
	if err := p.keys.check(p.replica.Settings()); err != nil {
		stopReplica()
		return errors.Join(fmt.Errorf("%w: cluster_key_file %s: %w", ErrConfig, p.cfg.ClusterKeyFile, err), g.Wait())
	}

	// 5. named and the publisher, which loads every zone into it.
	p.setReady("loading the zones into named")
	namedCtx, stopNamed := context.WithCancel(gctx)
	defer stopNamed()
	p.startHub(namedCtx, g)
	p.publisher.Start(p.replica.Machine())
	g.Go(func() error { return p.publisher.Run(namedCtx, p.named) })
	g.Go(func() error { return p.named.Run(namedCtx) })
	if err := p.allPublished(stopping); err != nil {
		stopNamed()
		stopReplica()
		return errors.Join(ignoreCanceled(err), g.Wait())
	}

	// 6. Clients, if the clock may be trusted. It is compared before the first entry can carry its time.
	p.peers.askClocks(stopping)
	p.noteSkew(stopping, p.peers.skew())
	if p.skew.Load() == nil {
		p.serve(stopping, true, nil)
	}
	if err := p.openEndpoint(); err != nil {
		stopNamed()
		stopReplica()
		return errors.Join(fmt.Errorf("%w: %w", ErrConfig, err), g.Wait())
	}
	endpointCtx, stopEndpoint := context.WithCancel(gctx)
	defer stopEndpoint()
	endpointDone := make(chan struct{})
	g.Go(func() error {
		defer close(endpointDone)
		return p.endpoint.Serve(endpointCtx, time.Duration(p.cfg.StopGrace))
	})
	g.Go(func() error {
		p.files.proxyKeys.Watch(endpointCtx)
		return nil
	})
	g.Go(func() error {
		tuneCollector(stopping)
		return nil
	})
	g.Go(func() error {
		p.peers.watchClocks(stopping, clockEvery, func(skew time.Duration) { p.noteSkew(stopping, skew) })
		return nil
	})
	g.Go(func() error {
		p.peers.watch(stopping)
		return nil
	})
	g.Go(func() error {
		p.watchLag(stopping)
		return nil
	})
	g.Go(func() error {
		p.watchQuorum(stopping)
		return nil
	})
	g.Go(func() error {
		p.space.watch(stopping)
		return nil
	})
	g.Go(func() error {
		p.reportSupport(stopping)
		return nil
	})
	p.watchMember(stopping, g)
	p.setReady("")

	<-stopping.Done()
	p.stop(ctx.Err() != nil, func() {
		stopEndpoint()
		<-endpointDone
	})
	stopNamed()
	stopReplica()
	return g.Wait()
}

// stop is the orderly end: unready, so that fronts look elsewhere; the log's leadership to another member, so that a planned
// restart costs no write; no new requests; answers to those under way.
func (p *Primary) stop(planned bool, closeEndpoint func()) {
	p.setReady("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(p.cfg.StopGrace))
	defer cancel()
	p.log.Info("stopping", "planned", planned)
	if planned {
		// Fronts find out at their next health check. Until then requests are still taken, and wait while leadership moves,
		// instead of meeting a closed port.
		noticed := time.After(time.Duration(p.cfg.StopDelay))
		p.moveLeader(ctx)
		select {
		case <-noticed:
		case <-ctx.Done():
		}
	}
	closeEndpoint()
	if err := p.replica.Drain(ctx); err != nil {
		p.log.Warn("updates under way were not all answered", "err", err)
	}
	if err := p.replica.Serve(ctx, false, errors.New("stopping")); err != nil && ctx.Err() == nil {
		p.log.Debug("the replica has ended already", "err", err)
	}
}

// moveLeaderWithin bounds the search for another leader: when the whole cluster stops there is none.
const moveLeaderWithin = 2 * time.Second

func (p *Primary) moveLeader(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, moveLeaderWithin)
	defer cancel()
	if err := p.elog.MoveLeader(ctx); err != nil {
		p.log.Warn("the log's leadership was not handed over; an election follows", "err", err)
	}
}

func (p *Primary) openReplica() error {
	rcfg := replica.DefaultConfig()
	rcfg.Name, rcfg.Dir, rcfg.Log = p.cfg.Name, p.checkpointDir(), p.elog
	rcfg.Sink = sink{Sink: p.publisher, name: p.cfg.Name, charge: p.charge}
	rcfg.Members, rcfg.Logger, rcfg.Registerer = p.members(), p.log, p.metrics
	rcfg.Now = p.clock.Now
	if p.member != nil {
		// The log keeps what was written since the last checkpoint but one, and the store holds it with losses: half of the
		// quota stays free.
		rcfg.MaxTailBytes = int(p.cfg.Etcd.QuotaBytes / 8)
		rcfg.CheckpointBytes = min(rcfg.CheckpointBytes, rcfg.MaxTailBytes)
	}
	if len(p.peers.clients) > 0 {
		rcfg.Peers = p.peers
	}
	r, err := replica.Open(rcfg)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	p.replica = r
	close(p.opened)
	return nil
}

// catchUp passes a first barrier, however long it takes: a replica that was away for a day follows a day's log.
func (p *Primary) catchUp(ctx context.Context) error {
	for {
		actx, cancel := context.WithTimeout(ctx, catchUpAttempt)
		_, err := p.replica.Barrier(actx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		p.log.Info("catching up with the log", "applied", p.replica.Status().Applied, "err", err)
	}
}

// reportSupport tells the cluster up to which version this program knows entries and semantics, so that a newer one can be
// activated once every replica does (C8). What is known already is not said again. It repeats until the log takes it.
func (p *Primary) reportSupport(ctx context.Context) {
	for ctx.Err() == nil && p.replica.Machine().Supports()[p.cfg.Name] != fsm.MaxVersion {
		_, err := p.replica.Submit(ctx, &fsm.Support{Version: fsm.MaxVersion}, p.clock.Now().Add(catchUpAttempt))
		if err == nil {
			continue
		}
		p.log.Debug("the supported version is not in the log yet", "version", fsm.MaxVersion, "err", err)
		select {
		case <-time.After(supportEvery):
		case <-ctx.Done():
		}
	}
}

const (
	catchUpAttempt = 5 * time.Second
	supportEvery   = 5 * time.Second
	clockEvery     = 2 * time.Second
)

// noteSkew takes this primary out of service while its clock is off (C7): it answers nothing, and its entries leave log
// time where it is.
func (p *Primary) noteSkew(ctx context.Context, skew time.Duration) {
	if skew.Abs() <= replica.MaxClockSkew {
		if p.peers.compared() {
			p.clock.follow()
		}
		if p.skew.Swap(nil) != nil {
			p.log.Info("back in service: the clock is right again", "skew", skew)
			p.serve(ctx, true, nil)
		}
		return
	}
	why := fmt.Sprintf("its clock is %s off the median of the primaries, more than %s: mend its time synchronisation", skew.Round(100*time.Millisecond), replica.MaxClockSkew)
	if p.skew.Swap(&why) == nil {
		p.log.Error("out of service", "reason", why)
		p.serve(ctx, false, errors.New(why))
	}
}

// serve tells the replica whether to take proposals.
func (p *Primary) serve(ctx context.Context, ok bool, reason error) {
	if err := p.replica.Serve(ctx, ok, reason); err != nil && ctx.Err() == nil {
		p.log.Warn("the replica could not be told whether to serve; it has ended", "serve", ok, "err", err)
	}
}

// watchMember ends the primary when its embedded member ends.
func (p *Primary) watchMember(stopping context.Context, g *errgroup.Group) {
	if p.member == nil {
		return
	}
	g.Go(func() error {
		select {
		case <-p.member.Done():
			return fmt.Errorf("the log's member ended: %w", p.member.Err())
		case <-stopping.Done():
			return nil
		}
	})
}

func (p *Primary) closeLog() {
	if err := p.elog.Close(); err != nil {
		p.log.Warn("closing the log", "err", err)
	}
	if p.member != nil {
		if err := p.member.Close(); err != nil {
			p.log.Warn("closing the log's member", "err", err)
		}
	}
}

func (p *Primary) openEndpoint() error {
	ecfg, err := p.endpointConfig()
	if err != nil {
		return err
	}
	if p.endpoint, err = endpoint.New(ecfg); err != nil {
		return err
	}
	p.quotas.Store(p.endpoint)
	return nil
}

// charge tells the endpoint of updates that other primaries took.
func (p *Primary) charge(group string, updates int) {
	if e := p.quotas.Load(); e != nil {
		e.Charge(group, updates)
	}
}

func (p *Primary) serveAdmin() (*http.Server, error) {
	l, err := net.Listen("tcp", p.cfg.Admin.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	trust, err := loadAdminTrust(p.cfg.Admin, p.files.front)
	if err != nil {
		return nil, err
	}
	l = trust.listen(l)
	srv := &http.Server{
		Handler: p.admin.handler(p.gatherer(), trust), ReadHeaderTimeout: 5 * time.Second,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("the admin API ended", "err", err)
		}
	}()
	return srv, nil
}

func (p *Primary) closeAdmin(srv *http.Server) {
	if err := srv.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		p.log.Debug("closing the admin API", "err", err)
	}
}

// logStatus asks the log's member about itself. It is for when the log is open.
func (p *Primary) logStatus(ctx context.Context) (log.Status, error) { return p.elog.Status(ctx) }

// flush implements publish.Cutter.
func (p *Primary) flush(ctx context.Context, id fsm.ZoneID) error { return p.replica.Flush(ctx, id) }

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

var _ endpoint.Reader = (*Primary)(nil)

// proposer hands the endpoint's updates to the replica. It implements endpoint.Writer.
type proposer struct{ p *Primary }

// Propose implements endpoint.Writer.
func (w proposer) Propose(u fsm.Command, deadline time.Time, done func(fsm.Result, error)) {
	for _, why := range []*string{w.p.skew.Load(), w.p.quorum.Load()} {
		if why != nil {
			// Now, rather than after a deadline's wait for a quorum that is not there.
			done(fsm.Result{}, fmt.Errorf("%w: %s", replica.ErrStopped, *why))
			return
		}
	}
	if err := w.p.space.refuse(); err != nil {
		done(fsm.Result{}, err)
		return
	}
	w.p.replica.Propose(u, deadline, withGuarantee(u, w.p.replica.Settings(), w.p.tracker, done))
}
