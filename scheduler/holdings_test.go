package scheduler

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// holder is a session in a world of one clock: the leader's reads what the local does.
func holder(t testing.TB) *Holdings {
	h := NewHoldings(DefaultParams(), 7)
	if h.Session() != 7 {
		t.Error("it is another session")
	}
	if _, ok := h.Hello(3, 1); !ok {
		t.Fatal("no Hello")
	}
	h.Answer(3, 1, 0, 0, 0, 30*Second, 0, never)
	return h
}

func grant(id GrantID, n, recipients int, from, end Time) Order {
	return Order{Grant: &Grant{ID: id, Term: 3, Lane: to("a.test"), N: n, Recipients: recipients, NotBefore: from, NotAfter: end}}
}

func TestPermitIsValidBetweenItsInstants(t *testing.T) {
	h := holder(t)
	h.Order(3, 1, grant(1, 2, 2, Second, 2*Second))
	if x, wait := h.Take(to("a.test"), 1, sec/2); x != nil || wait < sec || wait > sec+10*ms {
		t.Errorf("before its beginning: %v, %v", x, wait)
	}
	x, _ := h.Take(to("a.test"), 1, sec+10*ms)
	if x == nil {
		t.Fatal("there is none between")
	}
	if err := h.Begin(x, sec+20*ms); err != nil {
		t.Error(err)
	}
	if late := h.Began(x, sec+30*ms); late {
		t.Error("it is late")
	}
	x, _ = h.Take(to("a.test"), 1, sec+10*ms)
	if err := h.Begin(x, 2*sec-150*ms); !errors.Is(err, ErrExpired) {
		t.Errorf("within the margin of its end: %v", err)
	}
	h.Order(3, 1, grant(2, 1, 1, Second, 2*Second))
	x, _ = h.Take(to("a.test"), 1, sec+10*ms)
	if err := h.Begin(x, 2*sec-300*ms); err != nil {
		t.Fatal(err)
	}
	if late := h.Began(x, 2*sec+ms); !late {
		t.Error("a start after the end is not said to be late")
	}
	var b Beat
	h.Report(&b, 2*sec)
	if len(b.Uses) != 2 || b.Uses[0].Started != 1 || b.Uses[0].Returned != 1 || b.Uses[0].At < Second+30*Millisecond || b.Uses[1].Late != 1 {
		t.Errorf("%+v", b.Uses)
	}
}

func TestOnlyTheNewestConnectionIsHeard(t *testing.T) {
	h := holder(t)
	if !h.Order(3, 1, Order{Slot: &Slot{11, to("a.test")}}) || !h.Order(3, 1, Order{Part: &Part{5, 100}}) {
		t.Fatal("an order is not taken")
	}
	hello, ok := h.Hello(4, 1)
	if !ok || hello.Conn != 2 || hello.Term != 4 || len(hello.Slots) != 1 || hello.Slots[0].ID != 11 || len(hello.Parts) != 1 || hello.Parts[0] != (Part{5, 100}) {
		t.Errorf("%+v", hello)
	}
	for _, o := range []Order{grant(1, 1, 1, 0, Second), {Slot: &Slot{12, to("a.test")}}, {EndSlot: 11}, {Part: &Part{6, 101}}, {EndPart: &Part{5, 100}}} {
		if h.Order(3, 1, o) {
			t.Errorf("taken from a leader of before: %+v", o)
		}
		if h.Order(4, 1, o) {
			t.Errorf("taken from a connection of before: %+v", o)
		}
	}
	if _, ok := h.Hello(3, 1); ok {
		t.Error("it turns back to a leader of before")
	}
	// Until the new leader promises something, the old lease stands.
	h.Answer(4, 2, 0, 0, 0, 1, 0, never)
	if ok, _ := h.Live(10 * sec); !ok {
		t.Error("its lease is gone")
	}
	h.Answer(4, 2, 0, 0, 0, 20*Second, 0, never)
	if ok, _ := h.Live(21 * sec); ok {
		t.Error("the old lease outlives the new one")
	}
}

func TestLeaseEndsEverything(t *testing.T) {
	h := holder(t)
	h.Order(3, 1, Order{Slot: &Slot{11, to("a.test")}})
	h.Order(3, 1, Order{Part: &Part{5, 100}})
	if !h.MayStart(14*sec) || h.MayStart(15*sec) {
		t.Error("transactions are started for another time than the first half of the lease")
	}
	ok, until := h.Live(29 * sec)
	if !ok || until > 30*sec-int64(h.p.Margin) || until < 29*sec {
		t.Errorf("live %v until %v", ok, until)
	}
	if h.Lapse(29 * sec) {
		t.Error("it lapses early")
	}
	if !h.Lapse(30*sec) || len(h.Slots())+len(h.Parts()) > 0 {
		t.Error("it does not lapse")
	}
	var b Beat
	h.Report(&b, 30*sec)
	if len(b.Closed) != 1 || b.Closed[0] != 11 || len(b.Gone) != 1 || b.Gone[0] != (Part{5, 100}) {
		t.Errorf("%+v", b)
	}
	// Said until it is heard.
	b = Beat{}
	h.Report(&b, 30*sec)
	h.Answer(3, 1, 0, 30*Second, 30*sec, 60*Second, b.Seq-1, never)
	if len(b.Closed) != 1 {
		t.Errorf("said once: %+v", b)
	}
	b = Beat{}
	h.Report(&b, 30*sec)
	if len(b.Closed)+len(b.Gone) > 0 {
		t.Errorf("said again though it was heard: %+v", b)
	}
}

