package deliverer

import (
	"hash/fnv"
	"sync"
	"time"

	"github.com/tarishi/tarishi/hours"
	"github.com/tarishi/tarishi/mail"
)

const (
	// spreadMost is over how long what waits for hours to open is spread behind their
	// opening: a night's mail for ten thousand destinations does not start in one second.
	spreadMost = 10 * time.Minute
	// What is due in hours is read when its slot is, which is minutes wide. Into hours
	// that are short it is brought in two steps, the second one seconds wide.
	shortHours = 30 * time.Minute
	nearby     = 20 * time.Minute
)

// chance is the first moment, at or later, at which env may be attempted: not before
// its client said, and within its hours. shuts is when these are over; zero: never.
func (d *Deliverer) chance(m *mail.Message, at time.Time) (from, shuts time.Time) {
	if m.SendAt.After(at) {
		at = m.SendAt
	}
	if m.Hours == "" {
		return at, time.Time{}
	}
	h := d.hours.read(m.Hours)
	if h == nil {
		return at, time.Time{}
	}
	from, shuts = h.Next(at)
	if from.IsZero() {
		return at, time.Time{}
	}
	return from, shuts
}

// postpone moves the next attempt to when it may be made. Its expiry still holds.
func (d *Deliverer) postpone(next *mail.Delivery, now time.Time) {
	m := next.Message
	if m.SendAt.IsZero() && m.Hours == "" {
		return
	}
	at := now
	if next.Due.After(at) {
		at = next.Due
	}
	from, shuts := d.chance(m, at)
	if !from.After(at) {
		return
	}
	next.Due = from
	if m.Hours != "" && !shuts.IsZero() {
		next.Due = from.Add(spread(next.ID(), shuts.Sub(from)))
		if shuts.Sub(from) < shortHours && from.Sub(now) > nearby {
			next.Due = from.Add(-nearby / 2)
		}
	}
	if !next.Expires.IsZero() && next.Due.After(next.Expires) {
		next.Due = next.Expires
	}
}

// spread is how long after the opening of its hours a delivery is due: the same
// whenever it is asked for, and within the first tenth of them.
func spread(id string, open time.Duration) time.Duration {
	most := min(open/10, spreadMost)
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return most * time.Duration(h.Sum32()>>16) >> 16
}

// firstChance is when a message could have been sent at the earliest: its delay
// counts from there.
func (d *Deliverer) firstChance(m *mail.Message) time.Time {
	from, _ := d.chance(m, m.Received)
	return from
}

// readHours keeps hours that have been read: few are in use, and reading a zone costs
// more than looking at the clock in it. Safe for concurrent use.
type readHours struct {
	mu sync.Mutex
	of map[string]*hours.Hours // nil: they cannot be read
}

// mostHours bounds what is kept.
const mostHours = 1000

// read returns nil for hours that only a newer version can read: it has let them in,
// and late mail is worse than mail at an unusual hour.
func (r *readHours) read(text string) *hours.Hours {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.of[text]
	if !ok {
		h, _ = hours.Parse(text)
		if r.of == nil || len(r.of) >= mostHours {
			r.of = map[string]*hours.Hours{}
		}
		r.of[text] = h
	}
	return h
}
