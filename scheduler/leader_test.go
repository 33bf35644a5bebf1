package scheduler

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/shaping"
)

func TestGrantsWaitForTheLog(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "100/1m"))
	g := d.guests[0]
	d.held = true
	g.want(to("a.test"), 5, 5, 1)
	d.turn()
	if n := g.start(); n > 0 {
		t.Fatalf("%d starts are granted that no log knows of", n)
	}
	d.held = false
	d.pass(50 * Millisecond)
	if n := g.start(); n != 5 {
		t.Errorf("%d of 5 are granted once they are reserved", n)
	}
}

func TestHoldSaysWhenAndWhy(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "3/1m"))
	g := d.guests[0]
	g.want(to("a.test"), 5, 5, 1)
	d.pass(100 * Millisecond)
	used := d.now
	orders := g.orders
	if n := g.start(); n != 3 {
		t.Fatalf("%d of 3 granted", n)
	}
	h := holds(orders)
	if len(h) == 0 {
		t.Fatal("nobody is told to wait")
	}
	if x := h[len(h)-1]; x.Lane != to("a.test") || x.NotBefore < used+59*Second || x.NotBefore > used+62*Second || !strings.Contains(x.Why, "messages domain:a.test") {
		t.Errorf("%+v", x)
	}
	d.pass(30 * Second)
	if h := holds(g.take()); len(h) > 1 {
		t.Errorf("told %d times in half a minute", len(h))
	}
	d.pass(31 * Second)
	if n := g.start(); n != 2 {
		t.Errorf("%d of the 2 left are granted after the window", n)
	}
}

func TestWhatNeverFitsIsRefused(t *testing.T) {
	d := newOffice(t, 1, setRule(shaping.Rule{To: "a.test", Recipients: windows("10/1m")}))
	g := d.guests[0]
	g.want(to("a.test"), 1, 11, 11)
	d.pass(100 * Millisecond)
	if h := holds(g.take()); len(h) != 1 || h[0].NotBefore != 0 || !strings.Contains(h[0].Why, "never has room for 11") {
		t.Errorf("%+v", h)
	}
	d.pass(Second)
	if o := g.take(); len(o) > 0 {
		t.Errorf("and then %+v", o)
	}
	g.want(to("a.test"), 1, 10, 10)
	d.pass(100 * Millisecond)
	if n := g.start(); n != 1 {
		t.Errorf("one that fits gets %d", n)
	}
}

func TestSuspendedIsHeld(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "10/1s"), suspend("a.test"), messages("b.test", "0/1s"))
	g := d.guests[0]
	g.want(to("a.test"), 1, 1, 1)
	g.want(to("b.test"), 1, 1, 1)
	g.beat(Beat{Slots: []SlotWant{{to("a.test"), 1}}})
	d.pass(5 * Second)
	h := holds(g.take())
	if len(h) != 3 || g.start() > 0 {
		t.Fatalf("%+v", h)
	}
	for _, x := range h {
		if x.NotBefore != 0 || !strings.HasPrefix(x.Why, "suspended") {
			t.Errorf("%+v", x)
		}
	}
	d.change(resume("a.test"))
	g.want(to("a.test"), 1, 1, 1)
	d.pass(100 * Millisecond)
	if n := g.start(); n != 1 {
		t.Errorf("%d granted when it is resumed", n)
	}
}

// Recipients are counted, and the first message is given what it needs.
func TestRecipients(t *testing.T) {
	d := newOffice(t, 1, setRule(shaping.Rule{To: "a.test", Messages: windows("100/1m"), Recipients: windows("20/1m")}))
	g := d.guests[0]
	g.want(to("a.test"), 4, 30, 7)
	d.pass(100 * Millisecond)
	n, r := 0, 0
	for _, o := range g.orders {
		if o.Grant != nil {
			if n == 0 && o.Grant.Recipients < 7 {
				t.Errorf("the first has 7 recipients and gets %+v", o.Grant)
			}
			n, r = n+o.Grant.N, r+o.Grant.Recipients
		}
	}
	if r > 20 || r < 14 || n < 2 || n > 4 {
		t.Errorf("%d messages with %d recipients are granted", n, r)
	}
	g.take()
	g.want(to("a.test"), 0, 0, 0)
	d.pass(3 * Second) // nothing is reported: all count as used
	g.want(to("a.test"), 1, 20-r+1, 20-r+1)
	d.pass(Second)
	if n := g.start(); n > 0 {
		t.Error("more recipients are granted than there is room for")
	}
}

