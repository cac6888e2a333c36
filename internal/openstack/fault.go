package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// FaultKind is what went wrong, for conditions.
type FaultKind string

// The kinds of faults.
const (
	Unauthorized     FaultKind = "Unauthorized"
	Forbidden        FaultKind = "Forbidden"
	NotFound         FaultKind = "NotFound"
	Conflict         FaultKind = "Conflict"
	Stale            FaultKind = "Stale"
	Throttled        FaultKind = "Throttled"
	ServerError      FaultKind = "ServerError"
	Timeout          FaultKind = "Timeout"
	Unreachable      FaultKind = "Unreachable"
	QuotaExceeded    FaultKind = "QuotaExceeded"
	MissingExtension FaultKind = "MissingExtension"
	Invalid          FaultKind = "Invalid"
	NotConverged     FaultKind = "NotConverged"
)

// Fault is a request that failed: what was asked, what the API said, and what to do.
type Fault struct {
	Kind       FaultKind
	Doing      string // what was being done, with the value
	Said       string // the API's words, without secrets
	Remedy     string
	RetryAfter time.Duration // what the API asked for; 0 for nothing
	Err        error
}

func (f *Fault) Error() string {
	return fmt.Sprintf("%s: %s (%s); %s", f.Doing, f.Said, f.Kind, f.Remedy)
}

func (f *Fault) Unwrap() error { return f.Err }

// Temporary says that it may pass by itself.
func (f *Fault) Temporary() bool {
	switch f.Kind {
	case Conflict, Stale, NotFound, Throttled, ServerError, Timeout, Unreachable:
		return true
	default:
		return false
	}
}

func remedy(k FaultKind) string {
	switch k {
	case Unauthorized:
		return "renew the credentials in the Secret; no restart is needed"
	case Forbidden:
		return "give the project's user the right, or let the network's owner do it and use Verify"
	case NotFound:
		return "it may have been deleted meanwhile; it is looked at again"
	case Conflict:
		return "something else uses it; it is tried again"
	case Stale:
		return "somebody else has changed it; it is looked at again"
	case Throttled:
		return "the API asks to wait; it is tried again"
	case QuotaExceeded:
		return "have the project's quota raised, or remove what is not needed"
	case MissingExtension:
		return "have Neutron's operator enable it, or use the LoadBalancer exposure"
	case Invalid:
		return "correct the value"
	case NotConverged:
		return "stop whoever else changes it"
	default:
		return "see whether the API works; it is tried again"
	}
}

// fault classifies what a request returned; nil stays nil.
func fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	var known *Fault
	if errors.As(err, &known) {
		return err
	}
	f := &Fault{Doing: doing, Err: err, Said: err.Error()}
	var code gophercloud.ErrUnexpectedResponseCode
	var reauth *gophercloud.ErrUnableToReauthenticate
	var netErr net.Error
	switch {
	case errors.As(err, &reauth):
		f.Kind, f.Said = Unauthorized, "the token has expired and there is no new one"
		if !gophercloud.ResponseCodeIs(reauth.ErrReauth, http.StatusUnauthorized) {
			f.Kind = Unreachable
		}
	case errors.As(err, &code):
		f.Kind, f.Said = byCode(code)
		f.RetryAfter = retryAfter(code.ResponseHeader)
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout():
		f.Kind, f.Said = Timeout, "no answer in time"
	case errors.Is(err, context.Canceled):
		return err
	default:
		f.Kind = Unreachable
	}
	f.Remedy = remedy(f.Kind)
	return f
}

// neutronError is what Neutron says besides the status.
type neutronError struct{ Type, Message string }

func bodyOf(e gophercloud.ErrUnexpectedResponseCode) neutronError {
	var body struct{ NeutronError neutronError }
	if json.Unmarshal(e.Body, &body) != nil {
		return neutronError{} // a proxy's page
	}
	return body.NeutronError
}

// neutronType is the type of Neutron's error, "" for none.
func neutronType(err error) string {
	var e gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &e) {
		return ""
	}
	return bodyOf(e).Type
}

func byCode(e gophercloud.ErrUnexpectedResponseCode) (FaultKind, string) {
	body := bodyOf(e)
	said := fmt.Sprintf("HTTP %d", e.Actual)
	if body.Message != "" {
		said += ": " + body.Message
	}
	switch {
	case body.Type == "OverQuota" || e.Actual == http.StatusRequestEntityTooLarge:
		return QuotaExceeded, said
	case strings.Contains(body.Message, "duplicate address pair"): // no plan has two: another writer was between its look and its write
		return Stale, said
	case e.Actual == http.StatusUnauthorized:
		return Unauthorized, said
	case e.Actual == http.StatusForbidden:
		return Forbidden, said
	case e.Actual == http.StatusNotFound:
		return NotFound, said
	case e.Actual == http.StatusConflict:
		return Conflict, said
	case e.Actual == http.StatusPreconditionFailed:
		return Stale, said
	case e.Actual == http.StatusTooManyRequests:
		return Throttled, said
	case e.Actual >= http.StatusInternalServerError:
		return ServerError, said
	default:
		return Invalid, said
	}
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3).
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}
