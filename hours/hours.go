// Package hours answers one question: may it be now? It reads what people write
// ("Mon-Fri 09:00-18:00 Europe/Berlin") and tells of an instant whether it lies
// within, and when the hours open next.
//
// It goes by what the clocks of the place show. An hour that the clocks skip in
// spring never comes, so nothing opens in it; one that they repeat in autumn comes
// twice. The package knows no mail, and time is handed to it.
package hours

import (
	"slices"
	"time"
	_ "time/tzdata" // our image holds no files of the system
)

// Hours are the opening hours of a week at one place. The zero value is always open.
type Hours struct {
	zone *time.Location
	open []span // sorted, apart from one another, within one week
}

// span is a part of the week, in minutes since Monday 00:00; to is not in it.
type span struct{ from, to int }

const (
	day  = 24 * 60
	week = 7 * day
)

// Always tells whether they never shut.
func (h *Hours) Always() bool {
	return len(h.open) == 0 || len(h.open) == 1 && h.open[0] == span{0, week}
}

// Open tells whether t lies within the hours.
func (h *Hours) Open(t time.Time) bool {
	if h.Always() {
		return true
	}
	_, in := h.at(int(sinceMonday(t.In(h.zone)) / time.Minute))
	return in
}

// at returns the span that holds a minute, or the first behind it (or len(open)).
func (h *Hours) at(minute int) (i int, in bool) {
	i, _ = slices.BinarySearchFunc(h.open, minute, func(s span, m int) int {
		if s.to <= m {
			return -1
		}
		return 1
	})
	return i, i < len(h.open) && h.open[i].from <= minute
}

// sinceMonday is what clock and calendar show, as time since Monday 00:00.
func sinceMonday(local time.Time) time.Duration {
	days := (int(local.Weekday()) + 6) % 7
	hour, min, sec := local.Clock()
	return time.Duration(days*day+hour*60+min)*time.Minute + time.Duration(sec)*time.Second + time.Duration(local.Nanosecond())
}

// Next returns the first instant, t or later, that lies within the hours, and the
// first one after it that does not. shuts is zero when they never shut, and both are
// zero when they do not open within a year.
func (h *Hours) Next(t time.Time) (opens, shuts time.Time) {
	if h.Always() {
		return t, time.Time{}
	}
	if opens = h.turn(t, true); opens.IsZero() {
		return opens, time.Time{}
	}
	return opens, h.turn(opens, false)
}

// horizon is how far the next opening is looked for. Hours that only an hour has
// that the clocks skip, such as Sun 02:30-02:45, open the week after.
const horizon = 366 * 24 * time.Hour

// turn returns the first instant, t or later, at which the hours are open, or shut.
func (h *Hours) turn(t time.Time, open bool) time.Time {
	for most := t.Add(horizon); t.Before(most); {
		local := t.In(h.zone)
		// As far as the clocks run on evenly, time on them is time.
		_, end := local.ZoneBounds()
		at := t.Add(h.until(sinceMonday(local), open))
		if end.IsZero() || at.Before(end) {
			return at
		}
		t = end // what they show then is another question
	}
	return time.Time{}
}

// until tells how far it is from a moment of the week to the first one that is open,
// or shut. The hours are neither always open nor never.
func (h *Hours) until(now time.Duration, open bool) time.Duration {
	i, in := h.at(int(now / time.Minute))
	if in == open {
		return 0
	}
	edge := 0
	switch {
	case open && i == len(h.open):
		edge = h.open[0].from + week
	case open:
		edge = h.open[i].from
	default:
		edge = h.open[i].to
		if edge == week && h.open[0].from == 0 { // on into Monday
			edge += h.open[0].to
		}
	}
	return time.Duration(edge)*time.Minute - now
}
