package adminapi

import (
	"encoding/json"
	"errors"
	"net/http"
)

// Reply turns a function that returns a value or an error into a handler that writes JSON. An error that is no *Error is
// CodeInternal.
func Reply[T any](f func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				e = &Error{Code: CodeInternal, Message: err.Error()}
			}
			WriteError(w, e)
			return
		}
		w.Header().Set("Content-Type", TypeJSON)
		// The answer is on its way; a client that left can't be told.
		_ = json.NewEncoder(w).Encode(v)
	}
}

// WriteError writes an error as the answer to a request.
func WriteError(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", TypeJSON)
	w.WriteHeader(StatusOf(e.Code))
	_ = json.NewEncoder(w).Encode(e) // as above
}
