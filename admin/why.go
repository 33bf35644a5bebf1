package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// WhyFacts is what is known of one queued delivery and of what it waits for. Where a
// part is not known, it says nothing.
type WhyFacts struct {
	Now   time.Time
	Entry Entry
	Node  string // that has it in hand, of an active one; empty: not known

	Place  *WhyPlace
	Shares shaping.Shares

	// Destination is whom it counts with; its zero value: it could not be found out.
	Destination shaping.Destination
	Suspended   *shaping.Suspension // of all that bounds it
	Reactions   []shaping.Reaction  // to its destination
	Bounds      shaping.Bounds
	Live        []LiveLimit // of the counters that bind it, Next being for its class
	Defaults    *Defaults

	Opens      time.Time // when its hours open next; zero: they are open, or it has none
	Suppressed string    // who put a recipient on the suppression list, and why; empty: none is
	Looks      []WhyLook
	Sessions   int // deliverers that may start something; negative: not known

	Ended int           // attempts for its destination that have ended
	Took  time.Duration // within so long; zero: not known
}

// WhyPlace is where it stands in what waits.
type WhyPlace struct {
	Line   mail.Line
	Before int64               // in its line
	Due    int64               // of these, due by now
	Of     int64               // the line's length
	Others map[mail.Line]int64 // of the same destination
}

// WhyLook is how its destination stands with one node's deliverer.
type WhyLook struct {
	Node        string
	Connections int
	Sending     int
	Waiting     int       // in its memory
	Down        time.Time // no host answers: not tried before
	Failures    int
	Full        time.Time // a further connection was refused: no more before
	Live        bool      // it may start something
}

// The causes, in the order in which they are looked for.
const (
	WhyActive     = "active"       // being sent just now
	WhyHeld       = "held"         // by an operator
	WhySuppressed = "suppressed"   // a recipient is on the suppression list
	WhySuspended  = "suspended"    // its destination is, by an operator or a limit of 0
	WhyReaction   = "reaction"     // to a reply: its destination is suspended or held
	WhySendAt     = "send-at"      // its client wants it later
	WhyHours      = "hours"        // outside its delivery hours
	WhyRetry      = "retry"        // its next attempt is due later
	WhyDown       = "host-down"    // no host of its destination answers
	WhyNobody     = "no-deliverer" // none may start anything
	WhyWindow     = "window"       // a limit of messages, recipients or new connections is used up
	WhySlots      = "connections"  // as many connections are open as may be
	WhyTurn       = "turn"         // others go before it
	WhyReady      = "ready"        // nothing holds it
)

// reason is one thing that holds a delivery.
type reason struct {
	cause string
	says  string    // a sentence without its full stop
	until time.Time // zero: nobody knows
}

// reasons lists what holds a delivery, the weightiest first.
func (f *WhyFacts) reasons() (out []reason) {
	d := &f.Entry.Delivery
	add := func(r reason) { out = append(out, r) }
	if f.Entry.State == "active" {
		says := "it is in a deliverer's hand just now, to be sent"
		if f.Node != "" {
			says = "it is in the hand of " + f.Node + " just now, to be sent"
		}
		add(reason{cause: WhyActive, says: says})
		return out
	}
	if d.Held {
		add(reason{cause: WhyHeld, says: heldBy(d.Operator, f.Now)})
	}
	if f.Suppressed != "" {
		add(reason{cause: WhySuppressed, says: "it will fail at its next attempt, without one being made: " + f.Suppressed})
	}
	if s := f.Suspended; s != nil {
		add(suspendedFor(s, f.Now))
	}
	for i := range f.Reactions {
		r := &f.Reactions[i]
		if a := r.Remedy.Action; a == shaping.Suspend || a == shaping.Hold {
			add(reason{WhyReaction, fmt.Sprintf("%s is %s by reaction %s (%s)", r.Whom(), r.What(), r.Ref(), r.By()+causeOf(r)), r.Until})
		}
	}
	m := d.Message
	if m.SendAt.After(f.Now) {
		add(reason{WhySendAt, "its client wants it to be sent at " + at(m.SendAt, f.Now), m.SendAt})
	}
	if f.Opens.After(f.Now) {
		add(reason{WhyHours, fmt.Sprintf("its delivery hours (%s) open at %s", m.Hours, at(f.Opens, f.Now)), f.Opens})
	}
	if d.Due.After(f.Now) && !m.SendAt.After(f.Now) {
		add(reason{WhyRetry, retryOf(d, f.Now), d.Due})
	}
	if r, ok := f.down(); ok {
		add(r)
	}
	if f.Sessions == 0 || len(f.Looks) > 0 && !slices.ContainsFunc(f.Looks, func(l WhyLook) bool { return l.Live }) {
		add(reason{cause: WhyNobody, says: "no deliverer may start anything just now: none runs, or none has a session with the scheduler; see `tarishi nodes`"})
	}
	out = append(out, f.limits()...)
	return out
}

