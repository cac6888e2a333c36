package log

import (
	"context"
	"fmt"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap returns the logger that etcd writes to: slog behind zap's interface. etcd tells its life story at info level;
// that goes out at debug level, warnings and worse at their own. While closing is true everything does: etcd calls its
// own listeners' end an error.
func newZap(l *slog.Logger, closing func() bool, fatal func(error)) *zap.Logger {
	hook := freeze(fatal)
	return zap.New(&slogCore{log: l.With("component", "etcd"), closing: closing}, zap.WithFatalHook(hook), zap.WithPanicHook(hook))
}

// freeze replaces zap's os.Exit and panic. etcd logs at these levels when it can't write its write-ahead log (disk
// full, I/O error) or can't read what it wrote, and counts on the process ending there. The hook reports it and never
// returns, so that not one more message leaves the raft loop while the process stops in order.
type freeze func(error)

// OnWrite implements zapcore.CheckWriteHook.
func (f freeze) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := fmt.Errorf("etcd: %s", e.Message)
	for _, field := range fields {
		if cause, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			err = fmt.Errorf("etcd: %s: %w", e.Message, cause)
		}
	}
	f(err)
	select {}
}

// slogCore is a zapcore.Core that writes to slog.
type slogCore struct {
	log     *slog.Logger
	closing func() bool
	fields  []zapcore.Field
}

// startupNoise is what a new member says, as an error, until its first raft snapshot. It means nothing.
const startupNoise = "failed to update storage version"

func (c *slogCore) level(l zapcore.Level, message string) slog.Level {
	switch {
	case l <= zapcore.InfoLevel || c.closing() || message == startupNoise:
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// Enabled implements zapcore.LevelEnabler.
func (c *slogCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.InfoLevel && c.log.Enabled(context.Background(), c.level(l, ""))
}

// With implements zapcore.Core.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{log: c.log, closing: c.closing, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements zapcore.Core.
func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.log.Enabled(context.Background(), c.level(e.Level, e.Message)) && e.Level >= zapcore.InfoLevel {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	//nolint:sloglint // etcd's message, constant in etcd's source, is handed on
	c.log.LogAttrs(context.Background(), c.level(e.Level, e.Message), e.Message, attrs...)
	return nil
}

// Sync implements zapcore.Core.
func (c *slogCore) Sync() error { return nil }
