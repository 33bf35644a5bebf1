package cluster

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// natsLog passes what matters on: notices would drown the operator's log, and so would
// what NATS says of a failure again with each of its tries.
type natsLog struct {
	l      *slog.Logger
	fatal  chan string // the first reason to end; NATS goes on with what it has
	seldom refusals

	mu                  sync.Mutex
	namesake, namesakes time.Time // when another server of our name was first and last met
}

func (n *natsLog) Noticef(f string, v ...any) { n.l.Debug("nats: " + fmt.Sprintf(f, v...)) }

func (n *natsLog) Warnf(f string, v ...any) {
	if strings.HasPrefix(f, "TLS certificate chain and hostname of solicited routes") {
		return // Credentials verify the chain, and the node's name in place of the host's
	}
	n.trouble(f, v...)
}

// trouble logs an error or a warning: NATS has other ideas than we of which is which.
func (n *natsLog) trouble(f string, v ...any) {
	text := fmt.Sprintf(f, v...)
	if diskFull(text) {
		n.seldom.logAt(n.l, slog.LevelError, "full", "the disk is full; this node can store nothing", "nats", text)
		return
	}
	n.seldom.log(n.l, natsCause(f), "nats: "+text)
}

func (n *natsLog) Fatalf(f string, v ...any) {
	n.l.Error("nats: " + fmt.Sprintf(f, v...))
	select {
	case n.fatal <- fmt.Sprintf(f, v...):
	default:
	}
}

func (n *natsLog) Errorf(f string, v ...any) {
	if strings.Contains(f, "has a duplicate name") {
		n.metNamesake(time.Now())
	}
	n.trouble(f, v...)
}

func (n *natsLog) Debugf(string, ...any) {}
func (n *natsLog) Tracef(string, ...any) {}

// natsCause is what a line is about: NATS puts the connection before it, which is a new
// one with each try.
func natsCause(f string) string {
	if i := strings.LastIndex(f, " - "); i >= 0 {
		f = f[i:]
	}
	return "nats " + f
}

// A node that has crashed may be met by what is left of its own connections, but not for long.
const (
	namesakeFor   = 10 * time.Second
	namesakePause = 5 * time.Second
)

func (n *natsLog) metNamesake(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.namesakes) > namesakePause {
		n.namesake = now
	}
	n.namesakes = now
}

// doubled tells that another server of this node's name has been met again and again.
func (n *natsLog) doubled(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.namesake.IsZero() && now.Sub(n.namesakes) <= namesakePause && now.Sub(n.namesake) >= namesakeFor
}
