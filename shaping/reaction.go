package shaping

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Reaction is a remedy in force: what the replies of a destination have brought
// upon it, for the whole cluster and for a time. It only ever lowers what the rules
// allow.
type Reaction struct {
	ID     uint64      `json:"id"`
	Rule   string      `json:"rule,omitempty"`   // whose threshold was met; empty: an operator's
	Author string      `json:"author,omitempty"` // who added it; empty: the rule
	Cause  string      `json:"cause,omitempty"`  // one of the replies; of an operator's, the reason
	To     Destination `json:"to"`
	Source string      `json:"source,omitempty"` // with Remedy.Per
	Tenant string      `json:"tenant,omitempty"` // the same
	Remedy Remedy      `json:"remedy"`

	Base  Window `json:"base,omitzero"`   // slow: what it was cut from
	Conns int    `json:"conns,omitempty"` // connections: what they were cut from
	Open  bool   `json:"open,omitempty"`  // nothing else limits it: it may recover beyond Base
	Left  int64  `json:"left,omitempty"`  // of Base or Conns, in millionths
	Times int    `json:"times"`           // how often it was asked for

	At    time.Time `json:"at"`
	Last  time.Time `json:"last"`           // asked for last
	Until time.Time `json:"until,omitzero"` // then it is over; zero: when it has recovered
	Next  time.Time `json:"next,omitzero"`  // the next step of recovery
}

// Bounds of the reactions of a Book.
const (
	MaxReactions = 2000 // in force at a time: the whole list goes to every node at each change
	MaxCause     = 160  // octets of a reply that are kept
	// openEnd ends the recovery of what nothing else limits: so often Base.
	openEnd = 10
)

// whole is a share of all of it. Shares are kept in whole millionths, so that every
// machine comes to the same.
const whole = 1_000_000

func millionths(share float64) int64 { return int64(math.Round(share * whole)) }

// matches tells whether the reaction concerns a source and tenant.
func (r *Reaction) matches(source, tenant string) bool {
	return (r.Remedy.Per&Source == 0 || r.Source == source) && (r.Remedy.Per&Tenant == 0 || r.Tenant == tenant)
}

// Place is what there is one reaction for.
type Place struct {
	rule                string
	action              Action
	per                 Per
	key, source, tenant string
}

func (r *Reaction) place() Place {
	return Place{r.Rule, r.Remedy.Action, r.Remedy.Per, r.To.Key, r.Source, r.Tenant}
}

// Pace is what a slow reaction lets through now.
func (r *Reaction) Pace() Window { return paced(spacing(r.Base, r.Left)) }

// Connections is how many a connections reaction lets stand now: one at least.
func (r *Reaction) Connections() int {
	return int(max(1, int64(r.Conns)*r.Left/whole))
}

// spacing is the time from one start to the next, on average, at a share of a window.
func spacing(w Window, left int64) time.Duration {
	return mulDiv(w.Length, whole, time.Duration(int64(w.Max)*left))
}

// mulDiv is a * b / c rounded up, at most MaxWindow.
func mulDiv(a, b, c time.Duration) time.Duration {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if c <= 0 || hi >= uint64(c) {
		return MaxWindow
	}
	q, rem := bits.Div64(hi, lo, uint64(c))
	if rem > 0 {
		q++
	}
	return time.Duration(min(q, uint64(MaxWindow)))
}

// paced is a window that lets one start through each d, on average: some ten at a
// time, for the sake of the connections, but within a minute. A receiver that has
// complained is not sent an hour's mail at once.
func paced(d time.Duration) Window {
	d = max(d, 1)
	length := min(max(10*d, MinWindow), time.Minute)
	n := max(1, length/d)
	unit := 10 * time.Millisecond // rounded by 5 % at most
	for unit < time.Second && n*d >= 200*unit {
		unit *= 10
	}
	length = (n*d + unit - 1) / unit * unit
	return Window{Max: int(min(n, MaxCount)), Length: min(max(length, MinWindow), MaxWindow)}
}

