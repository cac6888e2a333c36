package conf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Load reads a JSON file over what into holds, which must be valid afterwards.
// Unknown fields are errors, because a misspelt one would silently mean its
// default. Errors name file, line and remedy; page is the documentation's that
// lists the fields.
func Load[T interface{ Validate() error }](path, page string, into *T) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w; name the file with --config", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("configuration %s:%d: %w; %s", path, lineOf(b, dec, err), err, remedyFor(err, page))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s:%d: text after the end of the object; remove it", path, lineOf(b, dec, nil))
	}
	if err := (*into).Validate(); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

// remedyFor says what to do about an error of the JSON decoder.
func remedyFor(err error, page string) string {
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typ):
		return fmt.Sprintf("write the value of %s as %s shows it", typ.Field, page)
	case strings.Contains(err.Error(), "unknown field"):
		return "remove the field or mend its spelling: " + page + " lists all"
	}
	return "mend the JSON there, or in the line before"
}

// lineOf finds the line of a JSON error; the decoder's own position when the
// error has none.
func lineOf(b []byte, dec *json.Decoder, err error) int {
	off := dec.InputOffset()
	var syn *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syn):
		off = syn.Offset
	case errors.As(err, &typ):
		off = typ.Offset
	case err != nil:
		// The decoder reports an unknown field after the whole object, by name only.
		if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
			if i := bytes.Index(b, []byte(field)); i >= 0 {
				off = int64(i)
			}
		}
	}
	off = min(off, int64(len(b)))
	return 1 + bytes.Count(b[:off], []byte("\n"))
}
