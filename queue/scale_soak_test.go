//go:build soak

package queue

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// What a backlog costs, on one node. TARISHI_WAITING says how many wait (1,000,000 if
// it is empty), of 2 KiB each; see docs/benchmarks.md.

func waitingCount(t *testing.T) int {
	s := os.Getenv("TARISHI_WAITING")
	if s == "" {
		return 1_000_000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal("TARISHI_WAITING: ", err)
	}
	return n
}

// fillWait stores count deliveries in WAIT, as at the door, without a barrier for each.
func (n *node) fillWait(count int, dest func(i int) mail.Domain) {
	n.t.Helper()
	body := bytes.Repeat([]byte(string(bytes.Repeat([]byte("x"), 78))+"\r\n"), 25)
	const workers = 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var open []pending
			end := func(k int) {
				for _, p := range open[:k] {
					if _, err := p.wait(n.t.Context()); err != nil {
						n.t.Error(err)
						return
					}
				}
				open = open[k:]
			}
			for i := w; i < count && !n.t.Failed(); i += workers {
				m := &mail.Message{ID: fmt.Sprintf("%026d", i), Received: time.Now().UTC(), Sender: mail.NewAddress("a@b.test")}
				d := mail.Delivery{Message: m, Destination: dest(i), Expires: time.Now().Add(5 * 24 * time.Hour),
					Recipients: []mail.Recipient{{Address: mail.NewAddress("u@" + string(dest(i)))}}}
				head := proto.FromMessage(m)
				head.Deliveries = []*proto.Delivery{proto.FromDelivery(&d)}
				frame, err := proto.AppendFrame(nil, proto.KindMail, head, body)
				if err != nil {
					n.t.Error(err)
					return
				}
				slot := n.slotFor(&d, time.Now())
				p, err := n.publishAsync(n.t.Context(), slot.subject(), messageID(recordID{delivery: d.ID()}.String()), frame)
				if err != nil {
					n.t.Error(err)
					return
				}
				n.lanes.add(slot)
				if open = append(open, p); len(open) == 512 {
					end(256)
				}
			}
			end(len(open))
		})
	}
	wg.Wait()
}

// accepting takes messages in at a steady rate and reports how long that took.
func (n *node) accepting(ctx context.Context, every time.Duration, to string) func() (p50, p99 time.Duration, count int) {
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			wg.Go(func() {
				began := time.Now()
				n.accept(fmt.Sprint("accepted", i, to), "x\r\n", "u@"+to)
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			})
		}
	})
	return func() (time.Duration, time.Duration, int) {
		wg.Wait()
		if len(took) == 0 {
			return 0, 0, 0
		}
		slices.Sort(took)
		return took[len(took)/2], took[len(took)*99/100], len(took)
	}
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return string(bytes.Fields(append(b, " ?"...))[0])
}

