package deliverer

import (
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// teller tells plugins of deliveries that were made. It is for their books: nothing
// waits for it, and when plugins cannot follow, some is not told.
type teller struct {
	mu    sync.Mutex
	tales []tale
	busy  int       // goroutines at work
	lost  time.Time // it was said last that some are not told
}

type tale struct {
	h    held // without its job
	e    plugin.Event
	with *plugin.Chain
}

const (
	tellersMost = 16
	talesMost   = 4096
	lostPause   = time.Minute
)

// tellDelivered tells delivered of those recipients whom an attempt has reached. It is
// called when that is on its way to the journal. If the process dies right then they
// may be told twice, or never.
func (d *Deliverer) tellDelivered(h *held, a *attempt, outs []mail.Outcome) {
	if d.c.Plugins == nil || !d.c.Plugins.Has(plugin.Delivered) {
		return
	}
	delivered := ofStatus(outs, mail.Delivered, nil)
	if len(delivered) == 0 {
		return
	}
	t := &d.teller
	t.mu.Lock()
	if len(t.tales) >= talesMost {
		now := time.Now()
		say := now.Sub(t.lost) >= lostPause
		if say {
			t.lost = now
		}
		t.mu.Unlock()
		d.met.untold.Add(1)
		if say {
			d.c.Log.Error("plugins cannot follow: some deliveries are not told to delivered", "waiting", talesMost)
		}
		return
	}
	own := *h
	own.job = nil
	t.tales = append(t.tales, tale{own, plugin.Event{
		Hook: plugin.Delivered, Outcomes: pick(outs, delivered), Host: a.host, Secured: a.tls, Authenticated: a.login,
	}, d.c.Plugins.Take()})
	begin := t.busy < tellersMost
	if begin {
		t.busy++
	}
	t.mu.Unlock()
	if begin {
		d.crew.start(d.tellTales)
	}
}

// tellTales tells what there is to tell.
func (d *Deliverer) tellTales() {
	t := &d.teller
	for {
		t.mu.Lock()
		if len(t.tales) == 0 {
			t.busy--
			t.tales = nil
			t.mu.Unlock()
			return
		}
		x := t.tales[0]
		t.tales[0] = tale{}
		t.tales = t.tales[1:]
		t.mu.Unlock()
		if d.hard.Err() == nil {
			d.run(d.hard, x.with, &x.h, &x.e)
		}
		x.with.Release()
	}
}
