package primary

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

const (
	// presenceTimeout bounds the first question of a report to a server: whether it is there at all.
	presenceTimeout = 5 * time.Second
	// copyTimeout bounds one for the copy of a zone: longer than a secondary takes before it gives up its own transfer.
	copyTimeout = 70 * time.Second
)

// rollCall remembers for one report who does not answer. A report asks for each zone many times; a host that drops packets, or
// that accepts connections and then says nothing, would cost a timeout each time.
type rollCall struct {
	presence, copy time.Duration // timeouts

	mu     sync.Mutex
	called map[string]*presence
}

// presence is what is known of one server.
type presence struct {
	once sync.Once
	err  error // why it is not asked any more; under rollCall.mu
}

func newRollCall() *rollCall {
	return &rollCall{presence: presenceTimeout, copy: copyTimeout, called: map[string]*presence{}}
}

// asker is what a report needs of a server's admin API. Errors that are no *adminapi.Error mean that it did not answer.
type asker interface {
	Ready(ctx context.Context) error
	Copy(ctx context.Context, zone string) (*adminapi.VerifyCopy, error)
}

// copyFrom asks a server for its copy of a zone, unless it did not answer an earlier question of this report.
func (r *rollCall) copyFrom(ctx context.Context, server string, from asker, zone string) (*adminapi.VerifyCopy, error) {
	p := r.of(server)
	p.once.Do(func() {
		cctx, cancel := context.WithTimeout(ctx, r.presence)
		defer cancel()
		r.note(ctx, p, from.Ready(cctx))
	})
	if err := r.awayError(p); err != nil {
		return nil, err
	}
	cctx, cancel := context.WithTimeout(ctx, r.copy)
	defer cancel()
	c, err := from.Copy(cctx, zone)
	r.note(ctx, p, err)
	return c, err
}

func (r *rollCall) of(server string) *presence {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.called[server]
	if p == nil {
		p = new(presence)
		r.called[server] = p
	}
	return p
}

// missing says that a server can't be asked at all.
func (r *rollCall) missing(server string, err error) {
	p := r.of(server)
	p.once.Do(func() {}) // it need not be called
	r.mu.Lock()
	defer r.mu.Unlock()
	p.err = err
}

// note remembers a server that did not answer. A refusal is an answer, and who asked may have gone.
func (r *rollCall) note(ctx context.Context, p *presence, err error) {
	var answer *adminapi.Error
	if err == nil || errors.As(err, &answer) || ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.err = fmt.Errorf("it did not answer, and is not asked again for this report: %w", err)
}

func (r *rollCall) awayError(p *presence) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.err
}

// away reports whether a server did not answer.
func (r *rollCall) away(server string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.called[server]
	return p != nil && p.err != nil
}