func heldBy(o *mail.ActionNote, now time.Time) string {
	if o == nil || o.Verb != "hold" {
		return "an operator holds it"
	}
	s := fmt.Sprintf("%s holds it, since %s (action %s)", cmp.Or(o.Author, "an operator"), at(o.At, now), o.Action)
	if o.Reason != "" {
		s += ": " + o.Reason
	}
	return s
}

func suspendedFor(s *shaping.Suspension, now time.Time) reason {
	says := s.To + " is suspended"
	if s.Author != "" {
		says += " by " + s.Author
	}
	if !s.At.IsZero() {
		says += ", since " + at(s.At, now)
	}
	if !s.Until.IsZero() {
		says += ", until " + at(s.Until, now)
	}
	if s.Reason != "" {
		says += ": " + s.Reason
	}
	return reason{WhySuspended, says, s.Until}
}

func causeOf(r *shaping.Reaction) string {
	if r.Cause == "" {
		return ""
	}
	return ": " + r.Cause
}

func retryOf(d *mail.Delivery, now time.Time) string {
	if d.Attempts == 0 {
		return "it is due at " + at(d.Due, now)
	}
	s := fmt.Sprintf("attempt %d is due at %s", d.Attempts+1, at(d.Due, now))
	if !d.LastReply.IsZero() || d.LastReply.Text != "" {
		s += fmt.Sprintf("; the last one, at %s, came to: %s", at(d.LastAttempt, now), d.LastReply)
		if d.LastHost != "" {
			s += " (" + d.LastHost + ")"
		}
	}
	return s
}

// down tells whether no host answers any node that has tried.
func (f *WhyFacts) down() (reason, bool) {
	var until time.Time
	failures := 0
	for _, l := range f.Looks {
		if l.Connections > 0 {
			return reason{}, false
		}
		if l.Down.After(f.Now) {
			failures = max(failures, l.Failures)
			if until.IsZero() || l.Down.Before(until) {
				until = l.Down
			}
		}
	}
	if until.IsZero() {
		return reason{}, false
	}
	return reason{WhyDown, fmt.Sprintf("no host of %s answers (%d times in a row); the next look is at %s", f.Entry.Destination, failures, at(until, f.Now)), until}, true
}

// limits lists the windows and bounds on connections that are used up, those that let
// something through last first.
func (f *WhyFacts) limits() (out []reason) {
	for _, l := range f.Live {
		if l.Shadow || l.Next.IsZero() && l.Used+l.InFlight < l.Max {
			continue
		}
		what := fmt.Sprintf("%s %d/%s", word(l.Field), l.Max, l.Window)
		cause := WhyWindow
		if l.Window == "" {
			what, cause = fmt.Sprintf("%s %d", word(l.Field), l.Max), WhySlots
		}
		says := fmt.Sprintf("the limit %s of %s is used up: %d of %d", what, l.From, l.Used+l.InFlight, l.Max)
		if l.Used+l.InFlight < l.Max {
			says += ", the rest being kept for class high"
		}
		switch {
		case !l.Next.IsZero():
			says += ", room again at " + at(l.Next, f.Now)
		case cause == WhySlots:
			says += ", room again when one closes"
		}
		for i := range f.Reactions {
			if r := &f.Reactions[i]; r.Remedy.Action == shaping.Slow && cause == WhyWindow || r.Remedy.Action == shaping.FewerConns && cause == WhySlots {
				says += fmt.Sprintf("; reaction %s (%s) has lowered it: %s", r.Ref(), r.By()+causeOf(r), r.What())
			}
		}
		out = append(out, reason{cause, says, l.Next})
	}
	slices.SortStableFunc(out, func(a, b reason) int { return b.until.Compare(a.until) })
	return out
}

