package scheduler

import (
	"slices"

	"github.com/tarishi/tarishi/shaping"
)

// trial is a counter of limits in shadow. It is told of every start when that is
// reported, and decides for each whether the limit would have let it go: only those are
// in its windows, so that it holds as much as in earnest, and not everything from the
// first excess on. It is this leader's alone; the log knows nothing of it.
type trial struct {
	ledger
	name   string
	unit   shaping.Field
	from   shaping.RuleRef
	bounds []shaping.Window
	since  Time // it counts from then on
	starts int64
	held   int64 // of starts: would have waited
	last   Time
}

// forgetTrial is how long nothing is started until a trial is forgotten, beyond its
// longest window.
const forgetTrial = Hour

// trialFor finds what a bound in shadow counts under. It begins anew when its windows change.
func (l *Leader) trialFor(b *shaping.Bound, now Time) *trial {
	x := l.trials[b.Counter]
	if x == nil || !slices.Equal(x.bounds, b.Windows) {
		x = &trial{name: b.Counter, unit: b.Unit, bounds: b.Windows, since: now, last: now}
		var ws []window
		for _, w := range b.Windows {
			ws = append(ws, window{max: int64(w.Max), length: Time(w.Length), wide: l.p.widened(Time(w.Length))})
		}
		x.setWindows(ws, now)
		l.trials[b.Counter] = x
	}
	x.from = b.From
	return x
}

// count works in n starts.
func (x *trial) count(now Time, n int64) {
	keep := x.windows[len(x.windows)-1].wide
	x.advance(now, keep)
	pass := min(n, max(0, x.room(now, true)))
	if pass > 0 {
		x.add(now, pass)
	}
	x.starts += n
	x.held += n - pass
	x.last = now
}

// tried counts what became known of a grant under the limits in shadow of its lane.
func (b *binding) tried(now Time, starts, recipients int64) {
	if b.rare == nil {
		return
	}
	for _, x := range b.rare.trials {
		n := starts
		if x.unit == shaping.Recipients {
			n = recipients
		}
		if n > 0 {
			x.count(now, n)
		}
	}
}

// forgetTrials drops those under which nothing has started for long, or that no limit
// asks for any more.
func (l *Leader) forgetTrials(now Time) {
	if now-l.triedAt < Minute {
		return
	}
	l.triedAt = now
	for name, x := range l.trials {
		if x.last+x.windows[len(x.windows)-1].wide+forgetTrial < now {
			delete(l.trials, name)
		}
	}
}

// live is how the windows of the trial stand.
func (x *trial) live(now Time) (out []Live) {
	x.advance(now, x.windows[len(x.windows)-1].wide)
	for i := range x.windows {
		w := &x.windows[i]
		out = append(out, Live{Counter: x.name, Unit: x.unit, Max: int(w.max), Length: w.length, Used: int(w.count), From: x.from,
			Shadow: true, Since: x.since, Started: int(x.starts), Held: int(x.held)})
	}
	return out
}
