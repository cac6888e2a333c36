package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxErrorBody bounds what is read of an answer that is not ours.
const maxErrorBody = 1 << 20

// Client talks to one primary. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
	// manager and takeOver go with every request; see As.
	manager  string
	takeOver bool
}

// NewClient takes the base URL ("http://127.0.0.1:5401"; a bare address:port means
// http) and the HTTP client to use, http.DefaultClient when nil. Deadlines are the
// caller's context's.
func NewClient(base string, hc *http.Client) (*Client, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("admin address %q is not a URL such as http://127.0.0.1:5401", base)
	}
	if hc == nil {
		hc = http.DefaultClient
	}
	return &Client{base: strings.TrimRight(u.String(), "/"), http: hc}, nil
}

// As is the client for changes on behalf of manager, an object such as "Zone dns/example": what is made so is managed by it. Primaries believe
// it of an operator's certificate only. With takeOver a change is made although somebody else manages what it changes, and manages it then.
func (c *Client) As(manager string, takeOver bool) *Client {
	as := *c
	as.manager, as.takeOver = manager, takeOver
	return &as
}

// Base is the URL of the primary.
func (c *Client) Base() string { return c.base }

// Ready returns nil when the primary takes writes, else its reason.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, PathReady, nil, "", nil, io.Discard)
}

// Metrics returns the Prometheus text.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	var b bytes.Buffer
	err := c.do(ctx, http.MethodGet, PathMetrics, nil, "", nil, &b)
	return b.Bytes(), err
}

// Status returns the cluster's state.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return call[Status](ctx, c, http.MethodGet, PathStatus, nil, nil)
}

// Verify compares every named with the replicated state.
func (c *Client) Verify(ctx context.Context) (*VerifyReport, error) {
	return call[VerifyReport](ctx, c, http.MethodPost, PathVerify, nil, nil)
}

// Replica returns the asked primary's own part of the status.
func (c *Client) Replica(ctx context.Context) (*ReplicaStatus, error) {
	return call[ReplicaStatus](ctx, c, http.MethodGet, PathReplica, nil, nil)
}

// Copy returns the zone as the asked primary's own named has it.
func (c *Client) Copy(ctx context.Context, zone string) (*VerifyCopy, error) {
	return call[VerifyCopy](ctx, c, http.MethodGet, fill(PathCopy, zone), nil, nil)
}

// Clock returns the primary's clock, and what else its peers ask for often.
func (c *Client) Clock(ctx context.Context) (*Clock, error) {
	return call[Clock](ctx, c, http.MethodGet, PathClock, nil, nil)
}

// Members lists the quorum.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	return list[Member](ctx, c, PathMembers)
}

// RemoveMember makes a member leave.
func (c *Client) RemoveMember(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, fill(PathMember, name), nil, "", nil, io.Discard)
}

// Zones lists the zones.
func (c *Client) Zones(ctx context.Context) ([]Zone, error) { return list[Zone](ctx, c, PathZones) }

// Zone returns one zone.
func (c *Client) Zone(ctx context.Context, name string) (*Zone, error) {
	return call[Zone](ctx, c, http.MethodGet, fill(PathZone, name), nil, nil)
}

// AddZone creates a zone.
func (c *Client) AddZone(ctx context.Context, z AddZone) (*Zone, error) {
	return call[Zone](ctx, c, http.MethodPost, PathZones, nil, z)
}

// SetZone replaces a zone's settings.
func (c *Client) SetZone(ctx context.Context, name string, s ZoneSettings) (*Zone, error) {
	return call[Zone](ctx, c, http.MethodPut, fill(PathZone, name), nil, s)
}

// DeleteZone deletes a zone; confirm must repeat its name.
func (c *Client) DeleteZone(ctx context.Context, name, confirm string) error {
	return c.do(ctx, http.MethodDelete, fill(PathZone, name), url.Values{ParamConfirm: {confirm}}, "", nil, io.Discard)
}

// ExportZone writes the zone-file text of one version of the zone.
func (c *Client) ExportZone(ctx context.Context, name string, w io.Writer) error {
	return c.do(ctx, http.MethodGet, fill(PathZoneExport, name), nil, "", nil, w)
}

