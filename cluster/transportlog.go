package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// refusals logs what may happen a thousand times a second once in ten seconds per cause,
// and how often it was left out.
type refusals struct {
	mu   sync.Mutex
	last map[string]refusal
}

type refusal struct {
	at   time.Time
	more int // since then
}

func (r *refusals) log(log *slog.Logger, cause, msg string, args ...any) {
	r.logAt(log, slog.LevelWarn, cause, msg, args...)
}

func (r *refusals) logAt(log *slog.Logger, level slog.Level, cause, msg string, args ...any) {
	r.mu.Lock()
	now := time.Now()
	was := r.last[cause]
	if now.Sub(was.at) < 10*time.Second {
		was.more++
		r.last[cause] = was
		r.mu.Unlock()
		return
	}
	if r.last == nil || len(r.last) > 1000 { // strangers choose the causes
		r.last = map[string]refusal{}
	}
	r.last[cause] = refusal{at: now}
	r.mu.Unlock()
	if was.more > 0 {
		args = append(args, "repeats", was.more)
	}
	log.Log(context.Background(), level, msg, args...)
}

// diskFull is an error at once: what comes of it, the end of this node, comes seconds later.
func diskFull(text string) bool {
	return strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, syscall.EDQUOT.Error()) || strings.Contains(text, "nsufficient storage")
}

// host is an address without its port.
func host(a net.Addr) string {
	if h, _, err := net.SplitHostPort(a.String()); err == nil {
		return h
	}
	return a.String()
}

// tlsWords says in plain words what the TLS library means.
func tlsWords(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		return fmt.Errorf("the other side does not speak TLS; cluster.tls is set on one of the two nodes only (%w)", err)
	}
	return err
}
