package primary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/url"
	"time"

	"filippo.io/age"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/fsm/seal"
	"github.com/zonekeeper/zonekeeper/internal/replica"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// admin serves the admin API (package adminapi) of one primary.
type admin struct {
	p      *Primary
	sealer *seal.Sealer
	log    *slog.Logger

	// identity opens backups made for the cluster's key, which clusterKeyID names. backups bounds those under way.
	identity     *age.X25519Identity
	clusterKeyID string
	backups      chan struct{}
}

// adminTimeout bounds one change through the admin API. Imports have no bound: they report progress by being read.
const adminTimeout = 30 * time.Second

// What a front may ask.
const (
	patternLive  = "GET " + adminapi.PathLive
	patternReady = "GET " + adminapi.PathReady

	// patternMetrics is all that a monitor may ask.
	patternMetrics = "GET " + adminapi.PathMetrics
)

func (a *admin) handler(gather prometheus.Gatherer, trust *adminTrust) http.Handler {
	mux := http.NewServeMux()
	a.routes(mux, gather)
	return a.opened(adminapi.Restricted(mux, attributed(mux),
		adminapi.Rights{Kind: "front", Is: trust.frontOf, Unit: frontUnit, Patterns: []string{patternLive, patternReady}},
		adminapi.Rights{Kind: "secondary", Is: secondaryOf, Unit: secondaryUnit, Patterns: []string{patternChanges, patternReport, patternDigest}},
		adminapi.Rights{Kind: "monitor", Is: adminapi.HasUnit(conf.MonitorUnit), Unit: conf.MonitorUnit, Patterns: []string{patternMetrics}},
	))
}

// router is what routes are added to: a ServeMux.
type router interface {
	Handle(pattern string, h http.Handler)
	HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request))
}

// routes adds every path of the API.
func (a *admin) routes(mux router, gather prometheus.Gatherer) {
	mux.HandleFunc(patternLive, a.live)
	mux.HandleFunc(patternReady, a.ready)
	mux.Handle(patternMetrics, promhttp.HandlerFor(gather, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET "+adminapi.PathStatus, reply(a.status))
	mux.HandleFunc("POST "+adminapi.PathVerify, reply(a.verify))
	mux.HandleFunc("GET "+adminapi.PathMembers, reply(a.members))
	mux.HandleFunc("DELETE "+adminapi.PathMember, reply(a.removeMember))
	mux.HandleFunc("GET "+adminapi.PathZones, reply(a.zones))
	mux.HandleFunc("POST "+adminapi.PathZones, reply(a.addZone))
	mux.HandleFunc("GET "+adminapi.PathZone, reply(a.zone))
	mux.HandleFunc("PUT "+adminapi.PathZone, reply(a.setZone))
	mux.HandleFunc("DELETE "+adminapi.PathZone, reply(a.deleteZone))
	mux.HandleFunc("GET "+adminapi.PathZoneExport, a.exportZone)
	mux.HandleFunc("POST "+adminapi.PathZoneImport, reply(a.importZone))
	mux.HandleFunc("GET "+adminapi.PathKeys, reply(a.keys))
	mux.HandleFunc("POST "+adminapi.PathKeys, reply(a.addKey))
	mux.HandleFunc("GET "+adminapi.PathKey, reply(a.key))
	mux.HandleFunc("POST "+adminapi.PathKeyRotate, reply(a.rotateKey))
	mux.HandleFunc("POST "+adminapi.PathKeyRetire, reply(a.retireKey))
	mux.HandleFunc("DELETE "+adminapi.PathKey, reply(a.deleteKey))
	a.handleSecondaries(mux)
	a.handleChanges(mux)
	a.handleBackups(mux)
	// Profiles, for people who look into a slow primary: go tool pprof http://ADMIN/debug/pprof/profile
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	// Between primaries only.
	mux.HandleFunc("GET "+adminapi.PathReplica, reply(a.replicaStatus))
	mux.HandleFunc("GET "+adminapi.PathCopy, reply(a.copyOf))
	mux.HandleFunc("GET "+adminapi.PathClock, reply(a.clock))
	mux.HandleFunc("GET "+adminapi.PathCheckpoint, a.checkpoint)
}

// opened answers "not ready" before there is a replica to ask.
func (a *admin) opened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case adminapi.PathLive, adminapi.PathReady, adminapi.PathMetrics, adminapi.PathClock:
			next.ServeHTTP(w, r)
			return
		}
		select {
		case <-a.p.opened:
			next.ServeHTTP(w, r)
		default:
			writeError(w, a.p.notReady())
		}
	})
}

