package primary

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"filippo.io/age"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/backup"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/fsm/seal"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// maxBackups is how many backups one primary streams at a time: each keeps a state of the past in memory.
const maxBackups = 2

// backupStall is for how long whoever reads a backup may not read before it is cut off.
const backupStall = time.Minute

// newAdmin makes the admin API of a primary, with what follows from the cluster's key.
func newAdmin(p *Primary, sealer *seal.Sealer, clusterKey []byte) (*admin, error) {
	a := &admin{p: p, sealer: sealer, log: p.log, backups: make(chan struct{}, maxBackups)}
	var err error
	if a.identity, err = backup.ClusterIdentity(clusterKey); err != nil {
		return nil, err
	}
	a.clusterKeyID, err = backup.ClusterKeyID(clusterKey)
	return a, err
}

func (a *admin) handleBackups(mux router) {
	mux.HandleFunc("GET "+adminapi.PathBackup, a.backup)
	mux.HandleFunc("GET "+adminapi.PathBackupRecipient, reply(a.backupRecipient))
	mux.HandleFunc("POST "+adminapi.PathRestore, reply(a.restore))
}

func (a *admin) backupRecipient(*http.Request) (adminapi.BackupRecipient, error) {
	return adminapi.BackupRecipient{Recipient: a.identity.Recipient().String(), KeyID: a.clusterKeyID}, nil
}

// backup streams the state behind a read barrier (I3).
func (a *admin) backup(w http.ResponseWriter, r *http.Request) {
	recipients := r.URL.Query()[adminapi.ParamRecipient]
	for i, text := range recipients {
		if text == adminapi.RecipientCluster {
			recipients[i] = a.identity.Recipient().String()
		}
	}
	if _, err := backup.ParseRecipients(recipients); err != nil {
		writeError(w, invalid("%v", err))
		return
	}
	select {
	case a.backups <- struct{}{}:
		defer func() { <-a.backups }()
	default:
		writeError(w, &adminapi.Error{Code: adminapi.CodeUnavailable, Message: fmt.Sprintf("%d backups are being read from this primary", maxBackups),
			Remedy: "wait for one to end, or ask another primary"})
		return
	}
	if err := a.fresh(r.Context()); err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", adminapi.TypeBackup)
	start := time.Now()
	m, err := backup.Write(stallWriter{w, http.NewResponseController(w)}, a.p.replica.Machine().Snapshot(), backup.Options{
		Program: a.p.version, Replica: a.p.cfg.Name, ClusterKeyID: a.clusterKeyID, Now: a.p.clock.Now(), Recipients: recipients,
		Open: func(name zone.Name, s *fsm.KeySecret) ([]byte, error) {
			return a.sealer.Open(string(name), s.Version, s.Sealed)
		},
	})
	if err != nil {
		a.log.Warn("a backup was cut off", "err", err)
		panic(http.ErrAbortHandler) // the reader must not take what it has for an end
	}
	a.log.Info("backup", "index", m.LogIndex, "zones", len(m.Zones), "records", m.Records(), "secrets_for", len(recipients),
		"certificate", whoOf(r.Context()).certificate, "took", time.Since(start))
}

// stallWriter cuts off whoever does not read.
type stallWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s stallWriter) Write(b []byte) (int, error) {
	// A server without deadlines is one of a test; the write itself fails if it must.
	_ = s.rc.SetWriteDeadline(time.Now().Add(backupStall))
	return s.w.Write(b)
}

// seedChunkBytes is how much of a backup's content goes into one log entry.
const seedChunkBytes = 256 << 10

// restore reads a whole backup, and only then begins to put it through the log, where one last entry makes it visible.
func (a *admin) restore(r *http.Request) (adminapi.Restored, error) {
	ctx := r.Context()
	if err := a.freshAndEmpty(ctx); err != nil {
		return adminapi.Restored{}, err
	}
	var l backup.Loaded
	var err error
	if l.Manifest, err = backup.Read(r.Body, l.Visitor()); err != nil {
		return adminapi.Restored{}, invalid("%v; nothing was changed", err)
	}
	newSecrets := r.URL.Query().Get(adminapi.ParamNewSecrets) == "true"
	how := backup.Restoring{Seal: a.sealedKey}
	switch {
	case newSecrets:
		how.New = randomSecret
	case l.Sealed != nil:
		if how.Secrets, err = backup.OpenSecrets(l.Sealed, []age.Identity{a.identity}); err != nil {
			return adminapi.Restored{}, invalid("%v; the backup is of a cluster whose key has the name %s, this one's is %s; nothing was changed", err, l.Manifest.ClusterKeyID, a.clusterKeyID)
		}
	}
	asked := a.askSerials(ctx, l.Manifest, r.URL.Query()[adminapi.ParamAsk])
	how.Seen, how.Now = asked.newest, a.p.clock.Now()
	out := adminapi.Restored{
		LogIndex: l.Manifest.LogIndex, Keys: len(l.Manifest.Keys), Secondaries: len(l.Manifest.Secondaries), NewSecrets: newSecrets, Asked: asked.servers,
	}
	err = numbered(ctx, "restore", func() (fsm.Result, error) {
		how.FirstVersion = a.p.replica.Settings().NextKeyVersion
		seed, err := l.Seed(how)
		if err != nil {
			return fsm.Result{}, invalid("%v; nothing was changed", err)
		}
		out.Zones = planned(l.Manifest, seed)
		return a.plant(ctx, seed)
	})
	if err != nil {
		return adminapi.Restored{}, err
	}
	return out, a.checkRestored(out.Zones)
}

