package scheduler

import "github.com/tarishi/tarishi/mail"

// Live lists the windows and connection limits that are in use, in no order: there may
// be many, and everything waits for it.
func (l *Leader) Live(now Time) []Live {
	waiting := map[*counter]int{}
	for _, ln := range l.laneList {
		n := 0
		recipients := 0
		for _, w := range ln.wants {
			n += int(w.n)
			if w.n > 0 {
				recipients += int(w.recipients)
			}
		}
		for _, c := range ln.bind.counters {
			if c.weighs {
				waiting[c] += recipients
			} else {
				waiting[c] += n
			}
		}
	}
	out := make([]Live, 0, 2*len(l.list))
	for _, c := range l.list {
		if c.version != l.version {
			continue
		}
		c.advance(now, c.keep)
		for i := range c.windows {
			x := l.stands(c, i, mail.Normal, now)
			x.Waiting = waiting[c]
			out = append(out, x)
		}
	}
	for _, x := range l.trials {
		out = append(out, x.live(now)...)
	}
	for _, c := range l.slots.counters {
		if c.max >= 0 && (c.taken() > 0 || len(c.waiting) > 0) {
			out = append(out, c.live())
		}
	}
	return out
}
