package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	controlSocket = "dev.sock"
	startPath     = "/start/{name}"
)

// control takes commands for the running cluster on a socket in its directory: a
// process that `dev start` starts must be a child of the foreground process, or it
// would outlive the cluster.
type control struct {
	server *http.Server
	wg     sync.WaitGroup
}

func serveControl(c *Cluster) (*control, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+startPath, func(w http.ResponseWriter, r *http.Request) {
		if err := c.StartProcess(r.Context(), r.PathValue("name")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	var l net.Listener
	err := withShortPath(c.cfg.Dir, func(dir string) (err error) {
		path := filepath.Join(dir, controlSocket)
		_ = os.Remove(path) // of an earlier run; the directory's lock says that it is over
		l, err = net.Listen("unix", path)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Go would remove the socket by the short path, which is gone by then.
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	s := &control{server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	s.wg.Go(func() {
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.log.Error("the control socket failed", "err", err)
		}
	})
	return s, nil
}

func (s *control) close() error {
	err := s.server.Close()
	s.wg.Wait()
	return err
}

// StartMember asks the `zonekeeper dev` that runs the cluster in dir to start one of
// its processes, and returns when that is ready.
func StartMember(ctx context.Context, dir, name string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	hc := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = withShortPath(dir, func(short string) error {
				var d net.Dialer
				conn, err = d.DialContext(ctx, "unix", filepath.Join(short, controlSocket))
				return err
			})
			return conn, err
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://dev"+strings.Replace(startPath, "{name}", url.PathEscape(name), 1), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		var ue *url.Error // names an HTTP address that is none
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("no `zonekeeper dev` runs the cluster in %s (%w); start it: zonekeeper dev --dir %s", dir, err, dir)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("dev start %s: %w", name, err)
	}
	return errors.New(strings.TrimSpace(string(b)))
}

// withShortPath calls fn with another name for dir: a socket's path may have 107
// octets only, and a test's directory often has more.
func withShortPath(dir string, fn func(short string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return fn(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
}