// A message with many recipients is not passed by for ever by those with few.
func TestManyRecipientsGetTheirTurn(t *testing.T) {
	d := newOffice(t, 2, setRule(shaping.Rule{To: "a.test", Messages: windows("100/10s"), Recipients: windows("60/10s")}))
	small, large := d.guests[0], d.guests[1]
	served := 0
	for i := range 6000 {
		small.want(to("a.test").of("small"), 5, 5, 1)
		if i > 300 { // when the others have used up the window, evenly
			large.want(to("a.test").of("large"), 1, 40, 40)
		}
		d.pass(10 * Millisecond)
		if i%10 == 0 && i < 300 {
			small.want(to("a.test").of("small"), 0, 0, 0)
			d.pass(150 * Millisecond)
		}
		small.start()
		for _, o := range large.take() {
			if o.Grant != nil {
				served++
				large.beat(Beat{Uses: []Use{{Grant: o.Grant.ID, Started: 1, Recipients: 40, At: d.now}}})
			}
		}
	}
	if served < 3 {
		t.Errorf("it was served %d times in a minute", served)
	}
}

func TestReportsThatComeTwice(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "200/1m"))
	g := d.guests[0]
	g.want(to("a.test"), 40, 40, 1)
	d.pass(300 * Millisecond)
	for _, o := range g.take() {
		if o.Grant == nil {
			continue
		}
		u := Use{Grant: o.Grant.ID, At: d.now, Returned: 1}
		g.beat(Beat{Uses: []Use{u}})
		g.beat(Beat{Uses: []Use{u}})
		g.seq-- // and once more the very same beat
		g.beat(Beat{Uses: []Use{u, {Grant: o.Grant.ID, Returned: 1 << 40}}})
	}
	returned := int(d.l.granted) - int(d.l.counters["messages domain:a.test"].out)
	if want := d.l.batches; returned != int(want) {
		t.Errorf("%d came back in %d reports of one each", returned, want)
	}
}

// A change of the windows sees what was sent before it: now, and under another leader.
func TestChangeKeepsThePast(t *testing.T) {
	for _, failover := range []bool{false, true} {
		d := newOffice(t, 1, messages("a.test", "100/1s"))
		g := d.guests[0]
		sent := 0
		for range 20 {
			g.want(to("a.test"), 20, 20, 1)
			d.pass(100 * Millisecond)
			sent += g.start()
		}
		if sent < 100 {
			t.Fatalf("only %d were sent", sent)
		}
		g.want(to("a.test"), 0, 0, 0)
		if failover {
			d.fail(nil)
			d.pass(5 * Second)
			g.take()
		}
		d.change(messages("a.test", "150/1m"))
		late := 0
		for range 500 {
			g.want(to("a.test"), 100, 100, 1)
			d.pass(100 * Millisecond)
			late += g.start()
		}
		if late > 0 { // within the minute, what was sent before counts
			t.Errorf("failover %v: %d and then %d in one minute", failover, sent, late)
		}
		for range 200 {
			g.want(to("a.test"), 100, 100, 1)
			d.pass(100 * Millisecond)
			late += g.start()
		}
		if late < 140 {
			t.Errorf("failover %v: %d when the minute is over", failover, late)
		}
	}
}

// What is not used any more leaves the leader within seconds and the log after an hour.
func TestWhatIsIdleIsForgotten(t *testing.T) {
	d := newOffice(t, 1, messages("*", "100/1s,1000/20m"))
	g := d.guests[0]
	for _, domain := range []string{"a.test", "b.test", "c.test"} {
		g.want(to(domain), 1, 1, 1)
	}
	d.pass(100 * Millisecond)
	if n := g.start(); n != 3 {
		t.Fatalf("%d granted", n)
	}
	d.pass(30 * Second)
	if len(d.l.laneList) > 0 || len(d.l.list) > 0 || len(d.l.lanes) > 0 || len(d.l.counters) > 0 || len(g.d.l.roll[0].wants) > 0 {
		t.Errorf("the leader knows %d lanes and %d counters", len(d.l.laneList), len(d.l.list))
	}
	if len(d.f.byName) != 3 {
		t.Errorf("the log knows %d counters", len(d.f.byName))
	}
	for range 3700 / 5 {
		d.now += 5 * Second
		g.beat(Beat{})
		d.pass(20 * Millisecond)
	}
	if len(d.f.byName) != 0 {
		t.Errorf("after an hour the log knows %d counters", len(d.f.byName))
	}
	g.want(to("a.test"), 1, 1, 1)
	d.pass(100 * Millisecond)
	if n := g.start(); n != 1 {
		t.Errorf("a counter that was forgotten grants %d", n)
	}
}

