package deliverer

import (
	"context"
	"time"

	"github.com/tarishi/tarishi/mail"
)

const fetchBatch = 256

func (d *Deliverer) fetchLoop() {
	ctx := d.soft
	failing := false
	for ctx.Err() == nil {
		n := d.waitForRoom(ctx)
		if n == 0 {
			return
		}
		jobs, err := d.c.Queue.Fetch(ctx, n)
		if len(jobs) > 0 {
			d.take(jobs, false)
		}
		if err != nil && ctx.Err() == nil {
			if !failing {
				d.c.Log.Error("cannot fetch mail from the queue; trying each second", "error", err)
			}
			failing = true
			pause(ctx, time.Second)
		} else if failing && err == nil {
			failing = false
			d.c.Log.Info("fetching mail from the queue again")
		}
	}
}

func (d *Deliverer) drainLoop() {
	ctx := d.soft
	one := make([]Job, 1)
	for ctx.Err() == nil {
		err := d.c.Queue.Drain(ctx, d.room, func(j Job) {
			one[0] = j
			d.take(one, true)
		})
		if err != nil && ctx.Err() == nil {
			d.c.Log.Error("cannot read waiting mail; trying again in a second", "error", err)
		}
		pause(ctx, time.Second)
	}
}

// fetchable is how many deliveries the fetcher may take now; 0 until it is worth
// a fetch. With mu held.
func (d *Deliverer) fetchable() int {
	n := min(d.mostOfKind()-(d.hand-d.aged), d.c.HandJobs-d.hand, fetchBatch)
	if n < d.leastFetch() || d.bytes >= d.c.HandBytes {
		return 0
	}
	if !d.live(time.Now()) {
		return 0 // what may not start stays where another node can have it
	}
	return n
}

// leastFetch is how many deliveries are worth a fetch.
func (d *Deliverer) leastFetch() int {
	most := d.mostOfKind()
	return min(min(fetchBatch, most)/4+1, max(d.kept()/2, 1))
}

// waitForRoom returns how many deliveries the hand can take, 0 when ctx has ended.
func (d *Deliverer) waitForRoom(ctx context.Context) int {
	for {
		d.mu.Lock()
		n := d.fetchable()
		if n == 0 && !d.starving {
			d.starved = time.Now()
		}
		d.starving = n == 0
		d.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-ctx.Done():
			return 0
		case <-d.roomy:
		}
	}
}

// feed tells the fetcher that there is room, if it waits for that.
func (d *Deliverer) feed() {
	select {
	case d.roomy <- struct{}{}:
	default:
	}
}

// drop takes an ended delivery off the hand.
func (d *Deliverer) drop(h held) {
	d.mu.Lock()
	d.hand--
	d.bytes -= h.bytes
	d.started(&h, false)
	d.portion(h.party()).n--
	if h.aged {
		d.aged--
	}
	wake := d.starving && d.fetchable() > 0
	if wake {
		d.starving = false
	}
	kick := d.refused && d.slack() >= max(d.kept(), 1)
	if kick {
		d.refused = false
	}
	d.mu.Unlock()
	if kick {
		d.c.Queue.Kick()
	}
	if wake {
		d.feed()
	}
}

// take puts claimed deliveries into the hand and on their way.
func (d *Deliverer) take(jobs []Job, waited bool) {
	now := time.Now()
	patience := d.c.Patience
	if waited {
		// It was read because there was room; storing it again costs more than holding it a little.
		patience *= 10
	}
	var back []parked
	d.mu.Lock()
	d.keepUp(now)
	for _, j := range jobs {
		env := j.Envelope()
		h := held{job: j, env: env, recipients: len(env.Recipients), since: now, until: now.Add(patience), aged: waited, bytes: int64(len(j.Bytes()))}
		if h.bytes == 0 {
			h.bytes = 4 << 10 // its envelope and the chunk being read
		}
		d.hand++
		d.bytes += h.bytes
		d.portion(h.party()).n++
		if waited {
			d.aged++
		}
		if x, ok := j.(Late); ok && x.Overdue() {
			back = append(back, parked{held: h, due: env.Due}) // it expires there, or its sender is told
			continue
		}
		q := d.laneOf(&h).line(h.party())
		d.settleLine(q, now)
		q.lively = now
		if waited && q.promised > 0 {
			q.promised--
			q.purse.promised--
		}
		if a, number := j.Decided(); a != nil {
			back = append(back, parked{held: h, decided: a, number: number})
			continue
		}
		if p, goes := d.place(q, h, now); goes {
			back = append(back, p)
		}
	}
	rouse := d.resting
	d.resting = false
	d.mu.Unlock()
	if rouse {
		d.rouse()
	}
	d.park(back)
}

