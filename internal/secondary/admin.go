package secondary

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// serveAdmin serves the admin API of a secondary: its health, its status, its copies of zones. Nothing can be changed here.
func (s *secondary) serveAdmin() (*http.Server, error) {
	l, err := net.Listen("tcp", s.cfg.Admin.Listen) //nolint:noctx // closed with the server
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	if a := s.cfg.Admin; a.TLSCert != "" {
		cert, err := conf.LoadCertificate(a.TLSCert, a.TLSKey, a.TLSClientCA)
		if err != nil {
			_ = l.Close() // nobody has connected
			return nil, fmt.Errorf("admin: %w", err)
		}
		l = tls.NewListener(l, cert.Mutual())
	}
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the admin API ended", "err", err)
		}
	}()
	return srv, nil
}

func (s *secondary) closeAdmin(srv *http.Server) {
	if err := srv.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		s.log.Debug("closing the admin API", "err", err)
	}
}

func (s *secondary) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathLive, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n")) // a prober that left needs no answer
	})
	mux.HandleFunc("GET "+adminapi.PathReady, func(w http.ResponseWriter, _ *http.Request) {
		if err := s.notReady(); err != nil {
			adminapi.WriteError(w, &adminapi.Error{Code: adminapi.CodeUnavailable, Message: err.Error()})
			return
		}
		_, _ = w.Write([]byte("ok\n")) // as above
	})
	const metrics = "GET " + adminapi.PathMetrics
	mux.Handle(metrics, promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET "+adminapi.PathOwn, adminapi.Reply(func(*http.Request) (adminapi.SecondaryStatus, error) { return s.status(), nil }))
	mux.HandleFunc("GET "+adminapi.PathCopy, adminapi.Reply(func(r *http.Request) (adminapi.VerifyCopy, error) {
		name := r.PathValue("name")
		if text, err := url.PathUnescape(name); err == nil {
			name = text
		}
		z, err := zone.ParseName(name)
		if err != nil {
			return adminapi.VerifyCopy{}, &adminapi.Error{Code: adminapi.CodeInvalid, Message: fmt.Sprintf("%q is not a domain name: %v", name, err)}
		}
		ctx, cancel := context.WithTimeout(r.Context(), compareTimeout)
		defer cancel()
		return s.copyOf(ctx, z.Canonical()), nil
	}))
	// Profiles, for people who look into a slow secondary: go tool pprof http://ADMIN/debug/pprof/profile
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return adminapi.Restricted(mux, mux,
		adminapi.Rights{Kind: "monitor", Is: adminapi.HasUnit(conf.MonitorUnit), Unit: conf.MonitorUnit, Patterns: []string{metrics}})
}
