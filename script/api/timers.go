package api

import (
	"container/heap"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/dop251/goja"
)

// maxTimers bounds the timers of one runtime that are not due yet.
const maxTimers = 10000

// timers are setTimeout and its kin. One alarm wakes for the earliest; those due go
// to the loop in the order in which they were due and made.
type timers struct {
	r     *Runtime
	class *goja.Object // prototype of what setTimeout gives

	mu    sync.Mutex
	heap  timerHeap
	alarm *time.Timer
	made  int64
	shut  bool
}

type timer struct {
	t     *timers
	id    int64 // what it is as a number
	turn  int64 // when it was put on the heap
	at    time.Time
	every time.Duration // 0: once
	delay time.Duration
	owner Owner
	fn    goja.Callable
	args  []goja.Value
	index int // in the heap; -1: not there
	off   bool
}

func newTimers(r *Runtime) *timers { return &timers{r: r} }

// functions are the globals.
func (t *timers) functions() map[string]func(goja.FunctionCall) goja.Value {
	return map[string]func(goja.FunctionCall) goja.Value{
		"setTimeout":     func(c goja.FunctionCall) goja.Value { return t.set(c, false) },
		"setInterval":    func(c goja.FunctionCall) goja.Value { return t.set(c, true) },
		"setImmediate":   t.immediate,
		"queueMicrotask": t.microtask,
		"clearTimeout":   t.clear,
		"clearInterval":  t.clear,
		"clearImmediate": t.clear,
	}
}

func (t *timers) function(c goja.FunctionCall) goja.Callable {
	fn, ok := goja.AssertFunction(c.Argument(0))
	if !ok {
		panic(t.r.vm.NewTypeError("the first argument must be a function"))
	}
	return fn
}

// rest are the arguments from the nth on, to keep: what the call has is the stack's.
func rest(c goja.FunctionCall, n int) []goja.Value {
	if len(c.Arguments) <= n {
		return nil
	}
	return slices.Clone(c.Arguments[n:])
}

func (t *timers) set(c goja.FunctionCall, again bool) goja.Value {
	x := &timer{t: t, fn: t.function(c), args: rest(c, 2), owner: t.r.owner, index: -1}
	// Node's bounds: from one millisecond to 2^31-1; what is outside counts as one.
	ms := c.Argument(1).ToFloat()
	if !(ms >= 1 && ms <= math.MaxInt32) {
		ms = 1
	}
	x.delay = time.Duration(ms) * time.Millisecond
	if again {
		x.every = x.delay
	}
	return t.start(x)
}

func (t *timers) immediate(c goja.FunctionCall) goja.Value {
	x := &timer{t: t, fn: t.function(c), args: rest(c, 1), owner: t.r.owner, index: -1}
	t.r.Do(x.owner, x.fire)
	return t.object(x)
}

func (t *timers) microtask(c goja.FunctionCall) goja.Value {
	fn := t.function(c)
	p, resolve, _ := t.r.vm.NewPromise()
	then, _ := goja.AssertFunction(t.r.vm.ToValue(p).ToObject(t.r.vm).Get("then"))
	if _, err := then(t.r.vm.ToValue(p), t.r.vm.ToValue(func(goja.FunctionCall) goja.Value {
		if _, err := fn(goja.Undefined()); err != nil {
			t.r.failed(t.r.owner, err)
		}
		return goja.Undefined()
	})); err != nil {
		t.r.modules.rethrow(err)
	}
	resolve(goja.Undefined())
	return goja.Undefined()
}

// start puts the timer on the heap, and gives what the script has of it.
func (t *timers) start(x *timer) goja.Value {
	t.mu.Lock()
	full := len(t.heap) >= maxTimers
	if !full && !t.shut {
		t.push(x)
	}
	t.mu.Unlock()
	if full {
		t.r.throw("ERR_OUT_OF_RANGE", "more than %d timers", maxTimers)
	}
	return t.object(x)
}

