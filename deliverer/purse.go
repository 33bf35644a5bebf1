package deliverer

import (
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// purse is what the scheduler gives us to spend on one party's mail for one
// destination: permits, if it is limited. It knows what they could be spent on, in the
// hand and in the queue, and says so to the scheduler, which shares a window among
// purses, ours and other nodes', by class and weight. Where nothing is to be asked for
// all parties have one purse.
// Guarded by Deliverer.mu.
type purse struct {
	account *account
	party
	weight int // of its tenant

	permits       Permits // nil: nothing to be asked for
	maxRecipients int     // in one transaction; 0: any number
	suspended     bool    // nothing may start before the rules change
	undialled     bool    // held for want of a connection
	until         time.Time
	why           string    // nothing may start before until
	dry           time.Time // no permit is in hand: not worth another look before
	returned      time.Time // a permit was given back last

	lines      int           // that spend from it
	waiting    []*line       // those with something in the hand, in turn
	jobs       int           // in the hand
	recipients int           // and theirs
	outside    int           // at doors, where plugins are asked
	thinks     time.Duration // what they take for one, about
	shut       time.Time     // its window was found shut for long, last
	urgent     int           // carriers in the middle of an attempt that wait for a permit
	urgentHead int           // the most recipients that one of these has

	counted    bool    // in its account's weights
	asking     []*line // those with more in the queue, the one served longest ago first
	promised   int     // how many the queue may still be reading for them
	promisedAt time.Time
	low        int       // so few in the hand: tell the queue that there is room; -1: it knows
	kicked     time.Time // it was told last

	rate rate
	told want
}

// want is what was said of the demand last.
type want struct{ n, recipients, head int }

const (
	// soon is how long something may wait in the hand for a permit: a window that
	// opens later is no reason to hold on to it.
	soon = time.Second
	// lead is how long before a window opens its mail is looked for.
	lead = 200 * time.Millisecond
	// askingFor bounds how long the queue's word that more of a lane waits is
	// believed: it asks for room more often than that.
	askingFor = 15 * time.Second
	// answerTime is within which the queue asks for room when it is told that there is some.
	answerTime = 2 * time.Second
	// promiseTime is within which the queue reads what it found room for.
	promiseTime = 500 * time.Millisecond
)

// limited tells whether transactions need a permit.
func (p *purse) limited() bool { return p != nil && p.permits != nil }

// held tells whether its window is shut for longer than anything should wait for it.
func (p *purse) held(now time.Time) bool {
	return p != nil && (p.suspended || now.Before(p.until))
}

// open tells whether it is worth asking for a permit.
func (p *purse) open(now time.Time) bool {
	return p == nil || !p.held(now) && !now.Before(p.dry)
}

// weigh keeps the sum of the weights of an account's purses that have something to
// spend on. It is called when that may have changed.
func (p *purse) weigh() {
	if wants := p.jobs > 0 || len(p.asking) > 0; wants != p.counted {
		p.counted = wants
		if wants {
			p.account.weights += p.weight
		} else {
			p.account.weights -= p.weight
		}
		p.account.lightest = 0
		for _, x := range p.account.purses {
			if x.counted && (x.weight < p.account.lightest || p.account.lightest == 0) {
				p.account.lightest = x.weight
			}
		}
	}
}

// part is this purse's part, by weight, of n that all purses of the account share.
func (p *purse) part(n int) int {
	sum := p.account.weights
	if !p.counted {
		sum += p.weight
	}
	return (n*p.weight + sum - 1) / sum
}

// count notes that n deliveries came into q, or left it.
func (p *purse) count(q *line, n, recipients int) {
	p.jobs += n
	p.recipients += recipients
	p.account.jobs += n
	p.account.tendAt = time.Time{}
	if n > 0 && !q.enlisted {
		q.enlisted = true
		p.waiting = append(p.waiting, q)
	}
	p.weigh()
}

// next is the line whose turn it is, nil when nothing waits.
func (p *purse) next() *line {
	for len(p.waiting) > 0 {
		q := p.waiting[0]
		if q.len() > 0 {
			copy(p.waiting, p.waiting[1:])
			p.waiting[len(p.waiting)-1] = q
			return q
		}
		q.enlisted = false
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
	return nil
}

// belong makes q spend from p; nil: from none, until its destination is known.
func (q *line) belong(p *purse) {
	if old := q.purse; old != nil {
		n, r := q.sums()
		old.count(q, -n, -r)
		old.lines--
		old.waiting = slices.DeleteFunc(old.waiting, func(x *line) bool { return x == q })
		old.unask(q)
	}
	q.purse, q.enlisted = p, false
	if p != nil {
		p.lines++
		if n, r := q.sums(); n > 0 {
			p.count(q, n, r)
		}
	}
}

func (q *line) sums() (jobs, recipients int) {
	for i := range q.q[q.at:] {
		recipients += q.q[q.at+i].recipients
	}
	return q.len(), recipients
}

// able is how many could start before the next permits come: what connections are
// free for now and shortly. More would lapse in our hand, and others could have
// used them. A heavy tenant asks for more than a light one, or a window that has room
// for all that is asked for in a moment would be shared without regard to weight.
func (p *purse) able(now time.Time) int {
	some := 1
	if least := p.account.lightest; least > 0 {
		some = min(max(p.weight/least, 1), 8)
	}
	a := p.account
	return some + (a.idle+a.rate.recent(now)/4)*p.weight/max(a.weights, p.weight)
}

const (
	// bulkTurn is how many starts of higher classes pass bulk mail for the same destination.
	bulkTurn = 20
	// bulkPause is after how long it may have one in any case.
	bulkPause = 15 * time.Second
)

// bulkMay tells whether bulk mail may ask for permits: nothing of a higher class has a
// use for them, or it has had its fill. What they ask for at a time is bounded by
// their connections, so that there may be permits left for a moment that they will
// want in the next.
func (a *account) bulkMay(now time.Time) bool {
	if a.passed >= bulkTurn || now.Sub(a.bulkAt) >= bulkPause {
		return true
	}
	for _, p := range a.purses {
		if p.class != mail.Bulk && p.counted && !p.held(now) {
			return false
		}
	}
	return true
}

// pass notes a start of a class.
func (a *account) pass(c mail.Class, now time.Time) {
	a.rate.add(now)
	a.passed++
	if c == mail.Bulk {
		a.passed, a.bulkAt = 0, now
	}
}

// tell says how many could start. With mu held.
func (d *Deliverer) tell(p *purse, now time.Time) {
	if !p.limited() {
		return
	}
	var w want
	if !d.stopping && !p.suspended {
		able := p.able(now)
		w.n = min(p.jobs, able)
		if len(p.asking) > 0 {
			w.n = able
		}
		if p.class == mail.Bulk && !p.account.bulkMay(now) {
			w.n = 0
		}
		w.n += p.urgent
	}
	if w.n < p.told.n {
		// What is in hand is kept as long as there is something to spend it on.
		if ready, _ := p.permits.Ready(); ready > w.n {
			w.n = max(w.n, min(ready, p.jobs))
			if w.n < ready {
				p.returned = now
			}
		}
	}
	if w.n > 0 {
		w.head = p.head(d)
		w.recipients = max(w.n, w.head)
		if p.jobs > 0 {
			w.recipients = max(w.recipients, p.recipients*min(w.n, p.jobs)/p.jobs)
		}
	}
	if w != p.told {
		p.told = w
		p.permits.Want(w.n, w.recipients, w.head)
	}
}

// take takes a permit for so many recipients; nil: see Permits.Take. With mu held.
func (p *purse) take(recipients int) (Permit, Hold) {
	permit, h := p.permits.Take(recipients)
	if permit != nil { // the scheduler counts down, and so do we
		p.told.n, p.told.recipients = max(p.told.n-1, 0), max(p.told.recipients-recipients, 0)
	}
	return permit, h
}

// silent tells whether the scheduler says nothing at all of what we want: neither
// permits come, nor a hold. It is looking for a leader.
func (p *purse) silent(now time.Time) bool {
	return p.limited() && !p.held(now) && p.told.n > 0 && p.rate.recent(now) == 0
}

// head is the most recipients that a transaction which could be the next one has.
func (p *purse) head(d *Deliverer) int {
	most := max(p.urgentHead, 1)
	for _, q := range p.waiting[:min(len(p.waiting), 8)] {
		if q.len() > 0 {
			most = max(most, d.batch(q.q[q.at].recipients, p, nil))
		}
	}
	return most
}

// batch is how many of so many recipients fit into one transaction.
func (d *Deliverer) batch(recipients int, p *purse, c *carrier) int {
	n := min(recipients, d.c.MaxRecipients)
	if p != nil && p.maxRecipients > 0 {
		n = min(n, p.maxRecipients)
	}
	if c != nil && c.rcptMax > 0 { // RFC 9422 §4.2
		n = min(n, c.rcptMax)
	}
	return n
}

// lacking is dried after a permit was not to be had for so many recipients: if there
// are any, they are too small for what comes next, and go back. With mu held.
func (d *Deliverer) lacking(p *purse, h Hold, now time.Time) {
	if n, _ := p.permits.Ready(); n > 0 {
		p.permits.Want(0, 0, 0)
		p.told, p.returned = want{}, now
	}
	d.dried(p, h, now)
}

// dried notes that p has no permit, and what the scheduler said of the next one.
// A window that is shut for long has its mail given back. With mu held.
func (d *Deliverer) dried(p *purse, h Hold, now time.Time) {
	if h.NotBefore.After(now.Add(soon)) {
		if now.Sub(p.returned) >= tick {
			d.hold(p, h, now)
			return
		}
		h = Hold{} // it was said when a permit of ours was still out
	}
	if p.dry = h.NotBefore; !p.dry.After(now) {
		p.dry = now.Add(tick) // news will come first
	}
	d.tell(p, now)
}

// hold gives back what waits for p: nothing may start before h. With mu held.
func (d *Deliverer) hold(p *purse, h Hold, now time.Time) {
	if !p.held(now) {
		d.met.holds.Add(1)
	}
	p.until, p.why, p.shut = h.NotBefore, h.Why, now
	// What was read from the queue for a permit that did not come costs less to keep
	// for a moment than to store once more.
	short := h.NotBefore.Before(now.Add(5 * time.Second))
	var back []held
	for _, q := range p.waiting {
		back = q.takeIf(back, func(h *held) bool { return !short || !h.aged })
	}
	d.met.permitsRefused.Add(uint64(len(back)))
	d.parkAll(back, time.Time{})
	d.tell(p, now)
	d.rouse()
}

// reopen ends a hold. With mu held.
func (p *purse) reopen() {
	p.until, p.why, p.dry, p.undialled = time.Time{}, "", time.Time{}, false
	p.account.tendAt = time.Time{}
}
