package daemon

import (
	"io"
	"log/slog"
)

// Secret is a password or key. It prints as [hidden] everywhere: in logs, with
// %v, %#v and %s, and in `config print`. Use string(s) where it is really needed.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[hidden]"
}

// GoString keeps %#v from printing it.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue keeps slog from printing it.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps encoders from printing it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Logger makes the process's logger, which writes to w. Safe for concurrent use
// when w takes one whole line per Write, as a file does.
func (l Log) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	// The configuration allows only names that UnmarshalText knows.
	_ = level.UnmarshalText([]byte(l.Level))
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
