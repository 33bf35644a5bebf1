package scheduler

import (
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// simWorld is the mail there is, and the rules at first.
type simWorld struct {
	book       []*shaping.Change
	lanes      []mailLane
	deliverers int
	changes    [][]*shaping.Change // by subject: one of its changes, at random
}

// mailLane has mail enough for everybody, always, unless every says otherwise.
type mailLane struct {
	Lane
	backlog int   // permits, or slots, that each deliverer likes to have
	most    int   // recipients of a message
	every   int64 // a message comes to each deliverer so often
}

func (x *mailLane) recipients(s *sim) int {
	if x.most <= 1 {
		return 1
	}
	return 1 + s.r.Intn(x.most)
}

func (x *mailLane) mean() int { return (1 + max(1, x.most)) / 2 }

func (w *simWorld) lane(l Lane) *mailLane {
	for i := range w.lanes {
		if w.lanes[i].Lane == l {
			return &w.lanes[i]
		}
	}
	panic("no such lane")
}

func windows(s string) []shaping.Window {
	ws, err := shaping.ParseWindows(s)
	if err != nil {
		panic(err)
	}
	return ws
}

func setRule(r shaping.Rule) *shaping.Change {
	return &shaping.Change{Op: shaping.OpSet, Author: "test", At: time.Unix(1e9, 0).UTC(), Rule: &r}
}

func messages(to, ws string) *shaping.Change {
	return setRule(shaping.Rule{To: to, Messages: windows(ws)})
}

func connections(to string, n int) *shaping.Change {
	return setRule(shaping.Rule{To: to, Connections: &n})
}

func unset(to string) *shaping.Change {
	return &shaping.Change{Op: shaping.OpUnset, Author: "test", At: time.Unix(1e9, 0).UTC(), To: to}
}

func suspend(to string) *shaping.Change {
	return &shaping.Change{Op: shaping.OpSuspend, Author: "test", At: time.Unix(1e9, 0).UTC(), To: to}
}

func resume(to string) *shaping.Change {
	return &shaping.Change{Op: shaping.OpResume, Author: "test", At: time.Unix(1e9, 0).UTC(), To: to}
}

func mailTo(domain string, backlog int) mailLane {
	return mailLane{Lane: Lane{Dest: shaping.Destination{Key: "domain:" + domain}}, backlog: backlog}
}

func (x mailLane) tenant(t string) mailLane { x.Tenant = t; return x }
func (x mailLane) conns() mailLane          { x.Kind = Connection; return x }
func (x mailLane) in(c mail.Class) mailLane { x.Class = c; return x }

// theWorld has every kind of limit: short, long and several windows; tenants within
// a destination; recipients; connections, begun and open; and mail that no rule bounds.
func theWorld() *simWorld {
	pair := shaping.Destination{Key: "name:pair"}
	w := &simWorld{deliverers: 5}
	w.book = []*shaping.Change{
		{Op: shaping.OpFile, Node: "n1", Hash: "1", At: time.Unix(1e9, 0).UTC(), Destinations: map[string]shaping.Group{
			"pair": {Domains: []string{"c.test", "d.test"}},
		}},
		messages("a.test", "20/1s,900/1m"),
		messages("b.test", "500/1m"),
		messages("c2.test", "1000/5m"),
		messages("pair", "40/1s"),
		setRule(shaping.Rule{To: "pair", Per: shaping.Tenant, Messages: windows("600/30s")}),
		messages("tiny.test", "3/20s"),
		messages("burst.test", "120/7s"),
		messages("log.test", "30/1s"),
		setRule(shaping.Rule{To: "rcpt.test", Messages: windows("60/10s"), Recipients: windows("200/10s,25/1s")}),
		setRule(shaping.Rule{To: "conn.test", NewConnections: windows("20/10s"), Connections: ptr(4)}),
		connections("two.test", 2),
	}
	rcpt := mailTo("rcpt.test", 20)
	rcpt.most = 12
	w.lanes = []mailLane{
		mailTo("a.test", 40), mailTo("b.test", 40), mailTo("c2.test", 40),
		{Lane: Lane{Dest: pair, Tenant: "t1"}, backlog: 40}, {Lane: Lane{Dest: pair, Tenant: "t2"}, backlog: 40},
		mailTo("tiny.test", 2), mailTo("burst.test", 40), mailTo("log.test", 40), rcpt, mailTo("free.test", 20),
		mailTo("conn.test", 3).conns(),
		mailTo("two.test", 2).conns().tenant("t1"), mailTo("two.test", 2).conns().tenant("t2"),
		mailTo("free.test", 2).conns(),
	}
	w.changes = [][]*shaping.Change{
		{messages("log.test", "30/1s"), messages("log.test", "15/1m"), messages("log.test", "100/1s,40/10s"), messages("log.test", "200/5m")},
		{messages("free.test", "20/5s"), messages("free.test", "100/1m"), unset("free.test"), connections("free.test", 3)},
		{suspend("b.test"), resume("b.test"), resume("b.test")},
		{connections("two.test", 2), connections("two.test", 5), connections("two.test", 1)},
		{messages("a.test", "20/1s,900/1m"), messages("a.test", "5/1s,900/1m"), messages("a.test", "20/1s")},
		{suspend("two.test"), resume("two.test"), resume("two.test")},
	}
	return w
}

func ptr(n int) *int { return &n }

// bursts is a world of windows that are used up as soon as they open: most of the time
// that something is granted, reservations are under way.
func bursts() *simWorld {
	w := &simWorld{deliverers: 4}
	for _, d := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		w.book = append(w.book, messages(d+".test", "150/6s"))
		w.lanes = append(w.lanes, mailTo(d+".test", 40))
	}
	w.changes = [][]*shaping.Change{{messages("a.test", "150/6s"), messages("a.test", "100/6s")}}
	return w
}

// worldFor is the world that a mix of faults is for.
func worldFor(mix string) *simWorld {
	switch mix {
	case "elections":
		return bursts()
	case "crowds":
		return crowds()
	}
	return theWorld()
}
