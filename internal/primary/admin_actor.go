package primary

import (
	"context"
	"net/http"
	"slices"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// who is the one who makes a request through the admin API.
type who struct {
	actor fsm.Actor
	// certificate is the common name of the certificate that was shown, "" without one.
	certificate string
}

// whoKey is where a request's context has it.
type whoKey struct{}

// actorOf gives the actor of the changes of a request (D11: objects say who manages them).
func actorOf(ctx context.Context) fsm.Actor { return whoOf(ctx).actor }

func whoOf(ctx context.Context) who {
	w, ok := ctx.Value(whoKey{}).(who)
	if !ok {
		w.actor.By = adminapi.ManagedByCLI
	}
	return w
}

// attributed finds out who makes each request, by its certificate.
func attributed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by, err := requester(r)
		if err != nil {
			writeError(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), whoKey{}, by)))
	})
}

// requester is the operator with a certificate of its unit, and a person at a command line with any other. Who may ask at all is decided
// elsewhere: the actor is no right, it keeps two administrators from undoing each other's work.
func requester(r *http.Request) (who, error) {
	out := who{actor: fsm.Actor{By: adminapi.ManagedByCLI, TakeOver: r.Header.Get(adminapi.HeaderTakeOver) == "true"}}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return out, nil
	}
	subject := r.TLS.PeerCertificates[0].Subject
	out.certificate = subject.CommonName
	if !slices.Contains(subject.OrganizationalUnit, conf.OperatorUnit) {
		return out, nil
	}
	out.actor.By = adminapi.ManagedByOperator
	object := r.Header.Get(adminapi.HeaderManager)
	if len(object) > adminapi.MaxManager || slices.ContainsFunc([]byte(object), func(b byte) bool { return b < ' ' || b > '~' }) {
		return out, invalid("the header %s has %d octets, %.40q…; use at most %d of printable ASCII", adminapi.HeaderManager, len(object), object, adminapi.MaxManager)
	}
	if object != "" {
		out.actor.By += " " + object
	}
	return out, nil
}

// subjectOf names what a command is about, for people.
func subjectOf(cmd fsm.Command) string {
	switch c := cmd.(type) {
	case *fsm.PutZone:
		return c.Zone.String()
	case *fsm.DeleteZone:
		return c.Zone.String()
	case *fsm.ImportBegin:
		return c.Zone.String()
	case *fsm.ImportCommit:
		return c.ID
	case *fsm.ImportAbort:
		return c.ID
	case *fsm.SeedCommit:
		return c.ID
	case *fsm.SeedAbort:
		return c.ID
	case *fsm.PutKey:
		return c.Name.String()
	case *fsm.DeleteKey:
		return c.Name.String()
	case *fsm.PutKeyGuarantee:
		return c.Key.String()
	case *fsm.PutKeyRate:
		return c.Key.String()
	case *fsm.PutSecondary:
		return c.Name
	case *fsm.DeleteSecondary:
		return c.Name
	case *fsm.PutCatalog:
		return c.Name.String()
	}
	return ""
}
