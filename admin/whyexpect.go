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
	pace, part, how := f.pace()
	_, down := f.down()
	switch {
	case ahead == 0:
		out.Expected, out.Reckoned = utc(from), "nothing goes before it"
		if until.After(f.Now) {
			out.Reckoned = "when what holds it ends"
		}
	case pace <= 0 && down:
		out.Reckoned = fmt.Sprintf("%d go before it, once a host answers; how fast is not known", ahead)
	case pace <= 0:
		out.Expected = time.Time{}
		out.Reckoned = fmt.Sprintf("%d go before it, at a pace that is not known: no limit says, and none went within the last %s", ahead, f.Took.Round(time.Second))
	default:
		secs := float64(ahead) / (pace * part)
		if part < 1 {
			// Others' parts are its own when they have nothing left to send.
			if rest := float64(ahead+f.rivals()) / pace; rest < secs {
				secs, how = rest, fmt.Sprintf("%s; so do %d of other tenants at most", how, f.rivals())
			} else {
				how += fmt.Sprintf(", of which its line gets %.0f %%", 100*part)
			}
		}
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

// pace is how many may go a second to its destination: what the tightest of its limits
// allows its class, or what was measured, if that is less; and its line's part of that.
func (f *WhyFacts) pace() (perSecond, part float64, how string) {
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
	part = f.part()
	if _, down := f.down(); down || f.Took <= 0 {
		return perSecond, part, how // what was tried while no host answers tells nothing
	}
	measured := float64(f.Ended) / f.Took.Seconds()
	if measured > 0 && (perSecond == 0 || measured < perSecond/2 && len(f.limits()) == 0) {
		return measured, part, fmt.Sprintf("%.3g/s, as measured over the last %s", measured, f.Took.Round(time.Second))
	}
	return perSecond, part, how
}

// rivals is how many of other tenants wait beside its line, in its class.
func (f *WhyFacts) rivals() (n int64) {
	mine := f.Place.Line
	for l, c := range f.Place.Others {
		if l.Class == mine.Class && l.Route == mine.Route && l.Tenant != mine.Tenant {
			n += c
		}
	}
	return n
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
