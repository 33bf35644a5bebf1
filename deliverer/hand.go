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
	// A quarter is left to mail that has waited before, or a flood of new mail would starve it.
	ready := max(d.c.HandJobs*3/4, 1)
	n := min(ready-d.hand, fetchBatch)
	if n < min(fetchBatch, ready)/4+1 && n < ready || d.bytes >= d.c.HandBytes {
		return 0
	}
	if !d.live(time.Now()) {
		return 0 // what may not start stays where another node can have it
	}
	return n
}

// waitForRoom returns how many deliveries the hand can take, 0 when ctx has ended.
func (d *Deliverer) waitForRoom(ctx context.Context) int {
	for {
		d.mu.Lock()
		n := d.fetchable()
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
	wake := d.starving && d.fetchable() > 0
	if wake {
		d.starving = false
	}
	kick := d.refused && d.hand <= d.c.HandJobs*3/4 && d.bytes < d.c.HandBytes
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
		l := d.laneOf(env)
		q := l.line(env.Message.Tenant, env.Message.Class)
		d.settleLine(q, now)
		q.lively = now
		if waited {
			q.waits = now
		}
		if waited && q.promised > 0 {
			q.promised--
			q.purse.promised--
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
		q.waits = now
		return d.heldBack(q, h, now), true
	}
	if !h.aged && l.len()-l.aged >= d.share(l, now) {
		q.waits = now
		return parked{held: h}, true
	}
	if l.len() == 0 && l.busy == 0 && now.Sub(l.lively) > d.c.Patience {
		l.since = now
	}
	l.lively = now
	q.push(h)
	if q.purse.limited() {
		d.tell(q.purse, now)
	}
	d.wake(l, now, false)
	return back, false
}

// heldBack says how a delivery goes back whose window is shut. With mu held.
func (d *Deliverer) heldBack(q *line, h held, now time.Time) parked {
	switch {
	case !h.aged:
		return parked{held: h}
	case d.overAge(h.env, now) || d.owesDelay(h.env, now):
		q.inspect = now // there may be more of them
		return parked{held: h}
	}
	// The oldest of its line, more or less: nothing need be looked at before it.
	q.inspect = h.env.Expires
	if t := d.firstChance(h.env.Message).Add(d.c.DelayNotice); d.c.DelayNotice > 0 && !h.env.DelayNoticed {
		q.inspect = t
	}
	if least := now.Add(inspectPause); q.inspect.Before(least) {
		q.inspect = least
	}
	return parked{held: h, release: true}
}

// inspectPause is how often one delivery of a line whose window is shut is read
// to see whether its time is up, or its sender must be told that it is late.
const inspectPause = 15 * time.Minute

// share is how many deliveries may wait in memory for l: what it has lately shown
// it can start within its patience. One that has just begun gets the benefit of
// the doubt for that time: a burst for a fast destination would otherwise be
// stored twice before its first connection stands. The price is that a burst for
// a slow one may fill the hand, and hold up others, for a second, once.
func (d *Deliverer) share(l *lane, now time.Time) int {
	if now.Sub(l.since) < d.c.Patience {
		return d.c.HandJobs
	}
	if now.Sub(l.asked) < time.Second {
		// What waits in the queue is older: new mail gets no more than it does.
		return max(l.depth(now), 1)
	}
	// Not more: a dozen slow destinations with a share they cannot use would fill the hand.
	worth := float64(l.rate.recent(now)) * d.c.Patience.Seconds()
	return min(max(l.depth(now), int(worth), 1), d.c.HandJobs)
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
	d.keepUp(now)
	if d.stopping || d.hand >= d.c.HandJobs || d.bytes >= d.c.HandBytes || !d.live(now) {
		d.refused = true
		return 0
	}
	space := d.c.HandJobs - d.hand
	l := d.lanes[laneKey{line.Destination, d.c.Routes.known(line.Route)}]
	if l == nil {
		n := 2 * d.c.Rules.For(line.Destination).Connections
		if d.c.Scheduler != nil {
			n = min(n, scouts)
		}
		return min(n, space)
	}
	l.asked = now
	if _, shut := l.shut(now); shut {
		return 0
	}
	a := l.account()
	if a == nil && d.c.Scheduler != nil {
		l.backlog, l.low = true, 0
		return max(min(scouts-l.aged, space), 0)
	}
	if a.binds(l) {
		q := l.line(line.Tenant, line.Class)
		d.settleLine(q, now)
		return min(d.roomWithin(q, now), space)
	}
	want := max(l.depth(now), 1) // all connections are busy, however slowly: one ready for the first that is free
	l.backlog, l.low = true, want/2
	return max(min(want-l.aged, space), 0)
}

// roomWithin is room for a line that limits bind. With mu held.
func (d *Deliverer) roomWithin(q *line, now time.Time) int {
	l, p := q.lane, q.purse
	q.asked, q.lively = now, now
	l.backlog, l.low = true, -1
	defer d.tell(p, now)
	if !p.held(now.Add(lead)) {
		return d.roomFor(p, q, now)
	}
	p.ask(q) // so that the scheduler knows who waits
	switch {
	case q.inspect.IsZero():
		q.inspect = now.Add(inspectPause)
	case !now.Before(q.inspect):
		q.inspect = now.Add(inspectPause)
		return 1
	}
	return 0
}
