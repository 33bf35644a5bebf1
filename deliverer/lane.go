package deliverer

import (
	"context"
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// laneKey tells lanes apart.
type laneKey struct {
	dest  mail.Domain
	route string // by which a reply has sent it; empty: the usual way
	via   string // the key of where plugins have sent it; empty: the usual way
}

// lane is the lines of one destination domain, by one way: what waits in memory for a
// connection. Guarded by Deliverer.mu.
type lane struct {
	laneKey
	limit shaping.Limit

	lines []*line // one a tenant and class
	n     int     // how many wait
	aged  int     // of these, how many have waited in the queue before
	ring  bool    // in its path's list of lanes that wait

	path    *path // nil: its hosts have not been looked up yet
	opening int   // carriers on their way to a connection for it
	busy    int   // transactions under way
	gate    gate  // shut by lookups that failed

	by     *via      // where plugins have sent it; nil: nowhere else
	mx     []string  // with by: the usual hosts, as far as known
	mxFrom time.Time // with by: DNS did not answer; not asked before

	lively time.Time // something waited or moved last
	since  time.Time // and has done so from

	rate rate
}

func (l *lane) len() int { return l.n }

// line returns a party's line, made when needed.
func (l *lane) line(of party) *line {
	for _, q := range l.lines {
		if q.party == of {
			return q
		}
	}
	q := &line{lane: l, party: of, weight: 1}
	l.lines = append(l.lines, q)
	return q
}

func (l *lane) takeAll(to []held) []held {
	for _, q := range l.lines {
		to = q.takeIf(to, func(*held) bool { return true })
	}
	return to
}

// laneOf returns the lane of a delivery, made when needed; before plugins have been
// asked, the one that it will probably be of. With mu held.
func (d *Deliverer) laneOf(h *held) *lane {
	k := laneKey{dest: h.env.Destination, route: d.c.Routes.known(h.env.Route)}
	v := h.via
	if !h.asked && len(d.doors) > 0 && d.asks() {
		v = d.doors[k].leads()
	}
	if v != nil {
		k.via = v.key
	}
	l := d.lanes[k]
	if l == nil {
		l = &lane{laneKey: k, by: v, limit: d.c.Rules.For(k.dest)}
		d.lanes[k] = l
		if v != nil {
			k.via = ""
			d.routed[k] = append(d.routed[k], l)
		}
	}
	return l
}

// lanesOf are the lanes of a destination by one way, wherever plugins send its mail. With mu held.
func (d *Deliverer) lanesOf(k laneKey) (ls []*lane) {
	if l := d.lanes[k]; l != nil {
		ls = append(ls, l)
	}
	return append(ls, d.routed[k]...)
}

// forgetLane drops a lane that nobody uses. With mu held.
func (d *Deliverer) forgetLane(l *lane) {
	l.leave()
	delete(d.lanes, l.laneKey)
	if l.by == nil {
		return
	}
	k := l.laneKey
	k.via = ""
	if d.routed[k] = slices.DeleteFunc(d.routed[k], func(x *lane) bool { return x == l }); len(d.routed[k]) == 0 {
		delete(d.routed, k)
	}
}

// hosts finds out where mail of l goes.
func (l *lane) hosts(ctx context.Context, d *Deliverer) (hosting, error) {
	switch {
	case l.by != nil:
		return l.by.hosting(ctx, d, l)
	case l.route == "":
		return d.hosts(ctx, l.dest, d.c.Source)
	}
	r := d.c.Routes.named[l.route]
	return hosting{site: "route " + l.route + " " + string(l.dest), targets: []target{r.target}}, nil
}

// destination is whose limits bind it at these hosts.
func (l *lane) destination(d *Deliverer, mx []string) shaping.Destination {
	switch {
	case l.by != nil:
		return d.viaDestination(l.dest, mx, l.by)
	case l.route != "":
		return shaping.ByRoute(l.route)
	}
	return d.c.Scheduler.Destination(l.dest, mx)
}

// shut tells whether nothing may start now because no host answers, and until when.
func (l *lane) shut(now time.Time) (time.Time, bool) {
	until := l.gate.until
	if l.path != nil && l.path.gate.until.After(until) {
		until = l.path.gate.until
	}
	return until, now.Before(until)
}

// probing tells whether the next connection is to find out if the destination is back.
func (l *lane) probing() bool {
	return l.gate.failures > 0 || l.path != nil && l.path.gate.failures > 0
}

// account is nil without a scheduler, and as long as the hosts are not known.
func (l *lane) account() *account {
	if l.path == nil {
		return nil
	}
	return l.path.account
}

// wake gets waiting deliveries onto connections: those of l's path that are idle,
// whosever turn it is, then new ones for l as its limit allows. impatient asks for a
// connection for each that waits. With mu held.
func (d *Deliverer) wake(l *lane, now time.Time, impatient bool) {
	if p := l.path; p != nil {
		for l.len() > 0 && len(p.idle) > 0 {
			c := p.idle[len(p.idle)-1]
			s, ok := d.pick(c, now)
			if !ok {
				break
			}
			p.unrest(len(p.idle) - 1)
			c.wake <- s // cap 1, and only an idle carrier is sent one: never blocks
		}
	}
	for d.mayOpen(l, now, impatient) {
		slot, ok := d.slotFor(l, impatient)
		if !ok {
			break
		}
		l.opening++
		c := &carrier{d: d, lane: l, path: l.path, wake: make(chan start, 1)}
		if l.path != nil {
			l.path.enter(1)
			d.give(c, slot)
			c.knock()
		}
		d.carriers.Go(c.run)
	}
}

// mayOpen tells whether a further connection for l is wanted and allowed. With mu held.
func (d *Deliverer) mayOpen(l *lane, now time.Time, impatient bool) bool {
	waiting := l.len()
	// From the word to stop on every connection would be called off, and the next one
	// made for what it leaves waiting.
	if waiting == 0 || d.stopping || d.soft.Err() != nil || !d.live(now) {
		return false
	}
	if _, shut := l.shut(now); shut {
		return false
	}
	if a := l.account(); a != nil && !(d.worthwhile(l, 0, now) && d.mayDial(a, 0, now)) {
		return false
	}
	if l.path == nil || l.probing() {
		// One finds the hosts, or whether they are back; the others follow it.
		return l.opening == 0 && (l.path == nil || l.path.open == 0)
	}
	if l.opening >= waiting || l.path.open >= l.limit.Connections || now.Before(l.path.full) {
		return false
	}
	// A quarter of what waits: the first connections will be back for the rest before
	// a further one stands. The ticker asks impatiently when they were not, and more
	// are made when what waits is more than half a second's work.
	return impatient && waiting > l.rate.recent(now)/2 || l.path.open < (waiting+3)/4
}

// worthwhile tells whether another connection to l's hosts would find something it
// may carry: there are permits beyond those that the connections which are free,
// or on their way but for own, will take. With mu held.
func (d *Deliverer) worthwhile(l *lane, own int, now time.Time) bool {
	free := l.account().coming() - own + len(l.path.idle)
	for _, q := range l.lines {
		p := q.purse
		if q.len() == 0 || p.held(now) {
			continue
		}
		if !p.limited() {
			return true
		}
		n, h := p.permits.Ready()
		if n > free {
			return true
		}
		if n == 0 {
			d.dried(p, h, now)
		} else {
			d.tell(p, now)
		}
	}
	return false
}

// start is a delivery on its way to a connection.
type start struct {
	held
	line    *line
	permit  Permit // of its first transaction; nil: none is needed
	most    int    // recipients that a transaction may have; 0: any number
	version uint64 // of the rules that say so
	kick    bool   // the queue is to be told that there is room
}

// pick takes the next delivery of c's path for it, with the permit it needs; not ok:
// none may start now. With mu held.
func (d *Deliverer) pick(c *carrier, now time.Time) (s start, ok bool) {
	if !d.live(now) || !c.mayStart() {
		return s, false
	}
	q := c.path.turns.next(now, func(q *line) bool {
		return q.lane.busy < q.lane.limit.Connections && q.purse.open(now) && !d.crowds(q) && d.afford(q, c, &s, now)
	})
	if q == nil {
		return s, false
	}
	permit := s.permit
	s = d.begin(q, now)
	s.permit = permit
	if permit != nil {
		d.tell(q.purse, now)
	}
	return s, true
}

// afford takes the permit for the first delivery of q. With mu held.
func (d *Deliverer) afford(q *line, c *carrier, s *start, now time.Time) bool {
	p := q.purse
	if !p.limited() {
		return true
	}
	permit, h := p.take(d.batch(q.q[q.at].recipients, p, c))
	if permit == nil {
		d.lacking(p, h, now)
		return false
	}
	d.met.permitsTaken.Add(1)
	s.permit = permit
	return true
}

// any takes the next delivery of l for what is no transaction: to be settled with
// what was found out about its hosts. With mu held.
func (d *Deliverer) any(l *lane, now time.Time) (start, bool) {
	for i, q := range l.lines {
		if q.len() > 0 {
			copy(l.lines[i:], l.lines[i+1:]) // so that not one tenant bears it all
			l.lines[len(l.lines)-1] = q
			return d.begin(q, now), true
		}
	}
	return start{}, false
}

// begin takes the first delivery of q. With mu held.
func (d *Deliverer) begin(q *line, now time.Time) start {
	l := q.lane
	s := start{held: q.pop(), line: q, version: d.version}
	l.busy++
	l.lively = now
	l.rate.add(now)
	d.started(&s.held, true)
	if q.backlog && q.aged <= q.low {
		q.low = -1 // once, until the queue asks again
		s.kick = true
	}
	if p := q.purse; p != nil {
		p.account.pass(p.class, now)
		s.most = p.maxRecipients
		p.rate.add(now)
		if len(p.asking) > 0 && p.jobs <= p.low {
			p.low = -1
			s.kick = true
		}
	}
	return s
}

// putBack returns a delivery of which nothing was tried to the front of its line:
// what kept it may be over the next moment. With mu held.
func (d *Deliverer) putBack(s *start, now time.Time) {
	l := s.line.lane
	if d.stopping {
		d.parking <- parked{held: s.held, release: true}
		return
	}
	if !slices.Contains(l.lines, s.line) {
		s.line = l.line(s.line.party) // it was empty, and forgotten meanwhile
		d.settleLine(s.line, now)
	}
	d.started(&s.held, false)
	s.line.unpop(s.held)
}