func word(f shaping.Field) string { return strings.ReplaceAll(string(f), "_", " ") }

// at is an instant with its distance from now.
func at(t, now time.Time) string {
	s := t.UTC().Format("2006-01-02 15:04:05Z")
	switch d := t.Sub(now).Round(time.Second); {
	case d > 0:
		s += " (in " + d.String() + ")"
	case d < 0:
		s += " (" + (-d).String() + " ago)"
	}
	return s
}

// Why answers one delivery's question: what holds it, where it stands, and when it may
// be expected to go. It is reckoned from the facts alone.
func (f *WhyFacts) Why() WhyDelivery {
	d := &f.Entry.Delivery
	out := WhyDelivery{Delivery: wireDelivery(f.Entry), Node: f.Node, CountsAs: f.Destination.String()}
	rs := f.reasons()
	var until time.Time
	for i, r := range rs {
		line := WhyReason{Cause: r.cause, Says: r.says, Until: utc(r.until)}
		if i == 0 {
			out.Cause, out.Says, out.Until = line.Cause, line.Says, line.Until
		} else {
			out.Besides = append(out.Besides, line)
		}
		if r.until.After(until) {
			until = r.until
		}
	}
	if p := f.Place; p != nil && f.Entry.State != "active" && !d.Held {
		out.Place = &WhyWait{Before: p.Before, Due: p.Due, Of: p.Of, Line: lineName(p.Line)}
		for l, n := range p.Others {
			out.Place.Others += n
			if goesFirst(l, p.Line) {
				out.Place.Higher += n
			}
		}
	}
	if out.Cause == "" {
		f.nothing(&out)
	}
	f.expect(&out, until, rs)
	if !d.Expires.IsZero() && out.Expected.After(d.Expires) {
		out.Reckoned += "; it expires before that, and its sender is told"
	}
	return out
}

// nothing is for a delivery that nothing holds: others go first, or it goes now.
func (f *WhyFacts) nothing(out *WhyDelivery) {
	p := out.Place
	switch {
	case f.Entry.State == "ready":
		out.Cause, out.Says = WhyReady, "it is ready to go, and goes as soon as a deliverer takes it"
	case p != nil && p.Due+p.Higher > 0:
		out.Cause = WhyTurn
		out.Says = fmt.Sprintf("%d of its line go before it", p.Due)
		if p.Higher > 0 {
			out.Says += fmt.Sprintf(", and %d of a higher class to the same destination", p.Higher)
		}
	default:
		out.Cause, out.Says = WhyReady, "nothing holds it; it goes as soon as a deliverer has room for it"
	}
}

// goesFirst tells whether mail of another line of the destination goes before all of this.
func goesFirst(l, mine mail.Line) bool {
	rank := map[mail.Class]int{mail.High: 0, mail.Normal: 1, mail.Bulk: 2}
	return l.Route == mine.Route && rank[l.Class.Known()] < rank[mine.Class.Known()]
}

func lineName(l mail.Line) string {
	s := string(l.Destination)
	if l.Tenant != "" {
		s += " of tenant " + l.Tenant
	}
	if l.Class != mail.Normal {
		s += ", class " + l.Class.String()
	}
	if l.Route != "" {
		s += ", by route " + l.Route
	}
	return s
}
