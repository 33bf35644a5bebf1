package scheduler

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// desk is a Client without Run, a clock by hand, and a leader by hand whose clock
// is the true one.
type desk struct {
	*Client
	t    *testing.T
	x    int64 // local clock
	wall int64
	news []Lane
	part []partNews
	conn uint64
	n    GrantID
}

const deskStart = int64(time.Hour)

func newDesk(t *testing.T) *desk {
	d := bareDesk(t)
	d.pass(time.Second)
	d.answer(&leaderFrame{rules: deskRules(t, 1)})
	return d
}

// bareDesk has said hello and heard nothing.
func bareDesk(t *testing.T) *desk {
	d := &desk{t: t, x: deskStart, wall: deskStart}
	d.Client = NewClient(ClientOptions{Node: "d1", Params: DefaultParams(), Clock: func() int64 { return d.x }, Wall: func() int64 { return d.wall },
		News:   func(l Lane) { d.news = append(d.news, l) },
		OnPart: func(gained bool, p Part) { d.part = append(d.part, partNews{gained, p}) }})
	h, err := d.hello(0, &leaderFrame{session: 7, term: 1, echo: d.x, stamp: d.stamp()}, d.x)
	if err != nil {
		t.Fatal(err)
	}
	d.conn = h.Conn
	return d
}

