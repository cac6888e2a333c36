package adminapi

import (
	"fmt"
	"net/http"
	"strings"
)

// Error implements error: message, places, remedy.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for _, l := range e.Lines {
		if l.Line == 0 {
			fmt.Fprintf(&b, "\n  %s", l.Message)
			continue
		}
		fmt.Fprintf(&b, "\n  line %d: %s", l.Line, l.Message)
	}
	if e.Remedy != "" {
		b.WriteString("\n" + e.Remedy)
	}
	return b.String()
}

// StatusOf is the HTTP status that goes with a code.
func StatusOf(code string) int {
	switch code {
	case CodeInvalid:
		return http.StatusBadRequest
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeConflict, CodeManaged:
		return http.StatusConflict
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	case CodeInDoubt:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}