// reply turns a function that returns a value or an error into a handler that writes JSON.
func reply[T any](f func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Content-Type", adminapi.TypeJSON)
		// The answer is on its way; a client that left can't be told.
		_ = json.NewEncoder(w).Encode(v)
	}
}

func writeError(w http.ResponseWriter, err error) {
	var e *adminapi.Error
	if !errors.As(err, &e) {
		e = &adminapi.Error{Code: codeOf(err), Message: err.Error()}
	}
	w.Header().Set("Content-Type", adminapi.TypeJSON)
	w.WriteHeader(adminapi.StatusOf(e.Code))
	_ = json.NewEncoder(w).Encode(e) // as above
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, replica.ErrInDoubt):
		return adminapi.CodeInDoubt
	case errors.Is(err, replica.ErrStopped), errors.Is(err, replica.ErrOverloaded), errors.Is(err, replica.ErrNotApplied),
		errors.Is(err, replica.ErrNoSpace), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errNotReady):
		return adminapi.CodeUnavailable
	default:
		return adminapi.CodeInternal
	}
}

func invalid(format string, args ...any) error {
	return &adminapi.Error{Code: adminapi.CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

func notFound(what string, name zone.Name) error {
	return &adminapi.Error{Code: adminapi.CodeNotFound, Message: fmt.Sprintf("there is no %s %s", what, name),
		Remedy: fmt.Sprintf("list what there is with: zonekeeper %s list", what)}
}

// decode reads a JSON body strictly.
func decode[T any](r *http.Request) (T, error) {
	var v T
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 4<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, invalid("request body of %s %s: %v", r.Method, r.URL.Path, err)
	}
	return v, nil
}

// pathName is the domain name in the request's path.
func pathName(r *http.Request) (zone.Name, error) {
	return parseName(r.PathValue("name"))
}

func parseName(text string) (zone.Name, error) {
	if s, err := url.PathUnescape(text); err == nil {
		text = s
	}
	n, err := zone.ParseName(text)
	if err != nil {
		return "", invalid("%q is not a domain name: %v", text, err)
	}
	return n.Canonical(), nil
}

// propose puts an administrative command through the log. It has been applied here when propose returns nil.
func (a *admin) propose(ctx context.Context, cmd fsm.Command) (fsm.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if err := a.p.notReady(); err != nil {
		return fsm.Result{}, err
	}
	res, err := a.p.replica.Submit(ctx, cmd, a.p.clock.Now().Add(adminTimeout/2))
	if err != nil {
		return res, fmt.Errorf("%s: %w", cmd.Kind(), err)
	}
	by := whoOf(ctx)
	if k := cmd.Kind(); k != fsm.KindImportChunk && k != fsm.KindSeedChunk { // one of many; its commit tells
		a.log.Info("administrative change", "kind", cmd.Kind().String(), "about", subjectOf(cmd), "by", by.actor.By, "take_over", by.actor.TakeOver,
			"certificate", by.certificate, "refused", res.Err)
	}
	switch {
	case res.Managed:
		return res, &adminapi.Error{Code: adminapi.CodeManaged, Message: res.Err,
			Remedy: "change it where it is managed (a Zone or TSIGKey in Kubernetes), or repeat this with --detach: from then on it is managed here"}
	case res.Err != "":
		return res, &adminapi.Error{Code: adminapi.CodeConflict, Message: res.Err}
	}
	return res, nil
}

// fresh makes what is read next as new as every change acknowledged before the request (I3).
func (a *admin) fresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if _, err := a.p.replica.Barrier(ctx); err != nil {
		return &adminapi.Error{Code: adminapi.CodeUnavailable, Message: err.Error(),
			Remedy: "a quorum of the primaries must be up and connected; see: zonekeeper status"}
	}
	return nil
}

func (a *admin) live(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok\n")) // a prober that left needs no answer
}

func (a *admin) ready(w http.ResponseWriter, _ *http.Request) {
	if err := a.p.notReady(); err != nil {
		writeError(w, &adminapi.Error{Code: adminapi.CodeUnavailable, Message: err.Error()})
		return
	}
	_, _ = w.Write([]byte("ok\n")) // as above
}
