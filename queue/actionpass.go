package queue

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tarishi/tarishi/hours"
	"github.com/tarishi/tarishi/mail"
)

// pass goes once over what waits in some partitions and does an action to what it
// means. One goroutine runs it; others ask how far it is.
type pass struct {
	q      *Queue
	x      *acting
	id     string
	parts  []uint32
	m      *matcher
	meant  func(*mail.Delivery) bool
	holds  map[uint32]*hold // in a cluster: by which the partitions are ours
	save   func(ctx context.Context, of []uint32, seq uint64, done bool) error
	saved  time.Time
	ending bool // what it saves from now on is its last word
	since  int  // jobs ended since the last Flush
	hours  map[string]*hours.Hours

	mu           sync.Mutex
	res          Result
	last, at     uint64 // of WAIT: where it will end, where it is
	looked, most int64  // records looked at, and to be looked at, as far as is known
	err          string
}

func (q *Queue) newPass(x *acting, parts []uint32) *pass {
	m := newMatcher(x.Filter)
	return &pass{q: q, x: x, id: mail.NewID(time.Now()), parts: parts, m: m, meant: x.meant(m), holds: map[uint32]*hold{}}
}

// meant tells which deliveries an action means: those of its filter that had come in
// when it was asked for, and that it has not changed yet.
func (x *acting) meant(m *matcher) func(*mail.Delivery) bool {
	return func(d *mail.Delivery) bool {
		if d.Operator != nil && d.Operator.Action == x.ID || d.Message.Received.After(x.At) {
			return false
		}
		return m.match(d)
	}
}

// report tells how far the pass is.
func (p *pass) report() passReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := passReport{Of: p.parts, Result: p.res, Error: p.err}
	if p.most > 0 {
		r.Share = min(float64(p.looked)/float64(p.most), 1)
	}
	return r
}

func (p *pass) count(f func(*Result)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.res)
}

func (p *pass) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err.Error()
}

// saveEvery is how often a pass stores how far it is: what was done since is done again
// after a crash.
const saveEvery = 5 * time.Second

// flushEvery bounds what is being stored anew at a time, each with its body.
const flushEvery = 2048

// over goes over WAIT from a sequence on, to what is its end now. What is stored later
// is new mail, or was in a hand, where the action stands.
func (p *pass) over(ctx context.Context, from uint64) error {
	q := p.q
	st, err := q.streamState(ctx, streamWait, "")
	if err != nil {
		return err
	}
	if err := q.roomFor(p.x.Verb); err != nil {
		return err
	}
	p.saved = time.Now()
	p.mu.Lock()
	p.at, p.last = from-1, st.LastSeq
	p.mu.Unlock()
	if q.team != nil {
		for _, n := range p.parts {
			if h := q.team.holdOf(n); h != nil && h.working.Load() {
				p.holds[n] = h
			}
		}
	}
	var found looked
	byID := false
	if p.m.ID != "" {
		found, byID = q.recordsOf(ctx, p.m.message)
	}
	switch {
	case byID:
		err = q.eachLooked(ctx, looked{Wait: found.Wait}, func(m stored) error { return p.one(ctx, m, 0) })
	case p.x.Verb == Remove && p.m.whole():
		err = p.removeAll(ctx)
	default:
		err = p.walk(ctx, from)
	}
	if err != nil {
		return err
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	return p.save(ctx, p.kept(), p.last, true)
}

// kept are the partitions that were ours all the time. Another holder does the rest.
func (p *pass) kept() []uint32 {
	if p.q.team == nil {
		return p.parts
	}
	return slices.DeleteFunc(slices.Clone(p.parts), func(n uint32) bool {
		h := p.holds[n]
		return h == nil || !h.working.Load() || p.q.team.holdOf(n) != h
	})
}

// subjects are those that the pass reads.
func (p *pass) subjects() []string {
	if p.q.team == nil {
		return p.m.subjects(nil)
	}
	var held []uint32
	for n := range p.holds {
		held = append(held, n)
	}
	if len(held) == 0 {
		return nil
	}
	slices.Sort(held)
	return p.m.subjects(held)
}

// read gives each batch of records to take, in order, from a sequence on to the pass's end.
func (p *pass) read(ctx context.Context, from uint64, headers bool, take func([]stored) error) error {
	q := p.q
	subjects := p.subjects()
	if len(subjects) == 0 || p.last < from {
		return nil
	}
	in := q.newReader(from, subjects...)
	in.headers = headers
	defer in.close()
	for tries := 0; ; {
		ms, err := in.read(ctx, readMax)
		if err != nil {
			return err
		}
		if len(ms) == 0 {
			// The end must be one: a reader is told of new records a moment late, and a
			// replica may lag behind.
			if ms, err = in.fresh(ctx, readMax); err != nil {
				return err
			}
			if len(ms) == 0 {
				if q.team == nil || tries == replicaTries {
					return nil
				}
				tries++
				in.close()
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(20 * time.Millisecond):
				}
				continue
			}
		}
		p.mu.Lock()
		if p.most == 0 {
			p.most = ms[0].behind + 1
		}
		p.looked += int64(len(ms))
		p.mu.Unlock()
		if i := slices.IndexFunc(ms, func(m stored) bool { return m.seq > p.last }); i >= 0 {
			return take(ms[:i])
		}
		if err := take(ms); err != nil {
			return err
		}
		if err := q.roomFor(p.x.Verb); err != nil {
			return err
		}
		if ms[len(ms)-1].seq == p.last {
			return nil
		}
	}
}

