// Package api is the world in which a script runs: one JavaScript runtime, its event
// loop, and all that a script can see without knowing a mail transaction: timers,
// promises, Buffer, require and its modules, this.config, the log functions.
//
// It knows neither connections nor hooks; package script puts these into it. It never
// touches the node: whatever a script does here it does in the worker's process.
//
// Package script calls, inside the loop:
//
//	New(Options) (*Runtime, error)                 globals are there, nothing has run
//	r.Plugin(name, file) (*goja.Object, error)     runs the file with require, exports, module, the
//	                                               constants and server in its scope; the object is its
//	                                               exports, with name, config, haraka_require and the
//	                                               log functions put to it: what "this" is in a hook
//	r.AddLog(o, func(this *goja.Object) string)    puts loginfo and its kin to an object (a connection);
//	                                               the function tells the id that the lines are about
//	r.Require(name) (goja.Value, error)            a module, as scripts see it
//	r.Address(raw) (*goja.Object, error)           an Address (address-rfc2821) of a path without brackets
//	r.AddressText(v) (raw string, ok bool)         and back, after a script may have changed it
//	r.Buffer([]byte) goja.Value, r.Octets(v) ([]byte, bool)
//	r.Server() *goja.Object                        the global server, which has notes
//	r.Close()                                      timers, watched files and sockets end
//
// All JavaScript runs in the goroutine that called Run, and only there: what is not
// said to be safe for other goroutines is called inside the loop.
package api

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/mail"
)

// Owner is on whose behalf JavaScript runs: one call of a hook. Timers, promises and
// sockets belong to the owner in whose turn they were made. A nil Owner is the
// plugin itself: register(), and what it has started.
type Owner interface {
	// Failed is told, inside the loop, of what nobody was there to catch: a throw in a
	// timer or in an event's listener, a promise rejected and not handled, a turn that
	// was interrupted.
	Failed(err error)
}

// Options are what the worker says of the world.
type Options struct {
	// Folder holds NAME.js, and config/ with the settings files. Absolute.
	Folder string
	// Hostname is what the node calls itself; empty: what the machine does.
	Hostname string
	// Append are files below Folder that scripts may append to, relative to it. Nothing
	// else is ever written.
	Append []string
	// Log takes one line; Enabled tells whether lines of a level are wanted, so that
	// those nobody wants are not even put together.
	Log     func(Line)
	Enabled func(Level) bool
	// Resolver answers for the module dns.
	Resolver Resolver
	// Begin and End, if set, stand around every turn: every time that JavaScript is
	// entered from Go, until it and the promise jobs it left are done.
	Begin, End func(Owner)
	// Idle, if set, is called inside the loop when nothing more is to be done at once.
	Idle func()
}

// Resolver asks DNS.
type Resolver interface {
	Query(ctx context.Context, name string, t dns.Type) (dns.Answer, error)
	LookupPTR(ctx context.Context, ip netip.Addr) (dns.Answer, error)
	LookupAddrs(ctx context.Context, host string) (dns.Addrs, error)
	LookupMX(ctx context.Context, d mail.Domain) (dns.Answer, error)
}

// Level is Haraka's: the lower, the graver.
type Level int8

// The levels.
const (
	Emerg Level = iota
	Alert
	Crit
	Error
	Warn
	Notice
	Info
	Debug
	Protocol
	Data
)

// Slog is the level as the node logs it.
func (l Level) Slog() slog.Level {
	switch {
	case l <= Error:
		return slog.LevelError
	case l == Warn:
		return slog.LevelWarn
	case l <= Info:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// Line is one line of a script for the node's log.
type Line struct {
	Level  Level
	Plugin string // which script; empty: not known
	ID     string // of the connection or transaction it is about; empty: none
	Text   string
}

// Runtime is one runtime and its loop.
type Runtime struct {
	world
	vm    *goja.Runtime
	o     Options
	owner Owner // of the turn under way
	depth int   // turns inside turns

	mu   sync.Mutex
	jobs []job
	wake chan struct{} // holds one: there are jobs
}

type job struct {
	owner Owner
	run   func() error
}

// VM is the runtime, for use inside the loop.
func (r *Runtime) VM() *goja.Runtime { return r.vm }

// Owner is on whose behalf JavaScript runs just now.
func (r *Runtime) Owner() Owner { return r.owner }

// Do has run called inside the loop, as a turn of owner's. An error is what nobody
// caught: it goes to owner.Failed. Safe for all goroutines.
func (r *Runtime) Do(owner Owner, run func() error) {
	r.mu.Lock()
	r.jobs = append(r.jobs, job{owner, run})
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works the loop until ctx ends.
func (r *Runtime) Run(ctx context.Context) {
	var batch []job
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for waited := false; ; {
			r.mu.Lock()
			batch, r.jobs = r.jobs, batch[:0]
			r.mu.Unlock()
			if len(batch) == 0 {
				// Whoever brings jobs may have more of them; then Idle waits.
				if !waited {
					waited = true
					runtime.Gosched()
					continue
				}
				break
			}
			waited = false
			for i, j := range batch {
				if ctx.Err() != nil {
					return
				}
				if err := r.Turn(j.owner, j.run); err != nil {
					r.failed(j.owner, err)
				}
				batch[i] = job{}
			}
		}
		if r.o.Idle != nil {
			r.o.Idle()
		}
	}
}

// Turn runs JavaScript on behalf of owner, and returns what nobody caught. Called
// inside the loop only; a turn inside a turn is part of it.
func (r *Runtime) Turn(owner Owner, run func() error) error {
	before := r.owner
	r.owner = owner
	r.depth++
	if r.depth == 1 && r.o.Begin != nil {
		r.o.Begin(owner)
	}
	defer func() {
		if r.depth == 1 {
			r.settle()
			if r.o.End != nil {
				r.o.End(owner)
			}
			// An interrupt that came too late to stop this turn is not to stop the next.
			r.vm.ClearInterrupt()
		}
		r.depth--
		r.owner = before
	}()
	return run()
}

func (r *Runtime) failed(owner Owner, err error) {
	if owner != nil {
		owner.Failed(err)
		return
	}
	r.o.Log(Line{Level: Crit, Text: "uncaught: " + err.Error()})
}

// Interrupt ends the turn under way with reason. Safe for all goroutines.
func (r *Runtime) Interrupt(reason error) { r.vm.Interrupt(reason) }
