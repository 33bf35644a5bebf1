// Package script runs plugins that are written in JavaScript, by Haraka's documented
// API: a pool of worker processes, each with one runtime in which all scripts are
// loaded. To the chain a script is a plugin like any other.
//
// A connection belongs to one worker, so that what a script keeps with it is there at
// the next hook. Notes and results are mirrored in the node: when a worker dies, the
// connection goes on in another one. A script that loops, takes too much memory or
// throws where nobody catches harms the call that it was called for, and nothing else.
//
// Read pool.go for the processes, adapter.go for one call, package frame for what
// goes through the pipes, and package worker for the other end of them.
package script

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
)

// Options are what the operator says of the workers.
type Options struct {
	Folder  string        // of the scripts, with config/ in it; absolute
	Workers int           // processes; 0: DefaultWorkers
	Memory  int64         // octets of one's heap; 0: DefaultMemory
	Turn    time.Duration // JavaScript runs at a stretch for that long at most; 0: DefaultTurn
	Me      string        // the node's name
	Servers []string      // DNS; none: as the system is set up
	Append  []string      // files of the folder to which scripts may append
	Log     *slog.Logger  // nil: none
	// Command starts a worker; nil: this program with WorkerCommand.
	Command []string
}

// What is usual.
const (
	DefaultWorkers = 2
	DefaultMemory  = 128 << 20
	DefaultTurn    = 500 * time.Millisecond
)

// WorkerCommand is the subcommand by which a program becomes a worker: it calls
// worker.Main.
const WorkerCommand = "script-worker"

// startPatience is how long a worker has to load its scripts.
const startPatience = 30 * time.Second

// Pool is the workers of one set of scripts. It starts when the first of its plugins
// is registered, and ends with the last that is closed.
type Pool struct {
	o   Options
	log *slog.Logger

	starting sync.Once
	fault    error            // no worker started
	faults   map[string]error // of scripts
	loaded   *frame.Loaded
	asks     []habit  // by function
	follows  []uint64 // by function: which one comes right behind it in the chain, and 1; 0: none of ours

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	scripts []frame.Script
	open    int // plugins not closed yet
	live    []*process
	changed chan struct{} // closed when live changes
	turn    int           // whose turn it is among equals
	ids     atomic.Uint64
	deaths  atomic.Int64
}

// habit is what a function asked for in former calls: next time it goes along.
type habit struct{ header, body atomic.Bool }

// habits tells what a call of these functions is likely to ask for.
func (p *Pool) habits(functions []uint64) (header, body bool) {
	for _, n := range functions {
		header = header || p.asks[n].header.Load()
		body = body || p.asks[n].body.Load()
	}
	return header, body
}

// mostAtOnce bounds how many functions one call names.
const mostAtOnce = 16

// with is a function and those that follow it in the chain, as long as they are to be
// asked about this message.
func (p *Pool) with(n uint64, tx *plugin.Transaction) []uint64 {
	out := []uint64{n}
	for next := p.follows[n]; next != 0 && len(out) < mostAtOnce; next = p.follows[next-1] {
		if tx != nil && tx.Skips(p.loaded.Functions[next-1].Script) {
			break
		}
		out = append(out, next-1)
	}
	return out
}

// number is that of a function; none if several are called the same.
func (p *Pool) number(hook plugin.Hook, script, name string) (n uint64, ok bool) {
	for i, f := range p.loaded.Functions {
		if f.Hook != string(hook) || f.Script != script || f.Name != name {
			continue
		}
		if ok {
			return 0, false
		}
		n, ok = uint64(i), true
	}
	return n, ok
}

// Open makes a pool. No worker runs yet.
func Open(o Options) (*Pool, error) {
	if !filepath.IsAbs(o.Folder) {
		return nil, fmt.Errorf("the folder of scripts %q is not absolute", o.Folder)
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	if o.Turn <= 0 {
		o.Turn = DefaultTurn
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Command == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("script workers: this program's own file: %w", err)
		}
		o.Command = []string{self, WorkerCommand}
	}
	p := &Pool{o: o, log: o.Log, changed: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p, nil
}

// Plugin adds the script in file. All are added before the first is registered.
func (p *Pool) Plugin(name, file string) (plugin.Plugin, error) {
	if st, err := os.Stat(file); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", file)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded != nil || p.fault != nil {
		return nil, errors.New("the scripts of a pool are added before the first of them is registered")
	}
	p.scripts = append(p.scripts, frame.Script{Name: name, File: file})
	p.open++
	return &script{pool: p, name: name}, nil
}

