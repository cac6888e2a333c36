package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/apiserver"
)

// SlicesConfig names a Service whose EndpointSlices (discovery.k8s.io/v1) list the primaries, and the API server. Start from
// [DefaultSlicesConfig], and in a pod go on with [SlicesConfig.InCluster].
type SlicesConfig struct {
	API    string // base URL: https://ADDRESS:PORT
	CAFile string // PEM; signed the API server's certificate; it is read again after every failure
	// TokenFile holds a bearer token. It is read for every request, because it is replaced while it is in use.
	TokenFile string

	Namespace string
	Service   string

	// Watch is how long one watch is asked for; a connection that has died without a word is noticed a little later at the latest.
	Watch time.Duration
	// RetryMin is the pause after a failure; it doubles up to RetryMax.
	RetryMin, RetryMax time.Duration
	Logger             *slog.Logger
}

// DefaultSlicesConfig has the times.
func DefaultSlicesConfig() SlicesConfig {
	return SlicesConfig{Watch: time.Minute, RetryMin: 100 * time.Millisecond, RetryMax: 5 * time.Second}
}

// InCluster fills in how a pod reaches the API server of its cluster: the environment (getenv is os.Getenv) and the files of its service
// account in dir ("" is the usual place). The pod's role must allow list and watch of endpointslices in the namespace. Fields that are set
// already stay.
func (c SlicesConfig) InCluster(getenv func(string) string, dir string) (SlicesConfig, error) {
	server, err := c.server().InCluster(getenv, dir)
	if err != nil {
		return c, fmt.Errorf("backends: %w", err)
	}
	c.API, c.CAFile, c.TokenFile = server.API, server.CAFile, server.TokenFile
	if c.Namespace == "" {
		if c.Namespace, err = apiserver.Namespace(dir); err != nil {
			return c, fmt.Errorf("backends: %w", err)
		}
	}
	return c, nil
}

func (c SlicesConfig) server() apiserver.Config {
	return apiserver.Config{API: c.API, CAFile: c.CAFile, TokenFile: c.TokenFile}
}

// Validate reports every mistake at once, each with field, value and remedy.
func (c SlicesConfig) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("backends: "+format, args...)) }
	if err := c.server().Validate(); err != nil {
		bad("%w", err)
	}
	if c.Namespace == "" || c.Service == "" {
		bad("Namespace %q, Service %q: name both", c.Namespace, c.Service)
	}
	if c.Watch < time.Second {
		bad("Watch: %s; give at least 1s", c.Watch)
	}
	if c.RetryMin <= 0 || c.RetryMax < c.RetryMin {
		bad("RetryMin %s, RetryMax %s; give positive times, the second not below the first", c.RetryMin, c.RetryMax)
	}
	if c.Logger == nil {
		bad("Logger: nil; give one")
	}
	return errors.Join(errs...)
}

// Slices follows the EndpointSlices of a Service: one list, then a watch from there. Every endpoint counts, ready or not, because whether
// a primary is ready is for the front's checks. Run fails when the configuration is wrong.
func Slices(cfg SlicesConfig) Source {
	return &slicesSource{keeper: keeper{log: cfg.Logger}, cfg: cfg, client: apiserver.New(cfg.server())}
}

type slicesSource struct {
	keeper
	cfg    SlicesConfig
	client *apiserver.Client
}

// errGone means that the API server can't tell what has changed since the version that was named (410): the list is asked for anew.
var errGone = errors.New("410 Gone")

// errExpired is the ordinary end of a watch.
var errExpired = errors.New("the watch has ended")

func (s *slicesSource) Run(ctx context.Context, set func([]Primary)) error {
	if err := s.cfg.Validate(); err != nil {
		return err
	}
	defer s.client.Reset()
	wait := s.cfg.RetryMin
	for {
		err := s.follow(ctx, set, func() { wait = s.cfg.RetryMin })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the error is the end's
		}
		if !errors.Is(err, errGone) {
			s.fail(err)
			s.client.Reset() // with the next attempt the CA is read anew
		}
		// After 410 as well: a server that says it every time is not to be asked without a pause.
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, s.cfg.RetryMax)
	}
}

