package worker

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/script/api"
	"github.com/tarishi/tarishi/script/frame"
)

// watch looks on while JavaScript runs. A turn that takes too long, or during which
// the heap outgrows its bound, is interrupted: its call fails, and the others go on.
// One that does not heed that, because it is inside some long function of Go's, or
// that keeps what it has taken, takes the worker along; the node starts another.
type watch struct {
	w      *worker
	bound  time.Duration
	memory uint64
	slate  slate
	sample [1]metrics.Sample

	began  atomic.Int64  // nanoseconds, of the turn under way; 0: none is
	call   atomic.Uint64 // the call it belongs to
	asleep atomic.Bool
	wake   chan struct{}

	mu sync.Mutex // held to interrupt, and to end a turn: none is interrupted for another
}

// tick is how often it looks.
const tick = 20 * time.Millisecond

func (x *watch) start(w *worker, bound time.Duration, memory uint64) {
	x.w, x.bound, x.memory = w, bound, memory
	x.wake = make(chan struct{}, 1)
	x.sample[0].Name = "/memory/classes/heap/objects:bytes"
	x.slate.open()
	go x.look()
}

// nobody is the number of a turn that no call is to blame for.
const nobody = ^uint64(0)

// begin and end stand around each turn.
func (x *watch) begin(o api.Owner) {
	if c, ok := o.(*call); ok {
		x.working(c.seq())
	} else {
		x.working(nobody)
	}
	x.began.Store(time.Now().UnixNano())
	if x.asleep.Load() {
		select {
		case x.wake <- struct{}{}:
		default:
		}
	}
}

func (x *watch) end(api.Owner) {
	x.mu.Lock()
	x.began.Store(0)
	x.mu.Unlock()
	x.working(0)
}

// interrupt ends the turn that began then, if it is still under way.
func (x *watch) interrupt(began int64, why error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.began.Load() == began {
		x.w.rt.Interrupt(why)
	}
}

// working says for which call the turn is.
func (x *watch) working(seq uint64) {
	x.call.Store(seq)
	x.slate.write(seq)
}

// pause and resume stand around a question to the node, whose time is not the script's.
func (x *watch) pause()  { x.began.Store(0) }
func (x *watch) resume() { x.began.Store(time.Now().UnixNano()) }

// heap is the octets of objects, dead ones that are not collected yet included.
func (x *watch) heap() uint64 {
	metrics.Read(x.sample[:])
	return x.sample[0].Value.Uint64()
}

func (x *watch) look() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var since stopwatch
	for idle, last := 0, int64(0); ; {
		<-ticker.C
		began := x.began.Load()
		if began != last { // a turn that it sees for the first time
			last, since = began, newStopwatch(time.Unix(0, began))
		}
		if idle++; began != 0 {
			idle = 0
		}
		// What was answered before this turn is not kept by it.
		x.w.w.Flush()
		heap := x.heap()
		switch {
		case began != 0 && since.past(x.bound):
			x.tooLong(began)
		case heap > x.memory:
			x.tooMuch(heap)
		}
		if idle > 50 { // nothing runs: sleep until something does
			ticker.Stop()
			x.asleep.Store(true)
			if x.began.Load() == 0 {
				<-x.wake
			}
			x.asleep.Store(false)
			ticker.Reset(tick)
			idle = 0
		}
	}
}

// tooLong interrupts the turn that began then, and waits for it to end.
func (x *watch) tooLong(began int64) {
	seq := x.call.Load()
	x.interrupt(began, fmt.Errorf("it ran for more than %v at a stretch", x.bound))
	if !x.over(began) {
		x.die(seq, "a script did not stop when it was interrupted")
	}
}

// over waits for a turn to end.
func (x *watch) over(began int64) bool {
	for since := newStopwatch(time.Now()); !since.past(frame.Grace); time.Sleep(5 * time.Millisecond) {
		if x.began.Load() != began {
			return true
		}
	}
	return false
}

// stopwatch tells how long somebody has had: by the clock, but not while the machine
// gave this process no time to run.
type stopwatch struct {
	began time.Time
	used  time.Duration
}

func newStopwatch(began time.Time) stopwatch {
	used, _ := cpuTime()
	return stopwatch{began, used}
}

// past tells whether that was more than d. Of a busy machine half of it in computing
// is enough, and ten times as much by the clock.
func (s stopwatch) past(d time.Duration) bool {
	wall := time.Since(s.began)
	if wall <= d {
		return false
	}
	used, ok := cpuTime()
	return !ok || used-s.used >= d/2 || wall > 10*d
}

// tooMuch interrupts the turn under way, and sees whether the heap is small enough
// then.
func (x *watch) tooMuch(heap uint64) {
	seq, began := x.call.Load(), x.began.Load()
	// Garbage is not held against anybody: it may be that of the turns before. But while
	// it is collected a script that allocates without end goes on, so not for long.
	if within(5*tick, runtime.GC); x.heap() <= x.memory {
		return
	}
	if began != 0 {
		x.interrupt(began, fmt.Errorf("it had the memory of its worker grow to %d MiB; %d are there for all scripts", heap>>20, x.memory>>20))
		if !x.over(began) {
			x.die(seq, "a script took memory without end and did not stop when it was interrupted")
		}
	}
	within(frame.Grace, func() { runtime.GC(); debug.FreeOSMemory() })
	if left := x.heap(); left > x.memory-x.memory/4 {
		x.die(seq, fmt.Sprintf("its scripts keep %d MiB of memory; %d are there", left>>20, x.memory>>20))
	}
}

// within waits for what may take for ever, a collection beside a script that makes
// garbage as fast, but not for longer than d.
func within(d time.Duration, collect func()) {
	done := make(chan struct{})
	go func() { defer close(done); collect() }()
	for since := newStopwatch(time.Now()); !since.past(d); {
		select {
		case <-done:
			return
		case <-time.After(tick):
		}
	}
}

// die ends the worker; the call that it dies of is named.
func (x *watch) die(seq uint64, why string) {
	// The pipe may be full, and nobody is to wait for that.
	time.AfterFunc(200*time.Millisecond, func() { os.Exit(3) })
	x.w.w.Send(&frame.Dying{Seq: seq, Why: why})
	os.Exit(3)
}
