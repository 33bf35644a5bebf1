package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/dop251/goja"
)

func TestTimers(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.table([][2]string{
		{script(`const out = []; setTimeout((x) => out.push(x), 2, 'b'); setTimeout((x) => out.push(x), 1, 'a'); setImmediate(() => out.push('i'));
			queueMicrotask(() => out.push('m')); process.nextTick((x) => out.push(x), 'n'); return new Promise((r) => setTimeout(() => r(out.join('')), 3))`), "mniab"},
		{script(`const t = setTimeout(() => {}, 1000); clearTimeout(t); return typeof t + ' ' + typeof t.ref().unref() + ' ' + t.hasRef()`), "object object true"},
		{script(`let n = 0; return new Promise((r) => { const t = setInterval(() => { if (++n === 3) { clearInterval(t); r(n) } }, 1) })`), "3"},
		{script(`let n = 0; const t = setTimeout(() => { n++ }, 1); clearTimeout(+t); return new Promise((r) => setTimeout(() => r(n), 3))`), "0"},
		{script(`let n = 0; const i = setImmediate(() => { n++ }); clearImmediate(i); return new Promise((r) => setTimeout(() => r(n), 1))`), "0"},
		{script(`clearTimeout(undefined); clearTimeout(null); clearTimeout({}); clearTimeout(12345); return 'good'`), "good"},
		{`setTimeout('text')`, "error: TypeError: the first argument must be a function"},
		{script(`return require('timers/promises').setTimeout(1, 'v')`), "v"},
		{script(`return (async () => { const a = await Promise.resolve(1); await null; return a + await new Promise((r) => setTimeout(r, 1, 2)) })()`), "3"},
	})
}

// Timers are bounded, and what is over makes room.
func TestTimersAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	got := w.eval(script(`const all = []; try { for (;;) all.push(setTimeout(() => {}, 1e6)) } catch (e) { all.forEach(clearTimeout); setTimeout(() => {}, 1e6); return all.length + e.message }`))
	if got != "10000more than 10000 timers" {
		t.Error(got)
	}
}

// owner is somebody on whose behalf a script runs.
type owner struct {
	name   string
	failed chan error
}

func (o *owner) Failed(err error) { o.failed <- err }

// What nobody catches goes to the owner of the turn in which it was begun, however
// much later it happens, and whoever settles the promise.
func TestUncaughtGoesToItsOwner(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	for _, x := range []struct{ name, script, want string }{
		{"throw in a turn", `throw new Error('boo 0')`, "boo 0"},
		{"throw in a timer", `setTimeout(() => { throw new Error('boo 1') }, 1)`, "boo 1"},
		{"throw in a timer in a timer", `setTimeout(() => setTimeout(() => { throw new Error('boo 2') }, 1), 1)`, "boo 2"},
		{"throw in setImmediate", `setImmediate(() => { throw new Error('boo 3') })`, "boo 3"},
		{"throw in nextTick", `process.nextTick(() => { throw new Error('boo 4') })`, "boo 4"},
		{"rejection", `Promise.reject(new Error('boo 5'))`, "unhandled rejection: Error: boo 5"},
		{"async function", `(async () => { await null; throw new Error('boo 6') })()`, "unhandled rejection: Error: boo 6"},
		{"after a timer", `(async () => { await new Promise((r) => setTimeout(r, 1)); throw new Error('boo 7') })()`, "boo 7"},
		{"rejected with text", `Promise.reject('text')`, "unhandled rejection: text"},
		{"rejected with nothing", `Promise.reject()`, "unhandled rejection: undefined"},
		{"rejected with a trap", `Promise.reject({ get stack() { throw 1 }, toString() { throw 2 } })`, "cannot be shown"},
		{"settled by somebody else", `shared.then(() => { throw new Error('boo 8') })`, "boo 8"},
	} {
		t.Log(x.name)
		o := &owner{name: x.name, failed: make(chan error, 10)}
		w.eval(`var settle; var shared = new Promise((r) => { settle = r })`)
		w.Do(o, func() error { _, err := w.vm.RunString(x.script); return err })
		w.eval(`settle()`)
		if err := <-o.failed; !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	for _, l := range w.logged() {
		t.Errorf("somebody else was told: %+v", l)
	}
}

// A rejection that is handled in the same turn is nobody's fault.
func TestHandledRejections(t *testing.T) {
	w := newWorld(t, nil)
	o := &owner{failed: make(chan error, 10)}
	w.Do(o, func() error {
		_, err := w.vm.RunString(`const p = Promise.reject(new Error('x')); p.catch(() => {}); (async () => { try { await Promise.reject(1) } catch {} })()`)
		return err
	})
	w.eval("1")
	select {
	case err := <-o.failed:
		t.Error(err)
	default:
	}
}

// An interrupt ends the turn, and not the next one.
func TestInterrupt(t *testing.T) {
	began := make(chan struct{})
	w := newWorld(t, nil)
	o := &owner{failed: make(chan error, 1)}
	w.inside(func() { w.vm.Set("began", func() { close(began) }) })
	w.Do(o, func() error { _, err := w.vm.RunString(`began(); for (;;) {}`); return err })
	<-began
	w.Interrupt(errors.New("too long"))
	var stop *goja.InterruptedError
	if err := <-o.failed; !errors.As(err, &stop) {
		t.Errorf("%v", err)
	}
	w.table([][2]string{{`1 + 1`, "2"}})
}

// A promise job that runs for ever is ended too.
func TestInterruptOfPromiseJobs(t *testing.T) {
	began := make(chan struct{})
	w := newWorld(t, nil)
	o := &owner{failed: make(chan error, 10)}
	w.inside(func() { w.vm.Set("began", func() { close(began) }) })
	w.Do(o, func() error {
		_, err := w.vm.RunString(`Promise.resolve().then(() => { began(); for (;;) {} })`)
		return err
	})
	<-began
	w.Interrupt(errors.New("too long"))
	if err := <-o.failed; !strings.Contains(err.Error(), "too long") {
		t.Errorf("%v", err)
	}
	w.table([][2]string{{`1 + 1`, "2"}})
}