// place puts a delivery of the hand into its line; or it goes, back to the queue or
// to be looked into. With mu held.
func (d *Deliverer) place(q *line, h held, now time.Time) (back parked, goes bool) {
	l := q.lane
	if d.stopping {
		return parked{held: h, release: true}, true
	}
	from, shuts := d.chance(h.env.Message, now)
	if from.After(now) {
		return parked{held: h}, true // it is due when it may go
	}
	if !shuts.IsZero() && h.until.After(shuts) {
		h.until = shuts
	}
	if !h.cleared && d.suspect(h.env) {
		return parked{held: h, suspect: true}, true
	}
	if until, shut := l.shut(now); shut {
		return parked{held: h, due: until}, true
	}
	if q.purse.held(now.Add(lead)) {
		// What has waited is let go untouched, unless its sender is to be told something.
		return parked{held: h, release: h.aged && !d.overAge(h.env, now) && !d.owesDelay(h.env, now)}, true
	}
	if !h.aged && q.asking && q.purse.limited() {
		// More waits than may go, and it has waited for longer: were the new mail to go
		// first, the old would never have its turn while new mail comes.
		return parked{held: h}, true
	}
	at := d.doorOf(q).at(q.party)
	if !h.aged && (q.len()-q.aged+at.n-at.aged >= d.share(q, now) || !d.stays(q, now)) {
		return parked{held: h}, true
	}
	if l.len() == 0 && l.busy == 0 && now.Sub(l.lively) > d.c.Patience {
		l.since = now
	}
	l.lively = now
	if !h.asked && d.asks() {
		d.enter(q, h, now)
		return back, false
	}
	d.started(&h, false)
	q.push(h)
	if q.purse.limited() {
		d.tell(q.purse, now)
	}
	d.wake(l, now, false)
	return back, false
}

// share is how many new deliveries may wait in memory in q: what its lane has lately
// shown it can start within its patience, by q's part of it. A lane that has just
// begun gets the benefit of the doubt for that time: a burst for a fast destination
// would otherwise be stored twice before its first connection stands. The price is
// that a burst for a slow one may fill the hand, until makeRoom finds that it does.
func (d *Deliverer) share(q *line, now time.Time) int {
	l := q.lane
	if now.Sub(l.since) < d.c.Patience {
		return d.c.HandJobs
	}
	n := l.depth(now)
	if now.Sub(q.asked) >= time.Second {
		// Not more: a dozen slow destinations with a share they cannot use would fill the hand.
		n = max(n, int(float64(l.rate.recent(now))*d.c.Patience.Seconds()))
	} // else what waits in the queue is older: new mail gets no more than it does
	return min(max(l.part(q, n, now), 1), d.c.HandJobs)
}

// depth is how many that waited are kept in memory so that no connection runs dry:
// what a quarter of a second takes.
func (l *lane) depth(now time.Time) int {
	free := l.limit.Connections - l.busy
	if l.account().binds(l) {
		free = max(l.path.connected-l.busy, 0) // others are not ours to count on
	}
	return 2*free + l.rate.recent(now)/4
}

// part is q's part of n, by the weights of the lines that have something, or have it
// in the queue. A higher class goes first, and needs no more than a few to do so.
func (l *lane) part(q *line, n int, now time.Time) int {
	sum := 0
	for _, x := range l.lines {
		if x == q || x.len() > 0 || now.Sub(x.asked) < time.Second {
			sum += x.weight
		}
	}
	return (n*q.weight + sum - 1) / sum
}

// limited tells whether some of its mail needs permits, or is held.
func (l *lane) limited() bool {
	for _, q := range l.lines {
		if p := q.purse; p.limited() || p != nil && !p.until.IsZero() {
			return true
		}
	}
	return false
}

// scouts are read of a lane whose hosts are not known, to find out what binds it.
const scouts = 4

// room says how many deliveries of a line that waited may be read now.
func (d *Deliverer) room(line mail.Line) int {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if live := d.keepUp(now); d.stopping || !live {
		d.refused = true
		return 0
	}
	of := party{line.Tenant, line.Class}
	k := laneKey{dest: line.Destination, route: d.c.Routes.known(line.Route)}
	door := d.doors[k]
	outside := door.at(of)
	if v := door.leads(); v != nil && d.asks() {
		k.via = v.key
	}
	l := d.lanes[k]
	if l == nil {
		n := 2 * d.c.Rules.For(line.Destination).Connections
		if d.c.Scheduler != nil {
			n = min(n, scouts)
		}
		return max(min(n-outside.n, d.spaceFor(of, now)), 0)
	}
	q := l.line(of)
	d.settleLine(q, now)
	q.asked, q.lively = now, now
	if _, shut := l.shut(now); shut {
		return 0
	}
	a, n := l.account(), 0
	switch {
	case a == nil && d.c.Scheduler != nil:
		q.backlog, q.low = true, 0
		n = scouts - l.aged - outside.n
	case a.binds(l):
		q.backlog = false // its purse says when there is room
		n = d.roomWithin(q, now)
	default:
		// All connections are busy, however slowly: one ready for the first that is free.
		want := max(l.part(q, l.depth(now), now), 1)
		q.backlog, q.low = true, want/2
		n = want - q.aged - outside.aged
	}
	if n <= 0 {
		return 0
	}
	space := d.spaceFor(of, now)
	if p := q.purse; q.promised > space {
		p.promised -= q.promised - space
		q.promised = space
	}
	return min(n, space)
}

// roomWithin is room for a line that limits bind. With mu held.
func (d *Deliverer) roomWithin(q *line, now time.Time) int {
	p := q.purse
	defer d.tell(p, now)
	if p.held(now.Add(lead)) {
		p.ask(q) // so that the scheduler knows who waits
		return 0
	}
	return d.roomFor(p, q, now)
}