// Before the leadership is given away everything is settled, and the next leader need
// not wait.
func TestDrainLeavesNothingOpen(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "100/1s,1000/1h"))
	g := d.guests[0]
	g.want(to("a.test"), 50, 50, 1)
	d.pass(300 * Millisecond)
	sent := g.start()
	g.want(to("a.test"), 50, 50, 1)
	end := d.now + 5*Second
	for !d.l.Drain(d.now) {
		d.turn()
		d.now += 10 * Millisecond
		if d.now > end {
			t.Fatal("it is never drained")
		}
	}
	g.take()
	h := d.f.byName["messages domain:a.test"]
	if h.open != 0 {
		t.Errorf("%d are left open", h.open)
	}
	d.fail(nil)
	if h.tailed {
		t.Error("the next leader does not know the past exactly")
	}
	d.pass(Second)
	g.want(to("a.test"), 50, 50, 1)
	d.pass(200 * Millisecond)
	if n := g.start(); n < 30 {
		t.Errorf("after %d it grants %d", sent, n)
	}
}

func TestLive(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "10/1s,12/1h"), connections("a.test", 2))
	g := d.guests[0]
	g.want(to("a.test"), 20, 20, 1)
	g.beat(Beat{Slots: []SlotWant{{to("a.test"), 3}}})
	d.pass(300 * Millisecond)
	look := func() []Live {
		live := d.l.Live(d.now)
		slices.SortFunc(live, func(a, b Live) int { return cmp.Compare(a.Length, b.Length) })
		return live
	}
	live := look()
	if len(live) != 3 {
		t.Fatalf("%+v", live)
	}
	c, s, h := live[0], live[1], live[2]
	if c.Unit != shaping.Connections || c.Max != 2 || c.Used != 2 || c.Waiting != 1 || c.Next != never || c.From.To != "a.test" {
		t.Errorf("connections: %+v", c)
	}
	if s.Unit != shaping.Messages || s.Max != 10 || s.Length != Second || s.Used != 0 || s.InFlight != 10 || s.Waiting != 10 || s.Next <= d.now {
		t.Errorf("a second: %+v", s)
	}
	g.start()
	d.pass(50 * Millisecond)
	live = look()
	if h = live[2]; h.Length != Hour || h.Used != 10 || h.InFlight != 0 || h.Next != 0 {
		t.Errorf("an hour: %+v", h)
	}
}

func TestOldConnectionsAreNotHeard(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "10/1s"))
	g := d.guests[0]
	old := Beat{Session: g.id, Conn: g.conn, Seq: 100, Version: 1, Wants: []Want{{to("a.test"), 5, 5, 1}}}
	if !g.hello(Hello{}) {
		t.Fatal("not known")
	}
	d.l.Beat(d.now, old)
	d.pass(100 * Millisecond)
	if n := g.start(); n > 0 {
		t.Errorf("an older connection gets %d", n)
	}
	g.want(to("a.test"), 5, 5, 1)
	d.l.Cut(d.now, g.id, g.conn-1)
	d.pass(100 * Millisecond)
	if n := g.start(); n != 5 {
		t.Errorf("the end of an older connection leaves %d of 5", n)
	}
	g.want(to("a.test"), 9, 9, 1)
	d.l.Cut(d.now, g.id, g.conn)
	d.pass(2 * Second)
	if n := g.start(); n > 0 {
		t.Errorf("a connection that is broken gets %d", n)
	}
	if d.l.Hello(d.now, Hello{Session: 99, Term: d.l.Term(), Conn: 1}) || d.l.Lease(99) != 0 {
		t.Error("a session that never joined is welcome")
	}
	if d.l.Hello(d.now, Hello{Session: g.id, Term: d.l.Term() + 1, Conn: 100}) {
		t.Error("a Hello for another leader is taken")
	}
}