func (t *timers) push(x *timer) {
	t.made++
	if x.id == 0 {
		x.id = t.made
	}
	x.turn, x.at = t.made, time.Now().Add(x.delay)
	heap.Push(&t.heap, x)
	if x.index == 0 {
		t.arm()
	}
}

// arm sets the alarm to the earliest timer.
func (t *timers) arm() {
	if t.alarm != nil {
		t.alarm.Stop()
	}
	if len(t.heap) > 0 {
		t.alarm = time.AfterFunc(time.Until(t.heap[0].at), t.due)
	}
}

// due hands what is due to the loop.
func (t *timers) due() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for len(t.heap) > 0 && !t.heap[0].at.After(now) {
		x := heap.Pop(&t.heap).(*timer)
		t.r.Do(x.owner, x.fire)
	}
	t.arm()
}

// fire calls the function, inside the loop. An interval goes on from here, so that a
// slow one never has two turns waiting.
func (x *timer) fire() error {
	if x.off {
		return nil
	}
	_, err := x.fn(goja.Undefined(), x.args...)
	if x.every > 0 && !x.off {
		x.t.mu.Lock()
		if x.index < 0 && !x.t.shut {
			x.t.push(x)
		}
		x.t.mu.Unlock()
	}
	return err
}

func (x *timer) stop() {
	x.off = true
	x.t.mu.Lock()
	if x.index >= 0 {
		heap.Remove(&x.t.heap, x.index)
	}
	x.t.mu.Unlock()
}

// refresh begins the time anew, as Node's does, also of a timer that is over.
func (x *timer) refresh() {
	x.stop()
	x.off = false
	x.t.start(x)
}

var symTimer = goja.NewSymbol("timer")

// object is what setTimeout gives: an object with Node's methods, which as a number
// is its id.
func (t *timers) object(x *timer) goja.Value {
	vm := t.r.vm
	if t.class == nil {
		t.class = vm.NewObject()
		of := func(v goja.Value) *timer { return t.of(v) }
		for name, f := range map[string]func(goja.FunctionCall) goja.Value{
			// Nothing keeps a worker alive that would otherwise end, so both change nothing.
			"ref":    func(c goja.FunctionCall) goja.Value { return c.This },
			"unref":  func(c goja.FunctionCall) goja.Value { return c.This },
			"hasRef": func(goja.FunctionCall) goja.Value { return vm.ToValue(true) },
			"close": func(c goja.FunctionCall) goja.Value {
				if x := of(c.This); x != nil {
					x.stop()
				}
				return c.This
			},
			"refresh": func(c goja.FunctionCall) goja.Value {
				if x := of(c.This); x != nil {
					x.refresh()
				}
				return c.This
			},
		} {
			hidden(t.class, name, vm.ToValue(f))
		}
		t.class.SetSymbol(goja.SymToPrimitive, func(c goja.FunctionCall) goja.Value {
			if x := of(c.This); x != nil {
				return vm.ToValue(x.id)
			}
			return vm.ToValue(math.NaN())
		})
	}
	o := vm.CreateObject(t.class)
	o.DefineDataPropertySymbol(symTimer, vm.ToValue(x), goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE)
	return o
}

// of is the timer that a script's value means, nil if none.
func (t *timers) of(v goja.Value) *timer {
	if o, ok := v.(*goja.Object); ok {
		if s := o.GetSymbol(symTimer); s != nil {
			x, _ := s.Export().(*timer)
			return x
		}
		return nil
	}
	if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
		return nil
	}
	id := v.ToInteger() // the number that an object was made of
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.heap {
		if x.id == id {
			return x
		}
	}
	return nil
}

func (t *timers) clear(c goja.FunctionCall) goja.Value {
	if x := t.of(c.Argument(0)); x != nil {
		x.stop()
	}
	return goja.Undefined()
}

func (t *timers) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shut, t.heap = true, nil
	if t.alarm != nil {
		t.alarm.Stop()
	}
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].turn < h[j].turn
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *timerHeap) Push(x any)   { t := x.(*timer); t.index = len(*h); *h = append(*h, t) }
func (h *timerHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	x.index = -1
	return x
}
