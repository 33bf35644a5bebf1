package scheduler

import (
	"fmt"
	"math/rand"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tarishi/tarishi/shaping"
)

// bench is one leader, 100,000 destinations with a window of a second and one of an
// hour each, and 200 sessions; on one goroutine.
type bench struct {
	p     Params
	f     *FSM
	l     *Leader
	now   Time
	lanes []Lane
	conns []SessionID
	seqs  []uint64
	order func(SessionID, Order)

	entries, octets, recs int
	aside                 time.Duration // spent on what is not the leader's
	worst                 time.Duration // the longest turn
}

func newBench(b testing.TB, destinations int, hot, cold string) *bench {
	x := &bench{p: DefaultParams()}
	x.f = NewFSM(x.p)
	x.apply(b, &Command{Type: TermStart, RaftTerm: 1})
	x.apply(b, &Command{Type: Change, Change: messages("*", cold)})
	x.apply(b, &Command{Type: Change, Change: messages("*.hot.test", hot)})
	for range 200 {
		x.conns = append(x.conns, x.apply(b, &Command{Type: Join, Node: "n"}).(SessionID))
	}
	x.seqs = make([]uint64, 200)
	x.l = NewLeader(x.p, x.f, 1, 0)
	x.commit(b)
	for _, id := range x.conns {
		if !x.l.Hello(x.now, Hello{Session: id, Term: 1, Conn: 1, Version: 2}) {
			b.Fatal("not known")
		}
	}
	x.step(b)
	for i := range destinations {
		d := fmt.Sprintf("d%d.test", i)
		if i < destinations/100 {
			d = fmt.Sprintf("d%d.hot.test", i)
		}
		x.lanes = append(x.lanes, Lane{Dest: shaping.Destination{Key: "domain:" + d}, Tenant: fmt.Sprint("t", i%500)})
	}
	return x
}

