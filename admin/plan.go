package admin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// LimitPlan answers POST /v1/limits/plan: what an apply of the same rules would do to
// what waits now. Nothing is changed by it.
type LimitPlan struct {
	Now          time.Time            `json:"now"`
	Version      uint64               `json:"version"`
	Differences  []shaping.Difference `json:"differences"`
	Destinations []PlanLine           `json:"destinations"` // those with mail whose bounds would be others, the most mail first
	Untouched    int64                `json:"untouched"`    // deliveries waiting for the others
	Unknown      int                  `json:"unknown"`      // domains that were not looked at: too many, or without an answer of DNS
}

// PlanLine is one destination that would be touched.
type PlanLine struct {
	Destination string    `json:"destination"`
	Was         string    `json:"was,omitempty"` // whom its mail counts with now, if that is another
	Domains     int       `json:"domains"`       // with mail waiting
	Waiting     int64     `json:"waiting"`
	Before      PlanState `json:"before"`
	After       PlanState `json:"after"`
}

// PlanState is what bounds a destination, and how long its mail takes by that.
type PlanState struct {
	Limits    string `json:"limits,omitempty"`        // empty: none
	Suspended bool   `json:"suspended,omitempty"`     // it takes for ever
	Seconds   *int64 `json:"drain_seconds,omitempty"` // at least; absent: no limit says, or it takes for ever
}

// planDomains bounds how many domains' MX are looked up for a plan: those with the most
// mail.
const planDomains = 5000

// planLimits is POST /v1/limits/plan.
func (s *Server) planLimits(w http.ResponseWriter, r *http.Request) {
	c, err := s.readLimitOrder(w, r, diffVerb)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	was, next, _, err := s.rehearse(r.Context(), c)
	if err != nil {
		s.changeFailed(w, r, err)
		return
	}
	lines, err := s.c.Queue.Lines(r.Context())
	if err != nil {
		s.queueFailed(w, r, err)
		return
	}
	before, err := was.Table()
	var after *shaping.Table
	if err == nil {
		after, err = next.Table()
	}
	if err != nil {
		s.limitsFailed(w, r, err)
		return
	}
	waiting := map[mail.Domain]map[string]planCount{}
	for l, n := range lines {
		if waiting[l.Destination] == nil {
			waiting[l.Destination] = map[string]planCount{}
		}
		waiting[l.Destination][l.Tenant] = waiting[l.Destination][l.Tenant].plus(countOf(l, n))
	}
	groups, unknown := s.planGroups(r.Context(), waiting, before, after)
	out := LimitPlan{Now: utc(s.c.Now()), Version: was.Version, Differences: shaping.Diff(was.Set, next.Set), Destinations: []PlanLine{}, Unknown: unknown}
	if out.Differences == nil {
		out.Differences = []shaping.Difference{}
	}
	for _, g := range groups {
		if l, touched := g.line(before, after); touched {
			out.Destinations = append(out.Destinations, l)
		} else {
			out.Untouched += l.Waiting
		}
	}
	slices.SortFunc(out.Destinations, func(a, b PlanLine) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), strings.Compare(a.Destination, b.Destination))
	})
	answer(w, http.StatusOK, out)
}

// planGroup is the domains that count together, before and after.
type planGroup struct {
	before, after shaping.Destination
	domains       int
	waiting       map[string]planCount // by tenant
}

// planCount is how many wait, and how many of them may not use what is kept for class
// high.
type planCount struct{ all, low int64 }

func countOf(l mail.Line, n int64) planCount {
	if l.Class == mail.High {
		return planCount{all: n}
	}
	return planCount{n, n}
}

func (c planCount) plus(o planCount) planCount { return planCount{c.all + o.all, c.low + o.low} }