// freshAndEmpty refuses a restore before anything of it is read.
func (a *admin) freshAndEmpty(ctx context.Context) error {
	if err := a.fresh(ctx); err != nil {
		return err
	}
	if err := a.p.replica.Machine().Fresh(); err != nil {
		return &adminapi.Error{Code: adminapi.CodeConflict, Message: err.Error() + "; nothing was changed"}
	}
	return nil
}

// plant puts a seed through the log. Whatever goes wrong on the way, nothing stays.
func (a *admin) plant(ctx context.Context, seed *fsm.Seed) (res fsm.Result, err error) {
	id := fmt.Sprintf("%s-%d", a.p.cfg.Name, time.Now().UnixNano())
	w := &seedWriter{ctx: ctx, a: a, id: id}
	defer func() {
		if err == nil || w.seq == 0 || res.Err != "" {
			return // a commit that is refused leaves nothing
		}
		actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminTimeout)
		defer cancel()
		if _, aerr := a.propose(actx, &fsm.SeedAbort{ID: id}); aerr != nil {
			a.log.Warn("an unfinished restore stays in the state until it has been idle for ten minutes", "restore", id, "err", aerr)
		}
	}()
	if err := seed.Write(w); err != nil {
		return fsm.Result{}, err
	}
	if err := w.flush(); err != nil {
		return fsm.Result{}, err
	}
	return a.propose(ctx, &fsm.SeedCommit{ID: id, Chunks: w.seq})
}

// seedWriter makes log entries of what is written to it.
type seedWriter struct {
	ctx context.Context
	a   *admin
	id  string
	seq uint64
	buf []byte
}

func (w *seedWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		k := min(len(b), seedChunkBytes-len(w.buf))
		w.buf, b = append(w.buf, b[:k]...), b[k:]
		if len(w.buf) == seedChunkBytes {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *seedWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	w.seq++
	_, err := w.a.propose(w.ctx, &fsm.SeedChunk{ID: w.id, Seq: w.seq, Data: w.buf})
	w.buf = nil
	return err
}

// checkRestored compares what is there now with what was to be, unless somebody has updated it already.
func (a *admin) checkRestored(zones []adminapi.RestoredZone) error {
	m := a.p.replica.Machine()
	for _, z := range zones {
		name, err := zone.ParseName(z.Name)
		if err != nil {
			return fmt.Errorf("zone %q: %w", z.Name, err)
		}
		v, ok := m.Zone(fsm.ZoneOf(name))
		if !ok || v.Zone.Serial() == z.Serial && v.Zone.Digest().String() != z.Digest {
			return fmt.Errorf("zone %s is not what was restored (there: %v): report this, with the log of this primary", z.Name, ok)
		}
	}
	return nil
}

// planned describes the zones as they will be.
func planned(m *backup.Manifest, seed *fsm.Seed) []adminapi.RestoredZone {
	out := []adminapi.RestoredZone{}
	for _, z := range m.Zones {
		one := adminapi.RestoredZone{Name: z.Name, Records: z.Records, SavedSerial: z.Serial}
		if name, err := zone.ParseName(z.Name); err == nil {
			if v, ok := seed.Machine().Zone(fsm.ZoneOf(name)); ok {
				one.Serial, one.Digest = v.Zone.Serial(), v.Zone.Digest().String()
			}
		}
		out = append(out, one)
	}
	return out
}

// randomSecret is as long as the algorithm's hash.
func randomSecret(algorithm string) ([]byte, error) {
	alg, err := tsig.ParseAlgorithm(algorithm)
	if err != nil {
		return nil, err
	}
	return newSecret(alg), nil
}