func (x *bench) apply(b testing.TB, c *Command) any {
	r, err := x.f.Apply(1, c)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// step passes 10 ms.
func (x *bench) step(b testing.TB) {
	x.l.Turn(x.now, func(id SessionID, o Order) {
		if x.order != nil {
			x.order(id, o)
		}
	})
	x.commit(b)
	x.now += 10 * Millisecond
}

// commit has the log take what the leader writes.
func (x *bench) commit(b testing.TB) {
	c := x.l.Tick(x.now)
	if c == nil {
		return
	}
	t0 := threadTime() // encoding and state are on another core
	x.octets += len(c.Append(nil))
	x.entries++
	x.recs += len(c.Recs)
	x.apply(b, c)
	x.aside += threadTime() - t0
	x.l.Committed(x.now, c)
}

// beat says what a session wants, and what became of what it got.
func (x *bench) beat(session int, wants []Want, uses []Use) {
	x.seqs[session]++
	x.l.Beat(x.now, Beat{Session: x.conns[session], Conn: 1, Seq: x.seqs[session], Version: 2, Wants: wants, Uses: uses})
}

// once has one message for every destination.
func (x *bench) once(b testing.TB) {
	for i := 0; i < len(x.lanes); i += 200 * 50 {
		for s := range 200 {
			var wants []Want
			for k := i + s; k < i+200*50; k += 200 {
				wants = append(wants, Want{Lane: x.lanes[k], N: 1})
			}
			x.beat(s, wants, nil)
		}
		for range 10 {
			x.step(b)
		}
	}
	for range 400 {
		x.step(b)
	}
}

// load offers rate messages a second, in packs of the same destination, for one
// second, and returns how many were granted.
func (x *bench) load(b testing.TB, z *rand.Zipf, rate, pack int, backlog []int) (grants, permits int) {
	wants := make([][]Want, 200)
	uses := make([][]Use, 200)
	touched := map[int]bool{}
	x.order = func(id SessionID, o Order) {
		if o.Grant == nil {
			return
		}
		grants++
		permits += o.Grant.N
		s := int(id - x.conns[0])
		uses[s] = append(uses[s], Use{Grant: o.Grant.ID, Started: o.Grant.N, At: o.Grant.NotBefore + Millisecond})
	}
	for range 100 {
		t0 := threadTime()
		for range rate / 100 / pack {
			d := int(z.Uint64())
			backlog[d] += pack
			touched[d] = true
		}
		for d := range touched {
			wants[d%200] = append(wants[d%200], Want{Lane: x.lanes[d], N: backlog[d]})
			backlog[d] = 0 // what waits stands in the leader; new mail adds to it roughly
		}
		clear(touched)
		x.aside += threadTime() - t0
		t0, aside := threadTime(), x.aside
		for s := range wants {
			x.beat(s, wants[s], uses[s])
			wants[s], uses[s] = wants[s][:0], uses[s][:0]
		}
		x.step(b)
		x.worst = max(x.worst, threadTime()-t0-(x.aside-aside))
	}
	return grants, permits
}

// How many grants one core gives, each with its report, and what that costs the log.
func BenchmarkGrants(b *testing.B) {
	for _, c := range []struct {
		name       string
		rate, pack int
		hot, cold  string
		zipf       float64
	}{
		{"single", 50_000, 1, "1000/1s,2000000/1h", "20/1s,1000/1h", 1.1},
		{"single150k", 150_000, 1, "1000/1s,2000000/1h", "20/1s,1000/1h", 1.1},
		{"batched", 50_000, 20, "1000/1s,2000000/1h", "20/1s,1000/1h", 1.1},
		{"throttled", 50_000, 1, "20/1s,1000/1h", "20/1s,1000/1h", 1.01},
	} {
		b.Run(c.name, func(b *testing.B) {
			const destinations = 100_000
			x := newBench(b, destinations, c.hot, c.cold)
			z := rand.NewZipf(rand.New(rand.NewSource(1)), c.zipf, 10, destinations-1)
			backlog := make([]int, destinations)
			x.once(b) // names are in the log for an hour
			for range 3 {
				x.load(b, z, c.rate, c.pack, backlog)
			}
			x.entries, x.octets, x.recs, x.aside, x.worst = 0, 0, 0, 0, 0
			grants, permits := 0, 0
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			t0 := threadTime()
			for range b.N {
				g, p := x.load(b, z, c.rate, c.pack, backlog)
				grants, permits = grants+g, permits+p
			}
			busy := (threadTime() - t0 - x.aside).Seconds()
			b.ReportMetric(float64(grants)/busy, "grants/s")
			b.ReportMetric(float64(permits)/busy, "permits/s")
			b.ReportMetric(float64(permits)/float64(b.N), "granted/s")
			b.ReportMetric(float64(x.octets)/float64(b.N), "logB/s")
			b.ReportMetric(float64(x.entries)/float64(b.N), "entries/s")
			b.ReportMetric(float64(x.recs)/float64(b.N), "recs/s")
			b.ReportMetric(x.worst.Seconds()*1e3, "ms/worst-turn")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// threadTime is the processor time of this thread: what one core gives, whatever else
// the machine does.
func threadTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heapInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// What a destination costs in memory: while it has mail, and in the hour after.
func BenchmarkMemory(b *testing.B) {
	for range b.N {
		const destinations = 100_000
		x := newBench(b, destinations, "1000/1s,2000000/1h", "20/1s,1000/1h")
		before := heapInUse()
		z := rand.NewZipf(rand.New(rand.NewSource(1)), 1.1, 10, destinations-1)
		backlog := make([]int, destinations)
		x.once(b)
		for range 3 {
			x.load(b, z, 50_000, 1, backlog)
		}
		b.ReportMetric((heapInUse()-before)/destinations, "B/destination")
		b.ReportMetric(float64(len(x.l.counters))/destinations, "known")
		x.order = nil
		for range 200 * 100 {
			x.step(b)
			if x.now%(40*Millisecond) == 0 {
				x.beat(int(x.now/(40*Millisecond)%200), nil, nil)
			}
		}
		b.ReportMetric((heapInUse()-before)/destinations, "B/idle")
		b.ReportMetric(0, "ns/op")
		runtime.KeepAlive(x)
	}
}

// What stops everything else, with 100,000 destinations in use.
func BenchmarkPauses(b *testing.B) {
	const destinations = 100_000
	x := newBench(b, destinations, "1000/1s,2000000/1h", "20/1s,1000/1h")
	x.once(b)
	z := rand.NewZipf(rand.New(rand.NewSource(1)), 1.1, 10, destinations-1)
	backlog := make([]int, destinations)
	x.load(b, z, 50_000, 1, backlog)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	report := func(what string, do func()) {
		t0 := threadTime()
		for range b.N {
			do()
		}
		b.ReportMetric(float64(threadTime()-t0)/float64(b.N)/1e6, "ms/"+what)
	}
	var snap []byte
	report("snapshot", func() { snap = x.f.Snapshot() })
	b.ReportMetric(float64(len(snap)), "B/snapshot")
	report("restore", func() {
		if _, err := Restore(x.p, snap); err != nil {
			b.Fatal(err)
		}
	})
	report("live", func() { x.l.Live(x.now) })
	report("term", func() {
		x.apply(b, &Command{Type: TermStart, RaftTerm: x.f.raftTerm, Clock: x.now})
		NewLeader(x.p, x.f, x.f.term, x.now)
	})
	n := 0
	report("change", func() {
		n++
		x.apply(b, &Command{Type: Change, Change: messages("*.hot.test", fmt.Sprintf("%d/1s", 1000+n))})
		x.l.Changed(x.now)
	})
	b.ReportMetric(0, "ns/op")
}
