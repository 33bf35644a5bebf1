package cluster

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// raftLog passes raft's log on. What raft says of its peers it says several times a
// second, and the prober says it in words; the rest of its errors is worth a line.
type raftLog struct {
	hclog.Logger // silent: what is not below is not used or not wanted
	log          *slog.Logger
	seldom       *refusals
}

func newRaftLog(log *slog.Logger) *raftLog {
	return &raftLog{Logger: hclog.NewNullLogger(), log: log, seldom: &refusals{}}
}

// Debug is part of hclog.Logger.
func (l *raftLog) Debug(msg string, args ...any) { l.log.Debug("raft: "+msg, plain(args)...) }

// Info is part of hclog.Logger.
func (l *raftLog) Info(msg string, args ...any) { l.log.Debug("raft: "+msg, plain(args)...) }

// Warn is part of hclog.Logger.
func (l *raftLog) Warn(msg string, args ...any) { l.log.Debug("raft: "+msg, plain(args)...) }

// Error is part of hclog.Logger.
func (l *raftLog) Error(msg string, args ...any) {
	for _, ofPeers := range []string{"failed to heartbeat", "failed to appendEntries", "failed to make requestVote", "failed to decode incoming"} {
		if strings.HasPrefix(msg, ofPeers) {
			l.Debug(msg, args...)
			return
		}
	}
	level := slog.LevelWarn
	if diskFull(fmt.Sprint(args...)) {
		level = slog.LevelError
	}
	l.seldom.logAt(l.log, level, msg, "raft: "+msg, plain(args)...)
}

// With is part of hclog.Logger.
func (l *raftLog) With(args ...any) hclog.Logger {
	return &raftLog{Logger: l.Logger, log: l.log.With(plain(args)...), seldom: l.seldom}
}

// Named is part of hclog.Logger.
func (l *raftLog) Named(string) hclog.Logger { return l }

// plain makes strings of hclog's formatted values.
func plain(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			out[i] = f[1:]
			continue
		}
		out[i] = a
	}
	return out
}
