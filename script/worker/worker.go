// Package worker is the process in which scripts run: it loads them, calls their
// functions when the node says so, and tells what they have said and changed. It has
// no mail: what a script wants to see of a message the node hands over in pieces.
//
// Read worker.go for the process, call.go for one call, and watch.go for what happens
// to a script that does not stop. The objects that scripts see have a file each.
package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/api"
	"github.com/tarishi/tarishi/script/frame"
)

// worker is the process.
type worker struct {
	rt   *api.Runtime
	vm   *goja.Runtime
	r    *frame.Reader
	w    *frame.Writer
	me   string
	wait watch

	level     api.Level
	plugins   []*loaded
	functions []function
	conns     map[uint64]*connection
	calls     map[uint64]*call
	protos    prototypes
	parents   []string // files of inherited scripts
	loading   *loading // the last one, over or not
	tooLate   *time.Timer

	mu    sync.Mutex
	piece chan *frame.Piece // of the question under way; nil: there is none
	asked uint64            // and the call it is asked for
}

// loaded is one script.
type loaded struct {
	name     string
	file     string
	object   *goja.Object
	promises []promised // that its load waits for
	there    bool       // it is loaded
}

// function is one function of a script at a hook.
type function struct {
	plugin   *loaded
	hook     plugin.Hook
	name     string
	fn       goja.Callable
	priority int
}

// Main is all that a worker process does: frames come from in and go to out. What it
// returns is the process's exit code.
func Main(in, out *os.File) int {
	w := &worker{
		r: frame.NewReader(polled(in)), w: frame.NewWriter(polled(out)),
		conns: map[uint64]*connection{}, calls: map[uint64]*call{},
	}
	f, err := w.r.Next()
	if err != nil {
		return 0 // the node is gone before it has begun
	}
	load, ok := f.(*frame.Load)
	if !ok {
		fmt.Fprintln(os.Stderr, "script-worker is started by a node, and talks frames with it")
		return 2
	}
	// Calls that overlap make garbage quickly, and little stays: a heap that may double
	// from nearly nothing would be collected all the time.
	debug.SetGCPercent(max(100, int(load.Memory>>24)*100))
	debug.SetMemoryLimit(int64(load.Memory))
	// JavaScript runs in one goroutine; the others only wait for it, and would wake
	// another thread for that.
	runtime.GOMAXPROCS(1)
	restrict(int64(load.Memory))
	// A search that does not end cannot be interrupted. It ends with no match, but only
	// when the turn has been interrupted already, so that no script sees that.
	regexp2.DefaultMatchTimeout = time.Duration(load.Turn)*time.Millisecond + frame.Grace/2
	w.level, w.me = api.Level(load.Level), load.Me
	w.wait.start(w, time.Duration(load.Turn)*time.Millisecond, load.Memory)
	rt, err := api.New(api.Options{
		Folder: load.Folder, Append: load.Append, Hostname: load.Me, Log: w.log, Enabled: func(l api.Level) bool { return l <= w.level },
		Resolver: dns.New(dns.Config{Servers: load.Servers, CacheEntries: 10_000, CacheBytes: 4 << 20}),
		Begin:    w.wait.begin, End: w.wait.end, Idle: func() { w.w.Flush() },
	})
	if err != nil {
		w.w.Send(&frame.Loaded{Fault: err.Error()})
		return 1
	}
	w.rt, w.vm = rt, rt.VM()
	ctx, stop := context.WithCancel(context.Background())
	rt.Do(nil, func() error { w.load(load.Scripts); return nil })
	go w.read(stop)
	rt.Run(ctx)
	w.shutdown()
	w.w.Flush()
	return 0
}

// read takes frames until the node is gone.
func (w *worker) read(stop func()) {
	for {
		f, err := w.r.Next()
		if err != nil {
			// The loop may be in the middle of a script that does not end.
			time.AfterFunc(time.Second, func() { os.Exit(0) })
			stop()
			return
		}
		switch f := f.(type) {
		case *frame.Call:
			c := &call{w: w, f: f}
			w.rt.Do(c, c.run)
		case *frame.Ping:
			w.w.Send(&frame.Pong{})
		case *frame.Cancel:
			w.handOver(&frame.Piece{Seq: f.Seq, Fault: "nobody waits for this call any more"})
			w.rt.Do(nil, func() error { w.cancel(f.Seq); return nil })
		case *frame.Forget:
			w.rt.Do(nil, func() error { delete(w.conns, f.Connection); return nil })
		case *frame.Piece:
			w.handOver(f)
		}
	}
}

// handOver answers the question under way, if it is that call's.
func (w *worker) handOver(p *frame.Piece) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.piece != nil && w.asked == p.Seq {
		w.piece <- p
		w.piece = nil
	}
}

// askPatience is how long the node has to answer a question.
const askPatience = 20 * time.Second

// ask puts a question to the node, and waits for the answer: the script that wants
// to know cannot go on before.
func (w *worker) ask(q *frame.Ask) (*frame.Piece, error) {
	ch := make(chan *frame.Piece, 1)
	w.mu.Lock()
	w.piece, w.asked = ch, q.Seq
	w.mu.Unlock()
	w.wait.pause()
	defer w.wait.resume()
	if err := w.w.Send(q); err != nil {
		return nil, err
	}
	t := time.NewTimer(askPatience)
	defer t.Stop()
	select {
	case p := <-ch:
		if p.Fault != "" {
			return nil, errors.New(p.Fault)
		}
		return p, nil
	case <-t.C:
		return nil, errors.New("the node does not hand over the message")
	}
}

// cancel forgets a call that nobody waits for any more.
func (w *worker) cancel(seq uint64) {
	if c := w.calls[seq]; c != nil {
		c.done = true
		delete(w.calls, seq)
	}
}

// shutdown calls what scripts have to say at their end.
func (w *worker) shutdown() {
	for _, p := range w.plugins {
		if fn, ok := goja.AssertFunction(p.object.Get("shutdown")); ok {
			w.rt.Turn(nil, func() error { _, err := fn(p.object); return err })
		}
	}
	w.rt.Close()
}

func (w *worker) log(l api.Line) {
	if l.Level <= w.level {
		w.w.Add(&frame.Line{Level: byte(l.Level), Plugin: l.Plugin, ID: l.ID, Text: l.Text})
	}
}

// logOf logs on behalf of the worker itself.
func (w *worker) logOf(level api.Level, p *loaded, id, format string, args ...any) {
	l := api.Line{Level: level, ID: id, Text: fmt.Sprintf(format, args...)}
	if p != nil {
		l.Plugin = p.name
	}
	w.log(l)
}