// A destination that takes nothing: what its backlog costs while nothing moves, what
// it costs others, and how long a start takes.
func TestScaleShut(t *testing.T) {
	count := waitingCount(t)
	n := open(t, Options{MaxBytes: 60 << 30})
	before := heapInUse()
	began := time.Now()
	n.fillWait(count, func(int) mail.Domain { return "shut.test" })
	t.Logf("filled with %d in %s, load %s", count, time.Since(began).Round(time.Second), load())
	n.stop()
	began = time.Now()
	n.start()
	t.Logf("start: %s, load %s", time.Since(began).Round(time.Millisecond), load())
	if w := n.Stats().Waiting; w != int64(count) {
		t.Fatalf("%d wait, want %d", w, count)
	}
	debug.FreeOSMemory()
	after := heapInUse()
	t.Logf("heap: %d octets for each that waits", int(max(after, before)-before)/count)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.Drain(ctx, func(l mail.Line) int {
			if l.Destination == "shut.test" {
				return 0
			}
			return 100
		}, func(j *Job) { j.Done(Attempt{}) })
	}()
	if f := os.Getenv("TARISHI_PROFILE"); f != "" {
		w, err := os.Create(f)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		_ = pprof.StartCPUProfile(w)
	}
	time.Sleep(5 * time.Second) // JetStream's own work after a start
	cpu, began := cpuTime(), time.Now()
	time.Sleep(30 * time.Second)
	t.Logf("while nothing moves: %.2f %% of a core, load %s", 100*(cpuTime()-cpu).Seconds()/time.Since(began).Seconds(), load())
	pprof.StopCPUProfile()

	// And while other mail moves, so that lanes are looked at all the time.
	fetch, stop := context.WithTimeout(t.Context(), 15*time.Second)
	report := n.accepting(fetch, 2*time.Millisecond, "open.test")
	done := 0
	cpu, began = cpuTime(), time.Now()
	for fetch.Err() == nil {
		js, _ := n.Fetch(fetch, 256)
		for _, j := range js {
			j.Done(Attempt{})
			n.Kick()
			done++
		}
	}
	stop()
	p50, p99, accepted := report()
	t.Logf("others: %d of %d passed, accept p50 %s p99 %s, %.0f us of CPU each, load %s", done, accepted, p50, p99,
		float64((cpuTime()-cpu).Microseconds())/float64(max(done, 1)), load())
	cancel()
	<-ended
}

// A hundred thousand open destinations, all due.
func TestScaleOpen(t *testing.T) {
	count := waitingCount(t)
	dests := min(100_000, count/10)
	n := open(t, Options{MaxBytes: 60 << 30})
	began := time.Now()
	n.fillWait(count, func(i int) mail.Domain { return mail.Domain("d" + strconv.Itoa(i%dests) + ".test") })
	t.Logf("filled with %d for %d destinations in %s", count, dests, time.Since(began).Round(time.Second))
	n.stop()
	debug.FreeOSMemory()
	began = time.Now()
	n.start()
	t.Logf("start: %s, heap %d MiB, load %s", time.Since(began).Round(time.Millisecond), heapInUse()>>20, load())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	report := n.accepting(ctx, 5*time.Millisecond, "new.test")
	go func() {
		for ctx.Err() == nil {
			js, _ := n.Fetch(ctx, 256)
			for _, j := range js {
				j.Done(Attempt{})
			}
		}
	}()
	var first time.Duration
	var heap uint64
	done := 0
	began = time.Now()
	said, then := time.Now(), 0
	cpu := cpuTime()
	_ = n.Drain(ctx, func(mail.Line) int {
		if n.claims.open() > 2000 {
			return 0 // as a deliverer whose hand is full
		}
		return 20
	}, func(j *Job) {
		n.Kick()
		if done == 0 {
			first = time.Since(began)
		}
		j.Done(Attempt{})
		if done++; done%20000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap = max(heap, m.HeapInuse)
			if f := os.Getenv("TARISHI_HEAP"); f != "" && done > count/2 {
				if w, err := os.Create(f); err == nil {
					_ = pprof.WriteHeapProfile(w)
					_ = w.Close()
				}
			}
			if done%(count/10/20000*20000) == 0 {
				t.Logf("%d: %.0f/s, heap %d MiB", done, float64(done-then)/time.Since(said).Seconds(), m.HeapInuse>>20)
				said, then = time.Now(), done
				if f := os.Getenv("TARISHI_PROFILE"); f != "" && done > count/2 {
					pprof.StopCPUProfile()
					if w, err := os.Create(f + strconv.Itoa(done)); err == nil {
						_ = pprof.StartCPUProfile(w)
					}
				}
			}
		}
		if done == count {
			cancel()
		}
	})
	took := time.Since(began)
	p50, p99, accepted := report()
	t.Logf("%d of %d drained in %s: %.0f/s, first after %s, %.0f us of CPU each; heap at most %d MiB; %d accepted meanwhile, p50 %s p99 %s; load %s",
		done, count, took.Round(time.Second), float64(done)/took.Seconds(), first, float64((cpuTime()-cpu).Microseconds())/float64(max(done, 1)),
		heap>>20, accepted, p50, p99, load())
}
