package admin

import (
	"fmt"
	"math"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// expect reckons when the delivery may go: not before what holds it, and then after
// those before it, at the pace that its limits allow or that was measured.
func (f *WhyFacts) expect(out *WhyDelivery, until time.Time, rs []reason) {
	for _, r := range rs {
		if r.until.IsZero() && r.cause != WhySlots && r.cause != WhyActive {
			out.Reckoned = "nobody knows when that ends"
			return
		}
	}
	if f.Entry.State == "active" {
		out.Expected, out.Reckoned = utc(f.Now), "it is being sent"
		return
	}
	from := f.Now
	if until.After(from) {
		from = until
	}
	ahead := int64(0)
	if p := out.Place; p != nil {
		ahead = p.Due
		if f.Entry.Due.After(f.Now) {
			ahead = 0 // those that are due before it have gone by then, if they can
		}
		ahead += p.Higher
	}
	pace, how := f.pace()
	switch {
	case ahead == 0:
		out.Expected, out.Reckoned = utc(from), "nothing goes before it"
		if until.After(f.Now) {
			out.Reckoned = "when what holds it ends"
		}
	case pace <= 0:
		out.Expected = time.Time{}
		out.Reckoned = fmt.Sprintf("%d go before it, at a pace that is not known: no limit says, and none went within the last %s", ahead, f.Took.Round(time.Second))
	default:
		secs := float64(ahead) / pace
		if secs > math.MaxInt32 {
			out.Reckoned = fmt.Sprintf("%d go before it, at %s: years", ahead, how)
			return
		}
		out.Expected = utc(f.Now.Add(time.Duration(secs * float64(time.Second))))
		if out.Expected.Before(from) {
			out.Expected = utc(from)
		}
		out.Reckoned = fmt.Sprintf("%d go before it, at %s", ahead, how)
	}
}

// pace is how many of its line may go a second: what the tightest of its limits allows,
// of which its line gets a part by weight, or what was measured, if that is less.
func (f *WhyFacts) pace() (perSecond float64, how string) {
	for _, c := range f.Bounds.Counters {
		for _, w := range c.Windows {
			if w.Max <= 0 || c.Unit == shaping.NewConnections {
				continue
			}
			r := float64(f.Shares.For(f.Entry.Message.Class, w.Max)) / w.Length.Seconds()
			if perSecond == 0 || r < perSecond {
				perSecond, how = r, fmt.Sprintf("%s %s (%s)", word(c.Unit), w, c.From)
			}
		}
	}
	part := f.part()
	if perSecond > 0 && part < 1 {
		perSecond *= part
		how += fmt.Sprintf(", of which its line gets %.0f %%", 100*part)
	}
	if f.Took <= 0 {
		return perSecond, how
	}
	measured := float64(f.Ended) / f.Took.Seconds() * part
	if measured > 0 && (perSecond == 0 || measured < perSecond/2 && len(f.limits()) == 0) {
		return measured, fmt.Sprintf("%.3g/s, as measured over the last %s", measured, f.Took.Round(time.Second))
	}
	return perSecond, how
}

// part is its line's share of what its destination may be sent: by weight, among the
// tenants that have anything waiting in its class.
func (f *WhyFacts) part() float64 {
	if f.Place == nil {
		return 1
	}
	mine := f.Place.Line
	own := f.Shares.Weight(mine.Tenant)
	all := own
	for l, n := range f.Place.Others {
		if n > 0 && l.Class == mine.Class && l.Route == mine.Route && l.Tenant != mine.Tenant {
			all += f.Shares.Weight(l.Tenant)
		}
	}
	return float64(own) / float64(all)
}
