package deliverer

import (
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// path is the way to one set of hosts of one destination, shared by all domains
// that lead there: its connections, and the lanes that wait for one. A route makes
// a path of its own for each domain, so that one slow destination behind a shared
// next hop does not take the connections of the others. Guarded by Deliverer.mu.
type path struct {
	pathKey
	mx        []string   // the names of its hosts; nil: a route, or the domain's own address
	account   *account   // what the scheduler lets us have there; nil without one
	lanes     int        // lanes that lead here
	waiting   []*lane    // those with deliveries waiting, and perhaps others
	turns     turns      // whose is the next
	open      int        // carriers, those on their way included
	opening   int        // carriers on their way to a first connection
	connected int        // carriers with a connection
	idle      []*carrier // connected, with nothing to do; the last one used is the first taken
	gate      gate       // shut while no host answers
	full      time.Time  // a further connection was refused while others stood: no more until then
	broken    int        // attempts in a row whose connections broke on every host
	bad       map[string]time.Time
}

// pathKey tells paths apart: connections never cross destinations, or what is
// counted for one would be spent by another.
type pathKey struct {
	to   shaping.Destination // without a scheduler the zero one
	site string
	via  string // key of where plugins send it; empty: nowhere else
}

const (
	// fullPause is how long we make do with the connections a destination gave us
	// before we ask for one more.
	fullPause = 5 * time.Second
	// badPause is how long a host that did not answer is tried after the others.
	badPause = time.Minute
	// probePause keeps what waited in vain for a probe out of memory.
	probePause = 15 * time.Second
	// brokenLimit attempts in a row that broke on every host count as no host answering.
	brokenLimit = 3
)

// enlist notes that something waits in q. With mu held.
func (p *path) enlist(q *line) {
	if !q.inTurn {
		p.turns.add(q, q.weight)
	}
	if l := q.lane; !l.ring {
		l.ring = true
		p.waiting = append(p.waiting, l)
	}
}

// tidy drops the lanes that have run empty. With mu held.
func (p *path) tidy() {
	p.waiting = slices.DeleteFunc(p.waiting, func(l *lane) bool {
		l.ring = l.len() > 0
		return !l.ring
	})
}

// name is the path's site as logs show it.
func (p *path) name() string {
	_, name, _ := strings.Cut(p.site, " ")
	return name
}

// leave takes l off its path. With mu held.
func (l *lane) leave() {
	p := l.path
	if p == nil {
		return
	}
	l.path = nil
	for _, q := range l.lines {
		q.belong(nil)
		p.turns.remove(q)
	}
	p.lanes--
	if l.ring {
		l.ring = false
		p.waiting = slices.DeleteFunc(p.waiting, func(x *lane) bool { return x == l })
	}
}

// join leads l to the path of a site, made when needed. With mu held.
func (d *Deliverer) join(l *lane, site string, mx []string) *path {
	k := pathKey{site: site, via: l.via}
	if d.c.Scheduler != nil {
		k.to = l.destination(d, mx)
	}
	p := d.paths[k]
	if p == nil {
		p = &path{pathKey: k, mx: mx}
		d.paths[k] = p
		if d.c.Scheduler != nil {
			p.account = d.account(k.to)
			p.account.paths[p] = struct{}{}
		}
	}
	if l.path != p {
		l.leave()
		l.path = p
		p.lanes++
		d.settleLane(l, time.Now())
		for _, q := range l.lines {
			if q.len() > 0 {
				p.enlist(q)
			}
		}
	}
	return p
}

// settleLane gives l the limits of its path, and each of its lines a purse. With mu held.
func (d *Deliverer) settleLane(l *lane, now time.Time) {
	l.limit = d.c.Rules.For(l.dest)
	if a := l.account(); a != nil {
		if a.limits.Slots {
			l.limit.Connections = a.limits.Connections
		}
		if a.limits.PerConnection > 0 {
			l.limit.PerConnection = a.limits.PerConnection
		}
	}
	for _, q := range l.lines {
		d.settleLine(q, now)
	}
}

// settleLine gives q its weight and its purse: one of its own where there is
// something to be asked for, so that the scheduler knows for whom. With mu held.
func (d *Deliverer) settleLine(q *line, now time.Time) {
	q.weight = d.weight(q.tenant)
	a := q.lane.account()
	if a == nil {
		return
	}
	var of party
	if a.limits.Permits || a.limits.Tenants || a.slots != nil || a.dials != nil {
		of = q.party
	}
	if p := q.purse; p == nil || p.account != a || p.party != of {
		p := d.purse(a, of, now)
		q.belong(p)
		if p.held(now) && q.len() > 0 {
			// Nobody knew that its window is shut, or its destination suspended, when it was
			// read to find that out.
			d.hold(p, Hold{NotBefore: p.until, Why: p.why}, now)
		}
	}
}

// forget drops a path that nobody uses. With mu held.
func (d *Deliverer) forget(p *path) {
	delete(d.paths, p.pathKey)
	if p.account != nil {
		delete(p.account.paths, p)
		d.due(p.account)
	}
}

// enter counts n more carriers of p; the next three keep its account in step too.
func (p *path) enter(n int) {
	p.open += n
	if p.account != nil {
		p.account.open += n
	}
}

func (p *path) connect(n int) {
	p.connected += n
	if p.account != nil {
		p.account.connected += n
	}
}

// rest and unrest put a carrier among the idle ones and take one out.
func (p *path) rest(c *carrier) {
	p.idle = append(p.idle, c)
	if p.account != nil {
		p.account.idle++
	}
}

func (p *path) unrest(i int) {
	p.idle = slices.Delete(p.idle, i, i+1)
	if p.account != nil {
		p.account.idle--
	}
}

// gate is shut while a destination does not answer. Guarded by Deliverer.mu.
type gate struct {
	failures int       // in a row
	until    time.Time // shut before
	told     bool      // its reopening has been passed on
}

func (g *gate) fail(b shaping.Backoff, key string, now time.Time) {
	g.failures++
	g.until = now.Add(b.Pause(key, g.failures))
	g.told = false
}

// reopen ends the pause. If nobody answers again, the next one is the longer.
func (g *gate) reopen(now time.Time) {
	if now.Before(g.until) {
		g.until = now
	}
}

// pass notes that a host answered.
func (g *gate) pass() { *g = gate{} }

// reopened is true once after each shutting has run out.
func (g *gate) reopened(now time.Time) bool {
	if g.told || g.until.IsZero() || now.Before(g.until) {
		return false
	}
	g.told = true
	return true
}

// shutting is what a destination found dead leaves to be done without the lock.
type shutting struct {
	waiting []held // to be given back, none of them attempted
	until   time.Time
	name    string // of what was shut just now; empty: nothing was
	times   int    // failures in a row
}

// shutPath notes that no host of p answered and, unless connections stand or are
// still on their way, shuts it. With mu held.
func (d *Deliverer) shutPath(p *path, now time.Time) (s shutting) {
	if p.connected > 0 || p.opening > 0 {
		p.full = now.Add(fullPause)
		return s
	}
	if !now.Before(p.gate.until) { // else another connection has found out already
		s.name = p.name()
		d.shutGate(&p.gate, &s, now)
	}
	for _, l := range p.waiting {
		l.ring = false
		s.waiting = l.takeAll(s.waiting)
	}
	clear(p.waiting)
	p.waiting = p.waiting[:0]
	s.until = p.gate.until
	return s
}

// shutLane notes that the hosts of l cannot be found. With mu held.
func (d *Deliverer) shutLane(l *lane, now time.Time) (s shutting) {
	s.name = string(l.dest)
	d.shutGate(&l.gate, &s, now)
	s.waiting, s.until = l.takeAll(nil), l.gate.until
	return s
}

func (d *Deliverer) shutGate(g *gate, s *shutting, now time.Time) {
	g.fail(d.c.Backoff, s.name, now)
	s.times = g.failures
	d.met.shut.Add(1)
}

// shut says once what happened, and gives back what waited. Without mu.
func (d *Deliverer) shut(s shutting, why *failure) {
	if s.name != "" {
		d.c.Log.Warn("destination does not answer; its mail waits", "destination", s.name, "until", s.until,
			"failures", s.times, "host", why.host, "reply", why.reply.String(), "waiting", len(s.waiting))
	}
	d.parkAll(s.waiting, s.until)
}

// TryAgain has a destination's hosts tried again that did not answer and would
// otherwise be left alone for a while: an operator knows that they are back.
func (d *Deliverer) TryAgain(dest mail.Domain, route string) {
	k, now := laneKey{dest: dest, route: d.c.Routes.known(route)}, time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanesOf(k) {
		if _, shut := l.shut(now); shut {
			l.gate.reopen(now)
			if l.path != nil {
				l.path.gate.reopen(now)
			}
			d.rouse()
		}
	}
}
