package shaping

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Action is what is done about a reply.
type Action string

// The actions. The first four change what a destination may be sent, for the whole
// cluster and for a time: they become a Reaction. The others are about one attempt,
// and are done where it was made.
const (
	Slow       Action = "slow"        // fewer messages; it recovers step by step
	Suspend    Action = "suspend"     // none
	Hold       Action = "hold"        // none of that tenant's
	FewerConns Action = "connections" // fewer connections
	Reconnect  Action = "reconnect"   // close this connection after the transaction
	Delay      Action = "delay"       // try these recipients later, and nobody else
	Reroute    Action = "reroute"     // send this delivery by a route of the configuration
)

const maxRouteLen = 64

// Actions are all of them, in the order in which they are shown.
var Actions = []Action{Slow, Suspend, Hold, FewerConns, Reconnect, Delay, Reroute}

// Local tells whether the action is about the attempt alone.
func (a Action) Local() bool { return a == Reconnect || a == Delay || a == Reroute }

// Remedy says what to do about a reply, in a rule's words. Written as text it is
// one line, see ParseRemedy.
type Remedy struct {
	Action  Action
	Per     Per           // whom it concerns at the destination; zero: everybody
	Factor  float64       // slow, connections: so much is left, each time
	Start   Window        // slow: begin here where nothing limits messages yet
	Floor   Window        // slow: never below
	Recover Recovery      // slow, connections; zero: it stays as it is until For is over
	For     time.Duration // since the last such reply; zero: until it has recovered
	Route   string        // reroute
}

// Recovery gives back a share of what was there at first, again and again: what was
// cut by a factor comes back in equal steps.
type Recovery struct {
	Percent float64 // of what was there at first
	Every   time.Duration
}

// String is "5%/10m".
func (r Recovery) String() string {
	return strconv.FormatFloat(r.Percent, 'f', -1, 64) + "%/" + FormatLength(r.Every)
}

// What a remedy that does not say it takes.
const defaultFactor = 0.5

var (
	defaultStart   = Window{60, time.Minute}
	defaultFloor   = Window{1, time.Minute}
	defaultRecover = Recovery{5, 5 * time.Minute}
)

// Bounds of a remedy.
const (
	minFactor    = 0.001
	minPercent   = 0.1
	MinRecovery  = 10 * time.Second
	MaxReaction  = 30 * 24 * time.Hour
	minRemedyFor = time.Second
)

// remedySyntax is each action with an example, for people who wrote something else.
var remedySyntax = map[Action]string{
	Slow:       "slow 0.5 per source from 60/1m floor 1/1m recover 5%/5m for 6h",
	Suspend:    "suspend per source for 2h",
	Hold:       "hold for 1h",
	FewerConns: "connections 0.5 for 1h",
	Reconnect:  "reconnect",
	Delay:      "delay for 30m",
	Reroute:    "reroute via backup",
}

// ParseRemedy reads a remedy: the action, for slow and connections the factor that
// is left, then in any order "per source,tenant", "from 60/1m", "floor 1/1m",
// "recover 5%/5m", "for 6h", "via ROUTE". What is not said takes its default.
func ParseRemedy(s string) (Remedy, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return Remedy{}, refuse("", "no action is given", "write one of "+actionNames())
	}
	r := Remedy{Action: Action(words[0])}
	example, ok := remedySyntax[r.Action]
	if !ok {
		return Remedy{}, refuse("", fmt.Sprintf("%q is no action", words[0]), "write one of "+actionNames())
	}
	mend := fmt.Sprintf("write it as in %q", example)
	words = words[1:]
	if len(words) > 0 && (r.Action == Slow || r.Action == FewerConns) {
		if f, err := strconv.ParseFloat(words[0], 64); err == nil {
			if f == 0 { // the zero Factor is one that was not given
				return Remedy{}, refuse("factor", "0 leaves nothing", `write what is left each time, such as 0.5, or "suspend" to send nothing`)
			}
			r.Factor, words = f, words[1:]
		}
	}
	seen := map[string]bool{}
	for ; len(words) > 0; words = words[2:] {
		key := words[0]
		if len(words) < 2 {
			return Remedy{}, refuse("", fmt.Sprintf("nothing follows %q", key), mend)
		}
		if seen[key] {
			return Remedy{}, refuse("", fmt.Sprintf("%q is said twice", key), mend)
		}
		seen[key] = true
		if err := r.take(key, words[1], mend); err != nil {
			return Remedy{}, err
		}
	}
	r.fill()
	return r, r.Check()
}

