package command

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/queue"
)

// backQueue is what stands behind the queue, which is opened before the deliverer: it
// writes the failure notices of operators' actions, knows when mail must be looked at,
// and answers other nodes' questions.
type backQueue struct {
	c   *daemon.Config
	out atomic.Pointer[deliverer.Deliverer] // nil: none runs here, or not yet
}

func (b *backQueue) bounce(ctx context.Context, j *queue.Job, reply mail.Reply) error {
	out := b.out.Load()
	if out == nil {
		return errors.New("no deliverer runs here yet, and nobody else writes notices")
	}
	return out.Bounce(ctx, outJob{j}, reply)
}

// deadline is when somebody must look at what waits, as the deliverer sees it.
func (b *backQueue) deadline(d *mail.Delivery) time.Time {
	if out := b.out.Load(); out != nil {
		return out.Deadline(d)
	}
	return d.Expires
}

// retried has the hosts of a delivery tried again that an operator wants tried now.
func (b *backQueue) retried(d *mail.Delivery) {
	if out := b.out.Load(); out != nil {
		out.TryAgain(d.Destination, d.Route)
	}
}

// What nodes ask one another, besides the queue's own questions.
const (
	askLook = "look" // how a destination stands with your deliverer
	askNode = "node" // who you are
)

// lookAnswer answers askLook.
type lookAnswer struct {
	deliverer.Look
	Known bool `json:"known"`
}

// nodeAnswer answers askNode.
type nodeAnswer struct {
	Roles       []string           `json:"roles"`
	Release     string             `json:"release"`
	Connections *int64             `json:"connections,omitempty"`
	Permits     *admin.PermitStats `json:"permits,omitempty"`
}

// answer answers another node's question; nil for one that is not known.
func (b *backQueue) answer(_ context.Context, what string, body []byte) []byte {
	out := b.out.Load()
	var v any
	switch what {
	case askNode:
		a := nodeAnswer{Roles: b.c.Roles, Release: version()}
		if out != nil {
			st := out.Stats()
			a.Connections, a.Permits = &st.ConnectionsOpen, permitStats(st)
		}
		v = a
	case askLook:
		var a lookAnswer
		if out != nil {
			a.Look, a.Known = out.Look(mail.Domain(body))
		}
		v = a
	default:
		return nil
	}
	answer, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return answer
}
