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
	"time"
)

// maxLine bounds one line of Changes: MaxZonesPerMessage names of the greatest length, twice, with room for JSON's escapes.
const maxLine = 8 << 20

// Secondaries lists the registered secondaries.
func (c *Client) Secondaries(ctx context.Context) ([]Secondary, error) {
	return list[Secondary](ctx, c, PathSecondaries)
}

// PutSecondary registers a secondary or replaces its registration.
func (c *Client) PutSecondary(ctx context.Context, s Secondary) error {
	return c.send(ctx, http.MethodPut, fill(PathSecondary, s.Name), s)
}

// DeleteSecondary ends a registration: its key transfers no zone any more, unless a zone's allow-transfer names it.
func (c *Client) DeleteSecondary(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, fill(PathSecondary, name), nil, "", nil, io.Discard)
}

// Catalog returns the catalog zone; not_found before the first secondary was registered.
func (c *Client) Catalog(ctx context.Context) (*Catalog, error) {
	return call[Catalog](ctx, c, http.MethodGet, PathCatalog, nil, nil)
}

// CreateCatalog makes the catalog zone under a name of the caller's choice; conflict when there is one. Without it the first
// secondary brings one under the default name.
func (c *Client) CreateCatalog(ctx context.Context, name string) (*Catalog, error) {
	return call[Catalog](ctx, c, http.MethodPut, PathCatalog, nil, Catalog{Name: name})
}

// ConfirmCatalog lets every secondary obey the removals of the catalog's versions up to serial.
func (c *Client) ConfirmCatalog(ctx context.Context, serial uint32) error {
	return c.send(ctx, http.MethodPost, PathCatalogConfirm, ConfirmCatalog{Serial: serial})
}

// SetKeyGuarantee sets what updates signed with a key wait for; the zero Guarantee is none.
func (c *Client) SetKeyGuarantee(ctx context.Context, key string, g Guarantee) error {
	return c.send(ctx, http.MethodPut, fill(PathKeyGuarantee, key), g)
}

// SetKeyRate sets the bound of updates signed with a key and the others of its group; the zero Rate is none. Every primary has to know it: with one of an older
// version the cluster must not be told.
func (c *Client) SetKeyRate(ctx context.Context, key string, r Rate) error {
	return c.send(ctx, http.MethodPut, fill(PathKeyRate, key), r)
}

// Propagation returns what every secondary of ours serves of a zone.
func (c *Client) Propagation(ctx context.Context, zone string) ([]SecondarySerial, error) {
	return list[SecondarySerial](ctx, c, fill(PathPropagation, zone))
}

// Report tells the primary what the secondary of this name serves.
func (c *Client) Report(ctx context.Context, name string, r Report) error {
	return c.send(ctx, http.MethodPost, fill(PathReport, name), r)
}

// Digest returns the digest of a zone's replicated content at a serial; not_found when the history does not reach there.
func (c *Client) Digest(ctx context.Context, zone string, serial uint32) (*ZoneDigest, error) {
	q := url.Values{ParamSerial: {strconv.FormatUint(uint64(serial), 10)}}
	return call[ZoneDigest](ctx, c, http.MethodGet, fill(PathDigest, zone), q, nil)
}

// Own returns the status of the secondary that is asked.
func (c *Client) Own(ctx context.Context) (*SecondaryStatus, error) {
	return call[SecondaryStatus](ctx, c, http.MethodGet, PathOwn, nil, nil)
}

// errSilent is why a stream of changes was given up.
var errSilent = errors.New("no line within " + ChangesSilence.String())

// Changes reads the primary's stream of changes for the secondary of this name and calls fn for each line. It returns when
// the stream ends, is silent for ChangesSilence, fn returns an error, or ctx ends; its error is never nil.
func (c *Client) Changes(ctx context.Context, name string, fn func(Changes) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(ChangesSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	err := c.do(ctx, http.MethodGet, fill(PathChanges, name), nil, "", nil, &lines{each: func(line []byte) error {
		silence.Reset(ChangesSilence)
		var ch Changes
		if err := json.Unmarshal(line, &ch); err != nil {
			return fmt.Errorf("a line is not what this version understands: %w", err)
		}
		return fn(ch)
	}})
	switch {
	case errors.Is(context.Cause(ctx), errSilent):
		return fmt.Errorf("changes from %s: %w", c.base, errSilent)
	case err == nil:
		return fmt.Errorf("changes from %s: the primary ended the stream", c.base)
	}
	return err
}

// lines calls each with every complete line written to it, without its end. The line is each's until it returns.
type lines struct {
	each func([]byte) error
	buf  []byte // a line's beginning
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, found := bytes.Cut(p, []byte{'\n'})
		if len(l.buf)+len(line) > maxLine {
			return 0, fmt.Errorf("a line is longer than %d octets", maxLine)
		}
		l.buf = append(l.buf, line...)
		if !found {
			return n, nil
		}
		if err := l.each(l.buf); err != nil {
			return 0, err
		}
		l.buf, p = l.buf[:0], rest
	}
}

// send sends a request whose answer has nothing to read.
func (c *Client) send(ctx context.Context, method, path string, in any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return c.do(ctx, method, path, nil, TypeJSON, bytes.NewReader(b), io.Discard)
}
