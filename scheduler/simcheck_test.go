package scheduler

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// start is one start, in true time.
type start struct {
	at         int64
	recipients int32
}

// span is one connection, in true time.
type span struct {
	name     int
	lane     Lane
	from, to int64
	polite   bool // the leader was told of its end
}

// tenure is one holding of a partition, in true time.
type tenure struct {
	part     uint32
	epoch    uint64
	from, to int64
}

// weighed is so many of what a counter counts.
type weighed struct {
	at int64
	n  int64
}

// most is the largest sum in any half-open window of that length which ends with
// something that began in [from, to), and when.
func most(t []weighed, length, from, to int64) (best, at int64) {
	sum, j := int64(0), 0
	for i := range t {
		sum += t[i].n
		for t[i].at-t[j].at >= length {
			sum -= t[j].n
			j++
		}
		if t[i].at >= from && t[i].at < to && sum > best {
			best, at = sum, t[i].at
		}
	}
	return best, at
}

// check holds a run against the rules, exactly.
func (s *sim) check() []string {
	problems := slices.Clone(s.problems)
	fail := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for i := range s.rules {
		r := &s.rules[i]
		end := int64(math.MaxInt64)
		if i+1 < len(s.rules) {
			end = s.rules[i+1].written
		}
		if r.from > 0 {
			s.checkRules(i, r.from, end, fail)
		}
		if i > 0 {
			until := end
			if r.from > 0 {
				until = min(until, r.from)
			}
			s.checkChange(i, r.written, until, fail)
		}
	}
	slices.SortFunc(s.tenures, func(a, b tenure) int {
		return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.from, b.from))
	})
	for i := 1; i < len(s.tenures); i++ {
		a, b := s.tenures[i-1], s.tenures[i]
		if a.part == b.part && (a.to > b.from || a.epoch >= b.epoch) {
			fail("partition %d: epoch %d until %.3fs, epoch %d from %.3fs", a.part, a.epoch, sec3(a.to), b.epoch, sec3(b.from))
		}
	}
	return problems
}

func sec3(t int64) float64 { return float64(t) / 1e9 }

// limits are the counters of a version of the rules, with the lanes that count there.
func (s *sim) limits(t *shaping.Table) (counters map[string]*limit, slots map[string]*limit, shut []Lane) {
	counters, slots = map[string]*limit{}, map[string]*limit{}
	add := func(m map[string]*limit, name string, l Lane) *limit {
		if m[name] == nil {
			m[name] = &limit{name: name}
		}
		m[name].lanes = append(m[name].lanes, l)
		return m[name]
	}
	for i := range s.world.lanes {
		l := s.world.lanes[i].Lane
		b := t.Bounds(l.Dest, l.Source, l.Tenant)
		if b.Suspended != nil && l.Kind == Transaction {
			shut = append(shut, l)
		}
		for _, c := range b.Counters {
			if (c.Unit == shaping.NewConnections) == (l.Kind == Connection) {
				x := add(counters, c.Counter, l)
				x.unit, x.windows = c.Unit, c.Windows
			}
		}
		if l.Kind == Connection {
			for _, c := range b.Slots {
				add(slots, c.Counter, l).max = c.Max
			}
		}
	}
	return counters, slots, shut
}

// limit is one counter and what counts there.
type limit struct {
	name    string
	unit    shaping.Field
	windows []shaping.Window
	max     int
	lanes   []Lane
}

// counted is what the counter counted since.
func (s *sim) counted(x *limit, since int64) (out []weighed) {
	for _, l := range x.lanes {
		for _, t := range s.starts[l] {
			if t.at >= since {
				n := int64(1)
				if x.unit == shaping.Recipients {
					n = int64(t.recipients)
				}
				out = append(out, weighed{t.at, n})
			}
		}
	}
	slices.SortFunc(out, func(a, b weighed) int { return cmp.Compare(a.at, b.at) })
	return out
}

// since is when everything under a counter began to be counted, for rule i.
func (s *sim) since(name string, i int) int64 {
	since := s.rules[i].from
	for ; i >= 0; i-- {
		counters, _, _ := s.limits(s.rules[i].table)
		if counters[name] == nil {
			return since
		}
		if f := s.rules[i].from; f > 0 {
			since = f
		}
	}
	return 0
}

