package scheduler

import (
	"testing"

	"github.com/tarishi/tarishi/shaping"
)

// office is a leader with the sessions of a test, without any way between them: what it
// writes is committed at once.
type office struct {
	t      testing.TB
	p      Params
	f      *FSM
	l      *Leader
	now    Time
	term   uint64 // of raft
	guests []*guest
	held   bool // nothing is committed
}

// guest is a session.
type guest struct {
	d      *office
	id     SessionID
	conn   uint64
	seq    uint64
	parts  bool
	orders []Order // since they were last looked at
}

func newOffice(t testing.TB, sessions int, changes ...*shaping.Change) *office {
	d := &office{t: t, p: DefaultParams(), now: 1000 * Second}
	d.f = NewFSM(d.p)
	d.lead()
	if len(changes) == 0 {
		none := noLimits("n")
		d.change(&none)
	}
	for _, c := range changes {
		d.change(c)
	}
	for range sessions {
		d.join()
	}
	d.pass(200 * Millisecond)
	for _, g := range d.guests { // the lease is in the log by now
		g.beat(Beat{})
	}
	return d
}

// lead begins a term.
func (d *office) lead() {
	d.term++
	r := d.apply(&Command{Type: TermStart, RaftTerm: d.term, Clock: down(d.now, Microsecond)})
	d.l = NewLeader(d.p, d.f, r.(uint64), d.now)
	d.held = false
}

// fail has the leader die and another one begin: what the sessions hold they claim.
func (d *office) fail(claims func(g *guest) Hello) {
	d.lead()
	for _, g := range d.guests {
		h := Hello{}
		if claims != nil {
			h = claims(g)
		}
		g.hello(h)
	}
}

func (d *office) apply(c *Command) any {
	d.t.Helper()
	c, err := ParseCommand(c.Append(nil))
	if err != nil {
		d.t.Fatal(err)
	}
	r, err := d.f.Apply(d.term, c)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *office) change(c *shaping.Change) uint64 {
	d.t.Helper()
	v := d.apply(&Command{Type: Change, Change: c}).(uint64)
	d.l.Changed(d.now)
	return v
}

func (d *office) join() *guest {
	d.t.Helper()
	g := &guest{d: d, id: d.apply(&Command{Type: Join, Node: "n"}).(SessionID)}
	d.l.Changed(d.now)
	d.guests = append(d.guests, g)
	g.hello(Hello{})
	return g
}

// pass lets time go by, in turns of 10 ms; everybody beats every 100 ms.
func (d *office) pass(by Time) {
	for end := d.now + by; d.now < end; {
		d.turn()
		d.now += 10 * Millisecond
		if d.now%(100*Millisecond) == 0 {
			for _, g := range d.guests {
				if g.conn > 0 {
					g.beat(Beat{})
				}
			}
		}
	}
	d.turn()
}

func (d *office) turn() {
	d.l.Turn(d.now, func(id SessionID, o Order) {
		for _, g := range d.guests {
			if g.id == id {
				g.orders = append(g.orders, o)
			}
		}
	})
	if d.held {
		return
	}
	if c := d.l.Tick(d.now); c != nil {
		d.apply(c)
		d.l.Committed(d.now, c)
	}
}

func (g *guest) hello(h Hello) bool {
	g.conn++
	g.seq = 0
	h.Session, h.Term, h.Conn, h.Version = g.id, g.d.l.Term(), g.conn, g.d.f.Book().Version
	return g.d.l.Hello(g.d.now, h)
}

func (g *guest) beat(b Beat) {
	g.seq++
	b.Session, b.Conn, b.Seq, b.Parts = g.id, g.conn, g.seq, g.parts
	if b.Version == 0 {
		b.Version = g.d.f.Book().Version
	}
	g.d.l.Beat(g.d.now, b)
}

func (g *guest) want(l Lane, n, recipients, head int) {
	g.beat(Beat{Wants: []Want{{l, n, recipients, head}}})
}

// take returns the orders since the last time.
func (g *guest) take() []Order {
	o := g.orders
	g.orders = nil
	return o
}

// grants is how many starts the orders since the last time allow; all of them are
// reported as started at once.
func (g *guest) start() (n int) {
	var uses []Use
	for _, o := range g.take() {
		if o.Grant != nil {
			n += o.Grant.N
			uses = append(uses, Use{Grant: o.Grant.ID, Started: o.Grant.N, Recipients: min(o.Grant.Recipients, o.Grant.N), At: max(g.d.now, o.Grant.NotBefore)})
		}
	}
	if len(uses) > 0 {
		g.beat(Beat{Uses: uses})
	}
	return n
}

// holds are the Holds among the orders since the last time.
func holds(orders []Order) (out []Hold) {
	for _, o := range orders {
		if o.Hold != nil {
			out = append(out, *o.Hold)
		}
	}
	return out
}

func to(domain string) Lane { return Lane{Dest: shaping.Destination{Key: "domain:" + domain}} }

func (l Lane) of(tenant string) Lane { l.Tenant = tenant; return l }
