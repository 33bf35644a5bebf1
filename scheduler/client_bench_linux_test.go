package scheduler

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tarishi/tarishi/shaping"
)

// alone is a scheduler and a deliverer in one process, with a log in memory.
func alone(tb testing.TB, rules ...shaping.Rule) *Client {
	ctx, stop := context.WithCancel(context.Background())
	log := &twinRaft{t: tb, rand: rand.New(rand.NewPCG(1, 1)), delay: 100 * time.Microsecond}
	s := NewServer(ServerOptions{Node: "one", Params: DefaultParams(), Clock: BootTime, Rates: Rates, Alone: true})
	n := log.node("one", s.State())
	done := make(chan error, 2)
	go func() { done <- s.Run(ctx, n, n.events) }()
	log.elect(n)
	live := make(chan struct{}, 1)
	c := NewClient(ClientOptions{Node: "one", Params: DefaultParams(), Clock: BootTime, Rates: Rates, Peers: Peers{Local: s}, OnRules: func() {
		select {
		case live <- struct{}{}:
		default:
		}
	}})
	go func() { done <- c.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		<-done
		<-done
	})
	for !c.Live() {
		<-live
	}
	for _, r := range rules {
		if _, err := NewOperator(Peers{Local: s}, nil).Change(ctx, shaping.Change{Op: shaping.OpSet, Rule: &r}, nil); err != nil {
			tb.Fatal(err)
		}
	}
	return c
}

// What mail without limits pays for each start: the rules, and whether they and the
// session stand.
func BenchmarkUnlimited(b *testing.B) {
	c := alone(b, shaping.Rule{To: "limited.test", Messages: perWindow(1, time.Minute)})
	d := dest("free.test")
	b.ReportAllocs()
	for b.Loop() {
		t := c.Rules()
		if x := t.Bounds(d, "", ""); !x.Free() || !c.MayStart(t) {
			b.Fatal("it should be free")
		}
	}
}

// What a permit costs, all in: asked for in the lane's demand, granted by the leader
// in the same process, begun and reported. CPU of both sides.
func BenchmarkPermit(b *testing.B) {
	for _, x := range []struct {
		name string
		many int
	}{{"one at a time", 1}, {"by 20", 20}, {"by 200", 200}} {
		b.Run(x.name, func(b *testing.B) {
			c := alone(b, shaping.Rule{To: "a.test", Messages: perWindow(1_000_000_000, time.Second)})
			news := make(chan struct{}, 1)
			c.o.News = func(Lane) {
				select {
				case news <- struct{}{}:
				default:
				}
			}
			h := c.Lane(laneTo("a.test"))
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				var p *Permit
				for p == nil {
					if p, _ = h.Take(1); p == nil {
						h.Want(x.many, x.many, 1)
						<-news
					}
				}
				if p.Begin() == nil {
					p.Began()
				}
			}
			b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "cpu-µs/permit")
			h.Want(0, 0, 0)
		})
	}
}

// cpu is the processor time of this process so far.
func cpu() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
