// Package plugin runs the operator's own decisions at the moments of a message's
// life: a chain of functions for each hook, in a fixed order, each with a deadline.
//
// The hooks, their order and the codes are those of Haraka, so that who knows one
// knows the other. What differs is what a plugin can do to the node: it cannot block
// it (a function that is not back in time is given up, and the client gets 451), and
// it cannot crash it (a panic is caught, and the client gets 451).
//
// Read chain.go first. The package knows neither SMTP nor the queue: ingress and
// deliverer say when a hook's moment has come, and do what the verdict says.
package plugin

import (
	"context"
	"time"
)

// Plugin is one unit of policy. Its functions run on many connections at once.
type Plugin interface {
	// Name is how configuration, logs and counters call it: letters, digits, dots,
	// dashes and underscores.
	Name() string
	// Register names the functions of its hooks. An error ends the start of the node,
	// or keeps the plugins of before when they are loaded anew.
	Register(r *Registrar) error
}

// Closer is a Plugin with something to give back. Close is called once, after the
// last of its functions has returned or was given up.
type Closer interface {
	Close(ctx context.Context) error
}

// Neighbour is a Plugin that is told, when a chain is made, which function comes right
// behind one of its own at a hook. It may begin that one early, if it knows it.
type Neighbour interface {
	Before(h Hook, function string, next Plugin, nextFunction string)
}

// Func is called at a hook's moment. It is called by one goroutine for one
// connection at a time, but a function that was given up may still run beside the
// next one: what it keeps beyond the call must bear that. ctx ends at its deadline.
type Func func(ctx context.Context, e *Event) Verdict

// DefaultTimeout is what a function has when nobody says otherwise.
const DefaultTimeout = 30 * time.Second

// Priorities go from -100, which is first, to 100. Equal ones run in the order in
// which the plugins are listed.
const (
	First = -100
	Last  = 100
)

// Registrar takes the functions of one plugin.
type Registrar struct {
	name  string
	fns   []*function
	fault error
}

// Hook has fn called at hook, between the others by priority.
func (r *Registrar) Hook(hook Hook, priority int, label string, fn Func) {
	switch {
	case fn == nil:
		r.refuse("hook %s: no function", hook)
	case !hook.Known():
		r.refuse("there is no hook %q; see docs/plugins.md", hook)
	case priority < First || priority > Last:
		r.refuse("hook %s: priority %d is not between %d and %d", hook, priority, First, Last)
	default:
		r.fns = append(r.fns, &function{hook: hook, plugin: r.name, label: label, priority: priority, fn: fn})
	}
}

// On is Hook with the usual priority.
func (r *Registrar) On(hook Hook, fn Func) { r.Hook(hook, 0, string("hook_"+hook), fn) }
