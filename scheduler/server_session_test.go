package scheduler

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// What was granted while the node said what it wants is not granted again.
func TestGrantsUnderWayAreTakenOff(t *testing.T) {
	a, b := laneTo("a.test"), laneTo("b.test")
	r := &reign{s: &Server{o: ServerOptions{Clock: func() int64 { return 0 }}}}
	n := &sessionStream{r: r, wake: make(chan struct{}, 1)}
	grant := func(l Lane, k, recipients int) {
		n.order(Order{Grant: &Grant{Lane: l, N: k, Recipients: recipients}})
	}
	send := func() uint64 {
		n.flush(nil)
		return n.frame().number
	}
	want := func(seen uint64, x Want) Want {
		w := []Want{x}
		n.discount(w, seen)
		return w[0]
	}
	grant(a, 3, 4)
	first := send()
	grant(a, 2, 2)
	for _, x := range []struct {
		seen      uint64
		in, wants Want
	}{
		{0, Want{a, 10, 20, 1}, Want{a, 5, 14, 1}},
		{0, Want{a, 5, 6, 1}, Want{a, 0, 0, 0}},
		{0, Want{a, 4, 8, 3}, Want{a, 0, 0, 0}},
		{0, Want{a, 6, 7, 3}, Want{a, 1, 3, 3}},
		{0, Want{b, 10, 20, 1}, Want{b, 10, 20, 1}},
		{first, Want{a, 10, 20, 1}, Want{a, 8, 18, 1}},
	} {
		if got := want(x.seen, x.in); got != x.wants {
			t.Errorf("seen %d, %+v: got %+v, want %+v", x.seen, x.in, got, x.wants)
		}
	}
	second := send()
	if got := want(first, Want{a, 10, 20, 1}); got.N != 8 {
		t.Errorf("sent and not seen: %+v", got)
	}
	if got := want(second, Want{a, 10, 20, 1}); got.N != 10 || len(n.flights) != 0 {
		t.Errorf("all is seen: %+v", got)
	}
}

// Strangers at a scheduler's door cost little and leave the sessions alone.
func TestBadPeers(t *testing.T) {
	hello := func(session SessionID, term uint64) *nodeFrame {
		return &nodeFrame{hello: &helloFrame{Hello: Hello{Session: session, Term: term, Conn: 1}}}
	}
	open := &nodeFrame{open: &openFrame{node: "x"}}
	for _, x := range []struct {
		name string
		say  []*nodeFrame
	}{
		{"a beat first", []*nodeFrame{{beat: &Beat{Seq: 1}}}},
		{"a beat without hello", []*nodeFrame{open, {beat: &Beat{Seq: 1}}}},
		{"hello of another's session", []*nodeFrame{open, hello(1, 1)}},
		{"hello in another term", []*nodeFrame{open, hello(2, 7)}},
		{"open twice", []*nodeFrame{open, hello(2, 1), open}},
		{"a call within a session", []*nodeFrame{open, hello(2, 1), {call: &callFrame{what: callBook}}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				c := w.client("d1")
				w.eventually(time.Second, "a session", c.Live)
				streams := c.Stats().Streams
				conn, err := w.net.dial("x")(w.ctx, "s1")
				if err != nil {
					t.Fatal(err)
				}
				link := dialled(conn, 30*time.Second)
				for _, f := range x.say {
					link.Send(f)
				}
				began := time.Now()
				for {
					if _, err = link.Recv(); err != nil {
						break
					}
				}
				if errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > time.Second {
					t.Errorf("the stream was left open: %v", err)
				}
				time.Sleep(2 * time.Second)
				if !c.Live() || c.Stats().Streams != streams {
					t.Error("a session suffered")
				}
			})
		})
	}
}

