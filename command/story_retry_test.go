package command

import (
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// slotWidthAtMost bounds by how much a retry may be late because retries of about
// the same time share a slot: one part in twenty, and a quarter of a second.
func slotWidthAtMost(pause time.Duration) time.Duration { return pause/20 + 250*time.Millisecond }

// promptly is the time a due delivery may take from its slot to a connection that is free.
const promptly = 2 * time.Second

// checkRetries checks every pause between two attempts against the schedule, ten
// percent either way: never shorter, and never longer than the slot explains,
// whether or not the node was restarted in between.
func (s *story) checkRetries() {
	s.t.Helper()
	by := map[string][]tried{}
	for _, x := range s.log.attempts {
		by[x.delivery] = append(by[x.delivery], x)
	}
	checked, across := 0, 0
	for id, xs := range by {
		for i := 1; i < len(xs); i++ {
			a, b := xs[i-1], xs[i]
			if s.lost(a) {
				continue // its outcome died with the process, and it was made again
			}
			if b.number == a.number && b.status == "failed" && !b.began.Before(s.expiresAt(id).Add(-time.Second)) {
				continue // given up without a further attempt: the host is known to be dead
			}
			if b.number != a.number+1 {
				s.t.Errorf("%s: attempt %d comes after attempt %d", id, b.number, a.number)
			}
			pause := s.schedule[min(a.number, len(s.schedule))-1]
			low, high := a.ended.Add(pause-pause/10), a.ended.Add(pause+pause/10+slotWidthAtMost(pause)+promptly)
			if a.next.Before(low) && a.next.Sub(s.expiresAt(id)).Abs() > time.Second || a.next.After(high) {
				s.t.Errorf("%s: attempt %d is set for %v after attempt %d, the schedule says %v", id, b.number, a.next.Sub(a.ended), a.number, pause)
			}
			from := b.began
			if !s.prompt[mail.Domain(a.destination)] {
				// A connection that cannot be had is charged to whoever stands first
				// when that is found out; it may have been begun for another.
				from = b.ended
			}
			if from.Add(time.Millisecond).Before(a.next) { // slots count in milliseconds
				s.t.Errorf("%s: attempt %d began %v before its time", id, b.number, a.next.Sub(from))
			}
			for _, d := range s.down {
				if a.ended.Before(d.from) && b.began.After(d.to) {
					across++
				}
				if !d.to.IsZero() && high.After(d.from) && a.next.Before(d.to) {
					high = latest(high, d.to.Add(promptly)) // due while nobody was there
				}
			}
			if !s.prompt[mail.Domain(a.destination)] {
				continue // others stand before it; checkDay has its own bounds
			}
			checked++
			if b.began.After(high) {
				s.t.Errorf("%s to %s: attempt %d began %v after attempt %d, the schedule says %v", id, a.destination, b.number, b.began.Sub(a.ended), a.number, pause)
			}
		}
	}
	s.t.Logf("%d attempts, %d pauses checked both ways, %d of all across a restart", len(s.log.attempts), checked, across)
	if across == 0 && len(s.down) > 1 {
		s.t.Error("no pause was checked across a restart")
	}
}

// lost tells whether the outcome of x may not have been stored: the process died
// at that moment.
func (s *story) lost(x tried) bool {
	return slices.ContainsFunc(s.kills, func(k downtime) bool { return k.from.Sub(x.ended) < time.Second && !x.ended.After(k.to) })
}

func (s *story) expiresAt(delivery string) time.Time {
	id, _ := mail.SplitDeliveryID(delivery)
	for _, l := range s.letters {
		if l.id == id {
			return l.accepted.Add(s.expire)
		}
	}
	return time.Time{}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// checkDelays checks that whoever waits for a dead host is told so once, at the
// first look after the age for it, and that nobody else is.
func (s *story) checkDelays(age time.Duration, dead ...string) {
	s.t.Helper()
	// The longest time between two looks: an hour's pause with its jitter, and a dead host's pause.
	const look = 66*time.Minute + 12*time.Minute
	n := 0
	for _, l := range s.letters {
		for _, to := range l.to {
			f := s.fate(l.name, to)
			took := f.at.Sub(l.accepted)
			switch isDead := slices.Contains(dead, domainOf(to)) && l.from != ""; {
			case len(f.delayed) > 1:
				s.t.Errorf("%s to %s: told of the delay %d times", l.name, to, len(f.delayed))
			case len(f.delayed) == 1 && !isDead:
				s.t.Errorf("%s to %s: told of a delay of %v", l.name, to, took)
			case len(f.delayed) == 0 && isDead && took > age+look:
				s.t.Errorf("%s to %s: never told of the delay of %v", l.name, to, took)
			}
			for _, at := range f.delayed {
				n++
				if old := at.Sub(l.accepted); old < age || old > age+look {
					s.t.Errorf("%s to %s: told of the delay after %v", l.name, to, old)
				}
			}
		}
	}
	if n == 0 {
		s.t.Error("nobody was told of a delay: " + strings.Join(dead, ", "))
	}
}
