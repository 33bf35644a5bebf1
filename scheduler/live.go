package scheduler

import (
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

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
		unit, _, _, _ := shaping.SplitCounter(c.name)
		for i := range c.windows {
			w := &c.windows[i]
			x := Live{
				Counter: c.name, Unit: unit, Max: int(w.max), Kept: int(w.kept), Length: w.length, From: *c.from,
				Used: int(max(0, w.count-c.out)), InFlight: int(c.out), Waiting: waiting[c],
			}
			one := counter{ledger: ledger{cells: c.cells, windows: c.windows[i : i+1]}}
			if c.common != nil {
				one.common = &ledger{cells: c.common.cells, windows: c.common.windows[i : i+1]}
			}
			if t := l.earliest(&one, mail.Normal, now, 1); t > now {
				x.Next = t
			}
			out = append(out, x)
		}
	}
	for _, c := range l.slots.counters {
		if c.max < 0 || c.taken() == 0 && len(c.waiting) == 0 {
			continue
		}
		x := Live{Counter: c.name, Unit: shaping.Connections, Max: c.max, Used: len(c.held), InFlight: c.resting + c.unheard, From: c.from}
		for _, w := range c.waiting {
			x.Waiting += w.n - w.held
		}
		if !c.room() {
			x.Next = never
		}
		out = append(out, x)
	}
	return out
}
