package deliverer

import (
	"context"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// decide has the queue remember what an attempt came to, before its sender is told.
func (d *Deliverer) decide(job Job, a *attempt, outs []mail.Outcome, number int, now time.Time) error {
	if a.decided {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	return job.Decide(ctx, Attempt{Started: a.started, Duration: now.Sub(a.started), Host: a.host, Outcomes: outs, Note: strings.Join(a.notes, "; ")}, number)
}

// asDecided settles a delivery as it was decided in an earlier life: its notice may
// have been sent, and is not sent again if it was.
func (d *Deliverer) asDecided(p *parked) {
	a := &attempt{started: p.decided.Started, host: p.decided.Host, outs: p.decided.Outcomes, decided: true}
	a.note("decided before the process died, and settled now")
	d.end(&p.held, a, p.number)
}
