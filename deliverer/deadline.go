package deliverer

import (
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Late is implemented by a Job that the queue may hand over without room for it, and
// before it is due, because its deadline has passed.
type Late interface{ Overdue() bool }

// Deadline is when something must be done about a delivery even if it cannot be
// attempted: its sender told that it is late, or that it has failed. Zero: never.
func (d *Deliverer) Deadline(env *mail.Delivery) time.Time {
	by, m := env.Expires, env.Message
	if d.c.DelayNotice >= 0 && !env.DelayNoticed && !m.Sender.IsNull() {
		if late := d.firstChance(m).Add(d.c.DelayNotice); by.IsZero() || late.Before(by) {
			by = late
		}
	}
	return by
}