// planGroups finds out what each domain with mail counts as.
func (s *Server) planGroups(ctx context.Context, waiting map[mail.Domain]map[string]planCount, before, after *shaping.Table) (groups []*planGroup, unknown int) {
	total := func(d mail.Domain) (n int64) {
		for _, w := range waiting[d] {
			n += w.all
		}
		return n
	}
	domains := slices.SortedFunc(maps.Keys(waiting), func(a, b mail.Domain) int {
		return cmp.Or(cmp.Compare(total(b), total(a)), strings.Compare(string(a), string(b)))
	})
	unknown = max(0, len(domains)-planDomains)
	domains = domains[:min(len(domains), planDomains)]
	ctx, cancel := context.WithTimeout(ctx, siteFor/2)
	defer cancel()
	type pair struct {
		before, after shaping.Destination
		err           error
	}
	found := make([]pair, len(domains))
	var g errgroup.Group
	g.SetLimit(siteLookups)
	for i, d := range domains {
		g.Go(func() error {
			p := &found[i]
			if p.before, p.err = s.destinationOf(ctx, before, d); p.err == nil {
				p.after, p.err = s.destinationOf(ctx, after, d)
			}
			return nil
		})
	}
	_ = g.Wait() // each domain has its own error
	by := map[[2]shaping.Destination]*planGroup{}
	for i, d := range domains {
		p := found[i]
		if p.err != nil {
			unknown++
			continue
		}
		k := [2]shaping.Destination{p.before, p.after}
		x := by[k]
		if x == nil {
			x = &planGroup{before: p.before, after: p.after, waiting: map[string]planCount{}}
			by[k] = x
			groups = append(groups, x)
		}
		x.domains++
		for tenant, n := range waiting[d] {
			x.waiting[tenant] = x.waiting[tenant].plus(n)
		}
	}
	return groups, unknown
}

// line compares what bounds the group before and after.
func (g *planGroup) line(before, after *shaping.Table) (l PlanLine, touched bool) {
	l = PlanLine{Destination: g.after.String(), Domains: g.domains}
	if g.before != g.after {
		l.Was = g.before.String()
	}
	for _, n := range g.waiting {
		l.Waiting += n.all
	}
	l.Before, l.After = g.state(before, g.before), g.state(after, g.after)
	return l, l.Was != "" || l.Before.Limits != l.After.Limits || l.Before.Suspended != l.After.Suspended
}

// state is what bounds the group's mail by one table, and how long that takes at least:
// for what counts apart for each tenant, as long as for the one with whom it takes
// longest.
func (g *planGroup) state(t *shaping.Table, d shaping.Destination) PlanState {
	var out PlanState
	var all planCount
	for _, n := range g.waiting {
		all = all.plus(n)
	}
	var most time.Duration
	timed := false
	for _, tenant := range slices.Sorted(maps.Keys(g.waiting)) {
		b := t.Bounds(d, "", tenant)
		if b.Suspended != nil {
			out.Suspended = true
		}
		if out.Limits == "" {
			out.Limits = boundsInWords(&b)
		}
		for _, c := range b.Counters {
			if c.Unit == shaping.NewConnections {
				continue // how much goes over one nobody knows
			}
			n := all
			if c.From.Per&shaping.Tenant != 0 {
				n = g.waiting[tenant]
			}
			for _, w := range c.Windows {
				if w.Max > 0 {
					timed = true
					low := shaping.Window{Max: t.Shares().For(mail.Normal, w.Max), Length: w.Length}
					most = max(most, emptied(n.all, w), emptied(n.low, low))
				}
			}
		}
	}
	if timed && !out.Suspended {
		secs := int64(most / time.Second)
		out.Seconds = &secs
	}
	return out
}

// emptied is how long n starts take in a window at least, with nothing in it: the
// last one may begin when all full windows before it are over.
func emptied(n int64, w shaping.Window) time.Duration {
	if n <= int64(w.Max) {
		return 0
	}
	full := (n - 1) / int64(w.Max)
	if full > int64(maxDrain/w.Length) {
		return maxDrain
	}
	return time.Duration(full) * w.Length
}

// maxDrain stands for more than anybody waits.
const maxDrain = 100 * 365 * 24 * time.Hour

// boundsInWords is what bounds a destination, in one line.
func boundsInWords(b *shaping.Bounds) string {
	var items []string
	per := func(p shaping.Per) string {
		if p == 0 {
			return ""
		}
		return " per " + p.String()
	}
	for _, c := range b.Counters {
		items = append(items, word(c.Unit)+" "+shaping.FormatWindows(c.Windows)+per(c.From.Per))
	}
	for _, x := range b.Slots {
		items = append(items, fmt.Sprintf("connections %d%s", x.Max, per(x.From.Per)))
	}
	if b.PerConnection > 0 {
		items = append(items, fmt.Sprintf("per connection %d", b.PerConnection))
	}
	slices.Sort(items)
	return strings.Join(items, "; ")
}
