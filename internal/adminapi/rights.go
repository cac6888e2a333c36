package adminapi

import (
	"fmt"
	"net/http"
	"slices"
)

// Rights are what one kind of certificate may ask of an admin API that others may ask everything.
type Rights struct {
	// Kind says it in errors: "front".
	Kind string
	// Is recognises the certificate of a request, and gives its common name.
	Is func(*http.Request) (name string, ok bool)
	// Unit is the organizational unit of its subject.
	Unit string
	// Patterns of the mux that it may ask.
	Patterns []string
}

// HasUnit recognises certificates by an organizational unit of their subject.
func HasUnit(unit string) func(*http.Request) (name string, ok bool) {
	return func(r *http.Request) (string, bool) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return "", false
		}
		subject := r.TLS.PeerCertificates[0].Subject
		return subject.CommonName, slices.Contains(subject.OrganizationalUnit, unit)
	}
}

// Restricted lets limited certificates ask for what matches one of their patterns of mux, and for nothing else; next serves everything that may
// be asked. Of several kinds that a certificate is of, the first one decides.
func Restricted(mux *http.ServeMux, next http.Handler, limited ...Rights) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, l := range limited {
			name, ok := l.Is(r)
			if !ok {
				continue
			}
			if _, pattern := mux.Handler(r); !slices.Contains(l.Patterns, pattern) {
				WriteError(w, &Error{Code: CodeForbidden,
					Message: fmt.Sprintf("%s %s: the certificate is that of %s %q, which may not ask this", r.Method, r.URL.Path, l.Kind, name),
					Remedy:  "use an administrator's certificate: signed by admin.tls_client_ca, its subject without the organizational unit " + l.Unit})
				return
			}
			break
		}
		next.ServeHTTP(w, r)
	})
}
