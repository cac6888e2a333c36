package conf

import (
	"fmt"
	"time"
)

// Duration is a time.Duration that JSON spells as "1.5s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration %q: %w (write it as \"500ms\" or \"10s\")", b, err)
	}
	*d = Duration(v)
	return nil
}
