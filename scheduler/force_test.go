package scheduler

import "testing"

func TestInForceWaitsForEverybody(t *testing.T) {
	d := newOffice(t, 2, messages("a.test", "10/1s"))
	quick, slow := d.guests[0], d.guests[1]
	quick.want(to("a.test"), 1, 1, 1)
	d.pass(50 * Millisecond)
	v := d.change(messages("a.test", "5/1s"))
	asked := d.now
	quick.beat(Beat{})
	if done, waiting := d.l.InForce(v, d.now); done || len(waiting) != 1 || waiting[0] != slow.id {
		t.Errorf("done %v, waiting for %v", done, waiting)
	}
	slow.beat(Beat{})
	if done, waiting := d.l.InForce(v, d.now); done || len(waiting) > 0 {
		t.Errorf("while permits of the old rules live: done %v, waiting for %v", done, waiting)
	}
	for done := false; !done; done, _ = d.l.InForce(v, d.now) {
		if d.now > asked+Second {
			t.Fatal("it does not come into force")
		}
		d.pass(10 * Millisecond)
	}
	if d.now < asked+d.p.Life {
		t.Errorf("in force after %v, before the permits of the old rules are dead", d.now-asked)
	}
	if done, _ := d.l.InForce(v+1, d.now); done {
		t.Error("rules that nobody has written are in force")
	}
}

// One that works by old rules gets no permits and no lease, and is waited for until
// the lease it has is over.
func TestInForceWithoutTheOneThatDoesNotFollow(t *testing.T) {
	d := newOffice(t, 2)
	lame := d.guests[1]
	old := d.f.Book().Version
	v := d.change(messages("a.test", "5/1s"))
	lame.conn++
	if !d.l.Hello(d.now, Hello{Session: lame.id, Term: d.l.Term(), Conn: lame.conn, Version: old}) {
		t.Fatal("not known")
	}
	began := d.now
	for done := false; !done; done, _ = d.l.InForce(v, d.now) {
		if d.now > began+35*Second {
			t.Fatal("it does not come into force")
		}
		d.now += 100 * Millisecond
		d.turn()
		d.guests[0].beat(Beat{})
		lame.seq++
		d.l.Beat(d.now, Beat{Session: lame.id, Conn: lame.conn, Seq: lame.seq, Version: old, Wants: []Want{{to("a.test"), 1, 1, 1}}})
	}
	if d.now < began+25*Second {
		t.Errorf("in force after %v, while its lease stands", d.now-began)
	}
	if n := lame.start(); n > 0 {
		t.Errorf("it was granted %d under rules that it does not know", n)
	}
}

// A session that begins with old rules in hand gets no lease before it takes the new.
func TestANewSessionMustTakeTheRules(t *testing.T) {
	d := newOffice(t, 1)
	old := d.f.Book().Version
	v := d.change(messages("a.test", "5/1s"))
	d.guests[0].beat(Beat{})
	d.pass(Second)
	if done, waiting := d.l.InForce(v, d.now); !done {
		t.Fatalf("not in force, waiting for %v", waiting)
	}
	g := &guest{d: d, id: d.apply(&Command{Type: Join, Node: "n"}).(SessionID), conn: 1}
	d.l.Changed(d.now)
	if !d.l.Hello(d.now, Hello{Session: g.id, Term: d.l.Term(), Conn: 1, Version: old}) {
		t.Fatal("not known")
	}
	if lease := d.l.Lease(g.id); lease > 1 {
		t.Errorf("it has a lease of %v", lease-d.now)
	}
	if done, _ := d.l.InForce(v, d.now); !done {
		t.Error("what was in force is so no more")
	}
	g.beat(Beat{Version: v})
	if lease := d.l.Lease(g.id); lease < d.now+20*Second {
		t.Errorf("with the rules in force its lease is %v", lease-d.now)
	}
}

// Grants of the leader before may be used for a while: a change under the new leader
// waits for their end, too.
func TestInForceWaitsForGrantsOfTheTermBefore(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "10/1s"))
	g := d.guests[0]
	g.want(to("a.test"), 1, 1, 1)
	d.pass(50 * Millisecond)
	horizon := d.l.horizon
	d.fail(nil)
	v := d.change(messages("a.test", "5/1s"))
	for done := false; !done; done, _ = d.l.InForce(v, d.now) {
		d.pass(10 * Millisecond)
		g.beat(Beat{})
		if d.now > horizon+Second {
			t.Fatal("it does not come into force")
		}
	}
	if d.now <= horizon {
		t.Errorf("in force %v before the horizon of the term before", horizon-d.now)
	}
}

func TestInForceUnderANewLeader(t *testing.T) {
	d := newOffice(t, 2, messages("a.test", "10/1s"))
	v := d.change(messages("a.test", "5/1s"))
	d.lead()
	d.guests[0].hello(Hello{})
	d.pass(5 * Second)
	if done, waiting := d.l.InForce(v, d.now); done || len(waiting) != 1 || waiting[0] != d.guests[1].id {
		t.Errorf("with a session not heard of: done %v, waiting for %v", done, waiting)
	}
	d.guests[1].hello(Hello{})
	if done, waiting := d.l.InForce(v, d.now); !done {
		t.Errorf("waiting for %v", waiting)
	}
}