// A peer that connects and is silent, or floods, or does not read.
func TestSlowPeers(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		silent, _ := w.net.dial("x")(w.ctx, "s1")
		began := time.Now()
		if _, err := silent.Read(make([]byte, 1)); err == nil || time.Since(began) > 20*time.Second {
			t.Errorf("a silent stream was left open for %v: %v", time.Since(began), err)
		}
		flood, _ := w.net.dial("y")(w.ctx, "s1")
		link := dialled(flood, 0)
		link.Send(&nodeFrame{open: &openFrame{node: "y"}})
		f, err := link.Recv()
		if err != nil {
			t.Fatal(err)
		}
		link.Send(&nodeFrame{hello: &helloFrame{Hello: Hello{Session: f.session, Term: f.term, Conn: 1}}})
		began = time.Now()
		const n = 5 * frameRate
		for i := range n {
			link.Send(&nodeFrame{sent: int64(i + 1), beat: &Beat{Seq: uint64(i + 1)}})
		}
		for f.ack < n {
			if f, err = link.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("%d frames were taken within %v", n, took)
		}
		flood.Close()
	})
}

// Only so many streams are served at a time; the next is told so.
func TestTooManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerOptions{Node: "one", Params: DefaultParams(), Clock: func() int64 { return 1 }, Streams: 1})
		a, b := net.Pipe()
		go s.Serve(b)
		synctest.Wait()
		c, d := net.Pipe()
		go s.Serve(d)
		f, err := dialled(c, 0).Recv()
		if err != nil || f.redirect == nil || !strings.Contains(f.redirect.why, "too many") {
			t.Errorf("%+v, %v", f, err)
		}
		a.Close()
		c.Close()
	})
}

// Cluster time goes on over a restart of the process, while the machine runs and no
// other term has begun; else it stands where the log stands.
func TestClockIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	x := int64(time.Hour)
	state := func(boot string) *State {
		return NewServer(ServerOptions{Params: DefaultParams(), Clock: func() int64 { return x }, Boot: boot, ClockFile: file}).State()
	}
	log := []Command{{Type: TermStart, RaftTerm: 1, Clock: 5 * Second}, {Type: Tick, Term: 1, Seq: 1, Clock: 60 * Second, Horizon: 62 * Second}}
	replay := func(s *State) {
		for i, c := range log {
			if a := s.Apply(uint64(i+1), 1, c.Append(nil)).(applied); a.err != nil {
				t.Fatal(a.err)
			}
		}
	}
	a := state("boot 1")
	replay(a)
	x += int64(10 * time.Second)
	a.saveClock()
	x += int64(time.Hour) // not running
	for _, y := range []struct {
		name, boot string
		more       []Command
		low, high  Time
	}{
		{"the same run of the machine", "boot 1", nil, 70*Second + Hour - 4*Second, 70*Second + Hour},
		{"another one", "boot 2", nil, 60 * Second, 60 * Second},
		{"another leader meanwhile", "boot 1", []Command{{Type: TermStart, RaftTerm: 1, Clock: 61 * Second}}, 61 * Second, 61 * Second},
	} {
		t.Run(y.name, func(t *testing.T) {
			keep := log
			log = append(log[:2:2], y.more...)
			defer func() { log = keep }()
			s := state(y.boot)
			replay(s)
			if got := s.bound(x); got < y.low || got > y.high {
				t.Errorf("%v, want %v to %v", time.Duration(got), time.Duration(y.low), time.Duration(y.high))
			}
		})
	}
	if err := os.WriteFile(file, []byte(`{"boot":"boot 1","local":`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := state("boot 1")
	replay(s)
	if got := s.bound(x); got != 60*Second {
		t.Errorf("a torn file: %v", got)
	}
}

// An entry that this version cannot read ends the node; nothing is applied after it.
func TestUnreadableEntry(t *testing.T) {
	var fatal error
	s := NewServer(ServerOptions{Params: DefaultParams(), Clock: func() int64 { return 1 }, Fatal: func(err error) { fatal = err }}).State()
	if a := s.Apply(1, 1, []byte{0xff, 1, 2}).(applied); a.err == nil || fatal == nil {
		t.Error("it was applied")
	}
	c := Command{Type: Change, Change: &shaping.Change{Op: shaping.OpSet, Rule: &shaping.Rule{To: "a.test", Connections: number(1)}}}
	if a := s.Apply(2, 1, c.Append(nil)).(applied); a.err == nil || s.Book().Version != 0 {
		t.Error("the node went on")
	}
	if _, err := s.Snapshot(); err == nil {
		t.Error("and would have given its state to others")
	}
}