// Every permit is started or given back, once; and the reports say so in the end.
func TestPermitsAreAccountedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := NewHoldings(DefaultParams(), 1)
		h.Hello(1, 1)
		h.Answer(1, 1, 0, 0, 0, Hour, 0, never)
		now := int64(0)
		given, started := map[GrantID]int{}, map[GrantID]int{}
		budget, named := map[GrantID]int{}, map[GrantID]int{}
		final := map[GrantID]Use{}
		var tickets []*Ticket
		var id GrantID
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				id++
				n := rapid.IntRange(1, 5).Draw(t, "n")
				r := n + rapid.IntRange(0, 9).Draw(t, "recipients")
				given[id], budget[id] = n, r
				h.Order(1, 1, Order{Grant: &Grant{ID: id, Term: 1, Lane: to("a.test"), N: n, Recipients: r, NotBefore: Time(now), NotAfter: Time(now) + 500*Millisecond}})
			},
			"take": func(t *rapid.T) {
				if x, _ := h.Take(to("a.test"), rapid.IntRange(1, 4).Draw(t, "recipients"), now+1); x != nil {
					tickets = append(tickets, x)
				}
			},
			"start": func(t *rapid.T) {
				if len(tickets) == 0 {
					return
				}
				x := tickets[0]
				tickets = tickets[1:]
				if h.Begin(x, now) == nil {
					h.Began(x, now)
					started[x.grant.ID]++
					named[x.grant.ID] += x.Recipients
				}
			},
			"return": func(t *rapid.T) {
				if len(tickets) > 0 {
					h.Return(tickets[0])
					tickets = tickets[1:]
				}
			},
			"release": func(t *rapid.T) { h.Release(to("a.test"), rapid.IntRange(0, 3).Draw(t, "keep")) },
			"pass":    func(t *rapid.T) { now += rapid.Int64Range(0, 300*ms).Draw(t, "by") },
			"beat": func(t *rapid.T) {
				var b Beat
				h.Report(&b, now)
				for _, u := range b.Uses {
					final[u.Grant] = u
				}
				h.Answer(1, 1, now, Time(now), now, Hour, b.Seq, never)
			},
			"": func(t *rapid.T) {
				for id, n := range given {
					if started[id] > n || named[id] > budget[id] {
						t.Fatalf("grant %d of %d and %d: %d started with %d", id, n, budget[id], started[id], named[id])
					}
					if u := final[id]; u.Started > started[id] || u.Started+u.Returned > n || u.Recipients+u.ReturnedRecipients > budget[id] {
						t.Fatalf("grant %d of %d and %d: %+v", id, n, budget[id], u)
					}
				}
			},
		})
		now += sec
		for _, x := range tickets {
			if h.Begin(x, now) == nil {
				t.Fatal("a permit outlives its end")
			}
		}
		var b Beat
		h.Report(&b, now)
		for _, u := range b.Uses {
			final[u.Grant] = u
		}
		for id, n := range given {
			if u := final[id]; u.Started != started[id] || u.Started+u.Returned != n || u.Recipients != named[id] || u.Recipients+u.ReturnedRecipients > budget[id] {
				t.Fatalf("grant %d of %d with %d, %d started with %d: %+v", id, n, budget[id], started[id], named[id], u)
			}
		}
		h.Answer(1, 1, now, Time(now), now, Hour, b.Seq, never)
		h.Report(&b, now)
		if len(h.grants)+len(h.lanes) > 0 {
			t.Fatalf("%d grants and %d lanes are kept", len(h.grants), len(h.lanes))
		}
	})
}

// A leader whose machine stood still may have been replaced meanwhile, and its clock is
// behind. Whoever hears of it only then has nothing to tell that by: so nothing is used,
// and no lease is taken, before the log has an entry that it stamped after that.
func TestNothingIsBelievedOfALeaderWithoutProof(t *testing.T) {
	h := NewHoldings(DefaultParams(), 7)
	if _, ok := h.Hello(3, 1); !ok {
		t.Fatal("no Hello")
	}
	h.Met(3, 0, 10*Second, ms)
	h.Answer(3, 1, 2*ms, 10*Second+2*Millisecond, 3*ms, 40*Second, 0, 9*Second)
	h.Order(3, 1, grant(1, 1, 1, 10*Second, 11*Second))
	if ok, _ := h.Live(4 * ms); ok {
		t.Error("it lives by a lease that may be over")
	}
	if x, _ := h.Take(to("a.test"), 1, 4*ms); x != nil {
		t.Error("it uses a permit that may be over")
	}
	h.Answer(3, 1, 40*ms, 10*Second+40*Millisecond, 41*ms, 40*Second, 0, 10*Second+20*Millisecond)
	if x, _ := h.Take(to("a.test"), 1, 42*ms); x == nil {
		t.Error("there is proof, and it does not use the permit")
	}
}