// take reads one part of a remedy.
func (r *Remedy) take(key, value, mend string) (err error) {
	switch key {
	case "per":
		r.Per, err = ParsePer(strings.Split(value, ","))
	case "from":
		r.Start, err = ParseWindow(value)
	case "floor":
		r.Floor, err = ParseWindow(value)
	case "recover":
		r.Recover, err = parseRecovery(value)
	case "for":
		r.For, err = ParseLength(value)
	case "via":
		r.Route = value
	default:
		return refuse("", fmt.Sprintf("%q is nothing that %s takes", key, r.Action), mend)
	}
	if re, ok := err.(*RefusedError); ok {
		return refuse(key, re.What, re.Mend)
	}
	return err
}

func parseRecovery(s string) (Recovery, error) {
	share, every, ok := strings.Cut(s, "/")
	percent, number := strings.CutSuffix(share, "%")
	n, err := strconv.ParseFloat(percent, 64)
	if !ok || !number || err != nil {
		return Recovery{}, refuse("", fmt.Sprintf("%q is no recovery", s), "write how much of the whole comes back in each step, such as 5%/10m")
	}
	d, err := ParseLength(every)
	return Recovery{n, d}, err
}

// fill puts in what was not said.
func (r *Remedy) fill() {
	switch r.Action {
	case Slow:
		if r.Start == (Window{}) {
			r.Start = defaultStart
		}
		if r.Floor == (Window{}) {
			r.Floor = defaultFloor
			if slower(r.Start, r.Floor) {
				r.Floor = r.Start
			}
		}
		if r.Recover == (Recovery{}) && r.For == 0 {
			r.Recover = defaultRecover
		}
	case Hold:
		r.Per |= Tenant
	}
	if (r.Action == Slow || r.Action == FewerConns) && r.Factor == 0 {
		r.Factor = defaultFactor
	}
}