// cut lowers what is left once more, not below the floor.
func (r *Reaction) cut() {
	factor := millionths(r.Remedy.Factor)
	floor := int64(1)
	if r.Remedy.Action == Slow {
		f, b := r.Remedy.Floor, r.Base
		floor = int64(mulDiv(b.Length/time.Duration(b.Max)+1, whole, max(1, f.Length/time.Duration(f.Max))))
	} else {
		floor = (whole + int64(r.Conns) - 1) / int64(r.Conns) // one connection
	}
	// The floor is the rule's; what the operator allows is less than it, if he says so.
	r.Left = max(r.Left*factor/whole, min(floor, r.Left), 1)
}

// recover takes the steps that are due, and tells whether it is over.
func (r *Reaction) recover(now time.Time) (stepped, over bool) {
	if !r.Until.IsZero() && !r.Until.After(now) {
		return false, true
	}
	if r.Next.IsZero() || r.Next.After(now) {
		return false, false
	}
	every := r.Remedy.Recover.Every
	steps := int64(now.Sub(r.Next)/every) + 1
	r.Next = r.Next.Add(time.Duration(steps) * every)
	r.Left += steps * millionths(r.Remedy.Recover.Percent/100)
	end := int64(whole)
	if r.Open {
		end *= openEnd
	}
	return true, r.Left >= end
}

// settling is how long after a cut the replies are still about what was before it.
func (r *Reaction) settling() time.Duration {
	if r.Remedy.Action != Slow {
		return minSettle
	}
	return min(max(r.Pace().Length, minSettle), maxSettle)
}

const (
	minSettle = 10 * time.Second
	maxSettle = time.Minute
)

// Settling tells whether a further reply of that kind plays no part yet: it is about
// what was sent before the last cut, or, for what is suspended, changes nothing.
func (r *Reaction) Settling(now time.Time) bool { return now.Sub(r.Last) < r.settling() }

// Whom is whom the reaction concerns: "google from 192.0.2.1 of tenant acme".
func (r *Reaction) Whom() string {
	s := r.To.String()
	if r.Remedy.Per&Source != 0 {
		s += " from " + orNone(r.Source, "the default source")
	}
	if r.Remedy.Per&Tenant != 0 {
		s += " of " + orNone(prefixed("tenant ", r.Tenant), "no tenant")
	}
	return s
}

func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

func prefixed(p, s string) string {
	if s == "" {
		return ""
	}
	return p + s
}

// What is what the reaction does, in words: "slow: 8/30s, 50% of 1000/1h".
func (r *Reaction) What() string {
	switch r.Remedy.Action {
	case Slow:
		s := fmt.Sprintf("slow: %s", r.Pace())
		if r.Left != whole {
			s += fmt.Sprintf(", %s of %s", percent(r.Left), r.Base)
		}
		return s
	case FewerConns:
		return fmt.Sprintf("connections: %d of %d", r.Connections(), r.Conns)
	case Hold:
		return "held"
	}
	return "suspended"
}

func percent(left int64) string {
	return strconv.FormatFloat(math.Round(float64(left)/whole*10_000)/100, 'f', -1, 64) + "%"
}

// Ref is how a reaction is named: "r7".
func (r *Reaction) Ref() string { return "r" + strconv.FormatUint(r.ID, 10) }

// ParseReactionID reads "r7" or "7".
func ParseReactionID(s string) (uint64, error) {
	id, err := strconv.ParseUint(strings.TrimPrefix(s, "r"), 10, 64)
	if err != nil || id == 0 {
		return 0, refuse("", fmt.Sprintf("%q names no reaction", s), "write its id as `tarishi reactions ls` shows it, such as r7")
	}
	return id, nil
}

// By is who is behind it, for people: "rule gmail/rate" or "ann@desk".
func (r *Reaction) By() string {
	if r.Rule != "" {
		return "rule " + r.Rule
	}
	return orNone(r.Author, "an operator")
}

// by is who and what is behind it: "rule gmail/rate: 421 4.7.28 ...".
func (r *Reaction) by() string {
	if r.Cause == "" {
		return r.By()
	}
	return r.By() + ": " + r.Cause
}