func deskRules(t *testing.T, version uint64) *ruleBook {
	r, err := newRuleBook(&shaping.Book{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (d *desk) pass(t time.Duration) { d.x += int64(t); d.wall += int64(t) }

// stamp is the leader's clock now.
func (d *desk) stamp() Time { return Time(d.x - deskStart + int64(time.Hour)) }

// answer is a frame for a request that was sent now.
func (d *desk) answer(f *leaderFrame) { d.answerTo(d.x, f) }

func (d *desk) answerTo(sent int64, f *leaderFrame) {
	d.t.Helper()
	f.session, f.term, f.echo = 7, 1, sent
	if f.stamp == 0 {
		f.stamp = d.stamp()
	}
	if f.led == 0 {
		f.led = f.stamp
	}
	if f.lease == 0 {
		f.lease = f.stamp + 30*Second
	}
	if _, err := d.work(f, d.conn, d.x); err != nil {
		d.t.Fatal(err)
	}
	d.tell()
}

func (d *desk) grant(l Lane, n int, from, life time.Duration) {
	d.n++
	d.answer(&leaderFrame{orders: []Order{{Grant: &Grant{ID: d.n, Term: 1, Lane: l, N: n, Recipients: n,
		NotBefore: d.stamp() + Time(from), NotAfter: d.stamp() + Time(from+life)}}}})
}

// Nothing starts once the lease is over, even if nobody has noticed yet: Run may be
// as frozen as everything else.
func TestLeaseEndsByTheClock(t *testing.T) {
	d := newDesk(t)
	l := laneTo("a.test")
	h := d.Lane(l)
	h.Want(2, 2, 1)
	d.answer(&leaderFrame{orders: []Order{{Slot: &Slot{ID: 3, Lane: l}}, {Part: &Part{4, 5}}}})
	s, _ := h.TakeSlot()
	table := d.Rules()
	if s == nil || !d.Live() || !d.MayStart(table) || !s.MayStart() || !d.Holds(Part{4, 5}) {
		t.Fatal("a new session should work")
	}
	if left := time.Until(s.Deadline()); left < 29*time.Second || left > 30*time.Second-100*time.Millisecond {
		t.Errorf("the connection has %v", left)
	}
	d.pass(14 * time.Second)
	if !s.MayStart() {
		t.Error("there is time for a transaction")
	}
	d.pass(2 * time.Second)
	if s.MayStart() || !d.Live() {
		t.Error("there is no time for a limited transaction, and there is for an unlimited one")
	}
	if n, v := h.Ready(); n != 0 || v.Why != "the scheduler does not answer" {
		t.Errorf("%d, %+v", n, v)
	}
	d.pass(13900 * time.Millisecond)
	if d.Live() || d.MayStart(table) || d.Holds(Part{4, 5}) || h.FreeSlots() != 0 {
		t.Error("the lease is over")
	}
	if _, v := h.Take(1); v.Why != "no session with the scheduler" {
		t.Errorf("%+v", v)
	}
	d.news, d.part = nil, nil
	d.drop("lapsed")
	if !s.Ending() || !slices.Equal(d.part, []partNews{{false, Part{4, 5}}}) || !slices.Contains(d.news, l) || time.Until(s.Deadline()) > 0 {
		t.Errorf("%v, %v, %v", d.part, d.news, s.Ending())
	}
	s.Close() // of a session that is no more: does no harm
}

// A lease counts from when it was asked for, not from when the answer came.
func TestLeaseCountsFromTheRequest(t *testing.T) {
	d := bareDesk(t)
	sent, stamp := d.x, d.stamp()
	d.pass(20 * time.Second) // it may have been stamped at any instant between
	d.answerTo(sent, &leaderFrame{stamp: stamp, rules: deskRules(t, 1)})
	d.pass(8 * time.Second)
	if !d.Live() {
		t.Error("over too early")
	}
	d.pass(2 * time.Second)
	if d.Live() {
		t.Error("the lease was counted from its receipt")
	}
}

// After a freeze nothing that is in hand may be used before the scheduler has
// answered a question that was asked since.
func TestFreshAfterFreeze(t *testing.T) {
	for _, x := range []struct {
		name    string
		d, wall time.Duration // by which the clocks go on
		fresh   bool
	}{{"none", 100 * time.Millisecond, 100 * time.Millisecond, true}, {"of the process", 450 * time.Millisecond, 450 * time.Millisecond, false},
		{"of the machine", 0, 2 * time.Second, false}, {"of the machine, seen by its wall clock going back", 0, -2 * time.Second, false}} {
		t.Run(x.name, func(t *testing.T) {
			d := newDesk(t)
			l := laneTo("a.test")
			h := d.Lane(l)
			h.Want(5, 5, 1)
			d.pass(10 * time.Millisecond)
			d.grant(l, 5, 0, time.Hour) // what is tested is not its end
			p, v := h.Take(1)
			if p == nil {
				t.Fatal(v)
			}
			old := d.x
			d.pass(time.Millisecond)
			d.x += int64(x.d)
			d.wall += int64(x.wall)
			if err := p.Begin(); (err == nil) != x.fresh || err != nil && !errors.Is(err, ErrExpired) {
				t.Fatalf("begun right after the freeze: %v", err)
			}
			if x.fresh {
				return
			}
			if !d.urgent {
				t.Error("nobody asks for the time")
			}
			d.answerTo(old, &leaderFrame{}) // what waited in the socket
			if p, _ := h.Take(1); p != nil {
				t.Error("a permit was taken on the word of an old answer")
			}
			d.pass(time.Millisecond)
			d.answer(&leaderFrame{})
			p, v = h.Take(1)
			if p == nil || p.Begin() != nil {
				t.Errorf("after an answer it may be used: %+v", v)
			}
		})
	}
}

// New rules hold at once, and are acknowledged when those who looked at the old ones
// just before have started; until then nothing is wanted by them.
func TestRulesAreAcknowledgedLater(t *testing.T) {
	d := newDesk(t)
	l := laneTo("a.test")
	d.Lane(l).Want(5, 5, 1)
	old := d.Rules()
	if f := d.compose(d.x); f.beat.Version != 1 || len(f.beat.Wants) != 1 {
		t.Fatalf("the first rules: %+v", f.beat)
	}
	d.answer(&leaderFrame{rules: deskRules(t, 2)})
	if d.MayStart(old) || !d.MayStart(d.Rules()) || d.Version() != 2 {
		t.Error("the new rules hold at once")
	}
	d.pass(199 * time.Millisecond)
	if f := d.compose(d.x); f.beat.Version != 1 || len(f.beat.Wants) != 0 && f.beat.Wants[0].N != 0 {
		t.Errorf("too early: %+v", f.beat)
	}
	d.pass(time.Millisecond)
	if f := d.compose(d.x); f.beat.Version != 2 || len(f.beat.Wants) != 1 || f.beat.Wants[0].N != 5 {
		t.Errorf("the leader has dropped what was wanted: %+v", f.beat)
	}
	d.answer(&leaderFrame{rules: deskRules(t, 3)})
	d.pass(150 * time.Millisecond)
	d.answer(&leaderFrame{rules: deskRules(t, 4)})
	d.pass(150 * time.Millisecond)
	if f := d.compose(d.x); f.beat.Version != 2 {
		t.Errorf("version %d is acknowledged by the time of another", f.beat.Version)
	}
	d.pass(100 * time.Millisecond)
	if f := d.compose(d.x); f.beat.Version != 4 {
		t.Errorf("version %d", f.beat.Version)
	}
}

// What an older leader, or an older stream, sends is not taken.
func TestOldLeadersAreIgnored(t *testing.T) {
	d := newDesk(t)
	l := laneTo("a.test")
	h := d.Lane(l)
	h.Want(4, 4, 1)
	if _, err := d.hello(7, &leaderFrame{session: 7, term: 2}, d.x); err != nil {
		t.Fatal(err)
	}
	d.grant(l, 1, 0, time.Second) // of term 1
	if n, _ := h.Ready(); n != 0 {
		t.Error("a grant of an older term was taken")
	}
	if _, err := d.hello(7, &leaderFrame{session: 7, term: 1}, d.x); !errors.Is(err, errOldTerm) {
		t.Errorf("hello to an older leader: %v", err)
	}
	if _, err := d.hello(7, &leaderFrame{session: 8, term: 3}, d.x); !errors.Is(err, errGone) {
		t.Errorf("hello to a leader that thinks we are another: %v", err)
	}
}

// Without a network: a scheduler and a deliverer in one process.
func TestOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		raft := &twinRaft{t: t, rand: rand.New(rand.NewPCG(1, 1)), delay: time.Millisecond}
		ck := &worldClock{began: time.Now(), off: 1, rate: 1}
		s := NewServer(ServerOptions{Node: "one", Params: DefaultParams(), Clock: ck.now})
		n := raft.node("one", s.State())
		done := make(chan error, 2)
		go func() { done <- s.Run(ctx, n, n.events) }()
		raft.elect(n)
		c := NewClient(ClientOptions{Node: "one", Params: DefaultParams(), Clock: ck.now, Parts: true, Peers: Peers{Local: s}})
		go func() { done <- c.Run(ctx) }()
		time.Sleep(time.Second)
		if c.Live() {
			t.Error("it works before anybody has said what limits there are")
		}
		if err := NewOperator(Peers{Local: s}, nil).SubmitFile(ctx, noLimits("one")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if !c.Live() {
			t.Error("no session")
		}
		p, err := NewOperator(Peers{Local: s}, nil).Change(ctx, shaping.Change{Op: shaping.OpSet, Rule: &shaping.Rule{To: "a.test", Messages: perWindow(2, time.Minute)}}, nil)
		if err != nil || p.Version != 2 {
			t.Error(p, err)
		}
		h := c.Lane(laneTo("a.test"))
		h.Want(3, 3, 1)
		time.Sleep(300 * time.Millisecond) // the second one is reserved in the log
		if k, _ := h.Ready(); k != 2 {
			t.Errorf("%d permits", k)
		}
		held := 0
		for i := range c.parts {
			if c.Holds(Part{uint32(i), c.parts[i].Load()}) {
				held++
			}
		}
		if held != 64 {
			t.Errorf("%d partitions", held)
		}
		stop()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