// Check says what is wrong with the remedy, if anything.
func (r *Remedy) Check() error {
	example, ok := remedySyntax[r.Action]
	mend := fmt.Sprintf("write it as in %q", example)
	cuts := r.Action == Slow || r.Action == FewerConns
	whole := r.Factor == 0 && r.Recover == (Recovery{})
	switch {
	case !ok:
		return refuse("", fmt.Sprintf("%q is no action", r.Action), "write one of "+actionNames())
	case cuts && !(r.Factor >= minFactor && r.Factor < 1):
		return refuse("factor", fmt.Sprintf("%v does not lower", r.Factor), "write what is left each time, at least 0.001 and less than 1")
	case !cuts && !whole:
		return refuse("", fmt.Sprintf("%s takes no factor and does not recover step by step", r.Action), mend)
	case r.Action != Slow && (r.Start != Window{} || r.Floor != Window{}):
		return refuse("", fmt.Sprintf("%s takes neither from nor floor", r.Action), mend)
	case r.Action.Local() && r.Per != 0:
		return refuse("per", fmt.Sprintf("%s is about the attempt alone", r.Action), mend)
	case r.Action == FewerConns && r.Per&Tenant != 0:
		return refuse("per", "tenants share connections", `write "per source", or leave it out`)
	case r.Action == Hold && r.Per&Tenant == 0:
		return refuse("per", "hold is about a tenant", mend)
	case r.Per&^(Source|Tenant) != 0:
		return refuse("per", "concerns something this version does not know", "write source, tenant or both")
	case (r.Action == Reroute) != (r.Route != ""):
		return refuse("via", "a route goes with reroute, and reroute with a route", mend)
	case len(r.Route) > maxRouteLen || strings.ContainsFunc(r.Route, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return refuse("via", fmt.Sprintf("%q is no name of a route", r.Route), mend)
	}
	if err := r.checkTimes(mend); err != nil {
		return err
	}
	if r.Action == Slow {
		return r.checkWindows()
	}
	return nil
}

func (r *Remedy) checkTimes(mend string) error {
	takes := r.Action != Reconnect && r.Action != Reroute
	switch {
	case !takes && r.For != 0:
		return refuse("for", fmt.Sprintf("%s is over at once", r.Action), mend)
	case takes && r.For == 0 && r.Recover == (Recovery{}):
		return refuse("for", "how long is not said", mend)
	case r.For != 0 && (r.For < minRemedyFor || r.For > MaxReaction):
		return refuse("for", fmt.Sprintf("%s is not between %s and %s", FormatLength(r.For), FormatLength(minRemedyFor), FormatLength(MaxReaction)), mend)
	case r.Recover == Recovery{}:
		return nil
	case !(r.Recover.Percent >= minPercent && r.Recover.Percent <= 100):
		return refuse("recover", fmt.Sprintf("%s is no step", r.Recover), "write at least 0.1% and at most 100%")
	case r.Recover.Every < MinRecovery || r.Recover.Every > MaxReaction:
		return refuse("recover", fmt.Sprintf("a step every %s", FormatLength(r.Recover.Every)), "at least every "+FormatLength(MinRecovery))
	}
	return nil
}

func (r *Remedy) checkWindows() error {
	for _, x := range []struct {
		key string
		w   Window
	}{{"from", r.Start}, {"floor", r.Floor}} {
		if err := x.w.check(); err != nil {
			re := err.(*RefusedError)
			return refuse(x.key, re.What, re.Mend)
		}
		if x.w.Max == 0 {
			return refuse(x.key, x.w.String()+" lets nothing through", `write 1 or more, or "suspend"`)
		}
	}
	if slower(r.Start, r.Floor) {
		return refuse("floor", fmt.Sprintf("%s is more than %s, where it begins", r.Floor, r.Start), "write less")
	}
	return nil
}

// slower tells whether a lets less through than b in the long run.
func slower(a, b Window) bool {
	return float64(a.Max)*float64(b.Length) < float64(b.Max)*float64(a.Length)
}

// String is the remedy as ParseRemedy reads it, with its defaults.
func (r Remedy) String() string {
	var b strings.Builder
	b.WriteString(string(r.Action))
	if r.Factor != 0 {
		b.WriteString(" " + strconv.FormatFloat(r.Factor, 'f', -1, 64))
	}
	for _, x := range []struct {
		on         bool
		key, value string
	}{
		{r.Per != 0 && (r.Action != Hold || r.Per != Tenant), "per", r.Per.String()},
		{r.Start != Window{}, "from", r.Start.String()},
		{r.Floor != Window{}, "floor", r.Floor.String()},
		{r.Recover != Recovery{}, "recover", r.Recover.String()},
		{r.For != 0, "for", FormatLength(r.For)},
		{r.Route != "", "via", r.Route},
	} {
		if x.on {
			b.WriteString(" " + x.key + " " + x.value)
		}
	}
	return b.String()
}

// MarshalText writes the remedy as String does.
func (r Remedy) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads it.
func (r *Remedy) UnmarshalText(b []byte) error {
	v, err := ParseRemedy(string(b))
	*r = v
	return err
}

func actionNames() string {
	names := make([]string, len(Actions))
	for i, a := range Actions {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}
