package plugin

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Run calls the functions of e.Hook until one decides. Without a decision the
// verdict is Cont. A function that fails or is not back in time counts as Defer:
// mail that was not looked at is never let through, nor refused for good.
//
// The functions run in a goroutine beside the caller's, all in the same one as long as
// they come back: one that does not keeps nobody but its own. To begin a goroutine and a
// timer for each would cost more than most functions do.
func (c *Chain) Run(ctx context.Context, e *Event) Verdict {
	if c == nil {
		return Verdict{}
	}
	for fs := c.fns[e.Hook]; len(fs) > 0; {
		r := &run{c: c, e: e, fs: fs, at: between, done: make(chan decision, 1)}
		c.under.Go(func() { r.walk(ctx) })
		d, rest := r.wait(ctx)
		if d.decided {
			return d.Verdict
		}
		fs = rest // behind a function that was given up
	}
	return Verdict{}
}

// run is one goroutine's way through the functions of a hook.
type run struct {
	c    *Chain
	e    *Event
	fs   []*function
	done chan decision

	mu    sync.Mutex
	at    int // the function under way, or between
	began time.Time
	alone bool // nobody waits any more: go no further
}

const between = -1

// decision is what the functions have come to; not decided: nothing.
type decision struct {
	Verdict
	decided bool
}

// walk calls the functions one after the other.
func (r *run) walk(ctx context.Context) {
	for i, f := range r.fs {
		if r.e.Transaction.skips(f.plugin) {
			continue
		}
		if !r.begin(i) {
			return
		}
		own := &patience{Context: ctx, at: r.began.Add(f.timeout)}
		a := f.answer(own, r.e)
		own.end()
		took, wanted := r.end(f)
		if !wanted {
			return
		}
		if d := r.c.settle(ctx, f, r.e, a, took); d.decided {
			r.done <- d
			return
		}
	}
	r.done <- decision{}
}

// begin tells whether anybody waits for function i.
func (r *run) begin(i int) bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.began = i, now
	return !r.alone
}

// end notes that f is back, perhaps when nobody waits for it any more.
func (r *run) end(f *function) (took time.Duration, wanted bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alone {
		f.lost.Add(-1)
		return 0, false
	}
	r.at = between
	return now.Sub(r.began), true
}

// wait returns what the functions come to; or, where one has to be given up and
// decides nothing, those behind it.
func (r *run) wait(ctx context.Context) (d decision, rest []*function) {
	clock := time.NewTimer(r.fs[0].timeout)
	defer clock.Stop()
	for {
		ended := false
		select {
		case d = <-r.done:
			return d, nil
		case <-clock.C:
		case <-ctx.Done():
			ended = true
		}
		f, took, left := r.giveUp(ended)
		if f != nil {
			i := r.at + 1 // which does not change any more
			fault := "not back in time"
			if ended {
				fault = calledOff
			}
			return r.c.settle(ctx, f, r.e, answer{fault: fault}, took), r.fs[i:]
		}
		if ended { // between two functions, or at the last moment
			select {
			case d = <-r.done:
				return d, nil
			default:
				return decision{unanswered("the chain"), true}, nil
			}
		}
		clock.Reset(left)
	}
}

// giveUp gives up the function under way if its time is over, or everything has ended;
// otherwise it tells how long to wait.
func (r *run) giveUp(ended bool) (f *function, took, left time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == between { // perhaps the deny hook is asked, which has times of its own
		r.alone = ended
		return nil, 0, lookAgain
	}
	f, took = r.fs[r.at], time.Since(r.began)
	if left = f.timeout - took; left > 0 && !ended {
		return nil, 0, left
	}
	r.alone = true
	f.lost.Add(1)
	if !ended {
		f.timeouts.Add(1)
	}
	return f, took, 0
}

// calledOff is why a function was given up that had time left: its client has gone, or
// the node is to stop. That is not the plugin's failure.
const calledOff = "called off: nobody waits for it any more"

// lookAgain is when one looks after functions that were between two calls.
const lookAgain = 50 * time.Millisecond

// settle counts what a function has said, tells those who look on, and finds out
// whether it decides.
func (c *Chain) settle(ctx context.Context, f *function, e *Event, a answer, took time.Duration) decision {
	if a.Took > 0 {
		took = a.Took
	}
	f.calls.Add(1)
	f.nanoseconds.Add(int64(took))
	if a.fault != "" {
		a.Verdict = unanswered("Plugin " + f.plugin)
		level := slog.LevelError
		if a.fault == calledOff {
			level = slog.LevelInfo
		}
		c.log.LogAttrs(ctx, level, "plugin failed", slog.String("plugin", f.plugin), slog.String("hook", string(f.hook)),
			slog.String("function", f.label), slog.String("error", a.fault), slog.Duration("after", took), e.about())
		if a.stack != nil {
			f.panics.Add(1)
			c.log.LogAttrs(ctx, slog.LevelDebug, "plugin failed here", slog.String("plugin", f.plugin), slog.String("stack", string(a.stack)))
		}
	}
	v := a.Verdict
	v.Plugin, v.Function = f.plugin, f.label
	if e.Watch != nil {
		e.Watch(Step{Hook: f.hook, Plugin: f.plugin, Function: f.label, Verdict: v, Took: took, Fault: a.fault, Event: e})
	}
	if e.Hook.all() || v.Code == Cont {
		return decision{}
	}
	if v.Code.Refuses() {
		f.refused.Add(1)
		if e.Hook.overruled() && c.overrules(ctx, e, v) {
			return decision{}
		}
	}
	return decision{v, true}
}

func unanswered(who string) Verdict {
	return Verdict{Code: Defer, Reply: mail.R(451, "4.3.0", who+" did not answer, try again later")}
}

// overrules asks the deny hook.
func (c *Chain) overrules(ctx context.Context, e *Event, v Verdict) bool {
	if !c.Has(Deny) {
		return false
	}
	d := *e
	d.Hook, d.At, d.Refused = Deny, e.Hook, &v
	return c.Run(ctx, &d).Code == OK
}

// mostLost is how many calls of a function may have been given up and not come back.
// It is not called then until some have: what never comes back keeps its memory.
const mostLost = 100

// patience is the context of one call. It ends at its deadline; the timer for that is
// made when somebody asks for Done, which most functions never do.
type patience struct {
	context.Context
	at time.Time

	mu   sync.Mutex
	real context.Context
	stop context.CancelFunc
	over bool
}

func (p *patience) Deadline() (time.Time, bool) {
	if at, ok := p.Context.Deadline(); ok && at.Before(p.at) {
		return at, true
	}
	return p.at, true
}

func (p *patience) Done() <-chan struct{} { return p.made().Done() }

func (p *patience) Err() error { return p.made().Err() }

func (p *patience) made() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.real == nil {
		p.real, p.stop = context.WithDeadline(p.Context, p.at)
		if p.over {
			p.stop()
		}
	}
	return p.real
}

// end is called when the function is back.
func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over = true; p.stop != nil {
		p.stop()
	}
}