// checkRules: what rule i says holds from its coming into force to the next change,
// the past included as far as it was counted.
func (s *sim) checkRules(i int, from, to int64, fail func(string, ...any)) {
	counters, slots, shut := s.limits(s.rules[i].table)
	for name, x := range counters {
		t := s.counted(x, s.since(name, i))
		for _, w := range x.windows {
			if n, at := most(t, int64(w.Length), from, to); n > int64(w.Max) {
				fail("%s: %d of %v at %.3fs (rules %d from %.3fs)", name, n, w, sec3(at), s.rules[i].version, sec3(from))
			}
		}
		s.checkKept(i, x, from, to, fail)
	}
	for _, l := range shut {
		for _, t := range s.starts[l] {
			if t.at >= from && t.at < to {
				fail("%s is suspended, and a start at %.3fs", l.Dest, sec3(t.at))
				break
			}
		}
	}
	for name, x := range slots {
		if n, at := s.concurrent(x, from, to); n > x.max {
			fail("%s: %d of %d open at %.3fs (rules %d from %.3fs)", name, n, x.max, sec3(at), s.rules[i].version, sec3(from))
		}
	}
}

// checkKept: what is kept for class high nobody else uses.
func (s *sim) checkKept(i int, x *limit, from, to int64, fail func(string, ...any)) {
	if x.unit == shaping.NewConnections || s.rules[i].table.Shares().High == 0 {
		return
	}
	others := *x
	others.lanes = slices.DeleteFunc(slices.Clone(x.lanes), func(l Lane) bool { return l.Class == mail.High })
	t := s.counted(&others, s.since(x.name, i))
	for _, w := range x.windows {
		rest := s.rules[i].table.Shares().For(mail.Normal, w.Max)
		if n, at := most(t, int64(w.Length), from, to); n > int64(rest) {
			fail("%s: %d of %v at %.3fs are not of class high, which are more than %d (rules %d from %.3fs)", x.name, n, w, sec3(at), rest, s.rules[i].version, sec3(from))
		}
	}
}

// checkChange: while a change comes into force, at least the looser limit holds.
func (s *sim) checkChange(i int, from, to int64, fail func(string, ...any)) {
	before, slotsBefore, _ := s.limits(s.rules[i-1].table)
	after, slotsAfter, _ := s.limits(s.rules[i].table)
	for name, x := range after {
		o := before[name]
		if o == nil || s.since(name, i-1) > 0 {
			continue
		}
		t := s.counted(x, 0)
		for _, w := range x.windows {
			for _, v := range o.windows {
				if v.Length != w.Length {
					continue
				}
				if n, at := most(t, int64(w.Length), from, to); n > int64(max(v.Max, w.Max)) {
					fail("%s: %d at %.3fs, while %v became %v", name, n, sec3(at), v, w)
				}
			}
		}
	}
	for name, x := range slotsAfter {
		if o := slotsBefore[name]; o != nil && s.rules[i-1].from > 0 {
			if n, at := s.concurrent(x, from, to); n > max(o.max, x.max) {
				fail("%s: %d open at %.3fs, while %d became %d", name, n, sec3(at), o.max, x.max)
			}
		}
	}
}

// concurrent is how many connections were open at the same time in [from, to), at
// most. One whose end was told counts a while longer: the receiver may not have
// noticed.
func (s *sim) concurrent(x *limit, from, to int64) (best int, at int64) {
	type edge struct {
		at   int64
		open int
	}
	var edges []edge
	for _, c := range s.connections {
		if !slices.Contains(x.lanes, c.lane) {
			continue
		}
		end := c.to
		if c.polite {
			end += 700 * ms
		}
		if end > from && c.from < to {
			edges = append(edges, edge{max(c.from, from), 1}, edge{min(end, to), -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.open, b.open)) })
	n := 0
	for _, e := range edges {
		if n += e.open; n > best {
			best, at = n, e.at
		}
	}
	return best, at
}