// follow lists once, and then watches until something is wrong. worked is called when a watch has said something.
func (s *slicesSource) follow(ctx context.Context, set func([]Primary), worked func()) error {
	all, version, err := s.list(ctx)
	if err != nil {
		return err
	}
	s.offer(primaries(all), set)
	for {
		version, err = s.watch(ctx, all, version, func() {
			worked()
			s.offer(primaries(all), set)
		})
		if !errors.Is(err, errExpired) {
			return err
		}
		worked()
		// A server that ends every watch at once is not to be asked without a pause.
		if !pause(ctx, s.cfg.RetryMin) {
			return ctx.Err()
		}
	}
}

// get asks for the Service's slices. The caller closes the body.
func (s *slicesSource) get(ctx context.Context, query url.Values) (io.ReadCloser, error) {
	query.Set("labelSelector", "kubernetes.io/service-name="+s.cfg.Service)
	body, err := s.client.Get(ctx, "/apis/discovery.k8s.io/v1/namespaces/"+url.PathEscape(s.cfg.Namespace)+"/endpointslices", query)
	var answer *apiserver.Error
	switch {
	case err == nil:
		return body, nil
	case !errors.As(err, &answer):
		return nil, fmt.Errorf("backends: %w", err)
	case answer.Code == http.StatusGone:
		return nil, fmt.Errorf("backends: %w: %s", errGone, answer.Message)
	}
	remedy := "look at the API server"
	if answer.Denied() {
		remedy = "let the front's service account list and watch endpointslices (discovery.k8s.io) in namespace " + s.cfg.Namespace
	}
	return nil, fmt.Errorf("backends: %w; %s", err, remedy)
}

// maxList bounds what is read of one list: a slice has at most 1,000 endpoints of less than a kilobyte.
const maxList = 64 << 20

// list reads all slices, by name, and the version from which to watch.
func (s *slicesSource) list(ctx context.Context) (map[string]slice, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := s.get(ctx, url.Values{})
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	var l struct {
		Metadata metadata `json:"metadata"`
		Items    []slice  `json:"items"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxList)).Decode(&l); err != nil {
		return nil, "", fmt.Errorf("backends: the list of endpointslices: %w", err)
	}
	all := map[string]slice{}
	for _, item := range l.Items {
		all[item.Metadata.Name] = item
	}
	return all, l.Metadata.ResourceVersion, nil
}

// watch changes all as the API server says, and calls changed after each change. It returns the version from which to go on.
func (s *slicesSource) watch(ctx context.Context, all map[string]slice, version string, changed func()) (string, error) {
	// The server ends the watch by itself; a dead connection does not.
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Watch+s.cfg.Watch/4+5*time.Second)
	defer cancel()
	body, err := s.get(ctx, url.Values{
		"watch": {"1"}, "resourceVersion": {version}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {strconv.Itoa(int(s.cfg.Watch / time.Second))},
	})
	if err != nil {
		return version, err
	}
	defer body.Close()
	limited := &io.LimitedReader{R: body}
	events := json.NewDecoder(limited)
	for {
		limited.N = maxList // of each event
		var e struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		err := events.Decode(&e)
		switch {
		case errors.Is(err, io.EOF):
			return version, errExpired
		case err != nil:
			return version, fmt.Errorf("backends: watching endpointslices: %w", err)
		}
		if e.Type == "ERROR" {
			var st status
			_ = json.Unmarshal(e.Object, &st) // what can't be read is no 410
			if st.Code == http.StatusGone {
				return version, fmt.Errorf("backends: %w: %s", errGone, st.Message)
			}
			return version, fmt.Errorf("backends: watching endpointslices: %d %s", st.Code, st.Message)
		}
		var one slice
		if err := json.Unmarshal(e.Object, &one); err != nil {
			return version, fmt.Errorf("backends: watching endpointslices: event %s: %w", e.Type, err)
		}
		version = one.Metadata.ResourceVersion
		switch e.Type {
		case "ADDED", "MODIFIED":
			all[one.Metadata.Name] = one
		case "DELETED":
			delete(all, one.Metadata.Name)
		default: // BOOKMARK: only the version
			continue
		}
		changed()
	}
}