// replicaTries is how often a cluster is asked again, after the end was reached before
// the stream's last record was seen: it may be under another subject.
const replicaTries = 3

// walk looks at each delivery by itself.
func (p *pass) walk(ctx context.Context, from uint64) error {
	return p.read(ctx, from, false, func(ms []stored) error {
		ends := p.q.claims.ends()
		for _, m := range ms {
			if err := p.one(ctx, m, ends); err != nil {
				return err
			}
		}
		if len(ms) > 0 {
			p.mu.Lock()
			p.at = ms[len(ms)-1].seq
			p.mu.Unlock()
		}
		yields := p.yields()
		if !yields && time.Since(p.saved) < saveEvery {
			return nil
		}
		if err := p.flush(ctx); err != nil {
			return err
		}
		p.saved = time.Now()
		if err := p.save(ctx, p.kept(), p.at, false); err != nil || !yields {
			return err
		}
		return errYield
	})
}

// one does the action to what it means of one record of WAIT.
func (p *pass) one(ctx context.Context, m stored, ends uint64) error {
	if _, fence := fenceOf(m.subject); fence {
		return nil
	}
	if s, err := parseSlot(m.subject); err != nil || !p.m.line(s.line) || p.m.Held != nil && *p.m.Held != s.held {
		return nil
	}
	meant := p.q.meantIn(m, p.meant)
	if meant == 0 {
		return nil
	}
	if p.q.actions.opposed(p.x) && p.q.meantIn(m, func(d *mail.Delivery) bool { return p.meant(d) && p.passesOver(m.subject, d) }) == meant {
		p.count(func(r *Result) { r.Matched += meant; r.Unchanged += meant })
		return nil
	}
	sel, err := p.q.selectRecord(ctx, m, p.meant, ends, p.apply(ctx))
	p.count(func(r *Result) { r.Busy += sel.Busy; r.Matched += sel.Matched + sel.Busy })
	if err != nil {
		return err
	}
	if p.since < flushEvery {
		return nil
	}
	return p.flush(ctx)
}

// passesOver tells whether a newer action has decided about a delivery under a subject
// of WAIT, or of READY if that is empty.
func (p *pass) passesOver(subject string, d *mail.Delivery) bool {
	var part uint32
	if s, err := parseSlot(subject); err == nil && p.q.team != nil {
		part = s.part
	}
	return p.q.actions.passesOver(p.x, d, part, subject == "")
}

// planned tells whether a message may not be sent now though an operator wants it due.
func (p *pass) planned(m *mail.Message) bool {
	switch {
	case p.x.Verb != Retry && p.x.Verb != Release, p.x.Verb == Retry && p.x.Filter.ID != "": // who names it means at once
		return false
	case m.SendAt.After(time.Now()):
		return true
	case m.Hours == "":
		return false
	}
	h, ok := p.hours[m.Hours]
	if !ok {
		if h, _ = hours.Parse(m.Hours); p.hours == nil || len(p.hours) > 1000 {
			p.hours = map[string]*hours.Hours{}
		}
		p.hours[m.Hours] = h
	}
	return h != nil && !h.Open(time.Now()) // what cannot be read binds nobody
}

func (p *pass) apply(ctx context.Context) func(*Job) error {
	return func(j *Job) error {
		if err := ctx.Err(); err != nil {
			j.release()
			return err
		}
		if p.passesOver(j.rec.subject, &j.Delivery) {
			j.release()
			p.count(func(r *Result) { r.Unchanged++ })
			return nil
		}
		p.since++
		changed, err := p.q.apply(ctx, &p.x.Action, j)
		p.count(func(r *Result) {
			switch {
			case err != nil:
				r.Matched-- // it is met again
			case changed:
				r.Changed++
				if p.planned(j.Message) {
					r.Planned++
				}
			default:
				r.Unchanged++
			}
		})
		return err
	}
}

// flush waits until what was done is stored.
func (p *pass) flush(ctx context.Context) error {
	p.since = 0
	if err := p.q.Flush(ctx); err != nil {
		return err
	}
	return p.q.SyncFailed()
}

// overReady does the action to what lies in READY of a node alone.
func (p *pass) overReady(ctx context.Context) error {
	err := p.q.eachReady(ctx, p.m, func(m stored) error {
		if m.seq > p.x.upTo || p.q.meantIn(m, p.meant) == 0 {
			return nil
		}
		sel, err := p.q.selectRecord(ctx, m, p.meant, p.q.claims.ends(), p.apply(ctx))
		p.count(func(r *Result) { r.Busy += sel.Busy; r.Matched += sel.Matched + sel.Busy })
		if err == nil && p.since >= flushEvery {
			err = p.flush(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.flush(ctx)
}
