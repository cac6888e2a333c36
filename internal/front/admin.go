package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// serveAdmin serves health, status and metrics on the loopback address and on the UNIX socket; only there a drain is asked for. It
// returns what ends both.
func (f *front) serveAdmin() (stop func(), err error) {
	local, err := listenUnix(SocketPath(f.cfg.Dir))
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", f.cfg.Admin.Listen) //nolint:noctx // closed with the server
	if err != nil {
		_ = local.Close() // nobody has connected
		return nil, fmt.Errorf("admin.listen: %w; use another address, or stop what listens there", err)
	}
	open := f.adminMux()
	owner := f.adminMux()
	owner.HandleFunc("POST "+adminapi.PathFrontDrain, adminapi.Reply(func(r *http.Request) (adminapi.FrontStatus, error) {
		f.drain()
		return f.status(r.Context()), nil
	}))
	errorLog := slog.NewLogLogger(f.log.Handler(), slog.LevelDebug)
	var servers []*http.Server
	for listener, h := range map[net.Listener]http.Handler{l: open, local: owner} {
		srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: errorLog}
		servers = append(servers, srv)
		go func() {
			if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				f.log.Error("the admin API ended", "addr", listener.Addr(), "err", err)
			}
		}()
	}
	return func() {
		for _, srv := range servers {
			if err := srv.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				f.log.Debug("closing the admin API", "err", err)
			}
		}
	}, nil
}

func (f *front) adminMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathLive, f.healthy(f.ping))
	mux.HandleFunc("GET "+adminapi.PathReady, f.healthy(func(ctx context.Context) error {
		f.mu.Lock()
		why := f.m.ready()
		f.mu.Unlock()
		if why != "" {
			return errors.New(why)
		}
		return f.ping(ctx)
	}))
	mux.Handle("GET "+adminapi.PathMetrics, promhttp.HandlerFor(f.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET "+adminapi.PathFront, adminapi.Reply(func(r *http.Request) (adminapi.FrontStatus, error) { return f.status(r.Context()), nil }))
	// Profiles, for people who look into a slow node: go tool pprof http://ADMIN/debug/pprof/profile
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func (f *front) healthy(check func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := check(r.Context()); err != nil {
			adminapi.WriteError(w, &adminapi.Error{Code: adminapi.CodeUnavailable, Message: err.Error()})
			return
		}
		_, _ = w.Write([]byte("ok\n")) // a prober that left needs no answer
	}
}

// ping returns when steering has come by: a front that answers but decides nothing is as bad as a dead one.
func (f *front) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	pong := make(chan struct{})
	select {
	case f.pings <- pong:
		<-pong
		return nil
	case <-ctx.Done():
		return fmt.Errorf("this node decides nothing since %s at least", watchTimeout)
	}
}