// start starts the first worker, which tells what the scripts register, and then the
// others.
func (p *Pool) start() error {
	p.starting.Do(func() {
		pr, loaded, err := p.launch()
		p.mu.Lock()
		if err != nil {
			p.fault = err
		}
		p.loaded = loaded
		p.mu.Unlock()
		switch {
		case err != nil:
			return
		case loaded.Fault != "":
			p.faults = map[string]error{loaded.Script: errors.New(loaded.Fault)}
			pr.end()
			return
		}
		p.asks, p.follows = make([]habit, len(loaded.Functions)), make([]uint64, len(loaded.Functions))
		// All are there before the first connection is, or all would go to this one.
		var there sync.WaitGroup
		there.Add(p.o.Workers)
		p.wg.Go(func() { p.keep(pr, there.Done) })
		for range p.o.Workers - 1 {
			p.wg.Go(func() { p.keep(nil, there.Done) })
		}
		there.Wait()
	})
	return p.fault
}

// keep keeps one worker running: pr, and when that one dies another one. there is
// called when the first of them runs, or cannot be started.
func (p *Pool) keep(pr *process, there func()) {
	there = sync.OnceFunc(there)
	defer there()
	const short, longer, long = 10 * time.Millisecond, time.Second, 5 * time.Second
	pause := short
	for p.ctx.Err() == nil {
		if pr == nil {
			var loaded *frame.Loaded
			var err error
			pr, loaded, err = p.launch()
			if err == nil && loaded.Fault != "" {
				err = fmt.Errorf("script %s: %s", loaded.Script, loaded.Fault)
			}
			if err == nil && !sameFunctions(loaded, p.loaded) {
				err = errors.New("its scripts have changed; they are taken over when plugins are loaded anew")
			}
			if err != nil {
				if pr != nil {
					pr.end()
					pr = nil
				}
				if p.ctx.Err() != nil {
					return
				}
				there()
				p.log.Error("a script worker does not start", "error", err, "again_in", long)
				p.sleep(long)
				continue
			}
		}
		began, heard := time.Now(), pr.heard.Load()
		p.enlist(pr)
		if p.ctx.Err() != nil { // Close may have looked before it was on the list
			pr.end()
		}
		there()
		pr.read()
		p.dismiss(pr)
		if p.ctx.Err() == nil {
			p.deaths.Add(1)
			p.log.Error("a script worker died; another one takes its place", "pid", pr.pid, "error", pr.obituary())
		}
		// One that dies again and again at once is not restarted in a loop. But who kills
		// one that works is not to keep the others from the next.
		if pause = min(pause*4, longer); time.Since(began) > 2*long || pr.heard.Load() != heard {
			pause = short
		}
		pr = nil
		p.sleep(pause)
	}
}

func sameFunctions(a, b *frame.Loaded) bool {
	if len(a.Functions) != len(b.Functions) {
		return false
	}
	for i := range a.Functions {
		if a.Functions[i] != b.Functions[i] {
			return false
		}
	}
	return true
}

func (p *Pool) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}

func (p *Pool) enlist(pr *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil { // Close has not seen it
		pr.end()
		return
	}
	p.live = append(p.live, pr)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Pool) dismiss(pr *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, x := range p.live {
		if x == pr {
			p.live = append(p.live[:i], p.live[i+1:]...)
			break
		}
	}
}

var errClosed = errors.New("the script workers are closed")

// burden is what a worker has to do: calls now, and connections that will make some.
func (pr *process) burden() int64 { return 8*pr.under.Load() + pr.bonds.Load() }

// pick is the worker with the least to do; it waits for one if there is none.
func (p *Pool) pick(ctx context.Context) (*process, error) {
	for {
		p.mu.Lock()
		var best *process
		p.turn++
		for i := range p.live {
			x := p.live[(i+p.turn)%len(p.live)]
			if x.isDead() { // about to be taken away
				continue
			}
			if best == nil || x.burden() < best.burden() && (!x.stuck() || best.stuck()) || best.stuck() && !x.stuck() {
				best = x
			}
		}
		changed := p.changed
		p.mu.Unlock()
		if best != nil {
			return best, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errors.New("no script worker is there")
		case <-p.ctx.Done():
			return nil, errClosed
		}
	}
}

// Close ends the workers. Calls under way come to nothing.
func (p *Pool) Close(ctx context.Context) error {
	p.starting.Do(func() { p.fault = errClosed })
	p.stop()
	p.mu.Lock()
	live := append([]*process(nil), p.live...)
	p.mu.Unlock()
	for _, pr := range live {
		pr.end()
	}
	done := make(chan struct{})
	go func() { p.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("a script worker has not ended")
	}
}

// leave is called by each plugin that is closed.
func (p *Pool) leave(ctx context.Context) error {
	p.mu.Lock()
	p.open--
	last := p.open == 0
	p.mu.Unlock()
	if last {
		return p.Close(ctx)
	}
	return nil
}