// ImportZone creates or replaces a zone from zone-file text. The serial is kept.
func (c *Client) ImportZone(ctx context.Context, name string, text io.Reader, o ImportOptions) (*Zone, error) {
	settings, err := json.Marshal(o.Settings)
	if err != nil {
		return nil, fmt.Errorf("zone settings: %w", err)
	}
	q := url.Values{
		ParamStrip:    {strconv.FormatBool(o.StripDNSSEC)},
		ParamReplace:  {strconv.FormatBool(o.Replace)},
		ParamMove:     {strconv.FormatBool(o.MoveSerial)},
		ParamSettings: {string(settings)},
	}
	var b bytes.Buffer
	if err := c.do(ctx, http.MethodPost, fill(PathZoneImport, name), q, TypeDNS, text, &b); err != nil {
		return nil, err
	}
	return decode[Zone](&b)
}

// Keys lists the keys without secrets.
func (c *Client) Keys(ctx context.Context) ([]Key, error) { return list[Key](ctx, c, PathKeys) }

// Key returns one key, with its secrets when asked.
func (c *Client) Key(ctx context.Context, name string, secret bool) (*Key, error) {
	return call[Key](ctx, c, http.MethodGet, fill(PathKey, name), url.Values{ParamSecret: {strconv.FormatBool(secret)}}, nil)
}

// AddKey creates a key and returns it with its secret.
func (c *Client) AddKey(ctx context.Context, k AddKey) (*Key, error) {
	return call[Key](ctx, c, http.MethodPost, PathKeys, nil, k)
}

// RotateKey adds a secret and returns the key with it.
func (c *Client) RotateKey(ctx context.Context, name string, r RotateKey) (*Key, error) {
	return call[Key](ctx, c, http.MethodPost, fill(PathKeyRotate, name), nil, r)
}

// RetireKey drops all secrets of a key but the newest.
func (c *Client) RetireKey(ctx context.Context, name string) (*Key, error) {
	return call[Key](ctx, c, http.MethodPost, fill(PathKeyRetire, name), nil, nil)
}

// DeleteKey deletes a key; confirm must repeat its name.
func (c *Client) DeleteKey(ctx context.Context, name, confirm string) error {
	return c.do(ctx, http.MethodDelete, fill(PathKey, name), url.Values{ParamConfirm: {confirm}}, "", nil, io.Discard)
}

// fill puts a name into a path. The root zone's is ".", which HTTP would take for the folder itself (RFC 3986 section 5.2.4).
func fill(path, name string) string {
	escaped := url.PathEscape(name)
	if name == "." {
		escaped = "%2E"
	}
	return strings.Replace(path, "{name}", escaped, 1)
}

func list[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	l, err := call[[]T](ctx, c, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	return *l, nil
}

func call[T any](ctx context.Context, c *Client, method, path string, q url.Values, in any) (*T, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	var b bytes.Buffer
	if err := c.do(ctx, method, path, q, TypeJSON, body, &b); err != nil {
		return nil, err
	}
	return decode[T](&b)
}

func decode[T any](b *bytes.Buffer) (*T, error) {
	out := new(T)
	if err := json.Unmarshal(b.Bytes(), out); err != nil {
		return nil, fmt.Errorf("the primary's answer is not what this version understands: %w", err)
	}
	return out, nil
}

// do sends one request and copies a 2xx body to out. Any other answer becomes an *Error.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, mediaType string, body io.Reader, out io.Writer) error {
	u := c.base + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, u, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", mediaType)
	}
	if c.manager != "" {
		req.Header.Set(HeaderManager, c.manager)
	}
	if c.takeOver {
		req.Header.Set(HeaderTakeOver, "true")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error // says method and address, which stand here already
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("no answer from the admin address %s: %w", c.base, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		if _, err := io.Copy(out, resp.Body); err != nil {
			return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
		}
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return fmt.Errorf("%s %s: reading the error: %w", method, path, err)
	}
	e := new(Error)
	if json.Unmarshal(b, e) != nil || e.Message == "" {
		e = &Error{Code: CodeInternal, Message: fmt.Sprintf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(b)))}
	}
	e.HTTPStatus = resp.StatusCode
	return e
}

// IsCode says whether err is an answer of the API with that code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
